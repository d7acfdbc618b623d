//! OCRA, the OATH challenge-response algorithm (RFC 6287).
//!
//! Computes what a suite says over a key and a data input: one-way, mutual and
//! signature modes differ only in what the caller puts in the question. Errata
//! 3729 (no zero time step), 3730 (no ten digits), 3899 (time is a number) and
//! 4114 (the suite is part of the data input in every mode) are applied. It
//! keeps no state: counters, clocks and replay are the caller's.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time, hmac};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that a question takes in the data input (RFC 6287 §5.1).
const QUESTION_BYTES: usize = 128;

/// Characters of one challenge, at most (RFC 6287 §6.3, table 2).
const MAX_CHALLENGE: usize = 64;

/// Bytes of session information, at most (RFC 6287 §6.3).
const MAX_SESSION_BYTES: usize = 512;

/// A hash function that a suite may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: for the RFC's vectors and foreign tokens; no suite of ours uses it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Bytes of a digest.
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Hash {
    type Err = OcraError;

    fn from_str(text: &str) -> Result<Self, OcraError> {
        match text {
            "SHA1" => Ok(Self::Sha1),
            "SHA256" => Ok(Self::Sha256),
            "SHA512" => Ok(Self::Sha512),
            _ => Err(OcraError::Suite("the hash is SHA1, SHA256 or SHA512")),
        }
    }
}

/// How a challenge is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeFormat {
    /// ASCII letters and digits.
    Alphanumeric,
    /// Decimal digits.
    Numeric,
    /// Hex digits.
    Hexadecimal,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcraError {
    /// The suite's text is not of RFC 6287 §6.
    #[error("the suite is malformed: {0}")]
    Suite(&'static str),
    /// The input lacks something that the suite names, or has something that it does not.
    #[error("the suite and the input differ in whether there is a {0}")]
    Presence(&'static str),
    /// A value of the input does not have the form that the suite gives it.
    #[error("the {0} does not have the form that the suite gives it")]
    Form(&'static str),
}

/// A suite: everything both sides must agree on (RFC 6287 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    text: String,
    hash: Hash,
    digits: u32,
    counter: bool,
    format: ChallengeFormat,
    challenge_limit: usize,
    password: Option<Hash>,
    session_bytes: Option<usize>,
    time_step_seconds: Option<u64>,
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// One challenge (one-way and signature modes, RFC 6287 §7.1 and §7.3).
    One(&'a str),
    /// The challenge of the side that verifies this response, then that of the
    /// side that makes it (mutual modes, RFC 6287 §7.2 and §7.3).
    Two(&'a str, &'a str),
}

/// The data input without its suite (RFC 6287 §5.1). A field is present if and
/// only if the suite names it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// C: a synchronised counter.
    pub counter: Option<u64>,
    /// Q.
    pub question: Question<'a>,
    /// P: the hash of a secret that both sides know.
    pub password_hash: Option<&'a [u8]>,
    /// S: session information; shorter values are padded with zeros on the left.
    pub session: Option<&'a [u8]>,
    /// T: time steps since the Unix epoch ([`Suite::time_steps`]).
    pub time: Option<u64>,
}

impl<'a> Input<'a> {
    /// An input that has nothing but a question.
    pub fn of(question: Question<'a>) -> Self {
        Self {
            counter: None,
            question,
            password_hash: None,
            session: None,
            time: None,
        }
    }
}

/// What a suite's function gives.
pub enum Response {
    /// Decimal digits, as many as the suite says.
    Digits(Zeroizing<String>),
    /// The whole MAC, for a suite with truncation 0.
    Full(Zeroizing<Vec<u8>>),
}

impl Response {
    /// The response's bytes: ASCII digits, or the MAC.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Digits(digits) => digits.as_bytes(),
            Self::Full(mac) => mac,
        }
    }

    /// Whether `other` is this response; takes the same time wherever they differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.bytes(), other).is_ok()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response(..)")
    }
}

impl FromStr for Suite {
    type Err = OcraError;

