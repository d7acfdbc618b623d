//! The name server's own entry on the ledger: where it answers, under which
//! key, and the certificate that the circle's authority made for that key.
//!
//! The server says these things itself, from an account that the genesis
//! lists, and takes its certificate from the ledger with a proof. Until it has
//! one, encrypted transports are closed and nothing points to them (RFC 9462).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rcgen::{CertificateParams, DistinguishedName};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use wire::{
    Action, DomainName, Height, NAME_SERVER_LABEL, NameServerPorts, NameServerTerms,
    RegisterNameServer,
    record::{NameServer, NameServerCertificate},
    state_key,
};

use super::{
    designation::Designation,
    fronts::{Fronts, Identity, IdentityError},
    published::{Published, now_ms},
};
use crate::ledger::{self, Ledger, LedgerError, Post, chain};

/// How often the ledger is looked at while there is no certificate.
const WAITING_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked at for a renewal.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// The account with which a name server registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationSettings {
    /// The account's key file; the genesis lists the account as a name server.
    pub key_file: std::path::PathBuf,
    /// A file with the key file's passphrase, on its first line.
    pub passphrase_file: std::path::PathBuf,
    /// The apex beneath which the server has its name; by default the first.
    #[serde(default)]
    pub apex: Option<DomainName>,
    /// Addresses as clients reach them; by default those it listens on.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whether updates that owners signed are put on the ledger with the
    /// account, which pays for them.
    #[serde(default)]
    pub updates: bool,
}

/// Why the server is not registered or certified yet.
#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the circle has no apex, or `{NAME_SERVER_LABEL}` beneath it is too long")]
    Name,
    #[error("no address to be reached at: `registration.addresses` may name some")]
    Addresses,
}

/// Keeps the server's entry as it should be and its certificate fresh; it ends
/// with its caller.
pub(super) async fn keep(
    ledger: &(impl Ledger + Post),
    settings: &RegistrationSettings,
    fronts: &Fronts,
    identity: &Arc<Identity>,
    published: &Published,
) -> std::convert::Infallible {
    let mut keeper = Keeper {
        ledger,
        settings,
        identity,
        published,
        addresses: addresses(settings, fronts),
        ports: ports(fronts),
        shown: None,
    };
    let mut said = String::new();
    loop {
        match keeper.review().await {
            Ok(()) => said.clear(),
            Err(error) => {
                // Once is enough of what is tried each second.
                let text = chain(&error);
                if text != said {
                    warn!(error = %text, "the name server is not certified yet");
                    said = text;
                }
            }
        }
        let interval = if keeper.shown.is_some() {
            REVIEW_INTERVAL
        } else {
            WAITING_INTERVAL
        };
        tokio::time::sleep(interval).await;
    }
}

struct Keeper<'a, L> {
    ledger: &'a L,
    settings: &'a RegistrationSettings,
    identity: &'a Arc<Identity>,
    published: &'a Published,
    addresses: Vec<IpAddr>,
    ports: NameServerPorts,
    /// The certificate that is shown.
    shown: Option<NameServerCertificate>,
}

impl<L: Ledger + Post> Keeper<'_, L> {
    async fn review(&mut self) -> Result<(), RegistrationError> {
        let (founded, reading) = ledger::apexes(self.ledger).await?;
        let apex = self.settings.apex.as_ref().or(founded.first());
        let name: DomainName = apex
            .and_then(|apex| format!("{NAME_SERVER_LABEL}.{apex}").parse().ok())
            .ok_or(RegistrationError::Name)?;
        if self.addresses.is_empty() {
            return Err(RegistrationError::Addresses);
        }
        let known = self.read(reading.height).await?;
        if !known.as_ref().is_some_and(|known| self.fits(known, &name)) {
            let terms = self.terms(&name)?;
            info!(%name, "registering this name server");
            let action = Action::RegisterNameServer(RegisterNameServer { terms });
            self.ledger.post(vec![action]).await?;
            return Ok(());
        }
        match known.and_then(|known| known.certificate) {
            Some(certificate) if self.shown.as_ref() != Some(&certificate) => {
                self.show(&name, certificate)
            }
            _ => Ok(()),
        }
    }

    async fn read(&self, since: Height) -> Result<Option<NameServer>, LedgerError> {
        let key = state_key::name_server(self.ledger.account());
        let (known, _) = ledger::read_one(self.ledger, key, since).await?;
        Ok(known)
    }

    fn fits(&self, known: &NameServer, name: &DomainName) -> bool {
        let terms = &known.terms;
        terms.name == *name
            && terms.addresses == self.addresses
            && terms.ports == self.ports
            && terms.tls_key == self.identity.key_digest()
    }

    fn terms(&self, name: &DomainName) -> Result<NameServerTerms, RegistrationError> {
        Ok(NameServerTerms {
            name: name.clone(),
            addresses: self.addresses.clone(),
            ports: self.ports,
            certificate_request: self.identity.request(name)?,
            tls_key: self.identity.key_digest(),
        })
    }

    /// Shows a certificate that an authority of the circle made, and points
    /// clients to where it is shown.
    fn show(
        &mut self,
        name: &DomainName,
        certificate: NameServerCertificate,
    ) -> Result<(), RegistrationError> {
        self.identity
            .certify(vec![certificate.certificate.clone()])?;
        let days = certificate.not_after_ms.saturating_sub(now_ms()) / (24 * 60 * 60 * 1000);
        info!(%name, days, "certified: encrypted transports are open");
        let designation = Designation::new(name, &self.addresses, self.ports);
        self.published.designate(designation);
        self.shown = Some(certificate);
        Ok(())
    }
}

/// Where the server is reached: what the operator says, or what it listens on.
fn addresses(settings: &RegistrationSettings, fronts: &Fronts) -> Vec<IpAddr> {
    let mut addresses = settings.addresses.clone();
    if addresses.is_empty() {
        let encrypted = [fronts.tls(), fronts.https(), fronts.quic()];
        addresses = encrypted
            .into_iter()
            .flatten()
            .map(|address| address.ip().to_canonical())
            .filter(|address| !address.is_unspecified())
            .collect();
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(wire::limits::MAX_NAME_SERVER_ADDRESSES);
    addresses
}

/// The ports of the first address of each transport.
fn ports(fronts: &Fronts) -> NameServerPorts {
    let port = |addresses: &[SocketAddr]| addresses.first().map(SocketAddr::port);
    NameServerPorts {
        tls: port(fronts.tls()),
        https: port(fronts.https()),
        quic: port(fronts.quic()),
    }
}

impl Identity {
    /// A certificate request for `name`, signed by the key: PKCS #10, DER.
    ///
    /// Errors: [`IdentityError::Make`].
    pub fn request(&self, name: &DomainName) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::new([name.to_string()]).map_err(IdentityError::Make)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params
            .serialize_request(self.key())
            .map_err(IdentityError::Make)?;
        Ok(request.der().to_vec())
    }
}
