//! Streams open whole and unchanged, or not at all.

use proptest::prelude::*;

use super::*;
use crate::Entropy;

const KEY: [u8; 32] = [5; 32];

/// Three chunks and a bit: enough for every way to move chunks about.
const LONG: usize = 3 * CHUNK_BYTES + 100;

fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let ciphertext = encrypt(&KEY, Purpose::Payload, plain, &mut sealed, &mut Entropy).unwrap();
    assert_eq!(ciphertext.bytes, sealed.len() as u64);
    assert_eq!(ciphertext.bytes, encrypted_bytes(plain.len() as u64));
    assert_eq!(ciphertext.sha256, Digest::of(&[&sealed]));
    sealed
}

/// Opens by both ways in; they must agree.
fn open(sealed: &[u8]) -> Result<Vec<u8>, StreamError> {
    let mut plain = Vec::new();
    let read = decrypt(&KEY, Purpose::Payload, sealed, &mut plain).map(|_| plain);
    let mut receiver = Receiver::new(Purpose::Payload, sealed.len() as u64);
    let received = sealed
        .chunks(10_007)
        .try_for_each(|piece| receiver.push(&KEY, piece))
        .and_then(|()| receiver.finish());
    assert_eq!(read.is_ok(), received.is_ok(), "{read:?} {received:?}");
    if let (Ok(read), Ok(received)) = (&read, &received) {
        assert_eq!(read, &**received);
    }
    read
}

fn chunk(sealed: &[u8], index: usize) -> &[u8] {
    let start = HEADER_BYTES + index * SEALED_CHUNK_BYTES;
    &sealed[start..sealed.len().min(start + SEALED_CHUNK_BYTES)]
}

fn joined(sealed: &[u8], order: &[usize]) -> Vec<u8> {
    let mut stream = sealed[..HEADER_BYTES].to_vec();
    for index in order {
        stream.extend_from_slice(chunk(sealed, *index));
    }
    stream
}

#[test]
fn streams_of_every_critical_length_come_back() {
    for length in [
        0,
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        2 * CHUNK_BYTES,
        LONG,
    ] {
        let plain = plaintext(length);
        assert_eq!(open(&seal(&plain)).unwrap(), plain, "{length}");
    }
}

#[test]
fn refuses_a_stream_cut_at_any_chunk_or_byte_near_it() {
    let sealed = seal(&plaintext(LONG));
    for boundary in 0..=3 {
        let boundary = HEADER_BYTES + boundary * SEALED_CHUNK_BYTES;
        for cut in boundary.saturating_sub(17)..(boundary + 17).min(sealed.len()) {
            assert!(open(&sealed[..cut]).is_err(), "{cut}");
        }
    }
    for cut in 0..HEADER_BYTES {
        assert!(open(&sealed[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn refuses_reordered_duplicated_dropped_and_extended_chunks() {
    let sealed = seal(&plaintext(LONG));
    assert!(open(&joined(&sealed, &[0, 1, 2, 3])).is_ok());
    for order in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 1, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 2, 3, 0],
        &[0, 1, 3],
        &[1, 2, 3],
        &[3],
        &[0, 1, 2],
    ] {
        assert!(open(&joined(&sealed, order)).is_err(), "{order:?}");
    }
    let mut extended = sealed.clone();
    extended.push(0);
    assert!(open(&extended).is_err());
    let other = seal(&plaintext(LONG));
    let mut spliced = joined(&sealed, &[0, 1]);
    spliced.extend_from_slice(chunk(&other, 2));
    spliced.extend_from_slice(chunk(&other, 3));
    assert!(
        open(&spliced).is_err(),
        "chunks of two streams under one key"
    );
}

#[test]
fn an_empty_last_chunk_after_others_is_refused() {
    // The writer seals a full chunk as if more followed, then an empty last one.
    let mut encryptor = Encryptor::new(&KEY, Purpose::Payload, &mut Entropy);
    let mut stream = encryptor.header().to_vec();
    let mut chunk = plaintext(CHUNK_BYTES);
    let tag = encryptor.seal_chunk(&mut chunk, false).unwrap();
    stream.extend_from_slice(&chunk);
    stream.extend_from_slice(&tag);
    stream.extend_from_slice(&encryptor.seal_chunk(&mut [], true).unwrap());
    assert!(matches!(open(&stream), Err(StreamError::Chunk(1))));
    assert!(matches!(
        encryptor.seal_chunk(&mut [], true),
        Err(StreamError::TooLong)
    ));
}

#[test]
fn refuses_another_key_and_another_purpose() {
    let sealed = seal(b"plain");
    let wrong_key = decrypt(&[6; 32], Purpose::Payload, &*sealed, io::sink());
    assert!(matches!(wrong_key, Err(StreamError::Chunk(0))));
    let wrong_purpose = decrypt(&KEY, Purpose::Output, &*sealed, io::sink());
    assert!(matches!(wrong_purpose, Err(StreamError::Header)));
}

#[test]
fn a_receiver_takes_no_more_than_it_was_told_of() {
    let sealed = seal(b"plain");
    let mut receiver = Receiver::new(Purpose::Payload, sealed.len() as u64);
    receiver.push(&KEY, &sealed).unwrap();
    assert!(matches!(
        receiver.push(&KEY, &[0]),
        Err(StreamError::TooLong)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_is_refused(length in 0usize..CHUNK_BYTES + 300, at: prop::sample::Index, bit in 0u8..8) {
        let mut sealed = seal(&plaintext(length));
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(open(&sealed).is_err());
    }

    #[test]
    fn streams_come_back_however_they_are_cut_up(
        length in 0usize..2 * CHUNK_BYTES,
        sizes in prop::collection::vec(1usize..100_000, 1..20),
    ) {
        let plain = plaintext(length);
        let sealed = seal(&plain);
        let mut receiver = Receiver::new(Purpose::Payload, sealed.len() as u64);
        let mut rest = &sealed[..];
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at(rest.len().min(*size));
            receiver.push(&KEY, head).unwrap();
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&**receiver.finish().unwrap(), &plain[..]);
    }

    #[test]
    fn opening_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&bytes).is_err());
    }
}
