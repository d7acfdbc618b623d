//! How is a 64-bit number written in few bytes, and in one way only?
//!
//! Unsigned LEB128 in its shortest form, as in protocol buffers: seven bits a
//! byte, the least significant group first, the top bit set on every byte but
//! the last. The engine's signed bytes use the same form.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// The longest encoding: 64 bits in groups of seven.
const MAX_BYTES: usize = 10;

/// Writes `number`.
pub(crate) fn write(mut number: u64, writer: &mut impl Write) -> Result<()> {
    while number >= 0x80 {
        writer.write_all(&[number as u8 | 0x80])?;
        number >>= 7;
    }
    writer.write_all(&[number as u8])
}

/// Reads a number.
///
/// Errors: `InvalidData` for more than 64 bits or a form that is not the shortest.
pub(crate) fn read(reader: &mut impl Read) -> Result<u64> {
    let invalid = |reason| Error::new(ErrorKind::InvalidData, reason);
    let mut number = 0u64;
    for index in 0..MAX_BYTES {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        let group = u64::from(byte[0] & 0x7f);
        if index == MAX_BYTES - 1 && byte[0] > 1 {
            return Err(invalid("a varint has more than 64 bits"));
        }
        number |= group << (7 * index);
        if byte[0] & 0x80 == 0 {
            if index > 0 && group == 0 {
                return Err(invalid("a varint is not in its shortest form"));
            }
            return Ok(number);
        }
    }
    Err(invalid("a varint has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(number, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn encodes_as_protocol_buffers_do() {
        assert_eq!(encode(0), [0]);
        assert_eq!(encode(127), [0x7f]);
        assert_eq!(encode(300), [0xac, 0x02]);
        assert_eq!(encode(u64::MAX).len(), MAX_BYTES);
    }

    #[test]
    fn refuses_forms_that_are_longer_than_needed_or_too_large() {
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80], &[]] {
            assert!(read(&mut &*bad).is_err(), "{bad:?}");
        }
        let mut over = [0xff; 10];
        over[9] = 2;
        assert!(read(&mut &over[..]).is_err());
    }

    proptest! {
        #[test]
        fn every_number_survives(number: u64) {
            prop_assert_eq!(read(&mut &encode(number)[..]).unwrap(), number);
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Ok(number) = read(&mut rest) {
                prop_assert_eq!(encode(number), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
