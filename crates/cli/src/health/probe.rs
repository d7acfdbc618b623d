//! Asks parts of a circle how they are, each over what it serves others by.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use wire::{CircleId, Height};

/// How long a part may take to answer: a healthy one needs a millisecond.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a node says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeStatus {
    /// The circle it serves.
    pub circle: CircleId,
    /// The height it has applied.
    pub height: Height,
    /// Blocks it knows to be final and has not applied.
    pub lag_blocks: u64,
    /// Validators of the circle.
    pub validators: u16,
    /// Keys of the validators it hears.
    pub connected: Vec<String>,
    /// Why it is not well, in its own words.
    #[serde(default)]
    pub why: Vec<String>,
    /// What an operator should see to, though it answers.
    #[serde(default)]
    pub alarms: Vec<String>,
}

/// What a provider says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct ProviderStatus {
    /// The height it has heard of.
    pub height: Height,
    /// Its offer; none before it has posted one.
    pub offer: Option<OfferStatus>,
    /// Its contracts, live and over.
    pub contracts: Vec<ContractStatus>,
    /// Why it is not well, in its own words.
    #[serde(default)]
    pub why: Vec<String>,
}

/// What a provider says of its offer.
#[derive(Clone, Debug, Deserialize)]
pub struct OfferStatus {
    /// Whether it can be matched.
    pub open: bool,
}

/// What a provider says of a contract.
#[derive(Clone, Debug, Deserialize)]
pub struct ContractStatus {
    /// Where it stands.
    pub phase: String,
}

impl ContractStatus {
    /// Whether its enclave is there or about to be.
    pub fn is_live(&self) -> bool {
        !matches!(self.phase.as_str(), "ended" | "completed")
    }
}

/// What a name server says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct NamesStatus {
    /// The height that it serves; none before the first.
    pub height: Option<Height>,
    /// `fresh` while its answers are.
    pub freshness: String,
    /// Whether it has a certificate for its encrypted transports; none if it
    /// has no such transports.
    #[serde(default)]
    pub certified: Option<bool>,
}

/// The height of the foremost node that answered.
pub fn foremost(statuses: &[Result<NodeStatus, String>]) -> Option<Height> {
    statuses.iter().flatten().map(|status| status.height).max()
}

/// Asks; every answer comes within [`TIMEOUT`] or is an error.
pub struct Asker {
    http: reqwest::Client,
}

impl Asker {
    /// An asker that goes to the parts themselves, never through a proxy.
    pub fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self { http })
    }

    async fn get(&self, url: &str) -> Result<reqwest::Response, String> {
        let response = self.http.get(url).send().await.map_err(|error| {
            if error.is_connect() {
                format!("does not answer at {url}")
            } else if error.is_timeout() {
                format!("gave no answer at {url} within {} s", TIMEOUT.as_secs())
            } else {
                format!("{url}: {error}")
            }
        })?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(format!("{url} answers {}", response.status()))
        }
    }

    async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let response = self.get(url).await?;
        response.json().await.map_err(|error| {
            format!("{url} answers what this version does not understand: {error}")
        })
    }

    /// What the node at `url` says of itself.
    pub async fn node_status(&self, url: &str) -> Result<NodeStatus, String> {
        self.json(&format!("{}/v1/status", url.trim_end_matches('/')))
            .await
    }

    /// What each node says of itself, in order; all are asked at once.
    pub async fn node_statuses(&self, apis: &[SocketAddr]) -> Vec<Result<NodeStatus, String>> {
        let mut asked = Vec::new();
        for api in apis {
            let http = Self {
                http: self.http.clone(),
            };
            let url = format!("http://{api}");
            asked.push(tokio::spawn(async move { http.node_status(&url).await }));
        }
        let mut statuses = Vec::new();
        for status in asked {
            statuses.push(status.await.unwrap_or_else(|error| Err(error.to_string())));
        }
        statuses
    }

    /// What the provider whose control interface is at `address` says of itself.
    pub async fn provider_status(&self, address: SocketAddr) -> Result<ProviderStatus, String> {
        self.json(&format!("http://{address}/v1/status")).await
    }

    /// What the name server whose HTTP interface is at `address` says of itself.
    pub async fn names_status(&self, address: SocketAddr) -> Result<NamesStatus, String> {
        self.json(&format!("http://{address}/v1/status")).await
    }

    /// Whether the certificate authority is well by its own account, and serves its root.
    pub async fn authority(&self, address: SocketAddr) -> Result<(), String> {
        self.get(&format!("http://{address}/healthz")).await?;
        let text = self
            .get(&format!("http://{address}/roots.pem"))
            .await?
            .text()
            .await
            .map_err(|error| error.to_string())?;
        if text.contains("BEGIN CERTIFICATE") {
            Ok(())
        } else {
            Err("serves no root certificate".into())
        }
    }

    /// Whether the name server knows `zone`, asked as any resolver asks: for its SOA record.
    pub async fn zone(&self, server: SocketAddr, zone: &str) -> Result<(), String> {
        let asked = tokio::time::timeout(TIMEOUT, ask_soa(server, zone)).await;
        asked.map_err(|_| format!("gave no answer at {server} within {} s", TIMEOUT.as_secs()))?
    }
}

async fn ask_soa(server: SocketAddr, zone: &str) -> Result<(), String> {
    use domain::{
        base::{Message, MessageBuilder, Name, Rtype},
        rdata::Soa,
    };
    let failed = |error: std::io::Error| format!("does not answer at {server}: {error}");
    let name: Name<Vec<u8>> = zone.parse().map_err(|error| format!("{zone}: {error}"))?;
    let mut query = MessageBuilder::new_vec().question();
    query
        .push((&name, Rtype::SOA))
        .map_err(|error| error.to_string())?;
    let query = query.into_message();
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let socket = tokio::net::UdpSocket::bind(local).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(query.as_slice()).await.map_err(failed)?;
    // A SOA answer of our zones has far fewer than the 512 octets of RFC 1035 §4.2.1.
    let mut bytes = [0; 512];
    let count = socket.recv(&mut bytes).await.map_err(failed)?;
    let answer = Message::from_octets(&bytes[..count]).map_err(|error| error.to_string())?;
    if !answer.is_answer(&query) {
        return Err("gave an answer to another question".into());
    }
    if answer.header().rcode() != domain::base::iana::Rcode::NOERROR {
        return Err(format!("answers {}", answer.header().rcode()));
    }
    let section = answer.answer().map_err(|error| error.to_string())?;
    let soa = section.limit_to::<Soa<_>>().next();
    match soa {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err(format!("does not know the zone {zone}")),
    }
}
