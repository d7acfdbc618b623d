//! What makes the evidence that a validator of this machine shows, as its node's
//! configuration says: a TEE, a TPM, or a development key.
//!
//! The first two are `platform`'s. Development evidence claims the SHA-256 of the program
//! that runs, read once, when it is first asked for; nothing but the key's holder vouches
//! for it.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use anyhow::Context as _;
use attest::development::QuotingKey;
use node::{
    EvidenceConfig,
    attesting::{EvidenceSource, SourceError},
};
use platform::evidence::Hardware;
use wire::{Digest, Evidence, Measurement};

use super::key;
use crate::founding::enclave::measure;

/// This program, as the kernel runs it: another file may lie at its path by now.
const OWN_PROGRAM: &str = "/proc/self/exe";

struct Machine(Hardware);

impl EvidenceSource for Machine {
    fn evidence(&self, report_data: Digest) -> Result<Evidence, SourceError> {
        Ok(self.0.evidence(report_data)?)
    }
}

struct Development {
    quoting: QuotingKey,
    /// What runs, once it was asked for: most circles never ask.
    code: OnceLock<Measurement>,
}

impl Development {
    fn code(&self) -> anyhow::Result<Measurement> {
        if let Some(code) = self.code.get() {
            return Ok(*code);
        }
        let code = measure(Path::new(OWN_PROGRAM)).context("measure this program")?;
        tracing::info!(%code, "shows development evidence of this program");
        Ok(*self.code.get_or_init(|| code))
    }
}

impl EvidenceSource for Development {
    fn evidence(&self, report_data: Digest) -> Result<Evidence, SourceError> {
        Ok(key::quote(&self.quoting, self.code()?, report_data)?)
    }
}

/// The source that the configuration names, if it names one.
///
/// Errors: a development key's files cannot be read.
pub fn source(config: Option<&EvidenceConfig>) -> anyhow::Result<Option<Arc<dyn EvidenceSource>>> {
    let source: Arc<dyn EvidenceSource> = match config {
        None => return Ok(None),
        Some(EvidenceConfig::Development {
            quoting_key,
            quoting_certificate,
        }) => Arc::new(Development {
            quoting: key::quoting_key(quoting_key, quoting_certificate)?,
            code: OnceLock::new(),
        }),
        Some(EvidenceConfig::Tee { endorsements }) => Arc::new(Machine(Hardware::Tee {
            endorsements: endorsements.clone(),
        })),
        Some(EvidenceConfig::Tpm { path, certificate }) => Arc::new(Machine(Hardware::Tpm {
            path: path.clone(),
            certificate: certificate.clone(),
        })),
    };
    Ok(Some(source))
}

#[cfg(test)]
mod tests {
    use attest::{Moment, Roots};
    use wire::{Height, SigningKey};

    use super::*;
    use crate::founding::keys::make_quoting_key;

    #[test]
    fn development_evidence_is_of_the_program_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let root = SigningKey::ed25519([3; 32]);
        make_quoting_key(folder.path(), &root, "node-0").unwrap();
        let config = EvidenceConfig::Development {
            quoting_key: folder.path().join("quoting.seed"),
            quoting_certificate: folder.path().join("quoting.certificate"),
        };
        let source = source(Some(&config)).unwrap().unwrap();
        let report_data = Digest([7; 32]);
        let evidence = source.evidence(report_data).unwrap();
        let keys = [root.public()];
        let roots = Roots {
            development: &keys,
            ..Roots::default()
        };
        let now = Moment {
            height: Height(1),
            time_ms: 1,
        };
        let claims = attest::verify(&evidence, &roots, now).unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(claims.measurement, measure(&own).unwrap());
        assert_eq!(claims.report_data, report_data.into());
    }

    #[test]
    fn a_source_that_is_not_there_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("quoting.seed");
        let config = EvidenceConfig::Development {
            quoting_key: missing.clone(),
            quoting_certificate: missing.clone(),
        };
        let error = format!("{:#}", source(Some(&config)).err().unwrap());
        assert!(error.contains(&*missing.to_string_lossy()), "{error}");
        let config = EvidenceConfig::Tee {
            endorsements: folder.path().to_owned(),
        };
        let source = source(Some(&config)).unwrap().unwrap();
        if platform::Capabilities::of_this_machine().tee.is_none() {
            let error = source.evidence(Digest([1; 32])).unwrap_err();
            assert!(!error.to_string().is_empty());
        }
    }
}
