//! How many requests may come from one address?
//!
//! Each address has a bucket of as many requests as it may make in a second,
//! times [`BURST_SECONDS`], which fills at that rate. An IPv6 client has a whole
//! network of addresses, so its bucket is that of its /64. This machine's own
//! programs are not counted. What an account may have waiting is the mempool's.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Seconds whose requests may come at once.
const BURST_SECONDS: u32 = 2;

/// Addresses that are counted at a time; each costs some hundred bytes. When
/// there are more, those whose buckets are full again are forgotten, and if none
/// is, the newcomers share one bucket.
const MAX_ADDRESSES: usize = 65_536;

/// The bits of an IPv6 address that stand for one client.
const IPV6_CLIENT: u128 = !0 << 64;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Requests that may still come, at `at`.
    left: f64,
    at: Instant,
}

/// The rates of all addresses.
#[derive(Debug)]
pub(super) struct Rates {
    /// Requests a second from one address; 0 for no limit.
    per_second: u32,
    buckets: Mutex<BTreeMap<IpAddr, Bucket>>,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            buckets: Mutex::default(),
        }
    }

    /// Counts a request from `address` at `now`; if it is one too many, the time
    /// after which another may come.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = address.to_canonical();
        if self.per_second == 0 || address.is_loopback() {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().expect("no holder of the lock panics");
        let mut client = client(address);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| self.filled(bucket, now).left < self.most());
            if buckets.len() >= MAX_ADDRESSES {
                client = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket {
            left: self.most(),
            at: now,
        });
        *bucket = self.filled(bucket, now);
        if bucket.left < 1.0 {
            let missing = (1.0 - bucket.left) / f64::from(self.per_second);
            return Err(Duration::from_secs_f64(missing));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn most(&self) -> f64 {
        f64::from(self.per_second) * f64::from(BURST_SECONDS)
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> Bucket {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        let left = bucket.left + since * f64::from(self.per_second);
        Bucket {
            left: left.min(self.most()),
            at: now,
        }
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_CLIENT).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_refused_above_its_rate_and_told_when_to_come_again() {
        let rates = Rates::new(10);
        let start = Instant::now();
        let busy = address("192.0.2.1");
        for _ in 0..20 {
            assert_eq!(rates.count(busy, start), Ok(()));
        }
        let wait = rates.count(busy, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(rates.count(address("192.0.2.2"), start), Ok(()));
        assert_eq!(rates.count(busy, start + wait), Ok(()));
        assert!(rates.count(busy, start + wait).is_err());
        // An address of the other kind that stands for it is the same.
        assert!(
            rates
                .count(address("::ffff:192.0.2.1"), start + wait)
                .is_err()
        );
    }

    #[test]
    fn a_network_of_addresses_is_one_client_and_this_machine_none() {
        let rates = Rates::new(1);
        let now = Instant::now();
        for number in 0..2 {
            let own = address(&format!("2001:db8::{number}"));
            assert_eq!(rates.count(own, now), Ok(()));
        }
        assert!(rates.count(address("2001:db8::ffff:1"), now).is_err());
        assert_eq!(rates.count(address("2001:db8:0:1::"), now), Ok(()));
        for _ in 0..100 {
            assert_eq!(rates.count(address("127.0.0.1"), now), Ok(()));
            assert_eq!(rates.count(address("::1"), now), Ok(()));
        }
    }

    #[test]
    fn counts_a_bounded_number_of_addresses() {
        let rates = Rates::new(1);
        let now = Instant::now();
        for number in 0..MAX_ADDRESSES as u32 + 10 {
            let _ = rates.count(IpAddr::V4(number.into()), now);
        }
        assert!(rates.buckets.lock().unwrap().len() <= MAX_ADDRESSES + 1);
        // Later, all but the present one have their rate again and are forgotten.
        let later = now + Duration::from_secs(60);
        assert_eq!(rates.count(address("192.0.2.200"), later), Ok(()));
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
    }
}
