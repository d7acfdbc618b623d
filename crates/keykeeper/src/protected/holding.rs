//! The same program's other office: it comes to a label's key as any holder
//! does, and makes signatures and secrets from it for a daemon beside it, which
//! never has the key.
//!
//! The key is combined here, from shares that are sealed to a one-time key of
//! this process, and rests in the secret page. It is written nowhere: the next
//! life of the process asks for it again.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use threshold::{DerivedKey, LabelKey};
use wire::{LabelName, record::Label, state_key};

use super::{ByHost, Core, CoreError, now};
use crate::{
    Circle as _, HolderError,
    channel::{EcdsaSignature, FromCore, Point, ToCore},
    circle::decode,
    holder::derive,
};

/// Comes to the key of `label`, and serves its host with it until the host
/// closes the channel.
///
/// Errors: [`CoreError`]; without a key it ends, and is to be started anew.
pub(super) fn hold<R, W>(
    core: &Arc<Core<R, W>>,
    by_host: &Arc<ByHost<R, W>>,
    label: &LabelName,
    epoch: Option<u64>,
    warnings: Vec<String>,
) -> Result<(), CoreError>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let epoch = match epoch {
        Some(epoch) => epoch,
        None => present(by_host, label).map_err(no_key)?,
    };
    let evidence = |report_data| match core.pipes().ask(&FromCore::Evidence(report_data)) {
        Ok(ToCore::Evidence(evidence)) => Ok(evidence),
        Ok(ToCore::Unavailable(why)) => Err(why),
        Ok(_) => Err(CoreError::Order.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let key = now(derive(by_host, label, Some(epoch), evidence)).map_err(no_key)?;
    let fits = core.page.write(|page| page.put(&key.encode()));
    drop(key);
    if !fits {
        return Err(CoreError::Sealed);
    }
    core.pipes().send(&FromCore::Held { epoch, warnings })?;
    loop {
        let Some(next) = core.pipes().next()? else {
            return Ok(());
        };
        let key = core
            .page
            .read(|page| LabelKey::decode(&page.state[..page.length]))
            .ok_or(CoreError::Sealed)?;
        let answer = match next {
            ToCore::Point(context) => FromCore::Point(point(&key, &context)?),
            ToCore::SignAs { context, message } => {
                FromCore::SignedAs(sign(&key, &context, &message)?)
            }
            ToCore::Secret(context) => FromCore::Secret(*key.symmetric(&context).as_bytes()),
            _ => return Err(CoreError::Order),
        };
        core.pipes().send(&answer)?;
    }
}

fn no_key(error: HolderError) -> CoreError {
    CoreError::NoKey(error.to_string())
}

/// The label's present epoch.
fn present<R, W>(by_host: &Arc<ByHost<R, W>>, label: &LabelName) -> Result<u64, HolderError>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let reading = now(by_host.read(vec![state_key::label(label)]))?;
    let granted: Label = decode(&reading, 0)?.ok_or(HolderError::NoLabel)?;
    Ok(granted.epoch)
}

fn point(key: &LabelKey, context: &[u8]) -> Result<Point, CoreError> {
    point_of(&key.p256(context))
}

fn point_of(scalar: &DerivedKey) -> Result<Point, CoreError> {
    PrivateKey::from_private_key(&ECDH_P256, scalar.as_bytes())
        .ok()
        .and_then(|private| private.compute_public_key().ok())
        .and_then(|public| public.as_ref().try_into().ok())
        .ok_or(CoreError::Signature)
}

fn sign(key: &LabelKey, context: &[u8], message: &[u8]) -> Result<EcdsaSignature, CoreError> {
    let scalar = key.p256(context);
    let public = point_of(&scalar)?;
    EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        scalar.as_bytes(),
        &public,
    )
    .ok()
    .and_then(|pair| pair.sign(&SystemRandom::new(), message).ok())
    .and_then(|signature| signature.as_ref().try_into().ok())
    .ok_or(CoreError::Signature)
}
