//! Object storage by URL: putting a ciphertext to several mirrors, and getting
//! one back that hashes to what the ledger says (seed 000, procedures 300 and 400).
//!
//! Trusts no store: a download is bounded and counts only when its hash is
//! right. `file:`, `http:`, `https:`, `s3:` and `ipfs:` go through one library.

mod location;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt as _;
use opendal::{HttpTransporter, OperationContext, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::{Digest, PayloadReference, limits::MAX_PAYLOAD_BYTES};

pub use location::{AccessPolicy, directory_url};
use location::{Location, PublicResolver};

use crate::transport::CONNECT_TIMEOUT;

/// Bytes of one write to a store: S3 wants at least 5 MiB in each part but the last.
const WRITE_BYTES: usize = 8 * 1024 * 1024;

/// A store that sends nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// Redirects that are followed: gateways use one or two.
const MAX_REDIRECTS: usize = 3;

/// Rounds over all mirrors before a download is given up.
pub const DOWNLOAD_ROUNDS: u32 = 3;

/// The pause after the first round; it doubles.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// Keys of an S3 store.
#[derive(Clone)]
pub struct S3Credentials {
    /// The public part.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: zeroize::Zeroizing<String>,
    /// For temporary credentials.
    pub session_token: Option<zeroize::Zeroizing<String>>,
}

/// A store failed, or gave what was not asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The URL is not understood or not allowed.
    #[error("the location {location} cannot be used: {reason}")]
    Location {
        /// The URL.
        location: String,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error("{location} failed")]
    Store {
        /// The URL.
        location: String,
        /// Why.
        source: opendal::Error,
    },
    /// The store fell silent.
    #[error("{location} sent nothing for {SILENCE:?}")]
    Silent {
        /// The URL.
        location: String,
    },
    /// The bytes do not hash to what the ledger says.
    #[error("{location} gave {bytes} bytes that do not hash to {wanted}")]
    Corrupt {
        /// The URL.
        location: String,
        /// How many bytes came.
        bytes: u64,
        /// The hash that was wanted.
        wanted: Digest,
    },
    /// A local file failed.
    #[error("{path} cannot be read or written")]
    Local {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than any payload may be.
    #[error("{0} bytes are over the limit of {MAX_PAYLOAD_BYTES}")]
    TooLarge(u64),
    /// No mirror gave the object.
    #[error("no mirror gave the object after {rounds} rounds: {}", list(.failures))]
    Exhausted {
        /// Rounds over all mirrors.
        rounds: u32,
        /// The last failure of each mirror.
        failures: Vec<StorageError>,
    },
}

fn list(failures: &[StorageError]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl StorageError {
    /// Whether every mirror answered and none had the right bytes.
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Exhausted { failures, .. } => {
                !failures.is_empty() && failures.iter().all(Self::is_corrupt)
            }
            _ => false,
        }
    }
}

/// Access to object stores under one policy. Clones share connections.
#[derive(Clone)]
pub struct ObjectStorage {
    policy: AccessPolicy,
    credentials: Option<S3Credentials>,
    context: OperationContext,
}

impl ObjectStorage {
    /// Access under `policy`, with `credentials` for S3 stores; without, they
    /// are asked anonymously.
    ///
    /// Errors: the HTTP client cannot be set up.
    pub fn new(
        policy: AccessPolicy,
        credentials: Option<S3Credentials>,
    ) -> Result<Self, StorageError> {
        let client = http_client(&policy).map_err(|error| StorageError::Location {
            location: "http".to_owned(),
            reason: error.to_string(),
        })?;
        let transport = HttpTransporter::new(ReqwestTransport::new(client));
        Ok(Self {
            policy,
            credentials,
            context: OperationContext::new().with_http_transport(transport),
        })
    }

    /// Puts the file `source` into every one of `mirrors` (URLs of directories
    /// or buckets) under `name`, at the same time.
    ///
    /// Shape:  the URLs of the copies, in the order of `mirrors`.
    /// Errors: the first mirror that fails: a payload with fewer mirrors than
    ///         the user asked for would be a silent loss.
    pub async fn put(
        &self,
        source: &Path,
        name: &str,
        mirrors: &[String],
    ) -> Result<Vec<String>, StorageError> {
        let puts = mirrors.iter().map(|mirror| async move {
            let location = location::join(mirror, name)?;
            self.put_one(source, &location).await?;
            Ok(location)
        });
        futures_util::future::try_join_all(puts).await
    }

