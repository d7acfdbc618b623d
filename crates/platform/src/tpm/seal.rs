//! A secret that a TPM gives back only while its registers are what they were.

use borsh::{BorshDeserialize, BorshSerialize};
use tpm2_protocol::{
    TpmUnmarshal as _,
    basic::{TpmBuffer, TpmHandle, TpmUint32},
    data::{
        Tpm2bPrivate, Tpm2bPublic, Tpm2bSensitiveCreate, TpmAlgId, TpmSe, TpmaObject,
        TpmsKeyedhashParms, TpmsSensitiveCreate, TpmtPublic, TpmtSymDefObject, TpmuPublicId,
        TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
    },
    frame::{
        TpmCreateCommand, TpmCreateResponse, TpmLoadCommand, TpmLoadResponse,
        TpmPolicyGetDigestCommand, TpmPolicyGetDigestResponse, TpmPolicyPcrCommand,
        TpmPolicyPcrResponse, TpmStartAuthSessionCommand, TpmStartAuthSessionResponse,
        TpmUnsealCommand, TpmUnsealResponse,
    },
};
use zeroize::Zeroizing;

use super::{
    NULL, Tpm, TpmError, selection,
    transport::{empty_authorization, marshal, session_authorization},
};

/// Octets of a secret that a TPM seals (part 2, `MAX_SYM_DATA`).
pub const MAX_SECRET_BYTES: usize = 128;

/// A sealed secret: public, and of use to no other TPM.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sealed {
    /// The registers that must be what they were.
    pub registers: Vec<u8>,
    public: Vec<u8>,
    private: Vec<u8>,
}

impl Tpm {
    pub(super) fn start_session(&mut self, kind: TpmSe) -> Result<TpmHandle, TpmError> {
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|error| TpmError::malformed("a nonce", error))?;
        let command = TpmStartAuthSessionCommand {
            handles: [TpmUint32::from(NULL), TpmUint32::from(NULL)],
            nonce_caller: TpmBuffer::try_from(&nonce[..])
                .map_err(|error| TpmError::malformed("a nonce", error))?,
            encrypted_salt: Default::default(),
            session_type: kind,
            symmetric: TpmtSymDefObject {
                algorithm: TpmAlgId::Null,
                key_bits: TpmuSymKeyBits::Null,
                mode: TpmuSymMode::Null,
            },
            auth_hash: TpmAlgId::Sha256,
        };
        let started: TpmStartAuthSessionResponse = self.command(&command, &[])?;
        Ok(started.handles[0])
    }

    fn policy_registers(&mut self, session: TpmHandle, registers: &[u8]) -> Result<(), TpmError> {
        let command = TpmPolicyPcrCommand {
            handles: [session],
            pcr_digest: Default::default(),
            pcrs: selection(registers),
        };
        self.command::<_, TpmPolicyPcrResponse>(&command, &[])?;
        Ok(())
    }

    /// Seals `secret` to what `registers` hold now.
    ///
    /// Errors: [`TpmError`]; a secret over [`MAX_SECRET_BYTES`] is malformed.
    pub fn seal(&mut self, registers: &[u8], secret: &[u8]) -> Result<Sealed, TpmError> {
        if secret.len() > MAX_SECRET_BYTES {
            return Err(TpmError::malformed("a secret", "too large to seal"));
        }
        let session = self.start_session(TpmSe::Trial)?;
        let policy = self.policy_registers(session, registers).and_then(|()| {
            let command = TpmPolicyGetDigestCommand { handles: [session] };
            self.command::<_, TpmPolicyGetDigestResponse>(&command, &[])
        });
        self.flush_handle(session)?;
        let template = TpmtPublic {
            object_type: TpmAlgId::KeyedHash,
            name_alg: TpmAlgId::Sha256,
            object_attributes: TpmaObject::FIXED_TPM
                | TpmaObject::FIXED_PARENT
                | TpmaObject::ADMIN_WITH_POLICY
                | TpmaObject::NO_DA,
            auth_policy: policy?.policy_digest,
            parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms {
                scheme: Default::default(),
            }),
            unique: TpmuPublicId::KeyedHash(Default::default()),
        };
        let storage = self.storage_key()?;
        let command = TpmCreateCommand {
            handles: [storage.handle],
            in_sensitive: Tpm2bSensitiveCreate {
                inner: TpmsSensitiveCreate {
                    user_auth: Default::default(),
                    data: TpmBuffer::try_from(secret)
                        .map_err(|error| TpmError::malformed("a secret", error))?,
                },
            },
            in_public: Tpm2bPublic { inner: template },
            outside_info: Default::default(),
            creation_pcr: Default::default(),
        };
        let made = self.command::<_, TpmCreateResponse>(&command, &[empty_authorization()]);
        self.flush(storage)?;
        let made = made?;
        Ok(Sealed {
            registers: registers.to_vec(),
            public: marshal(&made.out_public)?,
            private: marshal(&made.out_private)?,
        })
    }

    /// Gives the secret back.
    ///
    /// Errors: [`TpmError::Refused`] once a register differs.
    pub fn unseal(&mut self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let wrong = |error| TpmError::malformed("a sealed secret", error);
        let storage = self.storage_key()?;
        let command = TpmLoadCommand {
            handles: [storage.handle],
            in_private: Tpm2bPrivate::unmarshal(&sealed.private).map_err(wrong)?.0,
            in_public: Tpm2bPublic::unmarshal(&sealed.public).map_err(wrong)?.0,
        };
        let loaded = self.command::<_, TpmLoadResponse>(&command, &[empty_authorization()]);
        self.flush(storage)?;
        let object = loaded?.handles[0];
        let unsealed = self.unseal_loaded(object, &sealed.registers);
        self.flush_handle(object)?;
        unsealed
    }

    fn unseal_loaded(
        &mut self,
        object: TpmHandle,
        registers: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let session = self.start_session(TpmSe::Policy)?;
        let unsealed = self.policy_registers(session, registers).and_then(|()| {
            let command = TpmUnsealCommand { handles: [object] };
            self.command::<_, TpmUnsealResponse>(&command, &[session_authorization(session)])
        });
        self.flush_handle(session)?;
        Ok(Zeroizing::new(unsealed?.out_data.to_vec()))
    }
}
