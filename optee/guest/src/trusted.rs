//! A vault that is a trusted application, from the agent's side: libteec in the place
//! of a pipe.

use std::io;

use optee_teec::{Context, Error, Operation, ParamNone, ParamTmpRef, Session, Uuid};
use vault::agent::Vault;
use vault_guard::{FromVault, MAX_ENCODED_BYTES, ToVault};

/// The trusted application's name, as its build.rs has it.
const UUID: &str = "5c2f3f0a-6a5f-4d0e-9c3d-0a4d1c1b7e42";

/// Its one command.
const ANSWER: u32 = 0;

/// A session with the trusted application; the vault's key lives as long as this.
pub struct TrustedVault(Session);

impl TrustedVault {
    /// Opens a session: OP-TEE has the application loaded and checks who signed it.
    ///
    /// Errors: OP-TEE's.
    pub fn open() -> Result<Self, Error> {
        let mut context = Context::new()?;
        let session = context.open_session(Uuid::parse_str(UUID)?)?;
        Ok(Self(session))
    }

    /// Calls `command` with any bytes and room for so many of an answer.
    ///
    /// Errors: OP-TEE's, and the application's.
    pub fn call(&mut self, command: u32, message: &[u8], room: usize) -> Result<Vec<u8>, Error> {
        let mut answer = vec![0; room];
        let length = {
            let given = ParamTmpRef::new_input(message);
            let taken = ParamTmpRef::new_output(&mut answer);
            let mut operation = Operation::new(0, given, taken, ParamNone, ParamNone);
            self.0.invoke_command(command, &mut operation)?;
            operation.parameters().1.updated_size()
        };
        answer.truncate(length);
        Ok(answer)
    }
}

impl Vault for TrustedVault {
    fn ask(&mut self, message: &ToVault) -> io::Result<FromVault> {
        let message = borsh::to_vec(message)?;
        let answer = self
            .call(ANSWER, &message, MAX_ENCODED_BYTES)
            .map_err(io::Error::other)?;
        borsh::from_slice(&answer)
    }
}
