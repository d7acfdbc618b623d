//! Which code will a program have in memory, by its files? What its author signs.

use std::{fs, io, path::Path};

use vault_guard::Code;
use wire::Digest;

use crate::measure::PAGE;

/// The code of a program and of the libraries that it may load, from files.
///
/// Errors: the file system's; a file that is no 64-bit ELF.
pub fn code_of_files(program: &Path, libraries: &[&Path]) -> io::Result<Code> {
    let mut code = code_of_bytes(&fs::read(program)?)?;
    for library in libraries {
        code.libraries.extend(segments(&fs::read(library)?)?);
    }
    Ok(code)
}

/// The code of a program without libraries, from its file's bytes.
///
/// Errors: no 64-bit ELF.
pub fn code_of_bytes(program: &[u8]) -> io::Result<Code> {
    Ok(Code {
        program: segments(program)?,
        libraries: Vec::new(),
    })
}

/// The digests of an ELF file's executable segments, as the kernel maps them.
fn segments(file: &[u8]) -> io::Result<Vec<Digest>> {
    let malformed = || io::Error::other("not a 64-bit little-endian ELF file");
    // System V ABI, chapter 4 and 5: identification, then the program headers.
    if file.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err(malformed());
    }
    let number = |at: usize, size: usize| -> io::Result<u64> {
        let field = file.get(at..at + size).ok_or_else(malformed)?;
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(field);
        Ok(u64::from_le_bytes(wide))
    };
    let place = |value: u64| usize::try_from(value).map_err(|_| malformed());
    let (table, size, count) = (
        place(number(0x20, 8)?)?,
        place(number(0x36, 2)?)?,
        place(number(0x38, 2)?)?,
    );
    let mut found = Vec::new();
    for index in 0..count {
        let header = size
            .checked_mul(index)
            .and_then(|offset| offset.checked_add(table))
            .filter(|header| *header < file.len())
            .ok_or_else(malformed)?;
        let (kind, flags) = (number(header, 4)?, number(header + 4, 4)?);
        if kind != 1 || flags & 1 == 0 {
            continue;
        }
        let (offset, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
        let start = offset / PAGE * PAGE;
        // Within the file, so that only the last page's rest is padded.
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= file.len() as u64)
            .and_then(|end| end.checked_next_multiple_of(PAGE))
            .ok_or_else(malformed)?;
        let (start, end) = (place(start)?, place(end)?);
        let bytes = file.get(start..end.min(file.len())).ok_or_else(malformed)?;
        // Less than a page is missing: the end is the next page's start.
        let padding = [0; PAGE as usize];
        let missing = end - start - bytes.len();
        found.push(Digest::of(&[bytes, &padding[..missing]]));
    }
    if found.is_empty() {
        return Err(malformed());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_programs_have_no_code() {
        for bad in [&b""[..], b"\x7fELF\x02\x01", b"#!/bin/sh\n", &[0x7f; 200]] {
            assert!(segments(bad).is_err());
        }
        let mut cut = fs::read("/proc/self/exe").unwrap();
        assert!(segments(&cut).is_ok());
        cut.truncate(100);
        assert!(segments(&cut).is_err());
    }
}
