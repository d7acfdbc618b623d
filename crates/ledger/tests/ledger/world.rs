//! A circle in memory: its actors, and blocks that are audited as they are made.

use std::collections::BTreeMap;

use attest::development::{QuotingKey, certify};
use borsh::BorshDeserialize;
use ledger::{Applied, BlockContext, Changes};
use wire::*;

pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a transaction with one action came to.
pub type Verdict = Result<(), Reject>;

/// A case of an action's table: what it claims, what it earns, how it is made.
pub type Case = (&'static str, Verdict, fn(&mut World) -> Verdict);

pub const BALANCE: Amount = Amount(10_000_000);

/// Actors, by the seed of their keys.
pub const USER: u8 = 1;
pub const PROVIDER: u8 = 2;
pub const OTHER_PROVIDER: u8 = 3;
pub const STRANGER: u8 = 4;
pub const AUTHORITY: u8 = 5;
pub const VALIDATORS: [u8; 4] = [10, 11, 12, 13];
const ROOT: u8 = 20;

/// The code that every test enclave claims to run.
pub const CODE: Measurement = Measurement([0xc0; 32]);

pub fn key(actor: u8) -> SigningKey {
    SigningKey::ed25519([actor; 32])
}

pub fn account(actor: u8) -> AccountId {
    key(actor).public().account()
}

pub fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

pub fn genesis(change: impl FnOnce(&mut Genesis)) -> Genesis {
    let actors = [USER, PROVIDER, OTHER_PROVIDER, STRANGER, AUTHORITY];
    let mut accounts: Vec<_> = actors.map(|actor| (account(actor), BALANCE)).into();
    accounts.sort_unstable();
    let mut genesis = Genesis {
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
        apexes: vec![name("internal"), name("corp.internal")],
        certificate_authorities: vec![account(AUTHORITY)],
        zone_signers: vec![account(AUTHORITY)],
        name_servers: vec![account(AUTHORITY)],
        keykeepers: Vec::new(),
        development_roots: vec![key(ROOT).public()],
        reference_values: vec![ReferenceValue {
            measurement: CODE,
            kind: EvidenceKind::Development,
        }],
        evidence: Default::default(),
        parameters: Parameters::default(),
        origin: None,
    };
    change(&mut genesis);
    genesis
}

pub struct World {
    pub state: Entries,
    pub height: Height,
    pub circle: CircleId,
    pub fee_limit: Amount,
    /// What is added to every block's time.
    pub later_ms: u64,
}

impl World {
    pub fn new() -> Self {
        Self::founded_on(&genesis(|_| ()))
    }

    pub fn with(change: impl FnOnce(&mut Parameters)) -> Self {
        Self::founded_on(&genesis(|genesis| change(&mut genesis.parameters)))
    }

    pub fn founded_on(genesis: &Genesis) -> Self {
        let mut state = Entries::new();
        ledger::write(&mut state, ledger::genesis(genesis).unwrap());
        Self {
            state,
            height: Height(0),
            circle: genesis.circle(),
            fee_limit: Amount(100_000),
            later_ms: 0,
        }
    }

    /// The digest of the header at `height`, in this world.
    pub fn header(height: Height) -> Digest {
        Digest::tagged("test/header", &[&height.0.to_le_bytes()])
    }

    pub fn time_ms(height: Height) -> u64 {
        1_000_000 + height.0 * 250
    }

    /// A transaction that is `ahead` of the sender's next sequence.
    pub fn sign_ahead(&self, actor: u8, ahead: u64, actions: Vec<Action>) -> CheckedTransaction {
        self.sign_with(actor, actions, |transaction| transaction.sequence += ahead)
    }

    pub fn sign_with(
        &self,
        actor: u8,
        actions: Vec<Action>,
        change: impl FnOnce(&mut Transaction),
    ) -> CheckedTransaction {
        let bytes = self.signed_bytes(actor, actions, change);
        CheckedTransaction::check(&bytes, self.circle).unwrap()
    }

    /// As [`World::sign_with`], encoded.
    pub fn signed_bytes(
        &self,
        actor: u8,
        actions: Vec<Action>,
        change: impl FnOnce(&mut Transaction),
    ) -> Vec<u8> {
        let key = key(actor);
        let account: record::Account = self
            .get(&state_key::account(account(actor)))
            .unwrap_or_default();
        let mut transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.circle,
            sender: key.public(),
            sequence: account.sequence,
            expires_at: Height(u64::MAX),
            fee_limit: self.fee_limit,
            actions,
        };
        change(&mut transaction);
        transaction.sign(&key).encode()
    }

    pub fn sign(&self, actor: u8, action: Action) -> CheckedTransaction {
        self.sign_ahead(actor, 0, vec![action])
    }

    /// Applies the next block to the state without writing it.
    pub fn apply(&self, transactions: &[CheckedTransaction]) -> Applied {
        let height = self.height.plus(1);
        let block = BlockContext {
            height,
            time_ms: Self::time_ms(height) + self.later_ms,
            parent: Self::header(self.height),
        };
        ledger::apply(&self.state, &block, transactions)
    }

    /// Makes a block, writes it and audits the state.
    pub fn block(&mut self, transactions: &[CheckedTransaction]) -> Applied {
        let applied = self.apply(transactions);
        self.advance(applied.changes.clone());
        if let Err(error) = ledger::audit(&self.state) {
            panic!("after block {}: {error}", self.height);
        }
        applied
    }

    pub fn advance(&mut self, changes: Changes) {
        ledger::write(&mut self.state, changes);
        self.height = self.height.plus(1);
    }

    /// Sends one action in a block of its own.
    pub fn send(&mut self, actor: u8, action: Action) -> Verdict {
        self.send_for_id(actor, action).map(|_| ())
    }

    /// As [`World::send`], and gives the transaction's id.
    pub fn send_for_id(&mut self, actor: u8, action: Action) -> Result<TransactionId, Reject> {
        let transaction = self.sign(actor, action);
        let applied = self.block(std::slice::from_ref(&transaction));
        verdict(&applied.receipts[0]).map(|()| transaction.id())
    }

    /// Blocks without transactions; gives the events of the last.
    pub fn idle(&mut self, blocks: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..blocks {
            events = self.block(&[]).events.pop().unwrap();
        }
        events
    }

    /// Blocks without transactions until `height`.
    pub fn idle_until(&mut self, height: Height) {
        self.idle(height.since(self.height));
    }

    pub fn get<T: BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        self.state
            .get(key)
            .map(|bytes| record::decode(bytes).unwrap())
    }

    pub fn balance(&self, actor: u8) -> Amount {
        self.get::<record::Account>(&state_key::account(account(actor)))
            .unwrap_or_default()
            .balance
    }

    pub fn name(&self, text: &str) -> record::Name {
        self.get(&state_key::name(&name(text))).unwrap()
    }

    pub fn offer(&self, id: OfferId) -> record::Offer {
        self.get(&state_key::offer(id)).unwrap()
    }

    pub fn request(&self, id: RequestId) -> record::Request {
        self.get(&state_key::request(id)).unwrap()
    }

    pub fn contract(&self, id: ContractId) -> record::Contract {
        self.get(&state_key::contract(id)).unwrap()
    }

    /// Registers `text` to `actor` by commit and reveal.
    pub fn register_name(&mut self, actor: u8, text: &str) -> Verdict {
        let nonce = [7; 32];
        let commitment = name_commitment(self.circle, account(actor), &name(text), &nonce);
        self.send(actor, Action::NameCommit(NameCommit { commitment }))?;
        self.send(
            actor,
            Action::NameReveal(NameReveal {
                name: name(text),
                nonce,
                deposit: Amount(1000),
            }),
        )
    }

    /// Gives every member what some hundred fees take.
    pub fn fund_members(&mut self) {
        for member in VALIDATORS {
            let transfer = Transfer {
                to: account(member),
                amount: Amount(100_000),
            };
            self.send(PROVIDER, Action::Transfer(transfer)).unwrap();
        }
    }

    pub fn post_offer(&mut self, actor: u8, terms: OfferTerms) -> OfferId {
        let id = self
            .send_for_id(actor, Action::PostOffer(PostOffer { terms }))
            .unwrap();
        OfferId::made_by(id, 0)
    }

    pub fn post_request(&mut self, terms: RequestTerms) -> RequestId {
        let id = self
            .send_for_id(USER, Action::PostRequest(PostRequest { terms }))
            .unwrap();
        RequestId::made_by(id, 0)
    }

    /// The live contract of a request's replica.
    pub fn live(&self, request: RequestId, replica: usize) -> ContractId {
        self.request(request).replicas[replica].expect("the replica has a live contract")
    }

    /// An offer of `PROVIDER`'s, a request of the user's, and their contract.
    pub fn matched(&mut self, terms: RequestTerms) -> (RequestId, ContractId) {
        self.post_offer(PROVIDER, offer_terms());
        let request = self.post_request(terms);
        (request, self.live(request, 0))
    }

    /// As [`World::matched`], with the payload running.
    pub fn running(&mut self, terms: RequestTerms) -> (RequestId, ContractId) {
        let (request, contract) = self.matched(terms);
        self.start(contract);
        (request, contract)
    }

    /// Takes every step from a match to a running payload.
    pub fn start(&mut self, contract: ContractId) {
        self.register_enclave(contract).unwrap();
        self.handshake(contract);
        self.outcome(contract, Outcome::Confirmed).unwrap();
    }

    pub fn provider_of(&self, contract: ContractId) -> u8 {
        let provider = self.contract(contract).provider;
        [PROVIDER, OTHER_PROVIDER, USER, STRANGER]
            .into_iter()
            .find(|actor| account(*actor) == provider)
            .unwrap()
    }

    pub fn register_enclave(&mut self, contract: ContractId) -> Verdict {
        let action = self.registration(contract);
        self.send(self.provider_of(contract), Action::RegisterEnclave(action))
    }

    /// A registration with good evidence for `contract`.
    pub fn registration(&self, contract: ContractId) -> RegisterEnclave {
        let request = self.request(self.contract(contract).request);
        let keys = enclave_keys(request.terms.name.is_some());
        let report_data = keys.report_data(self.circle, contract, &request.terms.agreement_key);
        RegisterEnclave {
            contract,
            evidence: quoting_key().quote(CODE, report_data, [9; 32]),
            keys,
        }
    }

    /// Takes the three steps of the current operation's handshake.
    pub fn handshake(&mut self, contract: ContractId) {
        for step in [
            HandshakeStep::ClientChallenge,
            HandshakeStep::ServerResponse,
            HandshakeStep::ClientResponse,
        ] {
            let operation = self.contract(contract).operation;
            self.step(contract, operation, step).unwrap();
        }
    }

    pub fn step(&mut self, contract: ContractId, operation: u32, step: HandshakeStep) -> Verdict {
        let action = message(contract, operation, step);
        let actor = match step {
            HandshakeStep::ServerResponse => self.provider_of(contract),
            HandshakeStep::ClientChallenge | HandshakeStep::ClientResponse => USER,
        };
        self.send(actor, Action::HandshakeMessage(action))
    }

    pub fn outcome(&mut self, contract: ContractId, outcome: Outcome) -> Verdict {
        let operation = self.contract(contract).operation;
        let action = outcome_message(contract, operation, outcome);
        self.send(self.provider_of(contract), Action::PostOutcome(action))
    }

    /// A heartbeat for the newest block that it can name.
    pub fn beat(&mut self, contract: ContractId) -> Verdict {
        let beat = beat(contract, self.height);
        self.send(self.provider_of(contract), heartbeat(vec![beat]))
    }
}

