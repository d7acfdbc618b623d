//! Who may ask for what is the operator's alone?
//!
//! Who shows a token (`Authorization: Bearer …`, RFC 6750) that the operators'
//! file names, for a role that suffices. The file holds the tokens' SHA-256
//! digests only: tokens are random, so that nothing slower is needed. It is read
//! again when it changes, so tokens come and go without a restart; a file that
//! cannot be read lets nobody in.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use aws_lc_rs::{constant_time, digest};
use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{Api, error::ApiError};

/// A file of tokens: some hundred of them.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 256;

/// The fewest characters of a token that are worth the name: 128 bits in hex.
const MIN_TOKEN_BYTES: usize = 32;

/// What a token lets do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Read figures of the node and its engine.
    Monitor,
    /// Everything.
    Operator,
}

/// One token, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// Whose it is; for people, and for the log.
    name: String,
    role: Role,
    /// SHA-256 of the token, in hex.
    #[serde(with = "hex::serde")]
    sha256: [u8; 32],
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Token>,
}

/// The file as it was when it was last read, and when it had been written.
#[derive(Debug, Default)]
struct Read {
    written: Option<(SystemTime, u64)>,
    tokens: Vec<Token>,
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("it cannot be read")]
    System(#[from] std::io::Error),
    #[error("it is over {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("it is no file of operators")]
    Form(#[from] toml::de::Error),
}

/// The operators of a node.
#[derive(Debug)]
pub(crate) struct Operators {
    path: PathBuf,
    read: Mutex<Read>,
}

impl Operators {
    /// Those that the file at `path` names, whenever they are asked for.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Mutex::default(),
        }
    }

    /// The role of who shows `token`; none of a stranger.
    fn role(&self, token: &str) -> Option<Role> {
        let mut read = self.read.lock().expect("no holder of the lock panics");
        if let Err(error) = self.refresh(&mut read) {
            tracing::error!(path = %self.path.display(), %error, "no operator is let in");
            *read = Read::default();
        }
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len()) {
            return None;
        }
        let shown = digest::digest(&digest::SHA256, token.as_bytes());
        let mut found = None;
        // All are compared, so that the time tells nothing of which it was.
        for known in &read.tokens {
            let same = constant_time::verify_slices_are_equal(shown.as_ref(), &known.sha256);
            if same.is_ok() {
                tracing::debug!(name = known.name, "an operator's token");
                found = found.max(Some(known.role));
            }
        }
        found
    }

    fn refresh(&self, read: &mut Read) -> Result<(), FileError> {
        let metadata = fs::metadata(&self.path)?;
        let written = Some((metadata.modified()?, metadata.len()));
        if written == read.written {
            return Ok(());
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        let file: File = toml::from_str(&fs::read_to_string(&self.path)?)?;
        tracing::info!(tokens = file.token.len(), "read the operators' tokens");
        *read = Read {
            written,
            tokens: file.token,
        };
        Ok(())
    }
}

/// Lets a request through that shows a token for `role`. A node without a file
/// of operators shows its figures to everybody, as it always did.
pub(super) async fn require_monitor(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let Some(operators) = &api.operators else {
        return next.run(request).await;
    };
    let shown = request.headers().get(AUTHORIZATION);
    let token = shown
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        // RFC 9110 §11.1: the scheme's case does not matter.
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| token.trim());
    match token.and_then(|token| operators.role(token)) {
        Some(role) if role >= Role::Monitor => next.run(request).await,
        _ => ApiError::unauthorized().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0123456789abcdef0123456789abcdef";
    const SECOND: &str = "fedcba9876543210fedcba9876543210";

    fn entry(token: &str, role: &str) -> String {
        let sha256 = hex::encode(digest::digest(&digest::SHA256, token.as_bytes()));
        format!("[[token]]\nname = \"{role}\"\nrole = \"{role}\"\nsha256 = \"{sha256}\"\n")
    }

    #[test]
    fn a_token_has_the_role_that_the_file_says_until_the_file_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operators.toml");
        let operators = Operators::new(&path);
        assert_eq!(operators.role(FIRST), None, "there is no file");
        fs::write(&path, entry(FIRST, "monitor")).unwrap();
        assert_eq!(operators.role(FIRST), Some(Role::Monitor));
        assert_eq!(operators.role(SECOND), None);
        let both = entry(FIRST, "monitor") + &entry(SECOND, "operator");
        fs::write(&path, both).unwrap();
        assert_eq!(operators.role(SECOND), Some(Role::Operator));
        fs::write(&path, entry(SECOND, "operator")).unwrap();
        assert_eq!(operators.role(FIRST), None, "it was taken back");
        fs::write(&path, "[[token]]\nname = \"nobody\"").unwrap();
        assert_eq!(operators.role(SECOND), None, "the file cannot be read");
    }

    #[test]
    fn refuses_tokens_that_are_too_short_or_too_long_to_be_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operators.toml");
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        let weak = ["", "short", long.as_str()];
        let text: String = weak.iter().map(|token| entry(token, "operator")).collect();
        fs::write(&path, text).unwrap();
        let operators = Operators::new(&path);
        for token in weak {
            assert_eq!(operators.role(token), None, "{token}");
        }
    }
}
