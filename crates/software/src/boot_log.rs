//! The firmware's event log (TCG PC Client Platform Firmware Profile, §10,
//! crypto-agile form; `binary_bios_measurements`): what was measured before the
//! kernel ran, and into which register.
//!
//! A log is a story that the host tells; it counts once it replays to the
//! quoted registers. An event's data is only evidence where its digest is of
//! that data, so data is shown and never judged.

use std::collections::BTreeMap;

use attest::tpm::PcrBank;
use aws_lc_rs::digest;

use crate::reader::{Reader, Short};

/// Registers that the firmware and boot loader extend.
const REGISTERS: u8 = 10;

/// Events of a log; real ones have a few hundred.
const MAX_EVENTS: usize = 10_000;

/// Banks of a log.
const MAX_BANKS: u32 = 16;

/// An event's data: option ROMs and variables, not images.
const MAX_DATA: usize = 1024 * 1024;

/// The SHA-256 bank (TCG Algorithm Registry).
const SHA256: u16 = 0x000B;

/// An event that extends nothing.
const NO_ACTION: u32 = 3;

/// One measurement of the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootEvent<'a> {
    /// The register.
    pub register: u8,
    /// The type's number; [`BootEvent::type_name`] gives its name.
    pub event_type: u32,
    /// What the register was extended with.
    pub sha256: &'a [u8; 32],
    /// What the log says it was.
    pub data: &'a [u8],
}

/// Why a boot log counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootLogError {
    /// Not a log with a SHA-256 bank.
    #[error("the boot log is malformed at byte {at}")]
    Malformed {
        /// Where.
        at: usize,
    },
    /// The log does not replay to the quote.
    #[error("the boot log does not lead to register {register}")]
    Mismatch {
        /// The first register that differs.
        register: u8,
    },
    /// The quote leaves a register out.
    #[error("the quote does not cover register {register}")]
    NotQuoted {
        /// The first register that is missing.
        register: u8,
    },
}

impl BootEvent<'_> {
    /// The type's name (table 27 of the profile).
    pub fn type_name(&self) -> &'static str {
        match self.event_type {
            0x1 => "post-code",
            0x4 => "separator",
            0x5 => "action",
            0x6 => "tagged event",
            0x8 => "firmware version",
            0xD => "boot loader",
            0x8000_0001 => "firmware variable",
            0x8000_0002 => "boot variable",
            0x8000_0003 => "boot application",
            0x8000_0004 => "boot driver",
            0x8000_0005 => "runtime driver",
            0x8000_0006 => "partition table",
            0x8000_0007 => "firmware action",
            0x8000_0008 | 0x8000_000A => "firmware",
            0x8000_0009 | 0x8000_000B => "tables",
            0x8000_000C => "boot variable",
            0x8000_00E0 => "secure boot authority",
            _ => "event",
        }
    }

    /// The data as a line of text, for people: ASCII or UTF-16, cut short.
    pub fn text(&self) -> String {
        const SHOWN: usize = 160;
        self.data
            .iter()
            .filter(|byte| **byte != 0)
            .take(SHOWN)
            .map(|byte| match byte {
                0x20..0x7F => char::from(*byte),
                _ => '.',
            })
            .collect()
    }
}

/// Reads a log.
///
/// Errors: [`BootLogError::Malformed`].
pub fn parse(log: &[u8]) -> Result<Vec<BootEvent<'_>>, BootLogError> {
    let mut reader = Reader(log);
    let at = |reader: &Reader<'_>| BootLogError::Malformed {
        at: log.len() - reader.0.len(),
    };
    let sizes = header(&mut reader).map_err(|Short| at(&reader))?;
    let mut events = Vec::new();
    while !reader.is_empty() && events.len() < MAX_EVENTS {
        let begin = at(&reader);
        // The kernel hands out the firmware's buffer; its unused end is ones.
        if reader.0.iter().all(|byte| *byte == 0xFF) {
            break;
        }
        if let Some(event) = event(&mut reader, &sizes).map_err(|Short| begin)? {
            events.push(event);
        }
    }
    Ok(events)
}

/// The first event, in the old form, says which banks the others have.
fn header(reader: &mut Reader<'_>) -> Result<BTreeMap<u16, usize>, Short> {
    // Register, type and a SHA-1 digest of zeros.
    reader.take(4 + 4 + 20)?;
    let mut fields = Reader(reader.sized(MAX_DATA)?);
    if fields.take(16)? != b"Spec ID Event03\0" {
        return Err(Short);
    }
    // Platform class, specification's version and errata, size of pointers.
    fields.take(8)?;
    let count = fields.u32()?;
    if count > MAX_BANKS {
        return Err(Short);
    }
    let mut sizes = BTreeMap::new();
    for _ in 0..count {
        let algorithm = fields.u16()?;
        sizes.insert(algorithm, usize::from(fields.u16()?));
    }
    match sizes.get(&SHA256) {
        Some(32) => Ok(sizes),
        _ => Err(Short),
    }
}

