//! Payload encryption beside `openssl speed`, one core each.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use handshake::{Encryptor, Entropy, Purpose};

use crate::statistics::print_ratio;

/// The unit in which payloads are encrypted.
const CHUNK: usize = handshake::CHUNK_BYTES;

/// MB a second of sealed chunks, in place.
fn ours(length: Duration) -> Result<f64> {
    let mut encryptor = Encryptor::new(&[7; 32], Purpose::Payload, &mut Entropy);
    let mut chunk = vec![0; CHUNK];
    let (start, mut chunks) = (Instant::now(), 0u64);
    while start.elapsed() < length {
        std::hint::black_box(encryptor.seal_chunk(&mut chunk, false)?);
        chunks += 1;
    }
    Ok(chunks as f64 * CHUNK as f64 / start.elapsed().as_secs_f64() / 1e6)
}

/// MB a second as `openssl speed` prints them (thousands of bytes a second).
fn openssl(seconds: u64) -> Result<f64> {
    let output = Command::new("openssl")
        .args([
            "speed",
            "-mr",
            "-evp",
            "aes-256-gcm",
            "-bytes",
            &CHUNK.to_string(),
        ])
        .args(["-seconds", &seconds.to_string()])
        .output()
        .context("openssl does not start: run script/setup")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // +F:22:AES-256-GCM:5407170000.00, bytes a second
    let rate = text
        .lines()
        .find(|line| line.starts_with("+F:"))
        .and_then(|line| line.rsplit(':').next()?.trim().parse::<f64>().ok())
        .with_context(|| format!("openssl speed printed no rate: {text}"))?;
    Ok(rate / 1e6)
}

/// Prints medians of `rounds` alternating rounds of `seconds`.
pub fn run(rounds: usize, seconds: u64) -> Result<()> {
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own.push(ours(Duration::from_secs(seconds))?);
        peer.push(openssl(seconds)?);
    }
    print_ratio(
        "payload encryption, AES-256-GCM, 64 KiB",
        "MB/s",
        0.9,
        &own,
        "openssl speed",
        &peer,
    );
    Ok(())
}
