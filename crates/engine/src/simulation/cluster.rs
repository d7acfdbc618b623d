//! How does a simulated run unfold?
//!
//! The conductor in this file starts validators on the simulated network,
//! makes the plan's events happen at their times, waits for the honest
//! validators to go on afterwards, and compares what they finalized.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    Recipients,
    simulated::{self, Link, Network, Oracle, SplitForwarder, SplitOrigin, SplitTarget},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Handle, IoBuf, Runner as _, Spawner as _, Storage as _, Supervisor as _,
    deterministic,
};
use commonware_utils::{NZUsize, Probability, TestRng, channel::mpsc, sync::Mutex};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use wire::Digest;

use super::{
    Birth, Conduct, DEALER_SEED, Disk, Failure, LinkQuality, Mutation, Outcome, Plan, Power,
    identity_seed,
    machine::Machine,
    misconduct::{Bent, Mischief},
    record::{Record, Recorder, fork},
};
use crate::{
    Chain, EngineConfig, Validator,
    config::Setup,
    handle::{GOSSIP_BACKLOG, Shared},
    keys::{Dealing, development_dealer, public_key},
    stack::{self, Channels, Resident, Seat},
};

type MakeChain<'a> = &'a mut dyn FnMut(Birth) -> Box<dyn Chain>;
type SimulatedOracle = Oracle<PublicKey, deterministic::Context>;

/// How often the conductor looks whether the validators have arrived.
const POLL: Duration = Duration::from_millis(50);

/// Epochs of which a validator forgets its votes under [`Mutation::SkipLock`]:
/// more than any run has.
const FORGOTTEN_EPOCHS: u64 = 64;

/// Which of the equivocators' halves a peer has to do with.
type Sides = Arc<Vec<(PublicKey, SplitTarget)>>;

/// One validator, or one half of an equivocator.
struct Member {
    setup: Arc<Setup>,
    partition: String,
    disk: Disk,
    power: Power,
    clock_ahead: Duration,
    record: Arc<Mutex<Record>>,
    life: Option<Life>,
}

/// A validator that is up.
struct Life {
    task: Handle<()>,
    outbox: mpsc::Sender<Vec<u8>>,
    own_inbox: mpsc::Sender<Vec<u8>>,
}

/// Something that happens at a point in time.
#[derive(Clone, Debug)]
enum Event {
    Down(usize),
    Up(usize),
    Cut(Vec<usize>),
    Mend(Vec<usize>),
    Submit(usize, Vec<u8>),
    Calm,
}

struct Conductor<'a> {
    context: deterministic::Context,
    plan: &'a Plan,
    oracle: SimulatedOracle,
    keys: Vec<PublicKey>,
    members: Vec<Member>,
    /// Pairs that cannot reach each other now, and how often they were cut.
    cuts: BTreeMap<(usize, usize), u32>,
    links: LinkQuality,
    sides: Sides,
    /// Hears of validators that lost their power.
    lost: mpsc::UnboundedReceiver<(usize, u64)>,
    power_losses: usize,
    /// When the run began, once the network is set up.
    start: SystemTime,
}

pub(super) fn run(plan: &Plan, make_chain: MakeChain<'_>) -> Result<Outcome, Failure> {
    let setups = setups(plan);
    let config = deterministic::Config::new()
        .with_seed(plan.seed)
        .with_timeout(None);
    deterministic::Runner::new(config).start(|context| async move {
        let mut conductor = Conductor::new(context, plan, setups).await;
        conductor.perform(make_chain).await
    })
}

