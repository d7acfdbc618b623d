//! How do frames pass between the guest's port and the enclave's pipes?
//!
//! Towards the enclave as bytes, unread: the enclave judges them, as it does
//! anywhere. Towards the host frame by frame, because a TEE's report goes before
//! each message that names what is to be quoted. One frame is held at a time,
//! in a buffer no larger than the frame limit.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use wire::{
    Digest,
    channel::{EnclaveMessage, GuestReport, decode_frame, encode_frame, frame_length},
};

/// Bytes passed on at once towards the enclave: what its own reader takes.
const CHUNK_BYTES: usize = 256 * 1024;

/// The pause between two looks whether the host has taken up its end.
const PAUSE: Duration = Duration::from_millis(10);

/// A report over what is to be quoted; none where there is no TEE.
pub(super) type Reported = Option<Result<GuestReport, String>>;

/// Passes bytes on until the host closes its end.
///
/// A port whose host has not taken it up yet reads as if it were closed: that
/// is waited out for `connect_time`, until the first byte.
///
/// Errors: the port's or the pipe's.
pub(super) fn to_enclave(
    mut port: impl Read,
    mut pipe: impl Write,
    connect_time: Duration,
) -> io::Result<()> {
    let deadline = Instant::now() + connect_time;
    let mut heard = false;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match port.read(&mut chunk) {
            Ok(0) if heard || Instant::now() > deadline => return Ok(()),
            Ok(0) => std::thread::sleep(PAUSE),
            Ok(count) => {
                heard = true;
                pipe.write_all(&chunk[..count])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

/// Passes frames on until the enclave closes its output, each after the report
/// that it calls for.
///
/// Errors: a pipe's or the port's; a frame that breaks the format, as invalid data.
pub(super) fn to_host(
    mut pipe: impl Read,
    mut port: impl Write,
    report: impl Fn(Digest) -> Reported,
) -> io::Result<()> {
    let mut frame = Vec::new();
    while read_frame(&mut pipe, &mut frame)? {
        if let Some(report_data) = to_be_quoted(&frame[4..])?
            && let Some(report) = report(report_data)
        {
            let message = EnclaveMessage::Report {
                report_data,
                report,
            };
            send(&message, &mut port)?;
        }
        port.write_all(&frame)?;
    }
    port.flush()
}

/// Sends one message of the guest's own.
///
/// Errors: the port's.
pub(super) fn send(message: &EnclaveMessage, port: &mut impl Write) -> io::Result<()> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame).map_err(invalid)?;
    port.write_all(&frame)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Reads one frame whole, its length included; false at the end.
fn read_frame(pipe: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    frame.clear();
    frame.resize(4, 0);
    match pipe.read_exact(frame) {
        Ok(()) => (),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let header = [frame[0], frame[1], frame[2], frame[3]];
    let length = frame_length(header).map_err(invalid)?;
    frame.resize(4 + length, 0);
    pipe.read_exact(&mut frame[4..])?;
    Ok(true)
}

/// What a message wants quoted. Messages of clients' bytes are not decoded: they
/// are most of the traffic, and are told by their first byte.
fn to_be_quoted(body: &[u8]) -> io::Result<Option<Digest>> {
    if body.first() == Some(&DATA) {
        return Ok(None);
    }
    Ok(
        match decode_frame::<EnclaveMessage>(body).map_err(invalid)? {
            EnclaveMessage::Keys { report_data, .. }
            | EnclaveMessage::KeyRequest { report_data, .. } => Some(report_data),
            _ => None,
        },
    )
}

/// Where Borsh puts [`EnclaveMessage::Data`] among the variants; a test holds it
/// to the derived encoding.
const DATA: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{EvidenceKind, channel::MAX_DATA_BYTES, limits::MAX_FRAME_BYTES};

    use super::*;

    fn frames(messages: &[EnclaveMessage]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            encode_frame(message, &mut bytes).unwrap();
        }
        bytes
    }

    fn request(report_data: Digest) -> EnclaveMessage {
        EnclaveMessage::KeyRequest {
            wish: 1,
            epoch: 2,
            one_time_key: [3; 32],
            report_data,
        }
    }

    fn data(bytes: usize) -> EnclaveMessage {
        EnclaveMessage::Data {
            stream: 5,
            bytes: vec![1; bytes],
        }
    }

    fn made(report_data: Digest) -> GuestReport {
        GuestReport {
            kind: EvidenceKind::SevSnp,
            bytes: report_data.0.to_vec(),
        }
    }

    #[test]
    fn a_report_goes_before_the_message_that_names_its_data() {
        let wanted = Digest([7; 32]);
        let said = frames(&[data(10), request(wanted), EnclaveMessage::FetchPayload]);
        let mut heard = Vec::new();
        to_host(&said[..], &mut heard, |data| Some(Ok(made(data)))).unwrap();
        let report = EnclaveMessage::Report {
            report_data: wanted,
            report: Ok(made(wanted)),
        };
        let expected = [
            data(10),
            report,
            request(wanted),
            EnclaveMessage::FetchPayload,
        ];
        assert_eq!(heard, frames(&expected));
    }

    #[test]
    fn a_tee_that_refuses_is_reported_with_its_reason() {
        let wanted = Digest([7; 32]);
        let mut heard = Vec::new();
        let refused = |_| Some(Err("busy".to_owned()));
        to_host(&frames(&[request(wanted)])[..], &mut heard, refused).unwrap();
        let report = EnclaveMessage::Report {
            report_data: wanted,
            report: Err("busy".to_owned()),
        };
        assert_eq!(heard, frames(&[report, request(wanted)]));
    }

    #[test]
    fn data_is_told_by_the_byte_that_the_codec_derives() {
        assert_eq!(frames(&[data(1)])[4], DATA);
        assert_ne!(frames(&[request(Digest([0; 32]))])[4], DATA);
    }

    #[test]
    fn refuses_large_and_cut_frames_and_what_is_no_message() {
        let large = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes();
        for said in [&large[..], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0xff]] {
            let mut heard = Vec::new();
            assert!(to_host(said, &mut heard, |_| None).is_err());
            assert!(heard.is_empty());
        }
    }

    /// A port that reads as closed before the host has taken it up.
    struct Late<'a> {
        closed_reads: u32,
        bytes: &'a [u8],
    }

    impl Read for Late<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.closed_reads > 0 {
                self.closed_reads -= 1;
                return Ok(0);
            }
            self.bytes.read(buffer)
        }
    }

    #[test]
    fn a_host_may_take_up_its_end_late_but_not_twice() {
        let mut heard = Vec::new();
        let late = Late {
            closed_reads: 3,
            bytes: b"launch",
        };
        to_enclave(late, &mut heard, Duration::from_secs(60)).unwrap();
        assert_eq!(heard, b"launch");
        let never = Late {
            closed_reads: u32::MAX,
            bytes: b"",
        };
        to_enclave(never, &mut heard, Duration::ZERO).unwrap();
    }

    proptest! {
        #[test]
        fn without_a_tee_frames_arrive_as_they_were_sent(
            sizes in prop::collection::vec(0..MAX_DATA_BYTES, 0..4),
        ) {
            let messages: Vec<_> = sizes
                .into_iter()
                .flat_map(|size| [data(size), request(Digest([1; 32]))])
                .collect();
            let said = frames(&messages);
            let mut heard = Vec::new();
            to_host(&said[..], &mut heard, |_| None).unwrap();
            prop_assert_eq!(heard, said);
        }
    }
}
