//! Our name server over a zone made up here, as a process of its own.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use naming::names::{
    Change, FrontSettings, Fronts, Published, RateLimit, Tolerance, Zone, ZoneSettings, now_ms,
    signer::{keys::FileKeys, roll, signing::Signing},
};
use wire::{
    AccountId, Amount, ContractId, Digest, DomainName, Height, ServiceEndpoint, SetZone,
    SigningKey, ZoneServer,
    record::{self, Name, NameEndpoint, NameStatus},
};

use super::APEX;

/// Names that change each second while changes are measured.
pub const CHANGES_PER_SECOND: usize = 100;

/// A registered name with one live replica.
fn name(index: usize, generation: u8) -> Name {
    let [high, mid, low] = [16, 8, 0].map(|shift| (index >> shift) as u8);
    Name {
        name: name_of(index),
        owner: SigningKey::ed25519([7; 32]).public(),
        deposit: Amount(1),
        status: NameStatus::Active,
        registered_at: Height(0),
        rent_due: Height(1),
        changed_at: Height(0),
        notice_due: None,
        sale: None,
        records: Vec::new(),
        keys: Vec::new(),
        endpoints: vec![NameEndpoint {
            contract: ContractId([1; 32]),
            endpoint: ServiceEndpoint {
                addresses: vec![[10 + generation % 100, high, mid, low].into()],
                port: 8443,
                control: String::new(),
            },
            tls_key: Digest([generation; 32]),
        }],
    }
}

/// The name called `index`.
pub fn name_of(index: usize) -> DomainName {
    format!("host{index:06}.{APEX}")
        .parse()
        .expect("a label and an apex make a name")
}

/// Makes a signed zone of `names`, writes it to `file`, and serves it at
/// `address` on one worker; prints `ready`.
pub async fn run(address: SocketAddr, names: usize, changes: bool, file: &Path) -> Result<()> {
    let apex: DomainName = APEX.parse()?;
    let mut keys = FileKeys::open(&file.with_extension("keys"))?;
    roll::begin(&mut keys, &apex, now_ms() / 1000)?;
    let zone = record::Zone {
        zone: SetZone {
            apex: apex.clone(),
            keys: keys.public(&apex),
            servers: vec![ZoneServer {
                label: "ns".parse()?,
                addresses: vec![[192, 0, 2, 53].into()],
            }],
            apex_ttl: 300,
            negative_ttl: 5,
            endpoint_ttl: 5,
        },
        signer: AccountId([0; 32]),
        changed_at: Height(1),
    };
    let empty = Zone::new(std::slice::from_ref(&apex), ZoneSettings::default());
    let mut signing = Signing::new(keys, empty);
    let all: Vec<Name> = (0..names).map(|index| name(index, 0)).collect();
    let changed = all
        .iter()
        .map(|name| Change::Name(&name.name, Some(name)))
        .chain([Change::Zone(&apex, Some(&zone))]);
    signing.step(Height(1), now_ms(), now_ms() / 1000, changed)?;
    drop(all);
    std::fs::write(file, signing.zone().apexes()[0].zone_file()).context("write the zone")?;
    let published = Arc::new(Published::new(Tolerance {
        stale_after_ms: u64::MAX,
        expire_after_ms: u64::MAX,
    }));
    published.publish(Arc::new(signing.zone().clone()));
    let settings = FrontSettings {
        listen: vec![address],
        workers: std::num::NonZeroUsize::new(1),
        rate_limit: RateLimit {
            responses_per_second: 0,
            ..RateLimit::default()
        },
        ..FrontSettings::default()
    };
    let _fronts = Fronts::start(&settings, &published).await?;
    println!("ready");
    let mut height = Height(1);
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    let mut at = 0;
    loop {
        interval.tick().await;
        if !changes {
            continue;
        }
        height = height.plus(1);
        let some: Vec<Name> = (0..CHANGES_PER_SECOND / 10)
            .map(|_| {
                at += 7919;
                name(at % names, height.0 as u8)
            })
            .collect();
        let changed = some.iter().map(|name| Change::Name(&name.name, Some(name)));
        signing.step(height, now_ms(), now_ms() / 1000, changed)?;
        published.publish(Arc::new(signing.zone().clone()));
    }
}
