//! Keykeepers as tasks against the ledger itself, in memory: every action passes
//! the checks of consensus, and each makes a block.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use attest::development::{QuotingKey, certify};
use keykeeper::{
    Circle, CircleError, HolderError, Keykeeper, Reading, Step, Store, StoreError, derive,
};
use ledger::BlockContext;
use threshold::Keeper;
use tokio::sync::watch;
use wire::{record::*, *};
use zeroize::Zeroizing;

const CODE: Measurement = Measurement([0xc0; 32]);
const VALIDATORS: [u8; 4] = [10, 11, 12, 13];
const OWNER: u8 = 1;
const KEEPERS: [u8; 5] = [40, 41, 42, 43, 44];
/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(actor: u8) -> SigningKey {
    SigningKey::ed25519([actor; 32])
}

fn account(actor: u8) -> AccountId {
    key(actor).public().account()
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

struct State {
    entries: Entries,
    height: Height,
}

/// The ledger as `actor` sees it; clones share it.
#[derive(Clone)]
struct Memory {
    /// What everybody is proven instead of the newest state, if a node's lists and
    /// receipts are ahead of its proofs.
    proven: Arc<Mutex<Option<Entries>>>,
    state: Arc<Mutex<State>>,
    height: watch::Sender<u64>,
    circle: CircleId,
    actor: u8,
}

fn header(height: Height) -> Digest {
    Digest::tagged("test/header", &[&height.0.to_le_bytes()])
}

fn quoting_key() -> QuotingKey {
    let quoting = key(21);
    let certificate = certify(&key(20), quoting.public(), None, "host").unwrap();
    QuotingKey::new(quoting, certificate).unwrap()
}

fn evidence(report_data: Digest) -> Result<Evidence, String> {
    Ok(quoting_key().quote(CODE, report_data, [9; 32]))
}

impl Memory {
    fn new() -> Self {
        let actors = VALIDATORS.into_iter().chain([OWNER]).chain(KEEPERS);
        let mut accounts: Vec<_> = actors
            .map(|actor| (account(actor), Amount(10_000_000)))
            .collect();
        accounts.sort_unstable();
        let genesis = Genesis {
            version: Genesis::VERSION,
            name: "test".to_owned(),
            kind: CircleKind::Development,
            time_ms: 1_000_000,
            circle_key: CircleKey([1; 96]),
            sharing: vec![2; 8],
            validators: VALIDATORS
                .map(|seed| Validator {
                    key: key(seed).public(),
                    name: format!("validator {seed}"),
                })
                .into(),
            accounts,
            apexes: vec!["internal".parse().unwrap()],
            certificate_authorities: Vec::new(),
            zone_signers: Vec::new(),
            name_servers: Vec::new(),
            keykeepers: Vec::new(),
            development_roots: vec![key(20).public()],
            reference_values: vec![code()],
            evidence: Default::default(),
            parameters: Parameters::default(),
            origin: None,
        };
        let mut entries = BTreeMap::new();
        ledger::write(&mut entries, ledger::genesis(&genesis).unwrap());
        let height = Height(0);
        Self {
            state: Arc::new(Mutex::new(State { entries, height })),
            proven: Arc::default(),
            height: watch::Sender::new(0),
            circle: genesis.circle(),
            actor: OWNER,
        }
    }

    fn of(&self, actor: u8) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// A block, with what `actor` does.
    fn block(&self, actor: u8, actions: Vec<Action>) -> Result<TransactionId, Reject> {
        let mut state = self.state.lock().unwrap();
        let height = state.height.plus(1);
        let sequence = state
            .entries
            .get(&state_key::account(account(actor)))
            .map_or(0, |bytes| {
                record::decode::<Account>(bytes).unwrap().sequence
            });
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.circle,
            sender: key(actor).public(),
            sequence,
            expires_at: Height(u64::MAX),
            fee_limit: Amount(1_000_000),
            actions,
        };
        let bytes = transaction.sign(&key(actor)).encode();
        let checked = CheckedTransaction::check(&bytes, self.circle).unwrap();
        let context = BlockContext {
            height,
            time_ms: 1_000_000 + height.0 * 250,
            parent: header(state.height),
        };
        let id = checked.id();
        let applied = ledger::apply(&state.entries, &context, &[checked]);
        ledger::write(&mut state.entries, applied.changes);
        state.height = height;
        ledger::audit(&state.entries).unwrap();
        self.height.send_replace(height.0);
        match applied.receipts[0].result {
            TransactionResult::Applied => Ok(id),
            TransactionResult::Rejected { reject, .. } => Err(reject),
        }
    }

    /// Time passes: blocks in which the owner sends itself nothing of note.
    fn idle(&self, blocks: u64) {
        for _ in 0..blocks {
            let transfer = Transfer {
                to: account(OWNER),
                amount: Amount(1),
            };
            self.block(OWNER, vec![Action::Transfer(transfer)]).unwrap();
        }
    }

    fn get<T: borsh::BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        let state = self.state.lock().unwrap();
        let bytes = state.entries.get(key)?;
        Some(record::decode(bytes).unwrap())
    }

    fn register(&self, actor: u8) {
        let report_data = RegisterKeykeeper::report_data(self.circle, &key(actor).public());
        let evidence = evidence(report_data).unwrap();
        let action = Action::RegisterKeykeeper(RegisterKeykeeper { evidence });
        self.block(actor, vec![action]).unwrap();
    }

    /// The members vote for keykeepers.
    fn set_keykeepers(&self, actors: &[u8]) {
        let mut keepers: Vec<_> = actors.iter().map(|actor| key(*actor).public()).collect();
        keepers.sort_unstable();
        let change = Change::SetKeykeepers {
            keepers,
            window: 50,
        };
        let propose = Action::Propose(Propose { change });
        let id = self.block(VALIDATORS[0], vec![propose]).unwrap();
        let proposal = ProposalId::made_by(id, 0);
        for voter in &VALIDATORS[1..3] {
            let vote = Vote {
                proposal,
                approve: true,
            };
            self.block(*voter, vec![Action::Vote(vote)]).unwrap();
        }
    }

    fn grant(&self) {
        let action = GrantLabel {
            service: "disk".to_owned(),
            version: 1,
            policy: policy(),
        };
        self.block(OWNER, vec![Action::GrantLabel(action)]).unwrap();
    }

    /// Waits until the state is as wished; blocks pass meanwhile.
    async fn until(&self, wished: impl Fn(&Self) -> bool) {
        let waited = async {
            while !wished(self) {
                self.idle(1);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waited)
            .await
            .expect("the keykeepers are done in time");
    }
}

