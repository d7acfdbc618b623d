//! The one form of a bundle and an archive: a manifest, then the parts that it
//! names, each with its length and hash.
//!
//! Hashes are checked here, before any part is handed on (procedure 400 on the
//! decrypted payload; seed 000 [0063], [0069]). What the manifest means is for
//! `bundle` and `archive`.

use aws_lc_rs::digest;
use borsh::{BorshDeserialize, BorshSerialize};
use wire::Digest;
use zeroize::Zeroizing;

/// Bytes of a manifest, at most: 1024 files of the longest path need less.
pub(crate) const MAX_MANIFEST_BYTES: usize = 512 * 1024;

/// Bytes of a file's path, at most.
pub const MAX_PATH_BYTES: usize = 255;

/// Names on a file's path, at most: bounds how deep a directory nests.
pub const MAX_PATH_DEPTH: usize = 16;

/// Bytes before the manifest: magic, version, manifest length.
const PREFIX_BYTES: usize = 8 + 1 + 4;

/// The version of the form.
const VERSION: u8 = 1;

/// Why bytes are no container of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Another magic or version, or bytes missing before the manifest's end.
    #[error("the bytes do not begin as a container of this kind and version")]
    Header,
    /// The manifest is over its limit, does not decode, or breaks a limit of its own.
    #[error("the manifest is malformed: {0}")]
    Manifest(String),
    /// The parts' lengths do not add up to what is there.
    #[error("the parts are longer or shorter than the manifest says")]
    Length,
    /// A part does not hash to what the manifest says.
    #[error("{0} does not have the hash that the manifest gives")]
    Hash(String),
    /// A path is not relative, canonical and short.
    #[error("{0:?} is no path of a file in a container")]
    Path(String),
    /// Two files at one path, or a file where another needs a directory.
    #[error("{0:?} clashes with another file")]
    Clash(String),
}

/// A part's length and hash, as a manifest gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Part {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
}

impl Part {
    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }
}

/// SHA-256 by aws-lc, which is the faster one for large parts.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let digest = digest::digest(&digest::SHA256, bytes);
    Digest(
        digest
            .as_ref()
            .try_into()
            .expect("a SHA-256 digest has 32 bytes"),
    )
}

/// Writes a container.
///
/// Errors: [`ContainerError::Manifest`] if it is over its limit.
pub(crate) fn encode<'a>(
    magic: &[u8; 8],
    manifest: &impl BorshSerialize,
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
    let manifest = Zeroizing::new(borsh::to_vec(manifest).expect("a manifest always encodes"));
    if manifest.len() > MAX_MANIFEST_BYTES {
        return Err(ContainerError::Manifest(format!(
            "{} bytes are over the limit of {MAX_MANIFEST_BYTES}",
            manifest.len()
        )));
    }
    let total: usize = parts.clone().map(<[u8]>::len).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(PREFIX_BYTES + manifest.len() + total));
    bytes.extend_from_slice(magic);
    bytes.push(VERSION);
    bytes.extend_from_slice(&(manifest.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&manifest);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Reads a container's manifest; gives the parts' bytes as they follow it.
///
/// Errors: [`ContainerError::Header`] and [`ContainerError::Manifest`].
pub(crate) fn split<'a, M: BorshDeserialize>(
    magic: &[u8; 8],
    bytes: &'a [u8],
) -> Result<(M, &'a [u8]), ContainerError> {
    let (prefix, rest) = bytes
        .split_at_checked(PREFIX_BYTES)
        .ok_or(ContainerError::Header)?;
    let length = u32::from_le_bytes(
        prefix[9..]
            .try_into()
            .expect("four bytes follow the version"),
    );
    let length = length as usize;
    if prefix[..8] != *magic || prefix[8] != VERSION || length > MAX_MANIFEST_BYTES {
        return Err(ContainerError::Header);
    }
    let (manifest, parts) = rest
        .split_at_checked(length)
        .ok_or(ContainerError::Header)?;
    let manifest =
        M::try_from_slice(manifest).map_err(|error| ContainerError::Manifest(error.to_string()))?;
    Ok((manifest, parts))
}

/// Cuts the next part off `bytes` and checks its hash.
///
/// Errors: [`ContainerError::Length`] and [`ContainerError::Hash`].
pub(crate) fn take<'a>(
    bytes: &mut &'a [u8],
    part: &Part,
    name: &str,
) -> Result<&'a [u8], ContainerError> {
    let length = usize::try_from(part.bytes).map_err(|_| ContainerError::Length)?;
    let (head, rest) = bytes
        .split_at_checked(length)
        .ok_or(ContainerError::Length)?;
    if sha256(head) != part.sha256 {
        return Err(ContainerError::Hash(name.to_owned()));
    }
    *bytes = rest;
    Ok(head)
}

/// Checks the paths of a container's files: each is relative, canonical and
/// printable, none repeats, and none lies beneath another file.
///
/// Errors: [`ContainerError::Path`] and [`ContainerError::Clash`].
pub(crate) fn check_paths<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), ContainerError> {
    let mut sorted: Vec<&str> = Vec::new();
    for path in paths {
        let well_formed = path.len() <= MAX_PATH_BYTES
            && path.split('/').count() <= MAX_PATH_DEPTH
            && path.split('/').all(is_name);
        if !well_formed {
            return Err(ContainerError::Path(path.to_owned()));
        }
        sorted.push(path);
    }
    sorted.sort_unstable();
    for path in &sorted {
        let ancestors = path.match_indices('/').map(|(end, _)| &path[..end]);
        if ancestors
            .clone()
            .any(|above| sorted.binary_search(&above).is_ok())
        {
            return Err(ContainerError::Clash((*path).to_owned()));
        }
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ContainerError::Clash(pair[0].to_owned())),
        None => Ok(()),
    }
}

/// Whether `name` may name a file or directory in a container: no separator of
/// any system, nothing that a terminal or a shell would act on.
pub fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name
            .chars()
            .all(|character| !character.is_control() && !matches!(character, '/' | '\\' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_beneath_their_directory() {
        let check = |paths: &[&str]| check_paths(paths.iter().copied());
        for good in [&["a"][..], &["a", "b/c", "b/d"], &["ab", "a/b"], &[]] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        let long = "a".repeat(256);
        let deep = ["a"; 17].join("/");
        for bad in [
            "", ".", "..", "/a", "a/", "a//b", "a/../b", "a/./b", "a\\b", "c:d", "a\nb", "a\0",
            &long, &deep,
        ] {
            assert!(
                matches!(check(&[bad]), Err(ContainerError::Path(_))),
                "{bad:?}"
            );
        }
        for clash in [&["a", "a"][..], &["a/b", "a"], &["a", "a/b/c"]] {
            assert!(
                matches!(check(clash), Err(ContainerError::Clash(_))),
                "{clash:?}"
            );
        }
    }
}
