//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018: who a client
//! over UDP is known to be.
//!
//! A cookie proves that its sender received an answer at its address within
//! the last hour, and nothing more. Nothing is kept for each client: a secret
//! is all, and name nodes that answer at one address share it.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use domain::base::{Serial, opt::cookie::Cookie};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use zeroize::Zeroize;

/// How old a server's cookie may be, seconds (RFC 9018 §4.3).
const MAX_AGE_SECONDS: i32 = 3600;

/// How far in the future one may be, seconds, for name nodes whose clocks
/// differ (RFC 9018 §4.3).
const MAX_AHEAD_SECONDS: i32 = 300;

/// After this age a client is given a new one, seconds (RFC 9018 §4.3).
const RENEW_AFTER_SECONDS: i32 = 1800;

/// How long a secret that is nobody else's is used before the next: a cookie
/// made with the one before is still taken, and lives for an hour.
const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a secret file is looked at.
const RELOAD: Duration = Duration::from_secs(30);

/// The longest secret file: two lines of 32 hexadecimal digits, and comments.
const MAX_SECRET_FILE: u64 = 4096;

/// What the operator says of cookies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CookieSettings {
    /// A file with the secret: 32 hexadecimal digits on its first line. A
    /// second line, likewise, is a secret that is still accepted. Name nodes
    /// that answer at one address share it. Without one, each makes its own.
    pub secret_file: Option<PathBuf>,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// The file could not be read.
    #[error("cannot read the cookie secret {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not one or two lines of 32 hexadecimal digits.
    #[error("{path} is not one or two lines of 32 hexadecimal digits")]
    Form {
        /// Which.
        path: PathBuf,
    },
    /// The operating system gave no entropy.
    #[error("no entropy for a cookie secret")]
    Entropy,
}

/// The secrets that cookies are made with.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieKeys {
    current: [u8; 16],
    previous: Option<[u8; 16]>,
}

impl std::fmt::Debug for CookieKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CookieKeys")
    }
}

impl Drop for CookieKeys {
    fn drop(&mut self) {
        self.current.zeroize();
        self.previous.zeroize();
    }
}

/// What a client's cookie is worth, and what it gets back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether this server, or one that shares its secret, gave it to this
    /// address within the hour.
    pub valid: bool,
    /// The cookie for the response.
    pub reply: Cookie,
}

impl CookieKeys {
    /// Cookies are made with `current`; those of `previous` are still taken.
    pub fn new(current: [u8; 16], previous: Option<[u8; 16]>) -> Self {
        Self { current, previous }
    }

    /// A random secret.
    ///
    /// Errors: [`CookieError::Entropy`].
    pub fn random() -> Result<Self, CookieError> {
        let mut current = [0; 16];
        aws_lc_rs::rand::fill(&mut current).map_err(|_| CookieError::Entropy)?;
        Ok(Self::new(current, None))
    }

    /// The next random secret; this one's cookies stay good.
    fn rotated(&self) -> Result<Self, CookieError> {
        let next = Self::random()?;
        Ok(Self::new(next.current, Some(self.current)))
    }

    /// Judges the cookie that came from `client`.
    ///
    /// Units: `now_s` is Unix time in seconds, modulo 2^32 as in RFC 9018 §4.3.
    pub(super) fn judge(&self, cookie: &Cookie, client: IpAddr, now_s: u32) -> Judged {
        let client = client.to_canonical();
        let mut age = 0;
        let mut timely = |made: Serial| {
            age = now_s.wrapping_sub(made.into_int()).cast_signed();
            (-MAX_AHEAD_SECONDS..=MAX_AGE_SECONDS).contains(&age)
        };
        let current = cookie.check_server_hash(client, &self.current, &mut timely);
        let valid = current
            || self
                .previous
                .is_some_and(|previous| cookie.check_server_hash(client, &previous, &mut timely));
        let reply = if current && age < RENEW_AFTER_SECONDS {
            cookie.clone()
        } else {
            cookie.create_response(Serial(now_s), client, &self.current)
        };
        Judged { valid, reply }
    }

    /// Reads a secret file's text.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut secret = || lines.next().map(secret_of);
        let (current, previous) = (secret()??, secret());
        let previous = match previous {
            None => None,
            Some(previous) => Some(previous?),
        };
        lines.next().is_none().then(|| Self::new(current, previous))
    }
}

fn secret_of(digits: &str) -> Option<[u8; 16]> {
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut secret = [0; 16];
    for (octet, at) in secret.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(secret)
}

/// The secrets in use, which every front reads and one task changes.
pub(super) type CookieJar = Arc<ArcSwap<CookieKeys>>;

/// The secrets to begin with.
///
/// Errors: [`CookieError`].
pub(super) fn open(settings: &CookieSettings) -> Result<CookieJar, CookieError> {
    let keys = match &settings.secret_file {
        Some(path) => read(path)?,
        None => CookieKeys::random()?,
    };
    Ok(Arc::new(ArcSwap::from_pointee(keys)))
}

