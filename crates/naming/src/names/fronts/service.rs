//! What every front does with a query: answer it from the newest image, judge
//! its cookie, count the outcome, and over UDP keep to the rate.

use std::{net::IpAddr, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot};

use super::counters::{Counters, add};
use crate::names::{
    answer::{Arrival, Freshness, Response, Transport},
    cookies::CookieJar,
    gateway::Gateway,
    published::{Published, now_ms},
    rate_limit::{RateLimiter, Verdict},
    rendered::{Asking, MAX_READY_RESPONSE, Question},
    transfer::{self, Heard, Replies, Transfers},
    updates::{Pending, Updates},
};

/// What all fronts of a server share.
#[derive(Clone, Debug)]
pub(in crate::names) struct Shared {
    pub published: Arc<Published>,
    pub cookies: CookieJar,
    pub limiter: Arc<RateLimiter>,
    /// Where a gateway waits for the ledger.
    pub runtime: Handle,
    pub transfers: Option<Arc<Transfers>>,
    pub updates: Option<Updates>,
    /// What answers where no image is followed.
    pub gateway: Option<Gateway>,
}

/// What a connection is answered with.
pub(in crate::names) enum Answers {
    /// One message.
    One(Vec<u8>),
    /// The messages of a transfer.
    Many(Box<Replies>),
    /// One message, once the ledger has spoken.
    Later(Pending),
}

/// One front's, or one worker's, way to answers.
#[derive(Clone, Debug)]
pub(in crate::names) struct Service {
    pub(super) shared: Shared,
    pub counters: Arc<Counters>,
    transport: Transport,
    /// How long a connection may idle, in tenths of a second, as clients
    /// that ask are told.
    idle_timeout: Option<u16>,
}

impl Service {
    pub fn new(shared: Shared, transport: Transport, idle_timeout: Option<u16>) -> Self {
        Self {
            shared,
            counters: Counters::new(transport),
            transport,
            idle_timeout,
        }
    }

    /// Answers a query that came over a connection.
    pub fn answer(&self, query: &[u8], client: IpAddr) -> Option<Response> {
        let response = self
            .ready(query, client)
            .or_else(|| self.respond(query, client, false));
        match &response {
            Some(response) => self.counters.count(response.rcode),
            None => add(&self.counters.ignored),
        }
        response
    }

    /// The response to a common query over a connection, by copying what is rendered.
    ///
    /// Shape: none if it is to be answered another way.
    fn ready(&self, query: &[u8], client: IpAddr) -> Option<Response> {
        if self.shared.gateway.is_some() || self.transport == Transport::Udp {
            return None;
        }
        let now_ms = now_ms();
        let held = self.shared.published.held();
        // What is not fresh says so, which nothing here is rendered for.
        let zone = held
            .as_deref()
            .filter(|zone| self.shared.published.freshness(zone, now_ms) == Freshness::Fresh)?;
        let rendered = zone.rendered()?;
        let mut question = Question::default();
        if !question.read_over(query, rendered, self.transport) {
            return None;
        }
        let cookies = self.shared.cookies.load();
        let asking = Asking {
            client,
            cookies: &cookies,
            // RFC 9018 §4.3 counts modulo 2^32.
            now_s: (now_ms / 1000) as u32,
        };
        let mut octets = [0; MAX_READY_RESPONSE];
        let outcome = rendered.respond(query, &question, asking, &mut octets)?;
        Some(Response {
            octets: octets[..outcome.length].to_vec(),
            rcode: outcome.rcode,
            min_ttl: Some(outcome.min_ttl),
            kind: outcome.kind,
            subject: question.subject(outcome.kind),
            proved_address: outcome.proved_address,
        })
    }

    /// The response to come if `query` is an update that this server takes.
    pub fn update(&self, query: &[u8]) -> Option<Pending> {
        self.shared.updates.as_ref()?.hear(query)
    }

    /// Comes back when `query` can be answered as well as it ever can: a
    /// gateway asks the ledger first.
    pub async fn prepare(&self, query: &[u8]) {
        if let Some(gateway) = &self.shared.gateway {
            gateway.prepare(query).await;
        }
    }

