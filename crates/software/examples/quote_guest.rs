//! Has the TPM of a guest that `script/measured-guest` booted quote, and saves
//! the quote, the key and the guest's two logs.
//!
//! ```text
//! quote_guest TPM_SOCKET LOG_SOCKET DIRECTORY
//! ```

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use platform::tpm::Tpm;

/// Registers of the boot and IMA's.
const REGISTERS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// How long an emulated guest may take to start.
const START_WITHIN: Duration = Duration::from_secs(180);

/// What the quote binds here; a verifier would choose it at random.
const NONCE: [u8; 32] = [0x5A; 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [relay, logs, directory] = arguments.as_slice() else {
        return Err("quote_guest TPM_SOCKET LOG_SOCKET DIRECTORY".into());
    };
    let directory = PathBuf::from(directory);
    let stream = UnixStream::connect(logs)?;
    stream.set_read_timeout(Some(START_WITHIN))?;
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let mut line = || {
        lines
            .next()
            .unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))
    };
    while line()?.trim() != "READY" {}
    let mut tpm = Tpm::open(relay)?;
    let key = tpm.attestation_key()?;
    let quote = tpm.quote(&key, &REGISTERS, &NONCE)?;
    // The logs are read after the quote, so that they hold what it covers.
    writer.write_all(b"logs\n")?;
    let (boot, list) = (BASE64.decode(line()?)?, BASE64.decode(line()?)?);
    fs::write(directory.join("quote.bin"), borsh::to_vec(&quote)?)?;
    fs::write(directory.join("key.bin"), &key.public)?;
    fs::write(directory.join("boot.bin"), &boot)?;
    fs::write(directory.join("list.bin"), &list)?;
    println!("boot log {} bytes, list {} bytes", boot.len(), list.len());
    writer.write_all(b"end\n")?;
    Ok(())
}
