//! Response rate limiting: a name server over UDP is no amplifier.
//!
//! Whoever forges a victim's address makes us send to it. Responses over UDP
//! to clients that did not prove their address are counted for each network,
//! kind of response and registered name; above the rate most are dropped, and
//! one in [`RateLimit::slip`] is answered so that a client which is really
//! there comes back over TCP or with a cookie.
//!
//! The memory is fixed: a table of buckets, each one word. A bucket holds the
//! virtual time at which its debt is paid (the generic cell rate algorithm),
//! so that counting is one compare-and-swap and nothing is ever swept.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::answer::{Kind, Response};

/// Buckets: 1 MiB, room for over a hundred thousand flows at once.
const BUCKETS: usize = 1 << 17;

/// Buckets where a flow may lie: the one that was used longest ago gives way.
const WAYS: usize = 4;

/// Bits of a bucket that hold the time in microseconds: 8.9 years from start.
const TIME_BITS: u32 = 48;

const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

const MICROSECONDS: u64 = 1_000_000;

/// The networks that count as one client: what a forger or a site has.
const V4_PREFIX: u32 = 24;
/// The same for IPv6.
const V6_PREFIX: u32 = 56;

/// What the operator says of the rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Responses of one kind that a network gets in a second without proving
    /// its address; 0 for no limit. The burst is one second's worth.
    pub responses_per_second: u32,
    /// Every how many-th limited response asks the client to come back over
    /// TCP or with a cookie, instead of silence; 0 for silence alone.
    pub slip: u32,
    /// Networks that are not limited. The loopback is none that a stranger
    /// can forge.
    pub exempt: Vec<Network>,
}

impl Default for RateLimit {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self {
            responses_per_second: 200,
            slip: 2,
            exempt: loopback
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    }
}

/// An address prefix, written `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// A text that is no address prefix.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no network: ADDRESS/LENGTH")]
pub struct NetworkError(String);

impl std::str::FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let length: u8 = length.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            (length <= most).then_some(Self { address, length })
        };
        parse().ok_or_else(|| NetworkError(text.to_owned()))
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.address, network.length)
    }
}

impl Network {
    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let length = u32::from(self.length);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - length;
                u64::from(own.to_bits()) >> shift == u64::from(other.to_bits()) >> shift
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - length;
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// What is to become of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent.
    Send,
    /// It is not; instead the client is told how to come back.
    Slip,
    /// Silence.
    Drop,
}

/// Counts responses.
#[derive(Debug)]
pub(super) struct RateLimiter {
    settings: RateLimit,
    /// Microseconds that a response costs; none without a limit.
    cost: Option<u64>,
    buckets: Box<[AtomicU64]>,
    /// Random, so that nobody can aim at another's bucket.
    hasher: RandomState,
    started: Instant,
    limited: AtomicU32,
}

impl RateLimiter {
    pub fn new(settings: RateLimit) -> Self {
        let cost = (settings.responses_per_second > 0)
            .then(|| (MICROSECONDS / u64::from(settings.responses_per_second)).max(1));
        let count = if cost.is_some() { BUCKETS } else { 0 };
        Self {
            settings,
            cost,
            buckets: (0..count).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            started: Instant::now(),
            limited: AtomicU32::new(0),
        }
    }

    /// What is to become of `response` to `client` over UDP.
    pub fn judge(&self, client: IpAddr, response: &Response) -> Verdict {
        if response.proved_address || self.passes(client) {
            return Verdict::Send;
        }
        self.count(client, response.kind, response.subject)
    }

    /// Whether whatever is sent to `client` is not counted.
    pub fn passes(&self, client: IpAddr) -> bool {
        self.cost.is_none() || self.settings.exempt.iter().any(|net| net.contains(client))
    }

    /// Counts a response of that kind about that name, and says what is to
    /// become of it.
    pub fn count(&self, client: IpAddr, kind: Kind, subject: u64) -> Verdict {
        let now = self.started.elapsed().as_micros() as u64 & TIME_MASK;
        self.count_at(client, kind, subject, now)
    }

