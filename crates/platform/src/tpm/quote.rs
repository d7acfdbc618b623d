//! Registers, read and quoted.

use attest::tpm::{PcrBank, Quote};
use tpm2_protocol::{
    basic::{TpmBuffer, TpmUint32},
    data::{TpmAlgId, TpmlDigestValues, TpmtHa, TpmuHa},
    frame::{
        TpmPcrExtendCommand, TpmPcrExtendResponse, TpmPcrReadCommand, TpmPcrReadResponse,
        TpmQuoteCommand, TpmQuoteResponse,
    },
};

use super::{
    LoadedKey, Tpm, TpmError, selection,
    transport::{empty_authorization, marshal},
};

/// Reads and quotes that are tried until the registers stood still between them.
const ATTEMPTS: usize = 5;

impl Tpm {
    /// Reads registers of the SHA-256 bank.
    ///
    /// Errors: [`TpmError`].
    pub fn read_registers(&mut self, registers: &[u8]) -> Result<PcrBank, TpmError> {
        let mut bank = PcrBank::new();
        for register in registers {
            let command = TpmPcrReadCommand {
                handles: [],
                pcr_selection_in: selection(&[*register]),
            };
            let read: TpmPcrReadResponse = self.command(&command, &[])?;
            let value = read
                .pcr_values
                .first()
                .and_then(|value| <[u8; 32]>::try_from(&value[..]).ok())
                .ok_or_else(|| TpmError::malformed("a register", "not in the SHA-256 bank"))?;
            bank.insert(*register, value);
        }
        Ok(bank)
    }

    /// Has `key` sign `registers` and `extra_data` (at most 32 bytes).
    ///
    /// Registers that other software extends meanwhile (IMA's) may move
    /// between reading and quoting; it is done again until they stood still.
    ///
    /// Errors: [`TpmError`].
    pub fn quote(
        &mut self,
        key: &LoadedKey,
        registers: &[u8],
        extra_data: &[u8],
    ) -> Result<Quote, TpmError> {
        let command = TpmQuoteCommand {
            handles: [key.handle],
            qualifying_data: TpmBuffer::try_from(extra_data)
                .map_err(|error| TpmError::malformed("the data to bind", error))?,
            in_scheme: Default::default(),
            pcr_select: selection(registers),
        };
        for _ in 0..ATTEMPTS {
            let before = self.read_registers(registers)?;
            let made: TpmQuoteResponse = self.command(&command, &[empty_authorization()])?;
            if self.read_registers(registers)? != before {
                continue;
            }
            let attested = marshal(&made.quoted)?;
            return Ok(Quote {
                // What was signed stands after its length.
                attested: attested.get(2..).unwrap_or_default().to_vec(),
                signature: marshal(&made.signature)?,
                registers: before,
            });
        }
        Err(TpmError::malformed(
            "a quote",
            "the registers never stood still",
        ))
    }

    /// Extends a register, as software that measures does.
    ///
    /// Errors: [`TpmError`].
    pub fn extend(&mut self, register: u8, digest: &[u8; 32]) -> Result<(), TpmError> {
        let wrong = |error| TpmError::malformed("a digest", error);
        let mut digests = TpmlDigestValues::default();
        digests
            .try_push(TpmtHa {
                hash_alg: TpmAlgId::Sha256,
                digest: TpmuHa::Digest(TpmBuffer::try_from(&digest[..]).map_err(wrong)?),
            })
            .map_err(wrong)?;
        let command = TpmPcrExtendCommand {
            handles: [TpmUint32::from(u32::from(register))],
            digests,
        };
        self.command::<_, TpmPcrExtendResponse>(&command, &[empty_authorization()])?;
        Ok(())
    }
}
