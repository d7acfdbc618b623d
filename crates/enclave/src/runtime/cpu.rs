//! A payload's share of the processors: what its terms say, and no more.
//!
//! Control groups would do it from outside, and are not there on every host;
//! this works wherever the enclave runs, and is part of what is measured. What
//! the process has computed is compared with what it was allowed to compute
//! until now, whenever a guest is interrupted; one that is ahead waits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

/// Time that a payload may have left unused and use up at once: a request that
/// comes after a pause is answered at full speed.
const BURST: Duration = Duration::from_millis(200);

/// Processor time that all guests of a payload may use together.
///
/// The whole process is counted: TLS and the guests' calls to their host are
/// the payload's as well.
pub struct CpuBudget {
    milli: u32,
    account: Mutex<Account>,
}

/// What was used and allowed until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    /// The moment.
    at: Duration,
    /// The processor time that the process had used then.
    used: Duration,
    /// Processor time that was allowed and not used, up to [`BURST`].
    spare: Duration,
    /// Processor time that was used and not allowed.
    debt: Duration,
}

impl CpuBudget {
    /// One of `milli` thousandths of a processor, from now on.
    pub fn new(milli: u32) -> Arc<Self> {
        Arc::new(Self {
            milli: milli.max(1),
            account: Mutex::new(Account::open()),
        })
    }

    /// Begins anew: what the process has computed until now (compiling the
    /// payload, for one) is not counted.
    pub fn restart(&self) {
        *self.account() = Account::open();
    }

    /// Waits until nothing is owed.
    pub async fn paid(&self) {
        loop {
            let wait = self.wait();
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Has the guest of `store` give way at every tick, for as long as it takes.
    pub fn govern<T>(self: &Arc<Self>, store: &mut Store<T>) {
        let budget = Arc::clone(self);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if budget.wait().is_zero() {
                return Ok(UpdateDeadline::Yield(1));
            }
            let budget = Arc::clone(&budget);
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(async move { budget.paid().await }),
            ))
        });
    }

    fn wait(&self) -> Duration {
        let mut account = self.account();
        account.settle(now(), process_time(), self.milli);
        account.wait(self.milli)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn open() -> Self {
        Self {
            at: now(),
            used: process_time(),
            spare: BURST,
            debt: Duration::ZERO,
        }
    }

    fn settle(&mut self, at: Duration, used: Duration, milli: u32) {
        let allowed = at.saturating_sub(self.at) * milli / 1000 + self.spare;
        let spent = used.saturating_sub(self.used) + self.debt;
        self.spare = allowed.saturating_sub(spent).min(BURST);
        self.debt = spent.saturating_sub(allowed);
        (self.at, self.used) = (at, used);
    }

    /// The time in which the debt is paid off.
    fn wait(&self, milli: u32) -> Duration {
        self.debt.saturating_mul(1000) / milli
    }
}

/// A clock that only goes forward.
fn now() -> Duration {
    elapsed(ClockId::Monotonic)
}

/// Processor time of all threads of this process.
fn process_time() -> Duration {
    elapsed(ClockId::ProcessCPUTime)
}

fn elapsed(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither clock is ever negative.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh() -> Account {
        Account {
            at: Duration::ZERO,
            used: Duration::ZERO,
            spare: BURST,
            debt: Duration::ZERO,
        }
    }

    #[test]
    fn a_payload_within_its_share_never_waits() {
        let mut account = fresh();
        for tick in 1..1000 {
            account.settle(
                Duration::from_millis(10 * tick),
                Duration::from_millis(5 * tick),
                500,
            );
            assert_eq!(account.wait(500), Duration::ZERO, "at tick {tick}");
        }
    }

    #[test]
    fn what_was_left_unused_is_at_hand_for_one_burst_only() {
        let mut account = fresh();
        account.settle(Duration::from_secs(3600), Duration::ZERO, 1000);
        assert_eq!(account.spare, BURST);
        account.settle(Duration::from_secs(3600), BURST, 1000);
        assert_eq!(account.wait(1000), Duration::ZERO);
        account.settle(
            Duration::from_secs(3600),
            BURST + Duration::from_millis(10),
            1000,
        );
        assert_eq!(account.wait(1000), Duration::from_millis(10));
    }

    proptest! {
        /// A guest that computes whenever it need not wait stays within its share.
        #[test]
        fn a_greedy_payload_gets_its_share_and_one_burst(milli in 1_u32..4000, ticks in 1_u64..400) {
            let tick = Duration::from_millis(10);
            let (mut account, mut at, mut used) = (fresh(), Duration::ZERO, Duration::ZERO);
            for _ in 0..ticks {
                // Two processors compute two ticks in one.
                at += tick;
                used += tick * 2;
                account.settle(at, used, milli);
                at += account.wait(milli);
            }
            // Divisions are rounded down, a microsecond a tick at the very most.
            let allowed = at * milli / 1000 + BURST + Duration::from_micros(ticks);
            prop_assert!(used <= allowed, "{used:?} of {allowed:?}");
        }
    }

    /// `(module (func (export "spin") (loop (br 0))))`
    const SPIN: [u8; 39] = [
        0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version
        0x01, 0x04, 0x01, 0x60, 0x00, 0x00, // a type: no parameters, no results
        0x03, 0x02, 0x01, 0x00, // a function of it
        0x07, 0x08, 0x01, 0x04, 0x73, 0x70, 0x69, 0x6e, 0x00, 0x00, // its name
        0x0a, 0x09, 0x01, 0x07, 0x00, 0x03, 0x40, 0x0c, 0x00, 0x0b, 0x0b, // its code
    ];

    #[tokio::test]
    async fn a_guest_that_never_ends_computes_within_its_share() {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).unwrap();
        let module = wasmtime::Module::new(&engine, SPIN).unwrap();
        super::super::start_ticking(&engine);
        let budget = CpuBudget::new(200);
        let mut store = Store::new(&engine, ());
        budget.govern(&mut store);
        let linker = wasmtime::Linker::new(&engine);
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let spin = instance
            .get_typed_func::<(), ()>(&mut store, "spin")
            .unwrap();

        // This test has a thread of its own, so what others compute is not counted.
        let thread_time = || elapsed(ClockId::ThreadCPUTime);
        budget.restart();
        let (began, used) = (now(), thread_time());
        let call = spin.call_async(&mut store, ());
        let ended = tokio::time::timeout(Duration::from_millis(1500), call).await;
        assert!(ended.is_err(), "it never ends by itself");
        let (elapsed, used) = (now() - began, thread_time() - used);
        // It may be one interruption late, and that takes what the machine's other
        // load makes of a tick.
        let allowed = elapsed / 5 + BURST + Duration::from_millis(100);
        assert!(used <= allowed, "{used:?} of {allowed:?} in {elapsed:?}");
    }
}