    fn from_str(text: &str) -> Result<Self, OcraError> {
        let mut parts = text.split(':');
        let (Some("OCRA-1"), Some(function), Some(input), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OcraError::Suite("it reads OCRA-1:function:input"));
        };
        let (hash, digits) = parse_function(function)?;
        let mut fields = input.split('-').peekable();
        let counter = fields.next_if_eq(&"C").is_some();
        let question = fields.next().and_then(|field| field.strip_prefix('Q'));
        let question = question.ok_or(OcraError::Suite("the input has a question"))?;
        let (format, challenge_limit) = parse_challenge(question)?;
        let mut suite = Self {
            text: text.to_owned(),
            hash,
            digits,
            counter,
            format,
            challenge_limit,
            password: None,
            session_bytes: None,
            time_step_seconds: None,
        };
        if let Some(field) = fields.next_if(|field| field.starts_with('P')) {
            suite.password = Some(field[1..].parse()?);
        }
        if let Some(field) = fields.next_if(|field| field.starts_with('S')) {
            suite.session_bytes = Some(parse_session(&field[1..])?);
        }
        if let Some(field) = fields.next_if(|field| field.starts_with('T')) {
            suite.time_step_seconds = Some(parse_time_step(&field[1..])?);
        }
        match fields.next() {
            None => Ok(suite),
            Some(_) => Err(OcraError::Suite("the input's fields are C, Q, P, S, T")),
        }
    }
}

fn parse_function(text: &str) -> Result<(Hash, u32), OcraError> {
    let malformed = OcraError::Suite("the function reads HOTP-hash-digits");
    let rest = text.strip_prefix("HOTP-").ok_or(malformed)?;
    let (hash, digits) = rest.split_once('-').ok_or(malformed)?;
    // Erratum 3730: ten digits of a 31-bit number would be biased.
    match digits {
        "0" | "4" | "5" | "6" | "7" | "8" | "9" => {
            Ok((hash.parse()?, digits.parse().expect("a digit is a number")))
        }
        _ => Err(OcraError::Suite("a response has 0 or 4 to 9 digits")),
    }
}

fn parse_challenge(text: &str) -> Result<(ChallengeFormat, usize), OcraError> {
    let malformed = OcraError::Suite("a question is A, N or H and 04 to 64");
    let format = match text.as_bytes().first() {
        Some(b'A') => ChallengeFormat::Alphanumeric,
        Some(b'N') => ChallengeFormat::Numeric,
        Some(b'H') => ChallengeFormat::Hexadecimal,
        _ => return Err(malformed),
    };
    let limit = fixed_number(&text[1..], 2).ok_or(malformed)?;
    match usize::try_from(limit) {
        Ok(limit @ 4..=MAX_CHALLENGE) => Ok((format, limit)),
        _ => Err(malformed),
    }
}

fn parse_session(text: &str) -> Result<usize, OcraError> {
    // RFC 6287 §6.3: the length is three digits and defaults to 064.
    let length = if text.is_empty() {
        Some(64)
    } else {
        fixed_number(text, 3)
    };
    length
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| (1..=MAX_SESSION_BYTES).contains(length))
        .ok_or(OcraError::Suite("session information has 001 to 512 bytes"))
}

fn parse_time_step(text: &str) -> Result<u64, OcraError> {
    let malformed = OcraError::Suite("a time step is 1-59S, 1-59M or 1-48H");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or(malformed)?;
    if number.is_empty() || number.len() > 2 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed);
    }
    let number: u64 = number.parse().map_err(|_| malformed)?;
    // Erratum 3729: no step of zero hours.
    match (number, unit) {
        (1..=59, "S") => Ok(number),
        (1..=59, "M") => Ok(number * 60),
        (1..=48, "H") => Ok(number * 3600),
        _ => Err(malformed),
    }
}

fn fixed_number(text: &str, digits: usize) -> Option<u64> {
    let well_formed = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok()).flatten()
}

impl Suite {
    /// The suite's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// T at `unix_seconds`; none for a suite without time.
    pub fn time_steps(&self, unix_seconds: u64) -> Option<u64> {
        self.time_step_seconds.map(|step| unix_seconds / step)
    }

    /// Computes the response to `input` under `key`.
    ///
    /// Errors: [`OcraError::Presence`] and [`OcraError::Form`].
    /// Source: RFC 6287 §5.
    pub fn respond(&self, key: &[u8], input: &Input<'_>) -> Result<Response, OcraError> {
        let data = self.data_input(input)?;
        let mac = hmac::sign(&hmac::Key::new(self.hash.hmac(), key), &data);
        let mut mac = Zeroizing::new(mac.as_ref().to_vec());
        if self.digits == 0 {
            return Ok(Response::Full(mac));
        }
        let number = truncate(&mac, self.digits);
        mac.zeroize();
        let width = self.digits as usize;
        Ok(Response::Digits(Zeroizing::new(format!(
            "{number:0width$}"
        ))))
    }

