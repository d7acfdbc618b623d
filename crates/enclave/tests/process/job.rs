//! A job from its launch to its results.

use handshake::{ArchiveView, DerivedKeys, LogSource, Purpose, decrypt, open_completion};
use wire::{CompleteJob, Digest, Operation, Outcome, PayloadKind, channel::EnclaveMessage};

use crate::host::{Host, User, job_bundle, service_bundle};

/// Takes a job's output and completion; gives both, opened.
fn complete(host: &mut Host, user: &User, operation: u32) -> (handshake::Completion, Vec<u8>) {
    let (sealed, sha256, bytes, signature) = host.expect("completion", |message| match message {
        EnclaveMessage::Completed {
            sealed,
            output_sha256,
            output_bytes,
            signature,
        } => Some((sealed.clone(), *output_sha256, *output_bytes, *signature)),
        _ => None,
    });
    let output = std::mem::take(&mut host.output);
    assert_eq!(
        (Digest::of(&[&output]), output.len() as u64),
        (sha256, bytes)
    );
    let signed = CompleteJob::signed_bytes(host.launch.contract, &sealed, sha256, bytes);
    host.keys
        .signing
        .verify(CompleteJob::PURPOSE, &signed, &signature)
        .unwrap();
    let completion = open_completion(&host.context, operation, &user.secret, &sealed).unwrap();
    let keys = DerivedKeys::for_user(&host.context, &user.secret).unwrap();
    let mut archive = Vec::new();
    decrypt(keys.output(), Purpose::Output, &*output, &mut archive).unwrap();
    assert_eq!(completion.archive_sha256, Digest::of(&[&archive]));
    assert_eq!(completion.archive_bytes, archive.len() as u64);
    (completion, archive)
}

#[test]
fn a_job_reads_its_input_and_its_output_comes_back_sealed() {
    let user = User::with(&job_bundle());
    let mut host = Host::launch(&user, PayloadKind::Job);
    assert!(
        host.keys.certificate_request.is_empty(),
        "a job needs no certificate"
    );
    // A job may be run again: a second start is a second run.
    for operation in [1, 2] {
        host.start(&user, operation);
        let (completion, archive) = complete(&mut host, &user, operation);
        assert_eq!((completion.exit_code, &completion.error), (0, &None));
        assert_eq!(completion.log_records, u64::from(operation));
        let archive = ArchiveView::parse(&archive).unwrap();
        assert_eq!(completion.files as usize, archive.files.len());
        let files: Vec<(&str, &str)> = archive
            .files
            .iter()
            .map(|file| (file.path.as_str(), str::from_utf8(file.bytes).unwrap()))
            .collect();
        assert_eq!(files, [("words.tsv", "to\t3\nbe\t2\n")]);
        let record = host.log(&user, u64::from(operation) - 1);
        assert_eq!(record.source, LogSource::Stdout);
        assert_eq!(record.text, "2 lines, 8 words, 5 of them different");
    }
}

#[test]
fn a_job_that_fails_says_so_and_its_complaint_is_in_the_log() {
    let mut bundle = job_bundle();
    bundle.args = vec!["many".to_owned()];
    let user = User::with(&bundle);
    let mut host = Host::launch(&user, PayloadKind::Job);
    host.start(&user, 1);
    let (completion, archive) = complete(&mut host, &user, 1);
    assert_ne!(completion.exit_code, 0);
    assert!(ArchiveView::parse(&archive).unwrap().files.is_empty());
    let record = host.log(&user, 0);
    assert_eq!(record.source, LogSource::Stderr);
    assert!(record.text.starts_with("usage:"), "{}", record.text);
}

#[test]
fn a_payload_of_the_wrong_kind_or_none_at_all_is_an_error_for_the_user() {
    let mut not_a_component = job_bundle();
    not_a_component.component = b"#!/bin/sh".to_vec();
    let mut no_job = service_bundle();
    no_job.kind = PayloadKind::Job;
    for (bundle, words) in [
        (service_bundle(), "another kind"),
        (not_a_component, "does not compile"),
        (no_job, "does not fit its kind"),
    ] {
        let user = User::with(&bundle);
        let mut host = Host::launch(&user, PayloadKind::Job);
        let message = host.operate(&user, 1, Operation::Start);
        assert_eq!(message.outcome, Outcome::Error);
        assert!(message.message.contains(words), "{}", message.message);
    }
    let user = User::with_plaintext(b"no bundle");
    let mut host = Host::launch(&user, PayloadKind::Job);
    let message = host.operate(&user, 1, Operation::Start);
    assert_eq!(message.outcome, Outcome::Error);
}
