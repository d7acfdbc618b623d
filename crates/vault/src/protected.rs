//! The vault inside its protected process: one channel, one key, one guard.

use std::{
    io::{self, Read, Write},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use sandbox::SecretPage;
use zeroize::Zeroize;

use crate::{
    channel::{FromVault, MAX_MESSAGE_BYTES, ToVault, read, write},
    credential::Credential,
    guard::{Guard, Refused},
};

/// The key, in the secret page; made anew in each life of the process.
pub type Key = [u8; 32];

/// Serves an agent until it closes the channel.
///
/// Errors: the channel's, and a first message that is not `Begin`.
pub fn serve(
    page: &SecretPage<Key>,
    warnings: Vec<String>,
    mut input: impl Read,
    mut output: impl Write,
) -> io::Result<()> {
    let mut guard = match read(&mut input)? {
        None => return Ok(()),
        Some(ToVault::Begin { root, application }) => Guard::new(root, application),
        Some(_) => return Err(io::Error::other("a message came out of order")),
    };
    page.write(|key| aws_lc_rs::rand::fill(key))
        .map_err(io::Error::other)?;
    write(&mut output, &FromVault::Begun(warnings))?;
    while let Some(message) = read(&mut input)? {
        let answer = answer(&mut guard, page, message);
        let answer = answer.unwrap_or_else(|refused| FromVault::Refused(refused.to_string()));
        write(&mut output, &answer)?;
    }
    Ok(())
}

fn answer(
    guard: &mut Guard,
    page: &SecretPage<Key>,
    message: ToVault,
) -> Result<FromVault, Refused> {
    let now = Instant::now();
    match message {
        ToVault::Begin { .. } => Err(Refused::NotAdmitted),
        ToVault::Challenge { caller } => {
            let mut fresh = [0; 32];
            aws_lc_rs::rand::fill(&mut fresh).map_err(|_| Refused::Stale)?;
            guard.challenge(caller, fresh)?;
            Ok(FromVault::Challenge(fresh))
        }
        ToVault::Measured {
            caller,
            challenge,
            measured,
            credential,
        } => {
            let credential = credential.map(|bytes| Credential::decode(&bytes));
            let at = (now, now_ms());
            guard.measured(caller, &challenge, &measured, credential.transpose()?, at)?;
            Ok(FromVault::Done)
        }
        ToVault::Authenticate { caller, message } => {
            guard.may_answer(caller, now)?;
            if message.len() > MAX_MESSAGE_BYTES {
                return Err(Refused::NotAdmitted);
            }
            let mut key = page.read(|key| *key);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
            key.zeroize();
            let mut code = [0; 32];
            code.copy_from_slice(tag.as_ref());
            Ok(FromVault::Code(code))
        }
        ToVault::Forget { caller } => {
            guard.forget(caller);
            Ok(FromVault::Done)
        }
    }
}

/// The host's clock; a sub-certificate's end is as true as that.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(u64::MAX, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
