//! configfs-tsm against a stand-in.
//!
//! This machine has no TEE, so its kernel makes no reports. The stand-in keeps
//! to the ABI's rules (files that are there with the directory, one write as
//! the whole input, a generation that counts writes, a report only after
//! one); what it reports no TEE has signed.

use std::{cell::RefCell, collections::BTreeMap, io, path::Path};

use platform::{
    Capabilities,
    evidence::{COLLATERAL_FILE, ENDORSEMENT_FILE, EvidenceError, tee_evidence},
    tsm::{self, ConfigFs, ReportFiles, TsmError},
};
use wire::EvidenceKind;

/// Writes so far, and the last one.
type Entry = (u64, Option<Vec<u8>>);

#[derive(Default)]
struct StandIn {
    provider: &'static str,
    /// Writes by somebody else between ours and our reading.
    interlopers: u64,
    entries: RefCell<BTreeMap<String, Entry>>,
    made: RefCell<usize>,
}

impl ReportFiles for StandIn {
    fn make(&self, entry: &str) -> io::Result<()> {
        *self.made.borrow_mut() += 1;
        let old = self
            .entries
            .borrow_mut()
            .insert(entry.to_owned(), (6, None));
        assert!(old.is_none(), "a directory is made once");
        Ok(())
    }

    fn read(&self, entry: &str, file: &str) -> io::Result<Vec<u8>> {
        let entries = self.entries.borrow();
        let (generation, input) = entries.get(entry).ok_or(io::ErrorKind::NotFound)?;
        match (file, input) {
            ("provider", _) => Ok(format!("{}\n", self.provider).into_bytes()),
            ("generation", _) => Ok(format!("{generation}\n").into_bytes()),
            ("outblob", Some(input)) => Ok([b"report over ", input.as_slice()].concat()),
            ("outblob", None) => Err(io::ErrorKind::InvalidInput.into()),
            ("auxblob", _) if self.provider == "sev_guest" => Ok(b"certificates".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, entry: &str, file: &str, value: &[u8]) -> io::Result<()> {
        assert_eq!(file, "inblob");
        if value.len() > 64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut entries = self.entries.borrow_mut();
        let state = entries.get_mut(entry).ok_or(io::ErrorKind::NotFound)?;
        *state = (state.0 + 1 + self.interlopers, Some(value.to_vec()));
        Ok(())
    }

    fn remove(&self, entry: &str) {
        self.entries.borrow_mut().remove(entry);
    }
}

fn kernel(provider: &'static str) -> StandIn {
    StandIn {
        provider,
        ..StandIn::default()
    }
}

#[test]
fn the_kernels_provider_decides_the_kind() {
    for (provider, kind, auxiliary) in [
        ("tdx_guest", EvidenceKind::TdxDcap, &b""[..]),
        ("sev_guest", EvidenceKind::SevSnp, b"certificates"),
    ] {
        let kernel = kernel(provider);
        let report = tsm::report(&kernel, &[7; 64]).unwrap();
        assert_eq!(report.kind, kind);
        assert_eq!(report.report, [&b"report over "[..], &[7; 64]].concat());
        assert_eq!(report.auxiliary, auxiliary);
        assert!(kernel.entries.borrow().is_empty(), "the directory is gone");
    }
    assert!(matches!(
        tsm::report(&kernel("other_guest"), &[7; 64]),
        Err(TsmError::Provider(_))
    ));
}

#[test]
fn a_report_that_another_wrote_to_is_refused_and_removed() {
    let kernel = StandIn {
        interlopers: 1,
        ..kernel("tdx_guest")
    };
    assert!(matches!(
        tsm::report(&kernel, &[7; 64]),
        Err(TsmError::Raced)
    ));
    assert_eq!(*kernel.made.borrow(), 1);
    assert!(kernel.entries.borrow().is_empty());
}

#[test]
fn the_file_systems_files_are_written_whole_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let files = ConfigFs::at(directory.path());
    files.make("entry").unwrap();
    assert!(files.make("entry").is_err(), "it is there already");
    // An ordinary directory has no kernel to make its files.
    assert!(files.write("entry", "inblob", &[1]).is_err());
    let path = directory.path().join("entry/inblob");
    std::fs::write(&path, []).unwrap();
    files.write("entry", "inblob", &[1, 2, 3]).unwrap();
    assert_eq!(files.read("entry", "inblob").unwrap(), [1, 2, 3]);
    std::fs::remove_file(path).unwrap();
    files.remove("entry");
    assert!(files.read("entry", "inblob").is_err());
}

#[test]
fn a_machine_without_a_tee_says_so_in_one_sentence() {
    let nowhere = Path::new("/nowhere/at/all");
    let none = Capabilities::of(nowhere, nowhere);
    assert_eq!(none.tee, None);
    assert!(none.sentence().contains("neither a TEE nor a TPM"));
    assert_eq!(none.sentence().matches('.').count(), 1);
    let device = tempfile::NamedTempFile::new().unwrap();
    let tpm = Capabilities::of(nowhere, device.path());
    assert!(tpm.tpm);
    assert!(tpm.sentence().contains("TPM evidence of what it booted"));
    assert!(matches!(
        tsm::report(&ConfigFs::at(nowhere), &[0; 64]),
        Err(TsmError::Io { .. })
    ));
}

#[test]
fn tee_evidence_needs_the_vendors_files() {
    let directory = tempfile::tempdir().unwrap();
    let report_data = wire::Digest([7; 32]);
    let make = |provider| tee_evidence(&kernel(provider), directory.path(), report_data);
    assert!(matches!(make("sev_guest"), Err(EvidenceError::File { .. })));
    assert!(matches!(make("tdx_guest"), Err(EvidenceError::File { .. })));
    std::fs::write(directory.path().join(ENDORSEMENT_FILE), b"certificate").unwrap();
    let evidence = make("sev_guest").unwrap();
    assert_eq!(evidence.kind, EvidenceKind::SevSnp);
    // It is packed as it came; whether it is genuine is for a verifier to say.
    let moment = attest::Moment {
        height: wire::Height(1),
        time_ms: 0,
    };
    assert!(attest::verify(&evidence, &attest::Roots::default(), moment).is_err());
    std::fs::write(directory.path().join(COLLATERAL_FILE), b"{}").unwrap();
    assert!(matches!(
        make("tdx_guest"),
        Err(EvidenceError::Unusable { .. })
    ));
}
