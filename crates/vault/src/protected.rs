//! The vault's place when it is a protected process: one channel, one secret page.

use std::{
    io::{self, Read, Write},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use sandbox::SecretPage;
use vault_guard::{Moment, Place, Refused, Vault};
use zeroize::Zeroize;

use crate::channel::{read, write};

/// The key, in the secret page; made anew in each life of the process.
pub type Key = [u8; 32];

/// The process, in its sandbox.
struct Process<'a> {
    page: &'a SecretPage<Key>,
    warnings: Vec<String>,
    began: Instant,
}

impl Place for Process<'_> {
    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn host_time_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(u64::MAX, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn make_key(&mut self) -> Result<Vec<String>, Refused> {
        self.page
            .write(|key| aws_lc_rs::rand::fill(key))
            .map_err(|_| Refused::Place)?;
        Ok(std::mem::take(&mut self.warnings))
    }

    fn random(&mut self) -> Result<[u8; 32], Refused> {
        let mut fresh = [0; 32];
        aws_lc_rs::rand::fill(&mut fresh).map_err(|_| Refused::Place)?;
        Ok(fresh)
    }

    fn authenticate(&mut self, message: &[u8]) -> Result<[u8; 32], Refused> {
        let mut key = self.page.read(|key| *key);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message);
        key.zeroize();
        let mut code = [0; 32];
        code.copy_from_slice(tag.as_ref());
        Ok(code)
    }
}

/// Serves an agent until it closes the channel.
///
/// Errors: the channel's.
pub fn serve(
    page: &SecretPage<Key>,
    warnings: Vec<String>,
    mut input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let mut vault = Vault::new(Process {
        page,
        warnings,
        began: Instant::now(),
    });
    while let Some(message) = read(&mut input)? {
        write(&mut output, &vault.answer(message))?;
    }
    Ok(())
}
