//! The vault as a trusted application: the judgement of `vault-guard`, with OP-TEE's
//! clocks, random numbers and HMAC.
//!
//! A session is a vault, from its opening to its end, as a protected process is one;
//! each session is an instance of its own, so that none sees another's memory. The key
//! is made inside OP-TEE's core and used there by a handle: it is never in this
//! application's own memory.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use optee_utee::{
    AlgorithmId, Error, ErrorKind, Mac, ParameterMemrefInput, ParameterMemrefOutput, ParameterNone,
    ParametersNone, Random, Result, Time, TransientObject, TransientObjectType, prelude::*,
};
use vault_guard::{MAX_ENCODED_BYTES, Moment, Place, Refused, Vault};

/// The one command: an encoded message in, its encoded answer out.
const ANSWER: u32 = 0;

/// Bits of the key.
const KEY_BITS: usize = 256;

/// OP-TEE, as a place for a vault.
#[derive(Default)]
struct Tee {
    mac: Option<Mac>,
}

/// A time of OP-TEE's as one since its origin.
fn since_origin(time: &Time) -> Duration {
    Duration::from_secs(time.seconds.into()) + Duration::from_millis(time.millis.into())
}

/// A key that only OP-TEE's core holds, set in an operation.
fn keyed_mac() -> Result<Mac> {
    let key = TransientObject::allocate(TransientObjectType::HmacSha256, KEY_BITS)?;
    key.generate_key(KEY_BITS, &[])?;
    let mac = Mac::allocate(AlgorithmId::HmacSha256, KEY_BITS)?;
    mac.set_key(&key)?;
    Ok(mac)
}

impl Place for Tee {
    fn now(&self) -> Moment {
        let mut time = Time::new();
        // Not reset or rolled back in an instance's life (GlobalPlatform TEE
        // Internal Core API §7.2.1).
        time.system_time();
        since_origin(&time)
    }

    fn host_time_ms(&self) -> u64 {
        let mut time = Time::new();
        time.ree_time();
        u64::try_from(since_origin(&time).as_millis()).unwrap_or(u64::MAX)
    }

    fn make_key(&mut self) -> core::result::Result<Vec<String>, Refused> {
        self.mac = Some(keyed_mac().map_err(|_| Refused::Place)?);
        Ok(Vec::new())
    }

    fn random(&mut self) -> core::result::Result<[u8; 32], Refused> {
        let mut fresh = [0; 32];
        Random::generate(&mut fresh);
        Ok(fresh)
    }

    fn authenticate(&mut self, message: &[u8]) -> core::result::Result<[u8; 32], Refused> {
        let mac = self.mac.as_ref().ok_or(Refused::Place)?;
        let mut code = [0; 32];
        mac.init(&[]);
        match mac.compute_final(message, &mut code) {
            Ok(32) => Ok(code),
            _ => Err(Refused::Place),
        }
    }
}

/// What OP-TEE keeps for a session.
struct Session {
    vault: Vault<Tee>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            vault: Vault::new(Tee::default()),
        }
    }
}

#[ta_create]
fn create() -> Result<()> {
    Ok(())
}

#[ta_open_session]
fn open(_parameters: &mut ParametersNone, _session: &mut Session) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close(_session: &mut Session) {}

#[ta_destroy]
fn destroy() {}

#[ta_invoke_command]
fn invoke(
    session: &mut Session,
    command: u32,
    parameters: &mut (
        ParameterMemrefInput<'_>,
        ParameterMemrefOutput<'_>,
        ParameterNone,
        ParameterNone,
    ),
) -> Result<()> {
    let (message, answer, ..) = parameters;
    if command != ANSWER || message.buffer_len() > MAX_ENCODED_BYTES {
        return Err(Error::from(ErrorKind::BadParameters));
    }
    // A copy: the other world could change shared memory while it is read.
    let message = message.read_to_vec();
    answer.set_output(session.vault.answer_encoded(&message))
}

include!(concat!(env!("OUT_DIR"), "/user_ta_header.rs"));
