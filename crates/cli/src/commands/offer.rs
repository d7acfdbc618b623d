//! `ringfort offer`: what providers offer.

use anyhow::Context as _;
use serde::Serialize;
use wire::{OfferId, record, state_key};

use crate::{failure::Status, session::Session, terminal::table, user};

/// Offers that are listed at most.
const MAX_LISTED: usize = 1000;

/// Commands on offers.
#[derive(clap::Subcommand)]
pub enum Offer {
    /// List open offers.
    List {
        /// Also those that are withdrawn or have expired.
        #[arg(short, long)]
        all: bool,
    },
    /// Show everything about one offer.
    Show {
        /// The offer's id.
        offer: OfferId,
    },
}

/// One offer, with its id.
#[derive(Serialize)]
struct Shown {
    id: OfferId,
    #[serde(flatten)]
    record: record::Offer,
}

/// Carries out a command on offers.
pub fn execute(session: &Session, command: Offer) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let runtime = super::runtime()?;
    match command {
        Offer::List { all } => {
            let mut offers = runtime.block_on(read_all(&client))?;
            offers.retain(|offer| all || offer.record.open);
            session.print(&offers, |offers| human(offers))?;
        }
        Offer::Show { offer } => {
            let key = state_key::offer(offer);
            let record = runtime
                .block_on(client.require(key, || format!("offer {offer}")))
                .context("read the offer")?;
            let shown = Shown { id: offer, record };
            println!("{}", serde_json::to_string_pretty(&shown)?);
        }
    }
    Ok(Status::Done)
}

async fn read_all(client: &client::Client) -> anyhow::Result<Vec<Shown>> {
    let keys = client.list_keys(state_key::OFFERS, MAX_LISTED).await?;
    let mut offers = Vec::new();
    for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
        let proven = client.proven_many(keys.to_vec()).await?;
        for (key, proven) in keys.iter().zip(&proven) {
            let id = key[state_key::OFFERS.len()..].try_into().map(OfferId);
            if let (Ok(id), Some(record)) = (id, client::decode(proven)?) {
                offers.push(Shown { id, record });
            }
        }
    }
    Ok(offers)
}

fn human(offers: &[Shown]) -> String {
    let rows: Vec<Vec<String>> = offers
        .iter()
        .map(|offer| {
            let (terms, record) = (&offer.record.terms, &offer.record);
            let evidence: Vec<_> = terms.evidence.iter().map(|kind| kind.name()).collect();
            vec![
                offer.id.short(),
                record.provider.short(),
                terms.min_price.to_string(),
                format!("{}", f64::from(record.free.cpu_milli) / 1000.0),
                format!("{} MiB", record.free.memory_mib),
                format!("{}/{}", record.live, terms.concurrency),
                terms.location.clone(),
                evidence.join(","),
                if record.open { "open" } else { "closed" }.to_owned(),
            ]
        })
        .collect();
    let heading = [
        "OFFER",
        "PROVIDER",
        "PRICE",
        "CPU FREE",
        "MEMORY FREE",
        "LIVE",
        "LOCATION",
        "EVIDENCE",
        "STATE",
    ];
    table(&heading, &rows)
}
