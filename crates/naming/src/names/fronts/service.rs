//! What every front does with a query: answer it from the newest image, judge
//! its cookie, count the outcome, and over UDP keep to the rate.

use std::{net::IpAddr, sync::Arc};

use super::counters::{Counters, add};
use crate::names::{
    answer::{Arrival, Response, Transport},
    cookies::CookieJar,
    published::{Published, now_ms},
    rate_limit::{RateLimiter, Verdict},
};

/// What all fronts of a server share.
#[derive(Clone, Debug)]
pub(in crate::names) struct Shared {
    pub published: Arc<Published>,
    pub cookies: CookieJar,
    pub limiter: Arc<RateLimiter>,
}

/// One front's, or one worker's, way to answers.
#[derive(Clone, Debug)]
pub(in crate::names) struct Service {
    shared: Shared,
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
        let response = self.respond(query, client, false);
        match &response {
            Some(response) => self.counters.count(response.rcode),
            None => add(&self.counters.ignored),
        }
        response
    }

    /// Answers a query that came as a datagram, unless its sender gets too
    /// many answers already.
    pub fn answer_datagram(&self, query: &[u8], client: IpAddr) -> Option<Response> {
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
        Some(response)
    }

    fn respond(&self, query: &[u8], client: IpAddr, limited: bool) -> Option<Response> {
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
        self.shared.published.answer(query, arrival, now_ms)
    }
}
