//! State keys: where each record lives.
//!
//! A key is a one-letter module prefix, a slash, and the parts of the id as
//! raw bytes; integers are big-endian so that scans run in their order. The
//! authenticated tree holds SHA-256 of the key.
//!
//! Keys under `i/` are indexes: they are part of the state, so that every
//! node finds the same things in the same order.

use std::net::IpAddr;

use crate::{
    AccountId, Amount, CertificateSerial, ContractId, Digest, DomainName, HandshakeStep, Height,
    KeyPhase, KeyRequestId, LabelName, LockId, OfferId, PayloadKind, ProposalId, PublicKey,
    ReferenceValue, RequestId,
};

fn join(prefix: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = prefix.as_bytes().to_vec();
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// [`crate::record::CircleRecord`].
pub fn circle() -> Vec<u8> {
    join("c/", &[b"genesis"])
}

/// [`crate::record::Rules`].
pub fn rules() -> Vec<u8> {
    join("c/", &[b"rules"])
}

/// [`crate::record::Market`].
pub fn market() -> Vec<u8> {
    join("c/", &[b"market"])
}

/// Prefix of [`recent_header`]; what follows is the height.
pub const RECENT_HEADERS: &[u8] = b"c/recent/";

/// [`crate::record::RecentHeader`]; the last few hundred heights have one.
pub fn recent_header(height: Height) -> Vec<u8> {
    join("c/recent/", &[&height.0.to_be_bytes()])
}

/// [`crate::record::Pool`].
pub fn pool() -> Vec<u8> {
    join("c/", &[b"pool"])
}

/// Prefix of every member; what follows is the member's account.
pub const MEMBERS: &[u8] = b"c/member/";

/// [`crate::record::ValidatorEvidence`].
pub fn validator_evidence(member: AccountId) -> Vec<u8> {
    join("c/attested/", &[&member.0])
}

/// [`crate::record::Member`].
pub fn member(account: AccountId) -> Vec<u8> {
    join("c/member/", &[&account.0])
}

/// Prefix of every proposal; what follows is the proposal's id.
pub const PROPOSALS: &[u8] = b"c/proposal/";

/// [`crate::record::Proposal`].
pub fn proposal(id: ProposalId) -> Vec<u8> {
    join("c/proposal/", &[&id.0])
}

/// Prefix of [`proposal_due`]; what follows is the height and the proposal's id.
pub const PROPOSALS_DUE: &[u8] = b"i/proposal/";

/// Index: proposals by the last height at which they can be voted on or, once
/// closed, the last at which they are kept; empty value.
pub fn proposal_due(height: Height, proposal: ProposalId) -> Vec<u8> {
    join("i/proposal/", &[&height.0.to_be_bytes(), &proposal.0])
}

/// [`crate::record::Epoch`].
pub fn epoch() -> Vec<u8> {
    join("c/", &[b"epoch"])
}

/// Prefix of the dealings of the resharing that made the sharing in office, and
/// of the latest one; what follows is the resharing's number and the dealer's key.
pub const DEALINGS: &[u8] = b"c/dealing/";

/// [`crate::record::Dealing`].
pub fn dealing(round: u64, dealer: &PublicKey) -> Vec<u8> {
    join("c/dealing/", &[&round.to_be_bytes(), dealer.bytes()])
}

/// [`crate::record::Account`].
pub fn account(id: AccountId) -> Vec<u8> {
    join("a/", &[&id.0])
}

/// [`crate::record::Lock`].
pub fn lock(id: LockId) -> Vec<u8> {
    join("l/", &[&id.0])
}

/// [`crate::record::Commitment`].
pub fn commitment(commitment: Digest) -> Vec<u8> {
    join("k/", &[&commitment.0])
}

/// Prefix of every registered name; what follows is the name's text.
pub const NAMES: &[u8] = b"n/";

/// [`crate::record::Name`].
pub fn name(name: &DomainName) -> Vec<u8> {
    join("n/", &[name.as_str().as_bytes()])
}

/// Prefix of every zone; what follows is the apex' text.
pub const ZONES: &[u8] = b"z/";

/// [`crate::record::Zone`].
pub fn zone(apex: &DomainName) -> Vec<u8> {
    join("z/", &[apex.as_str().as_bytes()])
}

/// [`crate::record::Released`]: the end of a name's last registration.
pub fn released(name: &DomainName) -> Vec<u8> {
    join("d/", &[name.as_str().as_bytes()])
}

/// Prefix of every bid; what follows is the name's text, a zero byte and the
/// bidder's account.
pub const BIDS: &[u8] = b"b/";

/// Prefix of [`bid`] for one name; what follows is the bidder's account.
pub fn bids_for(name: &DomainName) -> Vec<u8> {
    join("b/", &[name.as_str().as_bytes(), &[0]])
}

/// [`crate::record::Bid`].
pub fn bid(name: &DomainName, bidder: AccountId) -> Vec<u8> {
    join("b/", &[name.as_str().as_bytes(), &[0], &bidder.0])
}

/// Prefix of every recovery; what follows is the name's text.
pub const RECOVERIES: &[u8] = b"v/";

/// [`crate::record::Recovery`].
pub fn recovery(name: &DomainName) -> Vec<u8> {
    join("v/", &[name.as_str().as_bytes()])
}

/// [`crate::record::NameUpdates`].
pub fn name_updates(name: &DomainName) -> Vec<u8> {
    join("w/", &[name.as_str().as_bytes()])
}

/// Prefix of every address of a name; what follows is [`address_names`]'s.
pub const ADDRESSES: &[u8] = b"p/";

/// Prefix of [`address_name`] for one address; what follows is the name's text.
pub fn address_names(address: IpAddr) -> Vec<u8> {
    // The version parts the two kinds, whose lengths differ.
    match address {
        IpAddr::V4(address) => join("p/", &[&[4], &address.octets()]),
        IpAddr::V6(address) => join("p/", &[&[6], &address.octets()]),
    }
}

/// [`crate::record::AddressOwners`]: that `name` has `address`.
pub fn address_name(address: IpAddr, name: &DomainName) -> Vec<u8> {
    let mut key = address_names(address);
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

/// Prefix of every notarised item; what follows is its digest and the
/// signer's account.
pub const NOTARISATIONS: &[u8] = b"h/";

/// Prefix of [`notarisation`] for one item; what follows is the signer's account.
pub fn notarisations_of(digest: Digest) -> Vec<u8> {
    join("h/", &[&digest.0])
}

/// [`crate::record::Notarisation`].
pub fn notarisation(digest: Digest, signer: AccountId) -> Vec<u8> {
    join("h/", &[&digest.0, &signer.0])
}

/// Prefix of every appraisal of a host; what follows is the host and the
/// appraiser's account.
pub const HOSTS: &[u8] = b"q/";

/// Prefix of [`host_appraisal`] for one host; what follows is the appraiser's account.
pub fn appraisals_of(host: Digest) -> Vec<u8> {
    join("q/", &[&host.0])
}

/// [`crate::record::HostAppraisal`].
pub fn host_appraisal(host: Digest, appraiser: AccountId) -> Vec<u8> {
    join("q/", &[&host.0, &appraiser.0])
}

/// Prefix of every name server; what follows is its account.
pub const NAME_SERVERS: &[u8] = b"s/";

/// [`crate::record::NameServer`].
pub fn name_server(account: AccountId) -> Vec<u8> {
    join("s/", &[&account.0])
}

/// Prefix of every offer; what follows is the offer's id.
pub const OFFERS: &[u8] = b"o/";

/// [`crate::record::Offer`].
pub fn offer(id: OfferId) -> Vec<u8> {
    join("o/", &[&id.0])
}

/// Prefix of every request; what follows is the request's id.
pub const REQUESTS: &[u8] = b"r/";

/// [`crate::record::Request`].
pub fn request(id: RequestId) -> Vec<u8> {
    join("r/", &[&id.0])
}

/// Prefix of every contract; what follows is the contract's id.
pub const CONTRACTS: &[u8] = b"t/";

/// [`crate::record::Contract`].
pub fn contract(id: ContractId) -> Vec<u8> {
    join("t/", &[&id.0])
}

/// [`crate::record::Enclave`].
pub fn enclave(contract: ContractId) -> Vec<u8> {
    join("e/", &[&contract.0])
}

/// [`crate::record::Message`].
pub fn message(contract: ContractId, operation: u32, step: HandshakeStep) -> Vec<u8> {
    join(
        "m/",
        &[&contract.0, &operation.to_be_bytes(), &[step as u8]],
    )
}

/// [`crate::record::OutcomeRecord`].
pub fn outcome(contract: ContractId, operation: u32) -> Vec<u8> {
    join("u/", &[&contract.0, &operation.to_be_bytes()])
}

/// [`crate::record::Completion`].
pub fn completion(contract: ContractId) -> Vec<u8> {
    join("j/", &[&contract.0])
}

/// [`crate::record::Certificate`].
pub fn certificate(contract: ContractId) -> Vec<u8> {
    join("x/", &[&contract.0])
}

/// Index: names by the height at which rent is due; empty value.
pub fn rent_due(height: Height, name: &DomainName) -> Vec<u8> {
    join(
        "i/rent/",
        &[&height.0.to_be_bytes(), name.as_str().as_bytes()],
    )
}

/// Prefix of [`rent_due`]; what follows is the height and the name's text.
pub const RENT_DUE: &[u8] = b"i/rent/";

/// Prefix of [`notice_due`]; what follows is the height and the name's text.
pub const NOTICES_DUE: &[u8] = b"i/notice/";

/// Index: names by the height at which notice of suspension is due; empty value.
pub fn notice_due(height: Height, name: &DomainName) -> Vec<u8> {
    join(
        "i/notice/",
        &[&height.0.to_be_bytes(), name.as_str().as_bytes()],
    )
}

/// Prefix of [`bid_due`]; what follows is the height, the name's text, a zero
/// byte and the bidder's account.
pub const BIDS_DUE: &[u8] = b"i/bid/";

/// Index: bids by the last height at which they may be accepted; empty value.
pub fn bid_due(height: Height, name: &DomainName, bidder: AccountId) -> Vec<u8> {
    join(
        "i/bid/",
        &[
            &height.0.to_be_bytes(),
            name.as_str().as_bytes(),
            &[0],
            &bidder.0,
        ],
    )
}

/// Prefix of [`recovery_due`]; what follows is the height and the name's text.
pub const RECOVERIES_DUE: &[u8] = b"i/recover/";

/// Index: recoveries by the height at which they take effect or are void;
/// empty value.
pub fn recovery_due(height: Height, name: &DomainName) -> Vec<u8> {
    join(
        "i/recover/",
        &[&height.0.to_be_bytes(), name.as_str().as_bytes()],
    )
}

/// Prefix of [`confusable`] for one skeleton; what follows is the name's text.
pub fn confusables(skeleton: Digest) -> Vec<u8> {
    join("i/confusable/", &[&skeleton.0])
}

/// Index: registered names by what they look like; empty value.
pub fn confusable(skeleton: Digest, name: &DomainName) -> Vec<u8> {
    join("i/confusable/", &[&skeleton.0, name.as_str().as_bytes()])
}

/// Prefix of [`commitment_due`]; what follows is the height and the commitment.
pub const COMMITMENTS_DUE: &[u8] = b"i/commit/";

/// Index: commitments by the last height at which they can be revealed; empty value.
pub fn commitment_due(height: Height, commitment: Digest) -> Vec<u8> {
    join("i/commit/", &[&height.0.to_be_bytes(), &commitment.0])
}

/// Index: the open request that a name serves; the value is the request's id.
pub fn serves(name: &DomainName) -> Vec<u8> {
    join("i/serves/", &[name.as_str().as_bytes()])
}

/// Prefix of [`serves`]; what follows is the name's text.
pub const SERVES: &[u8] = b"i/serves/";

/// Prefix of [`offer_due`]; what follows is the height and the offer's id.
pub const OFFERS_DUE: &[u8] = b"i/expire/";

/// Index: open offers by the last height at which they can be matched; empty value.
pub fn offer_due(height: Height, offer: OfferId) -> Vec<u8> {
    join("i/expire/", &[&height.0.to_be_bytes(), &offer.0])
}

/// Prefix of [`search_due`]; what follows is the height and the request's id.
pub const SEARCHES_DUE: &[u8] = b"i/search/";

/// Index: unmatched requests by the last height at which they wait; empty value.
pub fn search_due(height: Height, request: RequestId) -> Vec<u8> {
    join("i/search/", &[&height.0.to_be_bytes(), &request.0])
}

/// Prefix of [`forget_due`]; what follows is the height and the request's id.
pub const FORGET_DUE: &[u8] = b"i/forget/";

/// Index: closed requests by the height from which they are forgotten; empty value.
pub fn forget_due(height: Height, request: RequestId) -> Vec<u8> {
    join("i/forget/", &[&height.0.to_be_bytes(), &request.0])
}

/// Prefix of every entry of the market's index of open offers.
pub const OPEN_OFFERS: &[u8] = b"i/offer/";

/// Prefix of the index of open offers that run `payload` in an enclave of
/// `code` and stand in the region `location` (empty for anywhere).
///
/// What follows is one byte for each of [`offer_place`]'s size classes, the
/// price and the offer's id.
pub fn offer_group(payload: PayloadKind, code: &ReferenceValue, location: &str) -> Vec<u8> {
    let length = location.len().min(usize::from(u8::MAX)) as u8;
    join(
        "i/offer/",
        &[
            &[payload as u8, code.kind as u8],
            &code.measurement.0,
            &[length],
            location.as_bytes(),
        ],
    )
}

/// Index: an open offer with room, within its [`offer_group`], by the size
/// classes of its room (processor, memory, storage) and its price; empty value.
pub fn offer_place(group: &[u8], classes: [u8; 3], price: Amount, offer: OfferId) -> Vec<u8> {
    let mut key = group.to_vec();
    key.extend_from_slice(&classes);
    key.extend_from_slice(&price.0.to_be_bytes());
    key.extend_from_slice(&offer.0);
    key
}

/// Index: contracts by deadline; empty value.
pub fn contract_due(height: Height, contract: ContractId) -> Vec<u8> {
    join("i/due/", &[&height.0.to_be_bytes(), &contract.0])
}

/// Prefix of [`contract_due`]; what follows is the height and the contract's id.
pub const CONTRACTS_DUE: &[u8] = b"i/due/";

/// Prefix of [`unmatched`]; what follows is the request's id.
pub const UNMATCHED: &[u8] = b"i/unmatched/";

/// Index: requests with unmatched replicas, by id; a [`crate::record::Search`].
pub fn unmatched(request: RequestId) -> Vec<u8> {
    join("i/unmatched/", &[&request.0])
}

/// Index: contracts of a provider that have not ended; empty value.
pub fn provider_contract(provider: AccountId, contract: ContractId) -> Vec<u8> {
    join("i/provider/", &[&provider.0, &contract.0])
}

/// Prefix of [`provider_contract`] for one provider; what follows is the contract's id.
pub fn provider_contracts(provider: AccountId) -> Vec<u8> {
    join("i/provider/", &[&provider.0])
}

/// Index: requests of a user, closed ones too; empty value.
pub fn user_request(user: AccountId, request: RequestId) -> Vec<u8> {
    join("i/user/", &[&user.0, &request.0])
}

/// Prefix of [`user_request`] for one user; what follows is the request's id.
pub fn user_requests(user: AccountId) -> Vec<u8> {
    join("i/user/", &[&user.0])
}

/// Index: contracts whose enclave waits for a certificate; empty value.
pub fn certificate_wanted(contract: ContractId) -> Vec<u8> {
    join("i/certify/", &[&contract.0])
}

/// Prefix of [`certificate`]; what follows is the contract's id.
pub const CERTIFICATES: &[u8] = b"x/";

/// Prefix of [`certificate_wanted`]; what follows is the contract's id.
pub const CERTIFICATES_WANTED: &[u8] = b"i/certify/";

/// [`crate::record::PublishedAuthority`].
pub fn authority(account: AccountId) -> Vec<u8> {
    join("y/u/", &[&account.0])
}

/// [`crate::record::Intermediate`] with which an authority signs for a
/// registered name.
pub fn intermediate(authority: AccountId, domain: &DomainName) -> Vec<u8> {
    join("y/i/", &[&authority.0, domain.as_str().as_bytes()])
}

/// [`crate::record::AcmeAccount`].
pub fn acme_account(id: Digest) -> Vec<u8> {
    join("y/a/", &[&id.0])
}

/// Index: the id of the ACME account with a key, by the key's thumbprint.
pub fn acme_key(thumbprint: Digest) -> Vec<u8> {
    join("y/k/", &[&thumbprint.0])
}

/// The time in the last [`crate::OwnerBinding`] of a name owner that was used,
/// a `u64`: each is used once, and none that is older.
pub fn acme_binding(owner: AccountId) -> Vec<u8> {
    join("y/b/", &[&owner.0])
}

/// [`crate::record::AcmeOrder`].
pub fn acme_order(id: Digest) -> Vec<u8> {
    join("y/o/", &[&id.0])
}

/// Prefix of every order; what follows is its id.
pub const ACME_ORDERS: &[u8] = b"y/o/";

/// Prefix of every grant; what follows is the id of its order or contract.
pub const GRANTS: &[u8] = b"y/g/";

/// [`crate::record::Grant`] of an order or a contract, by its id.
pub fn grant(id: &[u8; 32]) -> Vec<u8> {
    join("y/g/", &[id])
}

/// Prefix of every certificate of a registered name; what follows is the serial.
pub fn certificate_log(domain: &DomainName) -> Vec<u8> {
    join("y/l/", &[domain.as_str().as_bytes(), &[0]])
}

/// [`crate::record::LoggedCertificate`].
pub fn logged_certificate(domain: &DomainName, serial: CertificateSerial) -> Vec<u8> {
    join("y/l/", &[domain.as_str().as_bytes(), &[0], &serial.0])
}

/// The name and serial number of a key that [`logged_certificate`] made.
pub fn parse_logged_certificate(key: &[u8]) -> Option<(DomainName, CertificateSerial)> {
    let (text, serial) = key
        .strip_prefix(CERTIFICATE_LOG)?
        .split_last_chunk::<16>()?;
    let text = std::str::from_utf8(text.strip_suffix(&[0])?).ok()?;
    Some((text.parse().ok()?, CertificateSerial(*serial)))
}

/// Prefix of every logged certificate.
pub const CERTIFICATE_LOG: &[u8] = b"y/l/";

/// How many certificates of a registered name are logged, a `u32`.
pub fn certificate_count(domain: &DomainName) -> Vec<u8> {
    join("y/n/", &[domain.as_str().as_bytes()])
}

/// Index: logged certificates by when they cease to hold; empty value.
pub fn certificate_due(time_ms: u64, domain: &DomainName, serial: CertificateSerial) -> Vec<u8> {
    join(
        "i/certificate/",
        &[
            &time_ms.to_be_bytes(),
            &serial.0,
            domain.as_str().as_bytes(),
        ],
    )
}

/// Prefix of [`certificate_due`]; what follows is the time, serial and name.
pub const CERTIFICATES_DUE: &[u8] = b"i/certificate/";

/// Index: orders by when they are forgotten; empty value.
pub fn order_due(time_ms: u64, order: Digest) -> Vec<u8> {
    join("i/order/", &[&time_ms.to_be_bytes(), &order.0])
}

/// Prefix of [`order_due`]; what follows is the time and the order's id.
pub const ORDERS_DUE: &[u8] = b"i/order/";

/// Prefix of every keykeeper; what follows is its Ed25519 key.
pub const KEYKEEPERS: &[u8] = b"g/keeper/";

/// [`crate::record::Keykeeper`].
pub fn keykeeper(key: &PublicKey) -> Vec<u8> {
    join("g/keeper/", &[key.bytes()])
}

/// [`crate::record::KeyCommittee`].
pub fn key_committee() -> Vec<u8> {
    join("g/", &[b"committee"])
}

/// [`crate::record::EscrowHolders`].
pub fn escrow_holders() -> Vec<u8> {
    join("g/", &[b"holders"])
}

/// Prefix of [`key_escrow`]; what follows is the keykeeper's Ed25519 key.
pub const KEY_ESCROWS: &[u8] = b"g/escrow/";

/// [`crate::record::KeyEscrow`].
pub fn key_escrow(keeper: &PublicKey) -> Vec<u8> {
    join("g/escrow/", &[keeper.bytes()])
}

/// [`crate::record::KeyRound`]: the round that is under way, or the last one.
pub fn key_round() -> Vec<u8> {
    join("g/", &[b"round"])
}

/// Prefix of the messages of that round; what follows is the phase and the
/// sender's Ed25519 key.
pub const KEY_MESSAGES: &[u8] = b"g/post/";

/// Prefix of [`key_message`] for one phase; what follows is the sender's key.
pub fn key_messages(phase: KeyPhase) -> Vec<u8> {
    join("g/post/", &[&[phase as u8]])
}

/// [`crate::record::KeyMessage`].
pub fn key_message(phase: KeyPhase, sender: &PublicKey) -> Vec<u8> {
    join("g/post/", &[&[phase as u8], sender.bytes()])
}

/// [`crate::record::KeyRound`]: the round that made the sharing in office.
pub fn key_made() -> Vec<u8> {
    join("g/", &[b"made"])
}

/// Prefix of the messages of one phase of that round, as [`key_messages`].
pub fn key_made_messages(phase: KeyPhase) -> Vec<u8> {
    join("g/kept/", &[&[phase as u8]])
}

/// [`crate::record::KeyMessage`] of that round, as [`key_message`].
pub fn key_made_message(phase: KeyPhase, sender: &PublicKey) -> Vec<u8> {
    join("g/kept/", &[&[phase as u8], sender.bytes()])
}

/// Prefix of every label; what follows is the owner's account, the service's
/// version (4 bytes) and the service.
pub const LABELS: &[u8] = b"g/label/";

/// [`crate::record::Label`].
pub fn label(label: &LabelName) -> Vec<u8> {
    join(
        "g/label/",
        &[
            &label.owner.0,
            &label.version.to_be_bytes(),
            label.service.as_bytes(),
        ],
    )
}

/// Prefix of every request for a key; what follows is the request's id.
pub const KEY_REQUESTS: &[u8] = b"g/request/";

/// [`crate::record::KeyRequest`].
pub fn key_request(request: KeyRequestId) -> Vec<u8> {
    join("g/request/", &[&request.0])
}

/// Prefix of [`key_answer`] for one request; what follows is the keykeeper's key.
pub fn key_answers(request: KeyRequestId) -> Vec<u8> {
    join("g/answer/", &[&request.0])
}

/// [`crate::record::KeyAnswer`].
pub fn key_answer(request: KeyRequestId, keeper: &PublicKey) -> Vec<u8> {
    join("g/answer/", &[&request.0, keeper.bytes()])
}

/// Prefix of [`key_request_due`]; what follows is the height and the request's id.
pub const KEY_REQUESTS_DUE: &[u8] = b"i/key/";

/// Index: requests for keys by the last height that keeps them; empty value.
pub fn key_request_due(height: Height, request: KeyRequestId) -> Vec<u8> {
    join("i/key/", &[&height.0.to_be_bytes(), &request.0])
}