pub fn verdict(receipt: &Receipt) -> Verdict {
    match receipt.result {
        TransactionResult::Applied => Ok(()),
        TransactionResult::Rejected { reject, .. } => Err(reject),
    }
}

pub fn quoting_key() -> QuotingKey {
    let quoting = key(21);
    let certificate = certify(&key(ROOT), quoting.public(), None, "host").unwrap();
    QuotingKey::new(quoting, certificate).unwrap()
}

/// The key with which every test enclave signs.
pub fn enclave_key() -> SigningKey {
    key(22)
}

pub fn enclave_keys(named: bool) -> EnclaveKeys {
    EnclaveKeys {
        signing: enclave_key().public(),
        agreement: [5; 32],
        certificate_request: if named { vec![6; 100] } else { Vec::new() },
        tls_key: Digest(if named { [7; 32] } else { [0; 32] }),
    }
}

pub fn message(contract: ContractId, operation: u32, step: HandshakeStep) -> HandshakeMessage {
    let sealed = vec![step as u8; 48];
    let bytes = HandshakeMessage::signed_bytes(contract, operation, step, &sealed);
    let signature = (step == HandshakeStep::ServerResponse)
        .then(|| enclave_key().sign(HandshakeMessage::PURPOSE, &bytes));
    HandshakeMessage {
        contract,
        operation,
        step,
        sealed,
        signature,
    }
}