fn code() -> ReferenceValue {
    ReferenceValue {
        measurement: CODE,
        kind: EvidenceKind::Development,
    }
}

fn policy() -> HolderPolicy {
    HolderPolicy {
        codes: vec![code()],
        ..HolderPolicy::default()
    }
}

fn label() -> LabelName {
    LabelName {
        owner: account(OWNER),
        service: "disk".to_owned(),
        version: 1,
    }
}

impl Circle for Memory {
    fn id(&self) -> CircleId {
        self.circle
    }

    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Reading, CircleError> {
        let state = self.state.lock().unwrap();
        let proven = self.proven.lock().unwrap();
        let entries = proven.as_ref().unwrap_or(&state.entries);
        Ok(Reading {
            // The state remembers headers up to the last block's parent.
            height: Height(state.height.0 - 1),
            time_ms: 1_000_000 + state.height.0 * 250,
            header: header(Height(state.height.0 - 1)),
            values: keys.iter().map(|key| entries.get(key).cloned()).collect(),
        })
    }

    async fn requests(&self) -> Result<Vec<KeyRequestId>, CircleError> {
        let state = self.state.lock().unwrap();
        let prefix = state_key::KEY_REQUESTS;
        let keys = state.entries.range(prefix.to_vec()..);
        Ok(keys
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, _)| KeyRequestId(key[prefix.len()..].try_into().unwrap()))
            .collect())
    }

    async fn send(&self, action: Action) -> Result<TransactionId, CircleError> {
        self.block(self.actor, vec![action])
            .map_err(CircleError::Rejected)
    }

    async fn changed(&self) {
        let mut height = self.height.subscribe();
        let _ = tokio::time::timeout(Duration::from_millis(20), height.changed()).await;
    }
}