    /// Whether [`Service::prepare`] has anything to wait for.
    pub fn is_prepared(&self, query: &[u8]) -> bool {
        let gateway = self.shared.gateway.as_ref();
        gateway.is_none_or(|gateway| gateway.is_prepared(query))
    }

    /// The response to come to a datagram for which a gateway has to ask the
    /// ledger first.
    pub fn prepared_later(&self, query: &[u8], client: IpAddr) -> Option<Pending> {
        if self.is_prepared(query) {
            return None;
        }
        let (reply, pending) = oneshot::channel();
        let (service, query) = (self.clone(), query.to_vec());
        self.shared.runtime.spawn(async move {
            service.prepare(&query).await;
            if let Some(response) = service.answer_datagram(&query, client) {
                // Whoever waited for it is gone otherwise.
                let _ = reply.send(response);
            }
        });
        Some(pending)
    }

    /// Answers a query that came over a stream, on which whole zones go too.
    pub fn answer_stream(&self, query: &[u8], client: IpAddr) -> Option<Answers> {
        if let Some(pending) = self.update(query) {
            return Some(Answers::Later(pending));
        }
        let heard = match &self.shared.transfers {
            Some(transfers) => transfers.hear(query, true, &self.shared.published),
            None => Heard::Plain,
        };
        match heard {
            Heard::Plain => Some(Answers::One(self.answer(query, client)?.octets)),
            Heard::Refused(message) => Some(Answers::One(message)),
            Heard::Replies(replies) => Some(Answers::Many(replies)),
            Heard::Signed(query, mut sequence) => {
                let response = self.answer(&query, client)?;
                let signed = transfer::sign(&response.octets, &mut sequence)?;
                Some(Answers::One(signed))
            }
        }
    }

    /// Answers a signed query that came as a datagram: none if it is not
    /// signed, empty for silence. A key of ours proves more than a cookie does.
    fn answer_signed(&self, query: &[u8], client: IpAddr) -> Option<Vec<u8>> {
        let transfers = self.shared.transfers.as_ref()?;
        match transfers.hear(query, false, &self.shared.published) {
            Heard::Plain => None,
            // Whoever has no key is a stranger, and limited as such.
            Heard::Refused(octets) => {
                let refusal = Response::refusal(octets);
                match self.shared.limiter.judge(client, &refusal) {
                    Verdict::Send => Some(refusal.octets),
                    Verdict::Slip | Verdict::Drop => {
                        add(&self.counters.dropped);
                        Some(Vec::new())
                    }
                }
            }
            Heard::Replies(mut replies) => replies.next(),
            Heard::Signed(query, mut sequence) => {
                let response = self.answer(&query, client)?;
                transfer::sign(&response.octets, &mut sequence)
            }
        }
    }

    /// Answers a query that came as a datagram, unless its sender gets too
    /// many answers already.
    pub fn answer_datagram(&self, query: &[u8], client: IpAddr) -> Option<Vec<u8>> {
        if let Some(signed) = self.answer_signed(query, client) {
            return (!signed.is_empty()).then_some(signed);
        }
        let Some(response) = self.respond(query, client, false) else {
            add(&self.counters.ignored);
            return None;
        };
        if response.proved_address {
            add(&self.counters.proved);
        }
        let response = match self.shared.limiter.judge(client, &response) {
            Verdict::Send => response,
            Verdict::Slip => {
                add(&self.counters.slipped);
                self.respond(query, client, true)?
            }
            Verdict::Drop => {
                add(&self.counters.dropped);
                return None;
            }
        };
        self.counters.count(response.rcode);
        Some(response.octets)
    }

    /// Answers whatever the rate says.
    ///
    /// Shape: `limited` if the client is only to be told how to come back.
    pub(super) fn respond(&self, query: &[u8], client: IpAddr, limited: bool) -> Option<Response> {
        let now_ms = now_ms();
        let cookies = self.shared.cookies.load();
        let arrival = Arrival {
            transport: self.transport,
            client,
            cookies: Some(&cookies),
            // RFC 9018 §4.3 counts modulo 2^32.
            now_s: (now_ms / 1000) as u32,
            idle_timeout: self.idle_timeout,
            limited,
        };
        match &self.shared.gateway {
            Some(gateway) => gateway.answer(query, arrival, &self.shared.published, now_ms),
            None => self.shared.published.answer(query, arrival, now_ms),
        }
    }
}