    /// The suite's text, a zero byte, then C, Q, P, S and T (RFC 6287 §5.1).
    fn data_input(&self, input: &Input<'_>) -> Result<Zeroizing<Vec<u8>>, OcraError> {
        let mut data = Zeroizing::new(Vec::with_capacity(1024));
        data.extend_from_slice(self.text.as_bytes());
        data.push(0);
        if present(self.counter.then_some(()), input.counter, "counter")?.is_some() {
            data.extend_from_slice(&input.counter.unwrap_or_default().to_be_bytes());
        }
        data.extend_from_slice(&self.question(&input.question)?);
        if let Some((hash, value)) = present(self.password, input.password_hash, "password hash")? {
            if value.len() != hash.bytes() {
                return Err(OcraError::Form("password hash"));
            }
            data.extend_from_slice(value);
        }
        if let Some((bytes, value)) = present(self.session_bytes, input.session, "session")? {
            let padding = bytes
                .checked_sub(value.len())
                .ok_or(OcraError::Form("session"))?;
            let padded = data.len() + padding;
            data.resize(padded, 0);
            data.extend_from_slice(value);
        }
        if let Some((_, steps)) = present(self.time_step_seconds, input.time, "time")? {
            data.extend_from_slice(&steps.to_be_bytes());
        }
        Ok(data)
    }

    fn question(&self, question: &Question<'_>) -> Result<[u8; QUESTION_BYTES], OcraError> {
        let challenges: &[&str] = match question {
            Question::One(challenge) => &[challenge],
            Question::Two(first, second) => &[first, second],
        };
        let mut text = String::with_capacity(2 * MAX_CHALLENGE);
        for challenge in challenges {
            let well_formed = !challenge.is_empty()
                && challenge.len() <= self.challenge_limit
                && challenge.bytes().all(|byte| match self.format {
                    ChallengeFormat::Alphanumeric => byte.is_ascii_alphanumeric(),
                    ChallengeFormat::Numeric => byte.is_ascii_digit(),
                    ChallengeFormat::Hexadecimal => byte.is_ascii_hexdigit(),
                });
            if !well_formed {
                return Err(OcraError::Form("challenge"));
            }
            text.push_str(challenge);
        }
        let mut bytes = [0; QUESTION_BYTES];
        match self.format {
            ChallengeFormat::Alphanumeric => bytes[..text.len()].copy_from_slice(text.as_bytes()),
            ChallengeFormat::Hexadecimal => fill_nibbles(&mut bytes, text.bytes().map(nibble)),
            ChallengeFormat::Numeric => fill_nibbles(&mut bytes, hex_digits(&text).into_iter()),
        }
        Ok(bytes)
    }
}

/// Pairs what the suite wants with what the input gives.
fn present<W, V>(
    wanted: Option<W>,
    given: Option<V>,
    what: &'static str,
) -> Result<Option<(W, V)>, OcraError> {
    match (wanted, given) {
        (Some(wanted), Some(given)) => Ok(Some((wanted, given))),
        (None, None) => Ok(None),
        _ => Err(OcraError::Presence(what)),
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

/// Writes hex digits from the left; the rest stays zero (RFC 6287 §5.1).
fn fill_nibbles(bytes: &mut [u8], digits: impl Iterator<Item = u8>) {
    for (index, digit) in digits.enumerate() {
        bytes[index / 2] |= if index % 2 == 0 { digit << 4 } else { digit };
    }
}

/// A decimal number's hex digits, most significant first and none in front
/// that is zero: what RFC 6287 §5.1 makes of a numeric challenge.
fn hex_digits(decimal: &str) -> Vec<u8> {
    let mut digits = vec![0u8];
    for digit in decimal.bytes() {
        let mut carry = u16::from(digit - b'0');
        for nibble in digits.iter_mut() {
            let value = u16::from(*nibble) * 10 + carry;
            *nibble = (value & 15) as u8;
            carry = value >> 4;
        }
        while carry > 0 {
            digits.push((carry & 15) as u8);
            carry >>= 4;
        }
    }
    digits.reverse();
    digits
}

/// The dynamic truncation of HOTP (RFC 4226 §5.3).
fn truncate(mac: &[u8], digits: u32) -> u32 {
    let offset = usize::from(mac[mac.len() - 1] & 15);
    let window: [u8; 4] = mac[offset..offset + 4]
        .try_into()
        .expect("a MAC is longer than its largest offset and four");
    (u32::from_be_bytes(window) & 0x7fff_ffff) % 10u32.pow(digits)
}

#[cfg(test)]
mod tests;