fn event<'a>(
    reader: &mut Reader<'a>,
    sizes: &BTreeMap<u16, usize>,
) -> Result<Option<BootEvent<'a>>, Short> {
    let register = u8::try_from(reader.u32()?).map_err(|_| Short)?;
    let event_type = reader.u32()?;
    let count = reader.u32()?;
    if count > MAX_BANKS {
        return Err(Short);
    }
    let mut sha256 = None;
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let digest = reader.take(*sizes.get(&algorithm).ok_or(Short)?)?;
        if algorithm == SHA256 {
            sha256 = Some(digest.try_into().map_err(|_| Short)?);
        }
    }
    let data = reader.sized(MAX_DATA)?;
    if event_type == NO_ACTION {
        return Ok(None);
    }
    Ok(Some(BootEvent {
        register,
        event_type,
        sha256: sha256.ok_or(Short)?,
        data,
    }))
}

/// The registers that `events` lead to.
pub fn registers(events: &[BootEvent<'_>]) -> PcrBank {
    let mut bank: PcrBank = (0..REGISTERS).map(|register| (register, [0; 32])).collect();
    for event in events {
        let value = bank.entry(event.register).or_insert([0; 32]);
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(value);
        context.update(event.sha256);
        value.copy_from_slice(context.finish().as_ref());
    }
    bank
}

/// Reads `log` and checks that it leads to the quoted registers 0 to 9.
///
/// Errors: [`BootLogError`].
pub fn check<'a>(log: &'a [u8], quoted: &PcrBank) -> Result<Vec<BootEvent<'a>>, BootLogError> {
    let events = parse(log)?;
    let replayed = registers(&events);
    for register in 0..REGISTERS {
        match quoted.get(&register) {
            None => return Err(BootLogError::NotQuoted { register }),
            Some(value) if replayed.get(&register) != Some(value) => {
                return Err(BootLogError::Mismatch { register });
            }
            Some(_) => (),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log in the crypto-agile form with banks SHA-1 and SHA-256.
    fn log(events: &[(u32, u32, [u8; 32], &[u8])]) -> Vec<u8> {
        let mut identity = b"Spec ID Event03\0".to_vec();
        identity.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        identity.extend(2u32.to_le_bytes());
        identity.extend([0x04, 0x00, 20, 0, 0x0B, 0x00, 32, 0]);
        identity.push(0);
        let mut log = vec![0; 4];
        log.extend(NO_ACTION.to_le_bytes());
        log.extend([0; 20]);
        log.extend((identity.len() as u32).to_le_bytes());
        log.extend(identity);
        for (register, event_type, sha256, data) in events {
            log.extend(register.to_le_bytes());
            log.extend(event_type.to_le_bytes());
            log.extend(2u32.to_le_bytes());
            log.extend([0x04, 0x00]);
            log.extend([9; 20]);
            log.extend([0x0B, 0x00]);
            log.extend(sha256);
            log.extend((data.len() as u32).to_le_bytes());
            log.extend(*data);
        }
        log
    }

    fn sample() -> Vec<u8> {
        log(&[
            (0, 0x8000_0008, [1; 32], b"firmware"),
            (4, 0x8000_0003, [2; 32], b"kernel"),
            (9, 0x6, [3; 32], b"c\0o\0n\0s\0o\0l\0e\0"),
            (0, NO_ACTION, [4; 32], b"nothing"),
        ])
    }

    #[test]
    fn a_log_leads_to_its_registers() {
        let log = sample();
        let events = parse(&log).unwrap();
        assert_eq!(events.len(), 3);
        assert_eq!(events[1].type_name(), "boot application");
        assert_eq!(events[2].text(), "console");
        let quoted = registers(&events);
        assert_eq!(check(&log, &quoted).unwrap(), events);
        for register in 0..REGISTERS {
            let mut other = quoted.clone();
            other.get_mut(&register).unwrap()[0] ^= 1;
            assert_eq!(
                check(&log, &other),
                Err(BootLogError::Mismatch { register })
            );
            other.remove(&register);
            assert_eq!(
                check(&log, &other),
                Err(BootLogError::NotQuoted { register })
            );
        }
    }

    #[test]
    fn the_firmwares_unused_buffer_is_no_event() {
        let mut log = sample();
        log.extend([0xFF; 64]);
        assert_eq!(parse(&log).unwrap().len(), 3);
    }

    #[test]
    fn a_log_that_is_cut_short_is_malformed_or_shorter() {
        let log = sample();
        for length in 0..log.len() {
            if let Ok(events) = parse(&log[..length]) {
                assert!(events.len() <= 3);
            }
        }
        assert!(parse(&[]).is_err());
        assert!(parse(&log[..60]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
        ) {
            let _ = parse(&bytes);
            let mut log = sample();
            let start = at.index(log.len());
            let end = (start + bytes.len()).min(log.len());
            log[start..end].copy_from_slice(&bytes[..end - start]);
            let _ = parse(&log);
        }
    }
}