    fn count_at(&self, client: IpAddr, kind: Kind, subject: u64, now: u64) -> Verdict {
        let Some(cost) = self.cost else {
            return Verdict::Send;
        };
        let subject = match kind {
            // What cannot be answered is the same from every name.
            Kind::Error => 0,
            Kind::Answer | Kind::Referral | Kind::NoData | Kind::NxDomain => subject,
        };
        let flow = self.hasher.hash_one((network(client), kind, subject));
        if self.charge(flow, now, cost) {
            return Verdict::Send;
        }
        let count = self.limited.fetch_add(1, Ordering::Relaxed);
        match self.settings.slip {
            0 => Verdict::Drop,
            slip if count.is_multiple_of(slip) => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }

    #[cfg(test)]
    fn judge_at(&self, client: IpAddr, response: &Response, now: u64) -> Verdict {
        if response.proved_address || self.passes(client) {
            return Verdict::Send;
        }
        self.count_at(client, response.kind, response.subject, now)
    }

    /// Charges one response to `flow`, unless its debt is a second's worth.
    fn charge(&self, flow: u64, now: u64, cost: u64) -> bool {
        let tag = flow & !TIME_MASK;
        let first = (flow as usize) & (BUCKETS - WAYS);
        let ways = &self.buckets[first..first + WAYS];
        loop {
            let (bucket, held) = find(ways, tag, now);
            let paid_at = if held & !TIME_MASK == tag {
                (held & TIME_MASK).max(now)
            } else {
                now
            };
            if paid_at + cost > now + MICROSECONDS {
                return false;
            }
            let charged = tag | ((paid_at + cost) & TIME_MASK);
            if bucket
                .compare_exchange(held, charged, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }
}

/// The flow's bucket and what it holds, or the one that gives way to it.
fn find(ways: &[AtomicU64], tag: u64, now: u64) -> (&AtomicU64, u64) {
    let mut oldest: Option<(&AtomicU64, u64)> = None;
    for bucket in ways {
        let held = bucket.load(Ordering::Relaxed);
        if held & !TIME_MASK == tag && held & TIME_MASK > now {
            return (bucket, held);
        }
        if oldest.is_none_or(|(_, other)| held & TIME_MASK < other & TIME_MASK) {
            oldest = Some((bucket, held));
        }
    }
    oldest.expect("there is more than one way")
}

/// The network that `client` stands for.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> (32 - V4_PREFIX)),
        // No IPv4 network has the highest bit.
        IpAddr::V6(address) => 1 << 63 | (address.to_bits() >> (128 - V6_PREFIX)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(kind: Kind, subject: u64) -> Response {
        Response {
            octets: Vec::new(),
            rcode: 0,
            min_ttl: None,
            kind,
            subject,
            proved_address: false,
        }
    }

    fn limiter(responses_per_second: u32, slip: u32) -> RateLimiter {
        RateLimiter::new(RateLimit {
            responses_per_second,
            slip,
            exempt: Vec::new(),
        })
    }

    fn sent(
        limiter: &RateLimiter,
        client: &str,
        response: &Response,
        now: u64,
        count: usize,
    ) -> usize {
        let client = client.parse().unwrap();
        let judge = |_: &usize| limiter.judge_at(client, response, now) == Verdict::Send;
        (0..count).filter(judge).count()
    }

    #[test]
    fn a_network_gets_a_seconds_worth_at_once_and_then_the_rate() {
        let limiter = limiter(100, 0);
        let answer = response(Kind::Answer, 7);
        assert_eq!(sent(&limiter, "192.0.2.1", &answer, 1_000, 500), 100);
        // The whole /24 is one client.
        assert_eq!(sent(&limiter, "192.0.2.200", &answer, 1_000, 10), 0);
        assert_eq!(sent(&limiter, "192.0.2.1", &answer, 501_000, 500), 50);
        assert_eq!(sent(&limiter, "192.0.2.1", &answer, 9_000_000, 500), 100);
    }

    #[test]
    fn networks_kinds_and_names_are_counted_apart() {
        let limiter = limiter(10, 0);
        for (client, kind, subject) in [
            ("192.0.2.1", Kind::Answer, 1),
            ("192.0.3.1", Kind::Answer, 1),
            ("192.0.2.1", Kind::NxDomain, 1),
            ("192.0.2.1", Kind::Answer, 2),
            ("2001:db8::1", Kind::Answer, 1),
            ("2001:db8:0:100::1", Kind::Answer, 1),
        ] {
            let response = response(kind, subject);
            assert_eq!(sent(&limiter, client, &response, 5, 50), 10, "{client}");
        }
        // Errors are one kind, whatever was asked.
        assert_eq!(
            sent(&limiter, "192.0.2.1", &response(Kind::Error, 1), 5, 5),
            5
        );
        assert_eq!(
            sent(&limiter, "192.0.2.1", &response(Kind::Error, 2), 5, 50),
            5
        );
    }

    #[test]
    fn every_second_limited_response_slips() {
        let limiter = limiter(1, 2);
        let (client, answer) = ("192.0.2.1".parse().unwrap(), response(Kind::Answer, 1));
        let verdicts: Vec<Verdict> = (0..5)
            .map(|_| limiter.judge_at(client, &answer, 9))
            .collect();
        use Verdict::{Drop, Send, Slip};
        assert_eq!(verdicts, [Send, Slip, Drop, Slip, Drop]);
    }

    #[test]
    fn who_proved_its_address_or_is_exempt_is_not_limited() {
        let mut proved = response(Kind::Answer, 1);
        proved.proved_address = true;
        assert_eq!(sent(&limiter(1, 0), "192.0.2.1", &proved, 5, 50), 50);
        let exempt = RateLimiter::new(RateLimit {
            responses_per_second: 1,
            ..RateLimit::default()
        });
        let answer = response(Kind::Answer, 1);
        assert_eq!(sent(&exempt, "127.3.2.1", &answer, 5, 50), 50);
        assert_eq!(sent(&exempt, "::1", &answer, 5, 50), 50);
        assert_eq!(sent(&exempt, "128.0.0.1", &answer, 5, 50), 1);
        assert_eq!(sent(&limiter(0, 0), "192.0.2.1", &answer, 5, 50), 50);
    }

    #[test]
    fn a_flood_of_networks_does_not_free_the_one_that_floods_most() {
        let limiter = limiter(10, 0);
        let answer = response(Kind::Answer, 1);
        assert_eq!(sent(&limiter, "192.0.2.1", &answer, 5, 50), 10);
        for network in 0..20_000u32 {
            let client = IpAddr::from((0x0a00_0000 + (network << 8)).to_be_bytes());
            limiter.judge_at(client, &answer, 5);
        }
        // Those who owe least give way first.
        assert_eq!(sent(&limiter, "192.0.2.1", &answer, 5, 50), 0);
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in [
            "192.0.2.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "::1/128",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(String::from(network), text);
            assert!(network.contains(network.address));
        }
        for text in ["192.0.2.0", "192.0.2.0/33", "::/129", "x/8", "/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let net: Network = "192.0.2.0/24".parse().unwrap();
        assert!(net.contains("192.0.2.255".parse().unwrap()));
        assert!(!net.contains("192.0.3.0".parse().unwrap()));
        assert!(!net.contains("::".parse().unwrap()));
    }
}
