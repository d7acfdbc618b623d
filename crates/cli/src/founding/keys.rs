//! The keys of a new circle: seeds, key files and development quoting keys.

use std::path::Path;

use anyhow::Context as _;
use client::{
    SecretString,
    keyfile::{self, KeyKind, UnlockedKey},
};
use wire::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::state_directory::write_file;

/// 32 bytes of the operating system's entropy.
///
/// Errors: it gives none.
pub fn seed() -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *seed)
        .map_err(|_| anyhow::anyhow!("the operating system gives no entropy"))?;
    Ok(seed)
}

/// Makes a key file with a generated passphrase in a file beside it, which no
/// one but its owner can read: a daemon must open its key with nobody there.
///
/// Errors: no entropy; a file cannot be written.
pub fn make(path: &Path, name: &str) -> anyhow::Result<PublicKey> {
    let passphrase = Zeroizing::new(hex::encode(&seed()?[..16]));
    let line = Zeroizing::new(format!("{}\n", *passphrase));
    write_file(&passphrase_file(path), line.as_bytes(), true)?;
    let key = UnlockedKey::generate(name, KeyKind::Ed25519);
    keyfile::create(path, &key, &SecretString::from((*passphrase).clone()))
        .with_context(|| format!("make the key of {name}"))?;
    Ok(key.public())
}

/// The generated passphrase's file, for a key file of an embedded circle.
pub fn passphrase_file(key_file: &Path) -> std::path::PathBuf {
    key_file.with_file_name("passphrase")
}

/// Makes a provider's quoting key, certified under the circle's development root.
///
/// Errors: no entropy; a file cannot be written.
pub fn make_quoting_key(directory: &Path, root: &SigningKey, label: &str) -> anyhow::Result<()> {
    let seed = seed()?;
    let key = SigningKey::ed25519(*seed);
    let certificate = attest::development::certify(root, key.public(), None, label)
        .context("certify a quoting key")?;
    super::write_secret(&directory.join("quoting.seed"), &*seed)?;
    let text = format!("{}\n", hex::encode(certificate.encode()));
    write_file(
        &directory.join("quoting.certificate"),
        text.as_bytes(),
        false,
    )
}
