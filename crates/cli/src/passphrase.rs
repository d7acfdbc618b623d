//! Where does a key file's passphrase come from?
//!
//! From the file the command line names, from the file the environment names,
//! from beside the key file in a development circle, or from the person at the
//! terminal; never from the command line itself, which every process can read.

use std::{io::IsTerminal as _, path::Path};

use anyhow::Context as _;

use crate::failure::Advice;

/// The longest passphrase file that is read: a passphrase, not a document.
const MAX_PASSPHRASE_BYTES: u64 = 4096;

/// Reads the passphrase in `path`, without the newline at its end.
///
/// Errors: the file cannot be read, is empty, or is no passphrase by its size.
pub fn from_file(path: &Path) -> anyhow::Result<String> {
    let read = || -> anyhow::Result<String> {
        if std::fs::metadata(path)?.len() > MAX_PASSPHRASE_BYTES {
            anyhow::bail!("the file has over {MAX_PASSPHRASE_BYTES} bytes");
        }
        let text = std::fs::read_to_string(path)?;
        let passphrase = text.trim_end_matches(['\n', '\r']).to_owned();
        if passphrase.is_empty() {
            anyhow::bail!("the file is empty");
        }
        Ok(passphrase)
    };
    read().with_context(|| format!("read the passphrase in {}", path.display()))
}

/// The passphrase for `key_file`: from `given`, or from `passphrase` beside it, or asked for.
///
/// Errors: neither file is there and no one sits at the terminal.
pub fn for_key_file(key_file: &Path, given: Option<&Path>) -> anyhow::Result<String> {
    if let Some(path) = given {
        return from_file(path);
    }
    let beside = key_file.with_file_name("passphrase");
    if beside.exists() {
        return from_file(&beside);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Advice::new(
            format!(
                "{} needs a passphrase and no terminal is there to ask",
                key_file.display()
            ),
            "give a file that holds it: --passphrase-file FILE or RINGFORT_PASSPHRASE_FILE",
        )
        .into());
    }
    rpassword::prompt_password(format!("Passphrase for {}: ", key_file.display()))
        .context("read the passphrase from the terminal")
}

/// Asks twice for the passphrase of a new key file, or reads `given`.
///
/// Errors: the two differ; as for [`for_key_file`].
pub fn for_new_key_file(key_file: &Path, given: Option<&Path>) -> anyhow::Result<String> {
    if given.is_some() {
        return for_key_file(key_file, given);
    }
    let first = for_key_file(key_file, None)?;
    let again = rpassword::prompt_password("The same again: ")?;
    if first != again {
        anyhow::bail!("the two passphrases differ");
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_file_loses_its_newline_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        std::fs::write(&path, " two words \n").unwrap();
        assert_eq!(from_file(&path).unwrap(), " two words ");
        for bad in [String::new(), "\n".to_owned(), "x".repeat(5000)] {
            std::fs::write(&path, bad).unwrap();
            assert!(from_file(&path).is_err());
        }
        assert!(from_file(&directory.path().join("absent")).is_err());
    }
}
