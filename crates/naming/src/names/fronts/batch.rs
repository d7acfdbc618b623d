//! Answering many datagrams at once: what is common by copying what is
//! rendered, and the rest one by one.
//!
//! All common answers of a batch come from one image. Each step is done for
//! the whole batch before the next, so that the processor waits for many
//! places in memory at a time and not for one after the other.

use std::{hint::black_box, net::IpAddr, sync::atomic::Ordering};

use domain::base::iana::Rcode;

use super::{
    counters::add,
    datagrams::{Client, Datagram, Inbox, Outbox},
    service::Service,
};
use crate::names::{
    answer::{Freshness, Kind},
    published::now_ms,
    rate_limit::Verdict,
    rendered::{Asking, Outcome, Question, Rendered},
    updates::Pending,
};

/// What a worker reads questions into, batch after batch.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// One for each datagram, and whether it is common.
    read: Vec<(Question, bool)>,
}

impl Questions {
    fn make_room(&mut self, count: usize) {
        if self.read.len() < count {
            self.read.resize_with(count, Default::default);
        }
    }

    fn read<S: Client>(&mut self, inbox: &Inbox<S>, rendered: &Rendered) {
        for (datagram, (question, is_common)) in inbox.iter().zip(&mut self.read) {
            *is_common = question.read(datagram.octets, rendered);
        }
        let common = || {
            let read = self.read.iter().take(inbox.len());
            read.filter(|(_, is_common)| *is_common)
        };
        // Nothing is made of what is read here but that it is near afterwards.
        for (question, _) in common() {
            black_box(rendered.touch_slots(question));
        }
        for (question, _) in common() {
            black_box(rendered.touch_entry(question));
        }
    }
}

/// What a batch answered, to be counted at its end.
#[derive(Default)]
struct Tally {
    answers: u64,
    denials: u64,
    proved: u64,
}

impl Service {
    /// Answers the datagrams of `inbox` into `outbox`, in their order; `later`
    /// takes those whose answer the ledger has to be asked for.
    pub(super) fn answer_batch<S: Client>(
        &self,
        inbox: &Inbox<S>,
        outbox: &mut Outbox<S>,
        questions: &mut Questions,
        mut later: impl FnMut(Pending, Datagram<'_, S>),
    ) {
        let now_ms = now_ms();
        let cookies = self.shared.cookies.load();
        let held = self.shared.published.held();
        // What is not fresh says so, which nothing here is rendered for.
        let fresh = held
            .as_deref()
            .filter(|zone| self.shared.published.freshness(zone, now_ms) == Freshness::Fresh);
        let ready = fresh.and_then(|zone| zone.rendered());
        questions.make_room(inbox.len());
        if let Some(rendered) = ready {
            questions.read(inbox, rendered);
        }
        let mut tally = Tally::default();
        for (datagram, (question, is_common)) in inbox.iter().zip(&questions.read) {
            let client = datagram.client.address();
            // Nobody asks from port 0; an answer there could only serve a forger.
            if client.port() == 0 {
                continue;
            }
            let client = client.ip();
            let asking = Asking {
                client,
                cookies: &cookies,
                // RFC 9018 §4.3 counts modulo 2^32.
                now_s: (now_ms / 1000) as u32,
            };
            let outcome = ready.filter(|_| *is_common).and_then(|rendered| {
                let octets = outbox.room()?;
                rendered.respond(datagram.octets, question, asking, octets)
            });
            match outcome {
                Some(outcome) => match self.verdict(client, question, &outcome) {
                    Verdict::Send => {
                        tally.add(&outcome);
                        outbox.push(outcome.length, datagram);
                    }
                    Verdict::Slip => {
                        add(&self.counters.slipped);
                        if let Some(response) = self.respond(datagram.octets, client, true) {
                            self.counters.count(response.rcode);
                            outbox.push_octets(&response.octets, datagram);
                        }
                    }
                    Verdict::Drop => add(&self.counters.dropped),
                },
                None => {
                    let pending = self.update(datagram.octets);
                    let pending = pending.or_else(|| self.prepared_later(datagram.octets, client));
                    if let Some(pending) = pending {
                        later(pending, datagram);
                    } else if let Some(response) = self.answer_datagram(datagram.octets, client) {
                        outbox.push_octets(&response, datagram);
                    }
                }
            }
        }
        self.count(&tally);
    }

    fn verdict(&self, client: IpAddr, question: &Question, outcome: &Outcome) -> Verdict {
        let limiter = &self.shared.limiter;
        if outcome.proved_address || limiter.passes(client) {
            return Verdict::Send;
        }
        limiter.count(client, outcome.kind, question.subject(outcome.kind))
    }

    fn count(&self, tally: &Tally) {
        let Tally {
            answers,
            denials,
            proved,
        } = tally;
        for (rcode, responses) in [(Rcode::NOERROR, answers), (Rcode::NXDOMAIN, denials)] {
            self.counters.count_many(rcode.to_int().into(), *responses);
        }
        self.counters.proved.fetch_add(*proved, Ordering::Relaxed);
    }
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        match outcome.kind {
            Kind::NxDomain => self.denials += 1,
            _ => self.answers += 1,
        }
        self.proved += u64::from(outcome.proved_address);
    }
}