    async fn put_one(&self, source: &Path, location: &str) -> Result<(), StorageError> {
        let local = |source_error| StorageError::Local {
            path: source.to_owned(),
            source: source_error,
        };
        let store = |source| StorageError::Store {
            location: location.to_owned(),
            source,
        };
        let mut file = tokio::fs::File::open(source).await.map_err(local)?;
        let (operator, path) = self.operator(location, true)?;
        let mut writer = operator.writer(&path).await.map_err(store)?;
        loop {
            let mut chunk = Vec::with_capacity(WRITE_BYTES);
            let read = (&mut file)
                .take(WRITE_BYTES as u64)
                .read_to_end(&mut chunk)
                .await
                .map_err(local)?;
            if read == 0 {
                break;
            }
            writer.write(chunk).await.map_err(store)?;
        }
        writer.close().await.map_err(store)?;
        Ok(())
    }

    /// Gets one copy of `reference` from `location` into the file `target`.
    ///
    /// Errors: [`StorageError::Corrupt`] if the bytes do not hash to the
    ///         reference; `target` then holds nothing of use.
    pub async fn get(
        &self,
        reference: &PayloadReference,
        location: &str,
        target: &Path,
    ) -> Result<(), StorageError> {
        if reference.bytes > MAX_PAYLOAD_BYTES {
            return Err(StorageError::TooLarge(reference.bytes));
        }
        let local = |source| StorageError::Local {
            path: target.to_owned(),
            source,
        };
        let mut file = tokio::fs::File::create(target).await.map_err(local)?;
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        let corrupt = |bytes| StorageError::Corrupt {
            location: location.to_owned(),
            bytes,
            wanted: reference.sha256,
        };
        let (operator, path) = self.operator(location, false)?;
        let mut stream = self
            .open(&operator, &path, location, reference.bytes)
            .await
            .map_err(|error| match error {
                StorageError::Store { source, .. } if is_short(&source) => corrupt(0),
                other => other,
            })?;
        loop {
            let next = tokio::time::timeout(SILENCE, stream.next())
                .await
                .map_err(|_| StorageError::Silent {
                    location: location.to_owned(),
                })?;
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|error| broken(error, location, corrupt(bytes)))?;
            bytes += chunk.len() as u64;
            if bytes > reference.bytes {
                return Err(corrupt(bytes));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        if bytes == reference.bytes && reference.sha256 == Digest(hasher.finalize().into()) {
            Ok(())
        } else {
            Err(corrupt(bytes))
        }
    }

    async fn open(
        &self,
        operator: &Operator,
        path: &str,
        location: &str,
        bytes: u64,
    ) -> Result<opendal::FuturesBytesStream, StorageError> {
        let store = |source| StorageError::Store {
            location: location.to_owned(),
            source,
        };
        let opening = async {
            let reader = operator.reader(path).await?;
            reader.into_bytes_stream(0..bytes).await
        };
        tokio::time::timeout(SILENCE, opening)
            .await
            .map_err(|_| StorageError::Silent {
                location: location.to_owned(),
            })?
            .map_err(store)
    }

    /// Procedure 400 (seed 000 \[0067\], \[0068\]): tries each mirror in turn, in up
    /// to `rounds` rounds, until one copy hashes to what the ledger says.
    ///
    /// Errors: [`StorageError::Exhausted`] with the last failure of each mirror.
    pub async fn download(
        &self,
        reference: &PayloadReference,
        target: &Path,
        rounds: u32,
    ) -> Result<(), StorageError> {
        let mut failures = Vec::new();
        for round in 0..rounds {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE * (1 << (round - 1).min(5))).await;
            }
            failures.clear();
            for location in &reference.locations {
                match self.get(reference, location, target).await {
                    Ok(()) => return Ok(()),
                    Err(error @ (StorageError::Local { .. } | StorageError::TooLarge(_))) => {
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::info!(round, %error, "a mirror did not give the object");
                        failures.push(error);
                    }
                }
            }
        }
        let _ = tokio::fs::remove_file(target).await;
        Err(StorageError::Exhausted { rounds, failures })
    }

    /// The store and the path within it of one object.
    fn operator(&self, location: &str, write: bool) -> Result<(Operator, String), StorageError> {
        let store = |source| StorageError::Store {
            location: location.to_owned(),
            source,
        };
        let (operator, path) = match Location::parse(location, &self.policy)? {
            Location::File(file) => {
                let (parent, name) = file
                    .parent()
                    .zip(file.file_name().and_then(|name| name.to_str()))
                    .ok_or_else(|| StorageError::Location {
                        location: location.to_owned(),
                        reason: "it names no file".to_owned(),
                    })?;
                let parent = parent.to_string_lossy();
                let mut builder = services::Fs::default().root(&parent);
                if write {
                    // Written beside its place and moved there whole.
                    builder = builder.atomic_write_dir(&parent);
                }
                (Operator::new(builder).map_err(store)?, name.to_owned())
            }
            Location::Http { endpoint, path } => {
                let builder = services::Http::default().endpoint(&endpoint);
                (Operator::new(builder).map_err(store)?, path)
            }
            Location::S3 {
                bucket,
                key,
                endpoint,
                region,
            } => (self.s3(&bucket, endpoint, region).map_err(store)?, key),
            Location::Ipfs {
                gateway,
                root,
                path,
            } => {
                let builder = services::Ipfs::default().endpoint(&gateway).root(&root);
                (Operator::new(builder).map_err(store)?, path)
            }
        };
        Ok((operator.with_context(self.context.clone()), path))
    }

    fn s3(
        &self,
        bucket: &str,
        endpoint: Option<String>,
        region: Option<String>,
    ) -> opendal::Result<Operator> {
        // Nothing is taken from this machine's environment: a stranger's
        // location must not be read with the provider's own credentials.
        let mut builder = services::S3::default()
            .bucket(bucket)
            .region(region.as_deref().unwrap_or("us-east-1"))
            .disable_config_load()
            .disable_ec2_metadata();
        if let Some(endpoint) = &endpoint {
            builder = builder.endpoint(endpoint);
        }
        match &self.credentials {
            Some(credentials) => {
                builder = builder
                    .access_key_id(&credentials.access_key_id)
                    .secret_access_key(&credentials.secret_access_key);
                if let Some(token) = &credentials.session_token {
                    builder = builder.session_token(token);
                }
            }
            None => builder = builder.skip_signature(),
        }
        Operator::new(builder)
    }
}