pub fn outcome_message(contract: ContractId, operation: u32, outcome: Outcome) -> PostOutcome {
    let sealed = vec![3; 48];
    let bytes = PostOutcome::signed_bytes(contract, operation, outcome, &sealed);
    PostOutcome {
        contract,
        operation,
        outcome,
        sealed,
        signature: enclave_key().sign(PostOutcome::PURPOSE, &bytes),
    }
}

pub fn beat(contract: ContractId, height: Height) -> Beat {
    let block = World::header(height);
    let bytes = Beat::signed_bytes(contract, height, block);
    Beat {
        contract,
        height,
        block,
        signature: enclave_key().sign(Beat::PURPOSE, &bytes),
    }
}

pub fn heartbeat(beats: Vec<Beat>) -> Action {
    Action::Heartbeat(Heartbeat { beats })
}

pub fn resources(cpu_milli: u32, memory_mib: u32, storage_mib: u32) -> Resources {
    Resources {
        cpu_milli,
        memory_mib,
        storage_mib,
    }
}

pub fn offer_terms() -> OfferTerms {
    OfferTerms {
        capacity: resources(8000, 16_384, 100_000),
        replica_limit: resources(4000, 8192, 50_000),
        concurrency: 8,
        min_price: Amount(5),
        min_duration: 1,
        max_duration: 1_000_000,
        location: "eu/de/fra1".to_owned(),
        encryption: vec![CipherSuite::Aes256GcmStream],
        evidence: vec![EvidenceKind::Development],
        payload_kinds: vec![PayloadKind::Service, PayloadKind::Job],
        technologies: vec!["wasmtime".to_owned()],
        measurement: CODE,
        endpoint: ServiceEndpoint {
            addresses: vec!["127.0.1.1".parse().unwrap()],
            port: 8443,
            control: "http://127.0.1.1:26901".to_owned(),
        },
        expires_at: Height(1_000_000),
    }
}

pub fn request_terms() -> RequestTerms {
    RequestTerms {
        resources: resources(1000, 512, 100),
        replicas: 1,
        require_spread: false,
        duration: 1000,
        max_price: Amount(10),
        escrow: Amount(20_000),
        location: "eu".to_owned(),
        encryption: vec![CipherSuite::Aes256GcmStream],
        evidence: vec![EvidenceKind::Development],
        technologies: vec!["wasmtime".to_owned()],
        measurement: Some(CODE),
        evidence_policy: EvidencePolicy::default(),
        payload_kind: PayloadKind::Service,
        payload: payload_reference(),
        agreement_key: [8; 32],
        name: None,
        match_until: Height(500),
    }
}

pub fn payload_reference() -> PayloadReference {
    PayloadReference {
        locations: vec!["file:///objects/a".to_owned()],
        sha256: Digest([4; 32]),
        bytes: 1000,
        cipher: CipherSuite::Aes256GcmStream,
    }
}

/// Runs a table: every case in a world of its own.
pub fn run(cases: &[Case]) {
    for (claim, wanted, case) in cases {
        assert_eq!(case(&mut World::new()), *wanted, "{claim}");
    }
}
