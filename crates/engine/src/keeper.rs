//! Which share does this validator hold, and how does it get the next one?
//!
//! The keeper follows the [`Office`]. It tells the network who the peers are,
//! takes part in resharings over a channel of its own, puts its share of a new
//! sharing together from the messages that it stored and the dealings that the
//! chain's state holds, and deletes the shares before it. To [`crate::epochs`]
//! it hands a [`Tenure`] for every epoch. It trusts the office; peers' messages
//! are checked by the protocol.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use commonware_consensus::types::Epoch;
use commonware_cryptography::ed25519::PublicKey;
use commonware_macros::select;
use commonware_p2p::{Address, CheckedSender as _, LimitedSender, Receiver, Recipients};
use commonware_runtime::{Clock, Metrics, Storage};
use commonware_utils::channel::{mpsc, oneshot, watch};
use rand_core::CryptoRng;
use tracing::{debug, error, info, warn};
use wire::Height;
use zeroize::Zeroizing;

use crate::{
    Office, Validator,
    certificate::{Scheme, namespace},
    config::{Setup, parse_address},
    driver::{DriverMailbox, Request},
    handle::{HandoverStatus, Shared},
    handover::{Payload, Round, Taken},
    keys::{self, PeerKey},
    resharing::{self, Player, Task},
    vault::{KeptRound, KeptShare, Vault, sharing_id},
};

/// How often a message that nobody has acknowledged is sent again, and a
/// dealing that is not in the state yet handed over again.
const AGAIN: Duration = Duration::from_millis(500);

/// The share of an epoch, of four, after which a dealer waits for answers no
/// longer: the last quarter is for its dealing to get into a block.
const QUARTERS_TO_ANSWER: u64 = 3;

/// What this validator is in one epoch.
pub(crate) struct Tenure {
    pub epoch: Epoch,
    /// Signs if the validator holds a share, and only verifies if not.
    pub scheme: Scheme,
    pub committee: usize,
    pub in_office: bool,
}

/// Peers and where they are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Who is in office or is to be.
    pub primary: BTreeMap<PublicKey, Address>,
    /// Who only follows.
    pub secondary: BTreeMap<PublicKey, Address>,
}

/// Tells the network of a set of peers; the numbers of sets ascend.
pub(crate) type Track = Box<dyn FnMut(u64, Peers) + Send>;

/// See the file's documentation.
pub(crate) struct Keeper<E: Storage + Metrics + Clock> {
    context: E,
    setup: Arc<Setup>,
    vault: Vault<E>,
    driver: DriverMailbox,
    shared: Arc<Shared>,
    tenures: watch::Sender<Option<Arc<Tenure>>>,
    /// Gossip of the chain, to be sent to all.
    spread: mpsc::Sender<Vec<u8>>,
    track: Track,
    tracked: (u64, Peers),
    /// Heights of an epoch.
    epoch_length: u64,
    office: Arc<Office>,
    round: Option<Round>,
    /// Whether it was late in the round when last looked at.
    was_late: bool,
}

impl<E: Clock + CryptoRng + Storage + Metrics> Keeper<E> {
    #[allow(clippy::too_many_arguments, reason = "each is another part's end")]
    pub(crate) fn new(
        context: E,
        setup: Arc<Setup>,
        vault: Vault<E>,
        driver: DriverMailbox,
        spread: mpsc::Sender<Vec<u8>>,
        track: Track,
        epoch_length: u64,
    ) -> (Self, watch::Receiver<Option<Arc<Tenure>>>) {
        let (tenures, watcher) = watch::channel(None);
        let office = driver.office.borrow().clone();
        let keeper = Self {
            context,
            setup,
            vault,
            shared: driver.shared.clone(),
            office,
            driver,
            tenures,
            spread,
            track,
            tracked: (0, Peers::default()),
            epoch_length,
            round: None,
            was_late: false,
        };
        (keeper, watcher)
    }