/// So many founders, and what their dealer dealt.
pub(super) fn founders(validators: usize) -> (Vec<Validator>, Dealing) {
    let keys: Vec<_> = (0..validators)
        .map(|node| public_key(&identity_seed(node)))
        .collect();
    let dealing = development_dealer(&keys, DEALER_SEED).expect("a plan has some validators");
    let committee = keys.into_iter().map(|key| Validator {
        key,
        address: "127.0.0.1:1".into(),
    });
    (committee.collect(), dealing)
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

/// Every member's configuration.
fn setups(plan: &Plan) -> Vec<Arc<Setup>> {
    let (validators, dealing) = founders(plan.validators);
    let mut setups: Vec<_> = (0..plan.nodes())
        .map(|index| {
            let mut config = EngineConfig::new(
                plan.circle,
                identity_seed(index),
                dealing.shares.get(index).map(|share| share.to_vec()),
                dealing.polynomial.clone(),
                validators.clone(),
                ([127, 0, 0, 1], 1).into(),
                Default::default(),
            );
            (config.pacing, config.timeouts) = (plan.pacing, plan.timeouts);
            let mut setup = Setup::new(&config).expect("a plan's times fit together");
            setup.storage = crate::storage::Sizes::SMALL;
            setup.takes_any_share = plan.mutation == Some(Mutation::AcceptStaleShare);
            Arc::new(setup)
        })
        .collect();
    let halves = plan.equivocators().into_iter();
    let halves: Vec<_> = halves.map(|index| setups[index].clone()).collect();
    setups.extend(halves);
    setups
}

/// Lets an equivocator's halves send only to their sides; the same type for
/// everybody, so that the engine is compiled for one kind of network.
fn forwarder(sides: Sides) -> impl SplitForwarder<PublicKey> {
    move |origin: SplitOrigin, recipients: &Recipients<PublicKey>, _: &IoBuf| {
        if sides.is_empty() {
            return Some(recipients.clone());
        }
        let mine = |target: SplitTarget| {
            target == SplitTarget::Both
                || (target == SplitTarget::Primary) == (origin == SplitOrigin::Primary)
        };
        let wanted = |key: &PublicKey| match recipients {
            Recipients::All => true,
            Recipients::Some(keys) => keys.contains(key),
            Recipients::One(one) => one == key,
        };
        let keys: Vec<_> = sides
            .iter()
            .filter(|(key, target)| mine(*target) && wanted(key))
            .map(|(key, _)| key.clone())
            .collect();
        (!keys.is_empty()).then_some(Recipients::Some(keys))
    }
}

impl<'a> Conductor<'a> {
    async fn new(context: deterministic::Context, plan: &'a Plan, setups: Vec<Arc<Setup>>) -> Self {
        let keys: Vec<_> = setups[..plan.nodes()]
            .iter()
            .map(|setup| setup.own_key())
            .collect();
        let (network, oracle) = Network::new_with_peers(
            context.child("network"),
            simulated::Config {
                max_size: stack::largest_payload(),
                max_peers_per_set: NZUsize!(128),
                disconnect_on_block: true,
                tracked_peer_sets: NZUsize!(2),
            },
            keys.clone(),
        )
        .await;
        network.start();
        let (losses, lost) = mpsc::unbounded_channel();
        let failures = |index: usize| {
            let own = plan
                .power_losses
                .iter()
                .filter(|loss| loss.validator == index);
            own.map(|loss| (loss.at_step, loss.down_ms)).collect()
        };
        let clock_ahead = |index: usize| {
            let ahead = plan.clocks_ahead_ms.get(index).copied();
            Duration::from_millis(ahead.unwrap_or_default())
        };
        let members = setups
            .into_iter()
            .enumerate()
            .map(|(index, setup)| Member {
                setup,
                partition: format!("validator-{index}"),
                disk: Disk::default(),
                power: Power::new(index, plan.seed, failures(index), losses.clone()),
                clock_ahead: clock_ahead(index),
                record: Arc::default(),
                life: None,
            })
            .collect();
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x71D3);
        let targets = [
            SplitTarget::Primary,
            SplitTarget::Secondary,
            SplitTarget::Both,
        ];
        // Equivocators are of one mind: whom one half of theirs deceives is the
        // same for all, and they hide nothing from each other.
        let equivocators = plan.equivocators();
        let sides = (0..plan.nodes())
            .map(|index| match equivocators.contains(&index) {
                true => (keys[index].clone(), SplitTarget::Both),
                false => (keys[index].clone(), targets[rng.random_range(0..3)]),
            })
            .collect();
        Self {
            context,
            plan,
            oracle,
            keys,
            members,
            cuts: BTreeMap::new(),
            links: plan.links,
            sides: Arc::new(sides),
            lost,
            power_losses: 0,
            start: SystemTime::UNIX_EPOCH,
        }
    }

    async fn perform(&mut self, make_chain: MakeChain<'_>) -> Result<Outcome, Failure> {
        self.set_links().await;
        // Every link takes some simulated milliseconds to set up: seconds in all where there
        // are many, which are not of the run.
        self.start = self.context.current();
        let start = self.start;
        for member in 0..self.plan.nodes() {
            self.up(member, make_chain).await;
        }
        self.play(start, make_chain).await;
        let height_after_chaos = self.heights().into_values().max().unwrap_or(0);
        self.wait_for(height_after_chaos + self.plan.heights_after)
            .await?;
        self.promises()?;
        let finalized = self.finalized();
        if let Some((height, one, other)) = fork(&finalized) {
            let plan = Box::new(self.plan.clone());
            return Err(Failure::Fork {
                height,
                one,
                other,
                plan,
            });
        }
        let certificates = self.certificates(&finalized)?;
        let simulated = self
            .context
            .current()
            .duration_since(start)
            .unwrap_or_default();
        Ok(Outcome {
            finalized,
            finalized_ms: self.finalized_ms(),
            power_losses: self.power_losses,
            steps: self
                .members
                .iter()
                .map(|member| member.power.steps())
                .collect(),
            certificates,
            equivocations: self.equivocations(),
            height_after_chaos,
            began_ms: unix_ms(start),
            simulated_ms: simulated.as_millis() as u64,
            audit: self.context.auditor().state(),
        })
    }

    /// Makes the plan's events happen, and brings back who lost its power.
    async fn play(&mut self, start: SystemTime, make_chain: MakeChain<'_>) {
        let mut timeline = self.timeline();
        while let Some(((at_ms, number), event)) = timeline.pop_first() {
            let due = self
                .context
                .sleep_until(start + Duration::from_millis(at_ms));
            let lost = commonware_macros::select! {
                lost = self.lost.recv() => lost,
                _ = due => None,
            };
            if let Some((member, down_ms)) = lost {
                timeline.insert((at_ms, number), event);
                let now = self.context.current().duration_since(start);
                let up_ms = now.unwrap_or_default().as_millis() as u64 + down_ms;
                self.down(member).await;
                self.power_losses += 1;
                timeline.insert((up_ms, usize::MAX - self.power_losses), Event::Up(member));
                continue;
            }
            match event {
                Event::Down(member) => self.down(member).await,
                Event::Up(member) => self.up(member, make_chain).await,
                Event::Cut(side) => self.cut(&side, 1).await,
                Event::Mend(side) => self.cut(&side, -1).await,
                Event::Submit(member, message) => self.submit(member, &message),
                Event::Calm => {
                    self.links = LinkQuality::GOOD;
                    self.set_links().await;
                    self.members.iter().for_each(|member| member.power.secure());
                }
            }
        }
        // One that lost its power at the last moment.
        while let Ok((member, _)) = self.lost.try_recv() {
            self.down(member).await;
            self.power_losses += 1;
            self.up(member, make_chain).await;
        }
    }

    /// The plan's events by their times, and in their order among equals.
    fn timeline(&self) -> BTreeMap<(u64, usize), Event> {
        let plan = self.plan;
        let mut events = vec![(plan.chaos_ms, Event::Calm)];
        for crash in &plan.crashes {
            events.push((crash.at_ms, Event::Down(crash.validator)));
            events.push((crash.at_ms + crash.down_ms, Event::Up(crash.validator)));
        }
        for partition in &plan.partitions {
            events.push((partition.at_ms, Event::Cut(partition.side.clone())));
            let end = partition.at_ms + partition.for_ms;
            events.push((end, Event::Mend(partition.side.clone())));
        }
        for submission in &plan.submissions {
            let event = Event::Submit(submission.validator, submission.message.clone());
            events.push((submission.at_ms, event));
        }
        let numbered = events.into_iter().enumerate();
        numbered
            .map(|(number, (at_ms, event))| ((at_ms, number), event))
            .collect()
    }

    fn honest(&self) -> impl Iterator<Item = usize> {
        (0..self.plan.nodes()).filter(|index| self.plan.is_honest(*index))
    }

    fn heights(&self) -> BTreeMap<usize, u64> {
        self.honest()
            .map(|index| {
                let record = self.members[index].record.lock();
                (
                    index,
                    record.finalized.keys().next_back().copied().unwrap_or(0),
                )
            })
            .collect()
    }

    /// Starts a validator; of an equivocator, both halves.
    async fn up(&mut self, index: usize, make_chain: MakeChain<'_>) {
        if self.members[index].life.is_some() {
            return;
        }
        let second_half =
            (self.plan.nodes()..self.plan.members()).find(|half| self.plan.node_of(*half) == index);
        let conduct = self.plan.conduct(index);
        let control = self.oracle.control(self.keys[index].clone());
        let sides: Sides = match second_half {
            Some(_) => {
                let others = self
                    .sides
                    .iter()
                    .filter(|(key, _)| *key != self.keys[index]);
                Arc::new(others.cloned().collect())
            }
            None => Sides::default(),
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (channel, quota) in stack::channel_quotas() {
            let (sender, receiver) = control
                .register(channel, quota)
                .await
                .expect("the simulated network runs for the whole run");
            let mischief = conduct
                .filter(|conduct| *conduct != Conduct::Equivocate)
                .map(|conduct| Mischief::new(conduct, channel, self.plan.seed));
            let (one, two) = sender.split_with(forwarder(sides.clone()));
            let bend = |sender| Bent {
                sender,
                mischief: mischief.clone(),
            };
            let router_sides = sides.clone();
            let context = self
                .context
                .child("split")
                .with_attribute("validator", index);
            let (one_in, two_in) = receiver.split_with(context, move |(from, _)| {
                let side = router_sides.iter().find(|(key, _)| key == from);
                side.map_or(SplitTarget::Primary, |(_, target)| *target)
            });
            first.push((bend(one), one_in));
            second.push((
                Bent {
                    sender: two,
                    mischief: None,
                },
                two_in,
            ));
        }
        self.live(index, index, first, make_chain);
        if let Some(half) = second_half {
            self.live(half, index, second, make_chain);
        }
    }

    fn live<S, R>(
        &mut self,
        member: usize,
        index: usize,
        channels: Vec<(S, R)>,
        make_chain: MakeChain<'_>,
    ) where
        S: commonware_p2p::Sender<PublicKey = PublicKey>,
        R: commonware_p2p::Receiver<PublicKey = PublicKey>,
    {
        let channels: [(S, R); 7] = channels.try_into().ok().expect("there are seven channels");
        let [
            votes,
            certificates,
            resolver,
            backfill,
            blocks,
            gossip,
            dealings,
        ] = channels;
        let channels = Channels {
            votes,
            certificates,
            resolver,
            backfill,
            blocks,
            gossip,
            dealings,
        };
        let seat = Seat {
            channels,
            peers: self.oracle.manager(),
            blocker: self.oracle.control(self.keys[index].clone()),
            // All nodes share one network, on which everybody is a peer.
            track: Box::new(|_, _| {}),
        };
        let start = self.start;
        let clock_context = self.context.child("recorder");
        let clock = move || {
            let now = clock_context.current().duration_since(start);
            now.unwrap_or_default().as_millis() as u64
        };
        let conduct = self.plan.conduct(index);
        let mutation = self.plan.mutation;
        let this = &mut self.members[member];
        this.power.switch_on();
        let power = this.power.clone();
        let chain = make_chain(Birth {
            node: member,
            disk: this.disk.clone(),
            power: power.clone(),
        });
        let chain = Recorder::new(chain, this.record.clone(), conduct, Box::new(clock));
        let chain = Box::new(chain);
        let clock_ahead = this.clock_ahead;
        let (setup, partition) = (this.setup.clone(), this.partition.clone());
        let (outbox, outgoing) = mpsc::channel(GOSSIP_BACKLOG);
        let (own_inbox, mut own) = mpsc::channel::<Vec<u8>>(GOSSIP_BACKLOG);
        let own_key = setup.own;
        let spread = outbox.clone();
        let task = self
            .context
            .child("validator")
            .with_attribute("member", member)
            .spawn(move |context| async move {
                if mutation == Some(Mutation::SkipLock) {
                    for epoch in 0..FORGOTTEN_EPOCHS {
                        let journal = format!("{partition}-simplex-{epoch}");
                        let _ = context.remove(&journal, None).await;
                    }
                }
                let context = Machine::new(context, power, clock_ahead, mutation);
                let shared = Arc::new(Shared::default());
                let resident = Resident {
                    chain,
                    shared,
                    spread,
                    outbox: outgoing,
                };
                let mut stack = stack::start(context, setup, &partition, seat, resident)
                    .await
                    .expect("a simulated validator starts");
                let inbox = stack.inbox.clone();
                let submit = async {
                    while let Some(message) = own.recv().await {
                        let _ = inbox.send((own_key, message)).await;
                    }
                    futures::future::pending::<()>().await;
                };
                commonware_macros::select! {
                    name = stack.ended() => panic!("{name} ended by itself"),
                    _ = submit => {},
                }
            });
        this.life = Some(Life {
            task,
            outbox,
            own_inbox,
        });
    }

    /// Drops all tasks of a validator; of unsynced writes remains what chance leaves.
    async fn down(&mut self, member: usize) {
        if let Some(life) = self.members[member].life.take() {
            self.members[member].power.cut().await;
            life.task.abort();
            let _ = life.task.await;
        }
    }

    fn submit(&self, member: usize, message: &[u8]) {
        if let Some(life) = &self.members[member].life {
            let _ = life.outbox.try_send(message.to_vec());
            let _ = life.own_inbox.try_send(message.to_vec());
        }
    }

    /// Cuts (`change` 1) or mends (-1) the links between a side and the rest.
    async fn cut(&mut self, side: &[usize], change: i32) {
        for a in 0..self.plan.nodes() {
            for b in 0..self.plan.nodes() {
                if side.contains(&a) && !side.contains(&b) {
                    let pair = (a.min(b), a.max(b));
                    let count = self.cuts.entry(pair).or_default();
                    *count = count.saturating_add_signed(change);
                }
            }
        }
        self.set_links().await;
    }

    /// Makes the network's links what they should be now.
    async fn set_links(&self) {
        let delivered = 100 - u64::from(self.links.loss_percent);
        let link = Link {
            latency: Duration::from_millis(self.links.latency_ms),
            jitter: Duration::from_millis(self.links.jitter_ms),
            success_rate: Probability::new(delivered, 100).expect("at most all are lost"),
        };
        for (a, from) in self.keys.iter().enumerate() {
            for (b, to) in self.keys.iter().enumerate().filter(|(b, _)| *b != a) {
                let cuts = self.cuts.get(&(a.min(b), a.max(b))).copied().unwrap_or(0);
                let link = self.distant(a, b).unwrap_or_else(|| link.clone());
                // Absent links are no error here: the state is set, not changed.
                let _ = self.oracle.remove_link(from.clone(), to.clone()).await;
                if cuts == 0 {
                    let _ = self
                        .oracle
                        .add_link(from.clone(), to.clone(), link.clone())
                        .await;
                }
            }
        }
    }

    /// The link between nodes whose places are given.
    fn distant(&self, a: usize, b: usize) -> Option<Link> {
        let places = self.plan.places.as_ref()?;
        let count = places.one_way_ms.len();
        let one_way_ms = places.one_way_ms[a % count][b % count];
        let jitter_us = one_way_ms * 1_000 * places.jitter_percent / 100;
        let delivered = 1_000 - places.loss_permille;
        Some(Link {
            latency: Duration::from_millis(one_way_ms),
            jitter: Duration::from_micros(jitter_us),
            success_rate: Probability::new(delivered, 1_000).expect("at most all are lost"),
        })
    }

    /// Waits until every honest validator has reached `target`.
    async fn wait_for(&self, target: u64) -> Result<(), Failure> {
        let patience = Duration::from_millis(self.plan.patience_ms);
        let deadline = self.context.current() + patience;
        while self.heights().values().any(|height| *height < target) {
            self.promises()?;
            if self.context.current() >= deadline {
                return Err(Failure::Stalled {
                    heights: self.heights(),
                    target,
                    plan: Box::new(self.plan.clone()),
                });
            }
            self.context.sleep(POLL).await;
        }
        Ok(())
    }

    fn promises(&self) -> Result<(), Failure> {
        for validator in self.honest() {
            if let Some(promise) = self.members[validator].record.lock().broken.first() {
                return Err(Failure::Promise {
                    validator,
                    promise: promise.clone(),
                    plan: Box::new(self.plan.clone()),
                });
            }
        }
        Ok(())
    }

    fn finalized(&self) -> BTreeMap<usize, BTreeMap<u64, Digest>> {
        self.honest()
            .map(|index| (index, self.members[index].record.lock().finalized.clone()))
            .collect()
    }

    fn finalized_ms(&self) -> BTreeMap<usize, BTreeMap<u64, u64>> {
        self.honest()
            .map(|index| {
                (
                    index,
                    self.members[index].record.lock().finalized_ms.clone(),
                )
            })
            .collect()
    }

    /// Parents on which an equivocator's halves proposed different blocks.
    fn equivocations(&self) -> usize {
        let halves = self.plan.nodes()..self.plan.members();
        halves.map(|half| self.equivocations_of(half)).sum()
    }

    fn equivocations_of(&self, half: usize) -> usize {
        let one = self.members[self.plan.node_of(half)].record.lock();
        let other = self.members[half].record.lock();
        let differs = |(parent, block): (&Digest, &Digest)| {
            other
                .proposed
                .get(parent)
                .is_some_and(|rival| rival != block)
        };
        one.proposed
            .iter()
            .filter(|proposal| differs(*proposal))
            .count()
    }

    /// Honest validators' certificates, each verified.
    fn certificates(
        &self,
        finalized: &BTreeMap<usize, BTreeMap<u64, Digest>>,
    ) -> Result<BTreeMap<u64, crate::Certificate>, Failure> {
        let mut verified = BTreeMap::new();
        for index in self.honest() {
            for (&height, certificate) in &self.members[index].record.lock().certificates {
                if verified.get(&height) == Some(certificate) {
                    continue;
                }
                let digest = finalized[&index].get(&height);
                if !digest.is_some_and(|digest| self.verifies(certificate, *digest)) {
                    let plan = Box::new(self.plan.clone());
                    return Err(Failure::Certificate { height, plan });
                }
                verified.insert(height, *certificate);
            }
        }
        Ok(verified)
    }

    fn verifies(&self, certificate: &crate::Certificate, digest: Digest) -> bool {
        let verifier = &self.members[0].setup.verifier;
        let Some(finalization) = certificate.finalization(digest) else {
            return false;
        };
        finalization.verify(&mut TestRng::new(self.plan.seed), verifier, &Sequential)
    }
}
