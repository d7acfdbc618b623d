//! Our zone signer and our name server as processes of their own, over a
//! ledger that follows from its height: the daemons' own code from the
//! ledger's interface to the socket.

use std::{net::SocketAddr, num::NonZeroUsize, path::Path};

use anyhow::{Context as _, Result};
use naming::names::{
    Change, FrontSettings, IdentitySettings, NamesConfig, RateLimit, Tolerance, Zone, ZoneSettings,
    now_ms,
    signer::{self, ServerSettings, SignerConfig, keys::FileKeys, roll, signing::Signing},
};
use wire::{
    AccountId, CircleId, CircleKey, DomainName, Height, SetZone, ZoneServer,
    record::{self, Name},
};

use super::{
    APEX,
    ledger::{FIRST, Synthetic, name},
};

const SERVER_LABEL: &str = "ns";
const SERVER_ADDRESS: [u8; 4] = [192, 0, 2, 53];
const APEX_TTL: u32 = 300;
const SHORT_TTL: u32 = 5;

/// What the signer and the name server are told on their command lines.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Names beneath the apex.
    #[arg(long)]
    pub names: u32,
    /// The file of the zone's keys.
    #[arg(long)]
    pub keys: std::path::PathBuf,
    /// Where the signer tells name servers.
    #[arg(long)]
    pub feed: SocketAddr,
    /// Where the name server answers.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where it answers over TLS.
    #[arg(long)]
    pub tls: Option<SocketAddr>,
    /// Where it answers over HTTPS.
    #[arg(long)]
    pub https: Option<SocketAddr>,
    /// Its key, PEM.
    #[arg(long)]
    pub key_file: Option<std::path::PathBuf>,
    /// Its certificate, PEM.
    #[arg(long)]
    pub certificate_file: Option<std::path::PathBuf>,
}

/// Makes keys at `keys` and writes the signed zone as a zone file for peers.
pub fn write_zone(names: u32, keys: &Path, file: &Path) -> Result<()> {
    let apex: DomainName = APEX.parse()?;
    let mut made = FileKeys::open(keys)?;
    roll::begin(&mut made, &apex, now_ms() / 1000)?;
    made.save()?;
    let zone = zone_record(keys)?;
    let empty = Zone::new(std::slice::from_ref(&apex), ZoneSettings::default());
    let mut signing = Signing::new(made, empty);
    let all: Vec<Name> = (0..names).map(|index| name(index, FIRST)).collect();
    let changed = all
        .iter()
        .map(|name| Change::Name(&name.name, Some(name)))
        .chain([Change::Zone(&apex, Some(&zone))]);
    signing.step(FIRST, now_ms(), now_ms() / 1000, changed)?;
    let text = signing.zone().apexes()[0].zone_file();
    std::fs::write(file, text).context("write the zone")
}

/// What the ledger holds of the zone.
fn zone_record(keys: &Path) -> Result<record::Zone> {
    let apex: DomainName = APEX.parse()?;
    Ok(record::Zone {
        zone: SetZone {
            apex: apex.clone(),
            keys: FileKeys::open(keys)?.public(&apex),
            servers: vec![ZoneServer {
                label: SERVER_LABEL.parse()?,
                addresses: vec![SERVER_ADDRESS.into()],
            }],
            apex_ttl: APEX_TTL,
            negative_ttl: SHORT_TTL,
            endpoint_ttl: SHORT_TTL,
        },
        signer: AccountId([0; 32]),
        changed_at: Height(1),
    })
}

fn ledger(arguments: &Arguments) -> Result<Synthetic> {
    let ledger = Synthetic::new(arguments.names, zone_record(&arguments.keys)?);
    let input = ledger.clone();
    tokio::spawn(async move {
        // Its parent has gone: so does it.
        let _ = input.follow_input().await;
        std::process::exit(0);
    });
    Ok(ledger)
}

/// Signs the zone until its input ends.
pub async fn sign(arguments: &Arguments) -> Result<()> {
    let config = SignerConfig {
        circle_key: CircleKey([0; 96]),
        circle: CircleId([0; 32]),
        nodes: Vec::new(),
        key_file: Default::default(),
        passphrase_file: Default::default(),
        zone_keys: arguments.keys.clone(),
        label: None,
        listen: arguments.feed,
        apexes: Vec::new(),
        servers: vec![ServerSettings {
            label: SERVER_LABEL.parse()?,
            addresses: vec![SERVER_ADDRESS.into()],
        }],
        apex_ttl: APEX_TTL,
        negative_ttl: SHORT_TTL,
        endpoint_ttl: SHORT_TTL,
    };
    match signer::run_over(ledger(arguments)?, config, None).await? {}
}

/// Answers over UDP on one worker until its input ends.
pub async fn serve(arguments: &Arguments) -> Result<()> {
    let config = NamesConfig {
        circle_key: CircleKey([0; 96]),
        circle: CircleId([0; 32]),
        nodes: Vec::new(),
        fronts: FrontSettings {
            listen: vec![arguments.listen],
            tls: arguments.tls.into_iter().collect(),
            https: arguments.https.into_iter().collect(),
            identity: arguments.key_file.clone().map(|key_file| IdentitySettings {
                key_file,
                certificate_file: arguments.certificate_file.clone(),
            }),
            workers: NonZeroUsize::new(1),
            // As NSD's: the loader is exempt from ours anyway, being local.
            rate_limit: RateLimit {
                responses_per_second: 0,
                ..RateLimit::default()
            },
            ..FrontSettings::default()
        },
        registration: None,
        apexes: Vec::new(),
        zone: ZoneSettings::default(),
        tolerance: Tolerance::default(),
        signers: vec![arguments.feed.to_string()],
        gateway: None,
    };
    match naming::names::run_over(ledger(arguments)?, None::<Synthetic>, config).await? {}
}
