//! Records for tests, well formed and otherwise empty.

use std::net::IpAddr;

use wire::{
    AccountId, Amount, CipherSuite, CircleKey, CircleKind, ContractId, Digest, DomainName,
    EnclaveKeys, EndReason, Evidence, EvidenceKind, Genesis, Height, Measurement, OfferId,
    Operation, PayloadKind, PayloadReference, RecordSet, RequestId, RequestTerms, Resources,
    ServiceEndpoint, SigningKey,
    record::{
        self, AttestationResult, Contract, ContractStatus, Enclave, Fault, Name, NameEndpoint,
        NameStatus, Request, RequestStatus, Stage,
    },
    state_key,
};

pub fn name_of(text: &str) -> DomainName {
    text.parse().unwrap()
}

pub fn owner() -> SigningKey {
    SigningKey::ed25519([7; 32])
}

pub fn genesis(apexes: &[&str]) -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        name: "test".to_owned(),
        kind: CircleKind::Development,
        time_ms: 0,
        circle_key: CircleKey([0; 96]),
        sharing: Vec::new(),
        validators: Vec::new(),
        accounts: Vec::new(),
        apexes: apexes.iter().map(|apex| name_of(apex)).collect(),
        certificate_authorities: Vec::new(),
        zone_signers: Vec::new(),
        name_servers: Vec::new(),
        keykeepers: Vec::new(),
        development_roots: Vec::new(),
        reference_values: Vec::new(),
        evidence: Default::default(),
        parameters: Default::default(),
        origin: None,
    }
}

/// A registered name that holds nothing.
pub fn name(text: &str) -> Name {
    Name {
        name: name_of(text),
        owner: owner().public(),
        deposit: Amount(1_000),
        status: NameStatus::Active,
        registered_at: Height(0),
        rent_due: Height(1_000),
        changed_at: Height(0),
        notice_due: None,
        sale: None,
        records: Vec::new(),
        keys: Vec::new(),
        endpoints: Vec::new(),
    }
}

/// A replica at `addresses`, whose TLS key's digest is `tls_key` repeated.
pub fn endpoint(contract: u8, addresses: &[&str], port: u16, tls_key: u8) -> NameEndpoint {
    let addresses = addresses.iter().map(|address| address.parse::<IpAddr>());
    NameEndpoint {
        contract: ContractId([contract; 32]),
        endpoint: ServiceEndpoint {
            addresses: addresses.collect::<Result<_, _>>().unwrap(),
            port,
            control: String::new(),
        },
        tls_key: Digest([tls_key; 32]),
    }
}

pub fn set(owner: Option<&str>, rtype: u16, ttl: u32, data: &[&[u8]]) -> RecordSet {
    RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype,
        ttl,
        data: data.iter().map(|octets| octets.to_vec()).collect(),
    }
}

/// A TXT set at the name itself.
pub fn text(text: &str) -> RecordSet {
    let mut data = vec![text.len() as u8];
    data.extend_from_slice(text.as_bytes());
    set(None, 16, 60, &[&data])
}

pub const NOBODY: AccountId = AccountId([0; 32]);

/// An enclave with a certificate request.
pub fn enclave(certificate_request: Vec<u8>, tls_key: Digest) -> Enclave {
    Enclave {
        keys: EnclaveKeys {
            signing: owner().public(),
            agreement: [1; 32],
            certificate_request,
            tls_key,
        },
        evidence: Evidence {
            kind: EvidenceKind::Development,
            bytes: Vec::new(),
        },
        result: AttestationResult {
            kind: EvidenceKind::Development,
            measurement: Measurement([0; 32]),
            protects_from_host: false,
            tcb: None,
            chip: None,
            collateral_age_ms: None,
        },
        registered_at: Height(1),
    }
}

fn contract_of(id: ContractId) -> Contract {
    Contract {
        request: RequestId(id.0),
        replica: 0,
        offer: OfferId([3; 32]),
        user: owner().public().account(),
        provider: NOBODY,
        price: Amount(1),
        resources: Resources::default(),
        matched_at: Height(1),
        status: ContractStatus::Starting,
        operation: 1,
        operation_kind: Operation::Start,
        stage: Stage::AwaitingChallenge,
        deadline: None,
        awaited_since_ms: 0,
        settled_at: Height(0),
        served: 0,
        paid: Amount(0),
    }
}

/// The change that ends a contract.
pub fn ended(id: ContractId) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut contract = contract_of(id);
    contract.status = ContractStatus::Ended(EndReason::UserClosed);
    (state_key::contract(id), Some(record::encode(&contract)))
}

fn request_for(name: &str) -> Request {
    Request {
        user: owner().public().account(),
        user_key: owner().public(),
        terms: RequestTerms {
            resources: Resources::default(),
            replicas: 1,
            require_spread: false,
            duration: 1,
            max_price: Amount(1),
            escrow: Amount(1),
            location: String::new(),
            encryption: Vec::new(),
            evidence: Vec::new(),
            technologies: Vec::new(),
            measurement: None,
            evidence_policy: Default::default(),
            payload_kind: PayloadKind::Service,
            payload: PayloadReference {
                locations: Vec::new(),
                sha256: Digest([0; 32]),
                bytes: 0,
                cipher: CipherSuite::Aes256GcmStream,
            },
            agreement_key: [0; 32],
            name: Some(name_of(name)),
            match_until: Height(1),
        },
        status: RequestStatus::Started,
        escrow: Amount(1),
        paid: Amount(0),
        replicas: Vec::new(),
        served: Vec::new(),
        replacements: 0,
        excluded: Vec::new(),
        finished: Vec::new(),
        attempts: 1,
        fault: Fault::None,
        posted_at: Height(1),
        forget_at: None,
    }
}

/// Every record behind a service at `text`: contract, enclave, request, name.
pub fn service(
    contract: ContractId,
    text: &str,
    certificate_request: Vec<u8>,
    tls_key: Digest,
    owner_is_user: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut registered = name(text);
    if !owner_is_user {
        registered.owner = SigningKey::ed25519([8; 32]).public();
    }
    let request = RequestId(contract.0);
    // A name that went to another owner serves that owner's requests.
    let served = if owner_is_user {
        request
    } else {
        RequestId([0xee; 32])
    };
    vec![
        (
            state_key::contract(contract),
            record::encode(&contract_of(contract)),
        ),
        (
            state_key::enclave(contract),
            record::encode(&enclave(certificate_request, tls_key)),
        ),
        (
            state_key::request(request),
            record::encode(&request_for(text)),
        ),
        (
            state_key::name(&registered.name),
            record::encode(&registered),
        ),
        (state_key::serves(&registered.name), record::encode(&served)),
    ]
}
