//! A TPM 2.0 without libtss2: typed commands by `tpm2-protocol` over the
//! device's file or a socket.
//!
//! Keys that this product uses are primary keys under fixed templates: the TPM
//! makes the same key again whenever it is asked, so nothing is kept on disk
//! and no persistent place of the TPM is taken.

mod enrolment;
mod keys;
mod quote;
mod seal;
mod transport;

pub use enrolment::{Challenge, ChallengeError, IssuedChallenge, endorsement_digest};
pub use keys::{AccountKey, Endorsement, LoadedKey};
pub use seal::Sealed;
pub use transport::{Tpm, TpmError};

use tpm2_protocol::data::TpmAlgId;
use tpm2_protocol::data::{TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection};

/// Registers of a TPM (PC Client platforms).
const REGISTERS: u8 = 24;

/// The hierarchies and the empty authorization (TPM 2.0 Library, part 2, §7.4).
const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
const ENDORSEMENT: u32 = 0x4000_000B;

/// A selection of registers of the SHA-256 bank; numbers past the last are
/// left out.
fn selection(registers: &[u8]) -> TpmlPcrSelection {
    let mut bitmap = [0u8; REGISTERS as usize / 8];
    for register in registers.iter().filter(|number| **number < REGISTERS) {
        bitmap[usize::from(register / 8)] |= 1 << (register % 8);
    }
    let mut list = TpmlPcrSelection::default();
    list.try_push(TpmsPcrSelection {
        hash: TpmAlgId::Sha256,
        pcr_select: TpmsPcrSelect::try_from(&bitmap[..]).expect("three octets fit"),
    })
    .expect("one selection fits");
    list
}