/// Whether a store says that it has fewer bytes than were asked for.
fn is_short(error: &opendal::Error) -> bool {
    error.kind() == opendal::ErrorKind::RangeNotSatisfied
}

/// What a broken download means: a copy that is too short is corrupt, and
/// anything else is the store's failure.
fn broken(error: std::io::Error, location: &str, corrupt: StorageError) -> StorageError {
    let source = match error.downcast::<opendal::Error>() {
        Ok(source) => source,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return corrupt,
        Err(error) => opendal::Error::new(opendal::ErrorKind::Unexpected, "the stream broke")
            .set_source(error),
    };
    if is_short(&source) {
        return corrupt;
    }
    StorageError::Store {
        location: location.to_owned(),
        source,
    }
}

fn http_client(policy: &AccessPolicy) -> reqwest::Result<reqwest::Client> {
    // A machine without root certificates has its local stores all the same;
    // those on the web then fail by themselves.
    let builder = || http_builder(policy);
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
}

fn http_builder(policy: &AccessPolicy) -> reqwest::ClientBuilder {
    let private = policy.private_addresses;
    let redirect = reqwest::redirect::Policy::custom(move |attempt| {
        let address = attempt
            .url()
            .host_str()
            .and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        let refused = !private && address.is_some_and(|address| !location::is_public(address));
        if refused || attempt.previous().len() > MAX_REDIRECTS {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE)
        .no_proxy()
        .redirect(redirect);
    if private {
        builder
    } else {
        builder.dns_resolver(std::sync::Arc::new(PublicResolver))
    }
}