/// A process of the keykeeper `actor`; it goes on where its file left off.
struct Process(tokio::task::JoinHandle<()>);

impl Process {
    fn start(circle: &Memory, directory: &Path, actor: u8) -> Self {
        let keykeeper = open(circle, directory, actor);
        Self(tokio::spawn(async move {
            keykeeper.run().await.unwrap();
        }))
    }
}

impl Process {
    /// Ends it, and returns when it is over.
    async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A keykeeper's state in a file.
struct File(std::path::PathBuf);

impl Store for File {
    fn load(&self) -> Option<Zeroizing<Vec<u8>>> {
        std::fs::read(&self.0).ok().map(Zeroizing::new)
    }

    fn put(&self, secret: &[u8]) -> Result<(), StoreError> {
        std::fs::write(&self.0, secret).map_err(|error| StoreError(error.to_string()))
    }
}

fn open(circle: &Memory, directory: &Path, actor: u8) -> Keykeeper<Memory, File> {
    let store = File(directory.join(format!("{actor}.keykeeper")));
    if store.load().is_none() {
        store.put(&Keeper::new([actor; 32]).encode()).unwrap();
    }
    Keykeeper::open(circle.of(actor), store).unwrap()
}

fn committee_of(circle: &Memory) -> Option<KeyCommittee> {
    circle.get(&state_key::key_committee())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keykeepers_make_a_key_answer_holders_restart_and_hand_it_on() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    let directory = directory.path();
    for actor in KEEPERS {
        circle.register(actor);
    }
    let mut processes: BTreeMap<u8, Process> = KEEPERS[..4]
        .iter()
        .map(|actor| (*actor, Process::start(&circle, directory, *actor)))
        .collect();
    circle.set_keykeepers(&KEEPERS[..4]);
    circle.until(|circle| committee_of(circle).is_some()).await;
    let first = committee_of(&circle).unwrap();
    assert_eq!((first.keepers.len(), first.quorum), (4, 3));

    circle.grant();
    let asker = circle.of(OWNER);
    let key = tokio::time::timeout(PATIENCE, derive(&asker, &label(), None, evidence))
        .await
        .unwrap()
        .unwrap();

    // One dies and comes back with its file: its share is there.
    processes.remove(&41).unwrap().stop().await;
    processes.insert(41, Process::start(&circle, directory, 41));
    // Another dies for good: three of four still answer.
    processes.remove(&40).unwrap().stop().await;
    let again = tokio::time::timeout(PATIENCE, derive(&asker, &label(), None, evidence))
        .await
        .unwrap()
        .unwrap();
    assert!(key.is_same(&again));

    // Its share goes to a newcomer; the key stays.
    processes.insert(44, Process::start(&circle, directory, 44));
    circle.set_keykeepers(&[41, 42, 43, 44]);
    circle
        .until(|circle| committee_of(circle).is_some_and(|now| now.round > first.round))
        .await;
    let second = committee_of(&circle).unwrap();
    assert_eq!(second.master_key, first.master_key);
    let after = tokio::time::timeout(PATIENCE, derive(&asker, &label(), None, evidence))
        .await
        .unwrap()
        .unwrap();
    assert!(key.is_same(&after));

    // What the ledger's readers encrypt with the master key alone opens.
    let master = second.master_key.try_into().unwrap();
    let bytes = label().bytes(circle.circle, 1);
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::from_seed([1; 32]);
    let message = threshold::encrypt(&master, &bytes, b"secret", &mut rng).unwrap();
    assert_eq!(&**after.decrypt(&message).unwrap(), b"secret");
}

/// Has keykeepers act in turn until the state is as wished; nobody acts after that.
async fn act_until(keepers: &mut [Keykeeper<Memory, File>], wished: impl Fn() -> bool) {
    for _ in 0..100 {
        for keeper in &mut *keepers {
            if wished() {
                return;
            }
            keeper.act().await.unwrap();
        }
    }
    panic!("the keykeepers come to no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_begins_at_once_takes_no_share_from_who_had_not_looked() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    let directory = directory.path();
    for actor in KEEPERS {
        circle.register(actor);
    }
    let opened = |actor: &u8| open(&circle, directory, *actor);
    let mut keepers: Vec<_> = KEEPERS[..4].iter().map(opened).collect();
    circle.set_keykeepers(&KEEPERS[..4]);
    act_until(&mut keepers, || committee_of(&circle).is_some()).await;
    let first = committee_of(&circle).unwrap();
    assert!(
        keepers.iter().all(|keeper| keeper.holds().is_none()),
        "nobody has seen the end of the round yet"
    );

    // The next change begins, and all start anew.
    circle.set_keykeepers(&KEEPERS[1..5]);
    let round: KeyRound = circle.get(&state_key::key_round()).unwrap();
    assert!(round.round > first.round && round.outcome.is_none());
    let mut keepers: Vec<_> = KEEPERS[..5].iter().map(opened).collect();
    act_until(&mut keepers, || {
        committee_of(&circle).is_some_and(|now| now.round > first.round)
    })
    .await;
    let second = committee_of(&circle).unwrap();
    assert_eq!(second.master_key, first.master_key);
    assert_eq!(second.keepers.len(), 4);

    // All of the new list have their shares, and who was left out has none and
    // no seed either.
    for keeper in &mut keepers {
        while !keeper.act().await.unwrap().is_empty() {}
    }
    let holds: Vec<_> = keepers.iter().map(Keykeeper::holds).collect();
    let share = Some(second.round);
    assert_eq!(holds, [None, share, share, share, share]);
    let left_out = File(directory.join(format!("{}.keykeeper", KEEPERS[0])));
    let left_out = Keeper::decode(&left_out.load().unwrap()).unwrap();
    assert_eq!((left_out.holds(), left_out.takes_part_in()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_listed_before_it_can_be_proven_is_answered_later() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    for actor in &KEEPERS[..3] {
        circle.register(*actor);
    }
    let opened = |actor: &u8| open(&circle, directory.path(), *actor);
    let mut keepers: Vec<_> = KEEPERS[..3].iter().map(opened).collect();
    circle.set_keykeepers(&KEEPERS[..3]);
    act_until(&mut keepers, || committee_of(&circle).is_some()).await;
    circle.grant();
    for keeper in &mut keepers {
        while !keeper.act().await.unwrap().is_empty() {}
    }
    let before = circle.state.lock().unwrap().entries.clone();
    *circle.proven.lock().unwrap() = Some(before);
    let asker = circle.of(OWNER);
    let asked = tokio::spawn(async move { derive(&asker, &label(), None, evidence).await });
    let mut height = circle.height.subscribe();
    while circle.requests().await.unwrap().is_empty() {
        height.changed().await.unwrap();
    }
    for keeper in &mut keepers {
        assert!(keeper.act().await.unwrap().is_empty());
    }
    // Nor does the holder give up, which looks at once.
    circle.idle(3);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished());
    *circle.proven.lock().unwrap() = None;
    for keeper in &mut keepers {
        let steps = keeper.act().await.unwrap();
        assert!(matches!(steps[..], [Step::Answered(_)]), "{steps:?}");
    }
    asked.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fewer_keykeepers_than_a_quorum_give_no_key() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    let directory = directory.path();
    for actor in &KEEPERS[..3] {
        circle.register(*actor);
    }
    let mut processes: Vec<Process> = KEEPERS[..3]
        .iter()
        .map(|actor| Process::start(&circle, directory, *actor))
        .collect();
    circle.set_keykeepers(&KEEPERS[..3]);
    circle.until(|circle| committee_of(circle).is_some()).await;
    circle.grant();
    for process in processes.drain(1..) {
        process.stop().await;
    }
    let asker = circle.of(OWNER);
    let label = label();
    let asked = derive(&asker, &label, None, evidence);
    let passing = async {
        loop {
            circle.idle(4);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            asked = asked => asked,
            () = passing => unreachable!(),
        }
    });
    match asked.await.unwrap() {
        Err(HolderError::TooFew { good, need: 2 }) => assert!(good < 2),
        other => panic!("{other:?}"),
    }
}

/// A ledger that let a request through which it should not have.
#[tokio::test]
async fn a_keykeeper_refuses_what_a_false_ledger_let_through() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    let actors = &KEEPERS[..2];
    for actor in actors {
        circle.register(*actor);
    }
    circle.set_keykeepers(actors);
    let mut keykeepers: Vec<_> = actors
        .iter()
        .map(|actor| open(&circle, directory.path(), *actor))
        .collect();
    for _ in 0..20 {
        for keykeeper in &mut keykeepers {
            keykeeper.act().await.unwrap();
        }
    }
    assert!(
        keykeepers
            .iter()
            .all(|keykeeper| keykeeper.holds().is_some())
    );
    circle.grant();

    let block = header(Height(1));
    let make = |one_time_key: [u8; 32], code: Measurement, stated: [u8; 32]| {
        let report_data = RequestKey::report_data(circle.circle, &label(), 1, &stated, block, None);
        KeyRequest {
            label: label(),
            epoch: 1,
            one_time_key,
            contract: None,
            block,
            evidence: quoting_key().quote(code, report_data, [9; 32]),
            result: AttestationResult {
                kind: EvidenceKind::Development,
                measurement: CODE,
                protects_from_host: false,
                tcb: None,
                chip: None,
                collateral_age_ms: None,
            },
            asker: account(OWNER),
            until: Height(1000),
        }
    };
    let good = make([3; 32], CODE, [3; 32]);
    let mut other_epoch = good.clone();
    other_epoch.epoch = 2;
    let mut forged = good.clone();
    let last = forged.evidence.bytes.len() - 1;
    forged.evidence.bytes[last] ^= 1;
    let mut other_label = good.clone();
    other_label.label.version = 2;
    let mut for_nobody = good.clone();
    for_nobody.contract = Some(ContractId([1; 32]));
    let cases = [
        ("a payload of no contract", for_nobody, false),
        ("good", good, true),
        ("another one-time key", make([4; 32], CODE, [3; 32]), false),
        (
            "other code",
            make([3; 32], Measurement([1; 32]), [3; 32]),
            false,
        ),
        ("an epoch to come", other_epoch, false),
        ("a forged signature", forged, false),
        ("a label that is not granted", other_label, false),
    ];
    for (number, (claim, request, answered)) in cases.into_iter().enumerate() {
        let id = KeyRequestId([number as u8; 32]);
        {
            let mut state = circle.state.lock().unwrap();
            let value = record::encode(&request);
            state.entries.insert(state_key::key_request(id), value);
            let due = state_key::key_request_due(request.until, id);
            state.entries.insert(due, Vec::new());
        }
        let steps = keykeepers[0].act().await.unwrap();
        let expected = if answered {
            Step::Answered(id)
        } else {
            Step::Refused(id)
        };
        assert_eq!(steps, [expected], "{claim}");
        assert_eq!(keykeepers[0].act().await.unwrap(), [], "{claim}: once");
    }
}

/// A ledger that let a keykeeper in whose evidence is of other code.
#[tokio::test]
async fn nothing_is_dealt_where_a_keykeeper_runs_other_code() {
    let (circle, directory) = (Memory::new(), tempfile::tempdir().unwrap());
    let actors = &KEEPERS[..3];
    for actor in actors {
        circle.register(*actor);
    }
    {
        let stranger = key(KEEPERS[2]).public();
        let report_data = RegisterKeykeeper::report_data(circle.circle, &stranger);
        let place = state_key::keykeeper(&stranger);
        let mut state = circle.state.lock().unwrap();
        let mut kept: record::Keykeeper = record::decode(&state.entries[&place]).unwrap();
        kept.evidence = quoting_key().quote(Measurement([0x66; 32]), report_data, [9; 32]);
        state.entries.insert(place, record::encode(&kept));
    }
    circle.set_keykeepers(actors);
    let mut keykeepers: Vec<_> = actors
        .iter()
        .map(|actor| open(&circle, directory.path(), *actor))
        .collect();
    for _ in 0..20 {
        for keykeeper in &mut keykeepers {
            keykeeper.act().await.unwrap();
        }
        circle.idle(10);
    }
    let round: KeyRound = circle.get(&state_key::key_round()).unwrap();
    assert_eq!(round.outcome, Some(KeyOutcome::Failed));
    assert!(committee_of(&circle).is_none());
    assert!(
        keykeepers
            .iter()
            .all(|keykeeper| keykeeper.holds().is_none())
    );
}