    /// Follows the office until the driver or the network stops, or the
    /// storage fails.
    pub(crate) async fn run<S, R>(mut self, mut sender: S, mut receiver: R)
    where
        S: LimitedSender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let mut offices = self.driver.office.clone();
        let mut delivered = self.driver.delivered.clone();
        if let Err(error) = self.begin().await {
            error!(error, "the keeper of shares cannot begin");
            return;
        }
        let mut next = self.context.current();
        loop {
            let done = select! {
                changed = offices.changed() => match changed {
                    Ok(()) => {
                        let office = offices.borrow_and_update().clone();
                        next = self.context.current();
                        self.follow(office).await
                    }
                    Err(_) => return,
                },
                moved = delivered.changed() => match moved {
                    Ok(()) => {
                        self.mind_lateness().await;
                        Ok(())
                    }
                    Err(_) => return,
                },
                received = receiver.recv() => match received {
                    Ok((peer, bytes)) => self.hear(&mut sender, &peer, bytes.as_ref()).await,
                    Err(_) => return,
                },
                _ = self.context.sleep_until(next) => {
                    next = self.context.current() + AGAIN;
                    self.press(&mut sender).await
                },
            };
            if let Err(error) = done {
                error!(error, "the keeper of shares cannot go on");
                return;
            }
        }
    }

    fn own(&self) -> PeerKey {
        self.setup.own
    }

    /// Takes the founding share over and enters the present epoch.
    async fn begin(&mut self) -> Result<(), String> {
        if let Some(share) = &self.setup.share {
            let sharing = sharing_id(&self.setup.founding);
            if self.vault.share(sharing).is_none() {
                let share = share.to_vec();
                let epoch = 0;
                let kept = KeptShare {
                    sharing,
                    epoch,
                    share,
                };
                self.vault.keep_share(kept).await?;
            }
            // From here on the share is where the memory of votes is: who loses
            // one has lost the other, and cannot vote twice.
            self.driver.send(Request::ShareReplaced);
        }
        let office = self.office.clone();
        self.take_office(&office).await?;
        self.enter_round(&office).await
    }

    /// Goes on with what the state says now.
    async fn follow(&mut self, office: Arc<Office>) -> Result<(), String> {
        let before = std::mem::replace(&mut self.office, office.clone());
        if before.epoch != office.epoch || before.sharing != office.sharing {
            self.take_office(&office).await?;
        }
        self.enter_round(&office).await
    }

    /// Finds this validator's share of the sharing in office, deletes older
    /// ones, and lets consensus enter the epoch.
    async fn take_office(&mut self, office: &Office) -> Result<(), String> {
        let sharing = sharing_id(&office.sharing);
        #[cfg(feature = "simulation")]
        let sharing = self.broken_choice().unwrap_or(sharing);
        let elected = office.is_in_committee(&self.own());
        if elected && self.vault.share(sharing).is_none() {
            self.assemble(office).await?;
        }
        let share = self.vault.share(sharing);
        let share = share.map(|kept| Zeroizing::new(kept.share.clone()));
        let scheme = self.scheme(office, share.as_ref().map(|share| share.as_slice()))?;
        let in_office = scheme.share().is_some();
        self.shared.progress.lock().share_missing = elected && !in_office;
        if elected && !in_office {
            error!(
                epoch = office.epoch,
                "this validator is in the committee and has no share: it cannot vote"
            );
        }
        if in_office || !elected {
            self.retire(office, sharing).await?;
        }
        let tenure = Tenure {
            epoch: Epoch::new(office.epoch),
            scheme,
            committee: office.committee.len(),
            in_office,
        };
        self.tenures.send_replace(Some(Arc::new(tenure)));
        Ok(())
    }

    /// The share that a keeper takes which does not look what it is a share of.
    #[cfg(feature = "simulation")]
    fn broken_choice(&self) -> Option<wire::Digest> {
        let broken = self.setup.takes_any_share;
        broken.then(|| self.vault.any_sharing()).flatten()
    }

    fn scheme(&self, office: &Office, share: Option<&[u8]>) -> Result<Scheme, String> {
        let sharing =
            resharing::decode_sharing(&office.sharing).map_err(|error| error.to_string())?;
        let participants = sharing.players().clone();
        let polynomial = sharing.public().clone();
        keys::check_sharing(&participants, &polynomial).map_err(|error| error.to_string())?;
        let (_, elected) =
            keys::participant_set(&office.keys()).map_err(|error| error.to_string())?;
        if elected != participants {
            return Err("the sharing in office is for another committee".to_owned());
        }
        let namespace = namespace(self.setup.circle);
        if let Some(share) = share {
            let share = keys::decode_share(share).map_err(|error| error.to_string())?;
            return Scheme::signer(&namespace, participants, polynomial, share)
                .ok_or_else(|| "the share in the vault is of another sharing".to_owned());
        }
        let own = self.setup.own_key();
        let member = Scheme::member(&namespace, participants.clone(), polynomial.clone(), &own);
        Ok(member.unwrap_or_else(|| Scheme::verifier(&namespace, participants, polynomial)))
    }

    /// Puts this validator's share of the sharing in office together.
    async fn assemble(&mut self, office: &Office) -> Result<(), String> {
        let Some(origin) = &office.origin else {
            return Ok(());
        };
        let Some(kept) = self.vault.round(origin.round) else {
            return Ok(());
        };
        let task = Task {
            circle: self.setup.circle,
            round: origin.round,
            previous: Some(origin.previous.clone()),
            players: office.keys(),
        };
        let finished = Player::new(&task, &self.setup.seed).and_then(|mut player| {
            for (dealer, message) in &kept.messages {
                player.take(dealer, message)?;
            }
            player.finish(&origin.dealings)
        });
        match finished {
            Ok((conclusion, share)) if conclusion.sharing == office.sharing => {
                info!(round = origin.round, "has its share of the new sharing");
                self.vault
                    .keep_share(KeptShare {
                        sharing: sharing_id(&office.sharing),
                        epoch: office.epoch,
                        share: share.to_vec(),
                    })
                    .await
            }
            Ok(_) => {
                error!(
                    round = origin.round,
                    "the dealings make another sharing than the one in office"
                );
                Ok(())
            }
            Err(error) => {
                error!(round = origin.round, %error, "cannot put its share together");
                Ok(())
            }
        }
    }

    /// Deletes what the sharing in office has made useless: only what is
    /// older, so that a node that follows the chain from its beginning again
    /// does not lose what it will need at the end.
    async fn retire(&mut self, office: &Office, sharing: wire::Digest) -> Result<(), String> {
        let epoch = office.epoch;
        let round = office.origin.as_ref().map_or(0, |origin| origin.round);
        self.vault
            .erase(
                |kept| kept.sharing == sharing || kept.epoch > epoch,
                |kept| kept.number > round,
            )
            .await?;
        if office.origin.is_some() {
            self.driver.send(Request::ShareReplaced);
        }
        Ok(())
    }

    /// Enters the resharing that the office names, and leaves any other.
    async fn enter_round(&mut self, office: &Office) -> Result<(), String> {
        self.track(office);
        let number = office.handover.as_ref().map(|handover| handover.round);
        if self.round.as_ref().map(|round| round.number) != number {
            self.round = None;
            if let Some(handover) = &office.handover {
                let players: Vec<_> = handover.target.iter().map(|seat| seat.key).collect();
                self.open_round(office, handover.round, players).await?;
            }
        }
        let status = office.handover.as_ref().map(|handover| HandoverStatus {
            round: handover.round,
            target: handover.target.len(),
            dealt: handover.dealt.len(),
            takes_part: self.round.is_some(),
        });
        self.shared.progress.lock().handover = status;
        Ok(())
    }

    async fn open_round(
        &mut self,
        office: &Office,
        number: u64,
        players: Vec<PeerKey>,
    ) -> Result<(), String> {
        let own = self.own();
        let share = self.vault.share(sharing_id(&office.sharing));
        let share = share.map(|kept| Zeroizing::new(kept.share.clone()));
        if share.is_none() && !players.contains(&own) {
            return Ok(());
        }
        if self.vault.round(number).is_none() {
            // Rounds before this one came to nothing, but for the origin's.
            let origin = office.origin.as_ref().map(|origin| origin.round);
            let wanted = |kept: &KeptRound| Some(kept.number) == origin || kept.number > number;
            self.vault.erase(|_| true, wanted).await?;
            let mut entropy = [0; 32];
            self.context.fill_bytes(&mut entropy);
            let messages = Vec::new();
            let kept = KeptRound {
                number,
                entropy,
                messages,
            };
            self.vault.keep_round(kept).await?;
        }
        let Some(kept) = self.vault.round(number) else {
            return Ok(());
        };
        let task = Task {
            circle: self.setup.circle,
            round: number,
            previous: Some(office.sharing.clone()),
            players,
        };
        let share = share.as_ref().map(|share| share.as_slice());
        let round = Round::enter(
            &task,
            &own,
            &self.setup.seed,
            share,
            kept.entropy,
            &kept.messages,
        );
        match round {
            Ok(round) => {
                info!(
                    number,
                    dealer = share.is_some(),
                    "takes part in a resharing"
                );
                self.round = Some(round);
            }
            // The others go on without; the office says how it ends.
            Err(error) => error!(number, %error, "cannot take part in a resharing"),
        }
        Ok(())
    }

    /// Does what does not depend on others' messages: deals to itself, sends
    /// again what nobody has answered, and publishes what is due.
    async fn press<S>(&mut self, sender: &mut S) -> Result<(), String>
    where
        S: LimitedSender<PublicKey = PublicKey>,
    {
        let Some(round) = &self.round else {
            return Ok(());
        };
        let (number, own) = (round.number, self.own());
        for (player, message) in round.unanswered() {
            if player == own {
                if let Some(ack) = self.take(number, &own, &message).await?
                    && let Some(round) = &mut self.round
                    && let Err(error) = round.acknowledged(&own, &ack)
                {
                    error!(number, %error, "its own acknowledgement is no good");
                }
                continue;
            }
            let message = &message;
            let payload = Payload::Secret {
                round: number,
                message,
            };
            say(sender, &player, &payload);
        }
        self.publish().await;
        Ok(())
    }

    /// Takes a dealer's message; what to answer, once that is safe.
    async fn take(
        &mut self,
        number: u64,
        dealer: &PeerKey,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(round) = self.round.as_mut().filter(|round| round.number == number) else {
            return Ok(None);
        };
        match round.take(dealer, message) {
            Ok(Some(Taken::Again(ack))) => Ok(Some(ack)),
            Ok(Some(Taken::New(ack))) => {
                self.vault
                    .keep_message(number, *dealer, message.to_vec())
                    .await?;
                Ok(Some(ack))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                warn!(number, dealer = ?&dealer[..4], %error, "refused a dealer's message");
                Ok(None)
            }
        }
    }

    async fn hear<S>(
        &mut self,
        sender: &mut S,
        peer: &PublicKey,
        bytes: &[u8],
    ) -> Result<(), String>
    where
        S: LimitedSender<PublicKey = PublicKey>,
    {
        let peer = keys::peer_key(peer);
        match Payload::decode(bytes) {
            None => debug!(peer = ?&peer[..4], "a peer sent a malformed dealing"),
            Some(Payload::Secret { round, message }) => {
                if let Some(ack) = self.take(round, &peer, message).await? {
                    say(
                        sender,
                        &peer,
                        &Payload::Acknowledgement { round, ack: &ack },
                    );
                }
            }
            Some(Payload::Acknowledgement { round: number, ack }) => {
                let round = self.round.as_mut().filter(|round| round.number == number);
                if let Some(round) = round
                    && let Err(error) = round.acknowledged(&peer, ack)
                {
                    warn!(number, peer = ?&peer[..4], %error, "refused an acknowledgement");
                }
                self.publish().await;
            }
        }
        Ok(())
    }

    /// Whether a dealer waits for answers no longer.
    fn is_late(&self) -> bool {
        let first = self.office.epoch.saturating_mul(self.epoch_length);
        let quarters = self.epoch_length.saturating_mul(QUARTERS_TO_ANSWER) / 4;
        *self.driver.delivered.borrow() >= Height(first.saturating_add(quarters))
    }

    /// Publishes in the very block in which it becomes late: the blocks that
    /// are left are few.
    async fn mind_lateness(&mut self) {
        let is_late = self.round.is_some() && self.is_late();
        if is_late && !std::mem::replace(&mut self.was_late, is_late) {
            self.publish().await;
        }
        self.was_late = is_late;
    }

    /// Hands the dealing to the chain if it is due and not in the state yet.
    async fn publish(&mut self) {
        let is_late = self.is_late();
        let own = self.own();
        let (Some(handover), Some(round)) = (&self.office.handover, &mut self.round) else {
            return;
        };
        if handover.dealt.contains(&own) {
            return;
        }
        let Some(dealing) = round.publish(is_late) else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        self.driver.send(Request::Deal {
            round: round.number,
            dealing,
            reply,
        });
        if let Ok(Some(message)) = answer.await {
            // A backlog of gossip is no matter: the next time is soon.
            let _ = self.spread.try_send(message);
        }
        self.shared.wake.notify_one();
    }

    /// Tells the network whom the office makes peers.
    fn track(&mut self, office: &Office) {
        let target = office.handover.iter().flat_map(|handover| &handover.target);
        let primary = self.addresses(office.committee.iter().chain(target));
        let mut secondary = self.addresses(office.followers.iter());
        secondary.retain(|key, _| !primary.contains_key(key));
        let peers = Peers { primary, secondary };
        if peers != self.tracked.1 {
            self.tracked = (self.tracked.0 + 1, peers.clone());
            (self.track)(self.tracked.0, peers);
        }
    }

    /// Who of `seats` can be reached, and where: at the address that members
    /// agreed on, or else the configured one.
    fn addresses<'a>(
        &self,
        seats: impl Iterator<Item = &'a Validator>,
    ) -> BTreeMap<PublicKey, Address> {
        seats
            .filter_map(|seat| {
                let key = keys::decode_peer_key(&seat.key)?;
                let configured = self.setup.addresses.get_value(&key);
                let address = match parse_address(&seat.address) {
                    Ok(address) => address,
                    Err(_) => configured?.clone(),
                };
                Some((key, address))
            })
            .collect()
    }
}

/// Sends to one peer, unless it was sent too much already.
fn say<S>(sender: &mut S, to: &PeerKey, payload: &Payload<'_>)
where
    S: LimitedSender<PublicKey = PublicKey>,
{
    if let Some(key) = keys::decode_peer_key(to)
        && let Ok(checked) = sender.check(Recipients::One(key))
    {
        let _ = checked.send(payload.encode(), true);
    }
}