/// Changes the secrets as time goes by, or as the operator says; it ends with
/// its caller.
pub(super) async fn rotate(settings: CookieSettings, jar: CookieJar) -> std::convert::Infallible {
    loop {
        match &settings.secret_file {
            None => {
                tokio::time::sleep(ROTATION).await;
                match jar.load().rotated() {
                    Ok(keys) => jar.store(Arc::new(keys)),
                    Err(error) => warn!(%error, "the cookie secret stays"),
                }
            }
            Some(path) => {
                tokio::time::sleep(RELOAD).await;
                match read(path) {
                    Ok(keys) if **jar.load() == keys => {}
                    Ok(keys) => {
                        info!(path = %path.display(), "there is another cookie secret");
                        jar.store(Arc::new(keys));
                    }
                    Err(error) => warn!(%error, "the cookie secret stays"),
                }
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<CookieKeys, CookieError> {
    let failed = |source| CookieError::File {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_SECRET_FILE), &mut text)
        .map_err(failed)?;
    let keys = CookieKeys::parse(&text);
    text.zeroize();
    keys.ok_or_else(|| CookieError::Form {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use domain::base::{opt::cookie::ServerCookie, wire::ParseError};
    use domain::dep::octseq::Parser;

    use super::*;

    const SECRET: [u8; 16] = [
        0xe5, 0xe9, 0x73, 0xe5, 0xa6, 0xb2, 0xa4, 0x3f, 0x48, 0xe7, 0xdc, 0x84, 0x9e, 0x37, 0xbf,
        0xcf,
    ];

    fn cookie(octets: &[u8]) -> Result<Cookie, ParseError> {
        Cookie::parse(&mut Parser::from_ref(octets))
    }

    fn client_only() -> Cookie {
        cookie(&[0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57]).unwrap()
    }

    // RFC 9018 appendix A.1 and A.2.
    #[test]
    fn rfc_9018_a_client_learns_a_cookie_and_later_a_fresh_one() {
        let keys = CookieKeys::new(SECRET, None);
        let client = "198.51.100.100".parse().unwrap();
        let first = keys.judge(&client_only(), client, 1_559_731_985);
        assert!(!first.valid);
        let server = ServerCookie::from_octets(&[
            1, 0, 0, 0, 0x5c, 0xf7, 0x9f, 0x11, 0x1f, 0x81, 0x30, 0xc3, 0xee, 0xe2, 0x94, 0x80,
        ]);
        assert_eq!(first.reply.server(), Some(&server));
        let soon = keys.judge(&first.reply, client, 1_559_731_985 + 60);
        assert!(soon.valid);
        assert_eq!(soon.reply, first.reply);
        let later = keys.judge(&first.reply, client, 1_559_734_385);
        assert!(later.valid);
        let fresh = ServerCookie::from_octets(&[
            1, 0, 0, 0, 0x5c, 0xf7, 0xa8, 0x71, 0xd4, 0xa5, 0x64, 0xa1, 0x44, 0x2a, 0xca, 0x77,
        ]);
        assert_eq!(later.reply.server(), Some(&fresh));
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_one_hour() {
        let keys = CookieKeys::new(SECRET, None);
        let client = "2001:db8::1".parse().unwrap();
        let given = keys.judge(&client_only(), client, 10_000).reply;
        for (address, now, good) in [
            ("2001:db8::1", 10_000 + 3600, true),
            ("2001:db8::1", 10_000 + 3601, false),
            ("2001:db8::1", 10_000 - 300, true),
            ("2001:db8::1", 10_000 - 301, false),
            ("2001:db8::2", 10_000, false),
        ] {
            let judged = keys.judge(&given, address.parse().unwrap(), now);
            assert_eq!(judged.valid, good, "{address} {now}");
        }
    }

    #[test]
    fn a_rotated_secret_takes_the_cookies_of_the_last_one_and_no_older() {
        let first = CookieKeys::new(SECRET, None);
        let client = "192.0.2.1".parse().unwrap();
        let given = first.judge(&client_only(), client, 10_000).reply;
        let second = first.rotated().unwrap();
        let judged = second.judge(&given, client, 10_001);
        assert!(judged.valid);
        // It is replaced by one of the new secret at once.
        assert_ne!(judged.reply, given);
        let third = second.rotated().unwrap();
        assert!(!third.judge(&given, client, 10_002).valid);
        assert!(third.judge(&judged.reply, client, 10_002).valid);
    }

    #[test]
    fn a_secret_file_holds_one_or_two_secrets() {
        let one = "e5e973e5a6b2a43f48e7dc849e37bfcf";
        let two = "445536bcd2513298075a5d379663c962";
        let keys = CookieKeys::parse(&format!("# shared\n{one}\n\n{two}\n")).unwrap();
        assert_eq!(keys.current, SECRET);
        assert_eq!(keys.previous.map(|key| key[0]), Some(0x44));
        assert!(CookieKeys::parse(one).unwrap().previous.is_none());
        for text in [
            "",
            "e5e9",
            &one[1..],
            &format!("{one}\n{two}\n{two}"),
            &format!("{one}\nx"),
        ] {
            assert!(CookieKeys::parse(text).is_none(), "{text}");
        }
    }
}
