//! Steps of the circle's authority and its name server: zones, certificates of enclaves and
//! of name servers, ACME accounts and orders from their opening to a revocation.

use super::{HELLO, Step, under};
use crate::{world::*, zones};
use wire::{record::AcmeOrderStatus, *};

/// Keys of ACME accounts, of which the ledger reads nothing.
fn jwk(choice: u16) -> Vec<u8> {
    format!("key {}", choice % 24).into_bytes()
}

/// The authority has an account that acts for the name's first owner.
pub fn begin(world: &mut World) {
    let key = jwk(0);
    let binding = Some(binding(world, USER));
    let open = Action::AcmeAccountOpen(AcmeAccountOpen { key, binding });
    world.send(AUTHORITY, open).unwrap();
}

fn binding(world: &World, owner: u8) -> OwnerBinding {
    let authority = account(AUTHORITY);
    let time_ms = World::time_ms(world.height);
    let message = OwnerBinding::message(world.circle, authority, time_ms);
    OwnerBinding {
        owner: key(owner).public(),
        authority,
        time_ms,
        signature: key(owner).sign(OwnerBinding::PURPOSE, &message),
    }
}

fn not_after(world: &World, step: Step) -> u64 {
    // Some end within the sequence.
    World::time_ms(world.height) + 250 * u64::from(step.amount % 2000)
}

pub fn issue_for_contract(world: &World, step: Step) -> (u8, Action) {
    let prefix = state_key::CERTIFICATES_WANTED;
    let wanted = under(world, prefix).find_map(|(key, _)| key[prefix.len()..].try_into().ok());
    let action = IssueCertificate {
        contract: ContractId(wanted.unwrap_or([step.b; 32])),
        serial: CertificateSerial([step.b; 16]),
        certificate: vec![1; 10],
        not_after_ms: not_after(world, step),
    };
    (step.sender(AUTHORITY), Action::IssueCertificate(action))
}

pub fn set_zone(_: &World, step: Step) -> (u8, Action) {
    let mut zone = zones::zone();
    match step.b % 4 {
        0 => zone.keys.clear(),
        1 => zone.servers.truncate(usize::from(step.amount % 2)),
        _ => zone.apex_ttl = u32::from(step.amount),
    }
    (step.sender(AUTHORITY), Action::SetZone(zone))
}

pub fn register_name_server(_: &World, step: Step) -> (u8, Action) {
    let terms = NameServerTerms {
        name: name("dns.internal"),
        addresses: vec!["192.0.2.53".parse().unwrap()],
        ports: NameServerPorts {
            tls: Some(step.amount),
            https: None,
            quic: None,
        },
        certificate_request: vec![1; 30],
        tls_key: Digest([step.b % 2; 32]),
    };
    let action = RegisterNameServer { terms };
    (step.sender(AUTHORITY), Action::RegisterNameServer(action))
}

pub fn certify_name_server(world: &World, step: Step) -> (u8, Action) {
    let key = state_key::name_server(account(AUTHORITY));
    let server: Option<record::NameServer> = world.get(&key);
    let action = CertifyNameServer {
        server: account(AUTHORITY),
        tls_key: server.map_or(Digest([9; 32]), |server| server.terms.tls_key),
        certificate: vec![2; 40],
        not_after_ms: not_after(world, step),
    };
    (step.sender(AUTHORITY), Action::CertifyNameServer(action))
}

pub fn publish_authority(_: &World, step: Step) -> (u8, Action) {
    let root = vec![step.b; usize::from(step.b % 8)];
    let action = PublishAuthority { root };
    (step.sender(AUTHORITY), Action::PublishAuthority(action))
}

pub fn publish_intermediate(world: &World, step: Step) -> (u8, Action) {
    let action = PublishIntermediate {
        domain: name(HELLO),
        certificate: vec![step.b; 1 + usize::from(step.b)],
        not_after_ms: not_after(world, step),
    };
    (step.sender(AUTHORITY), Action::PublishIntermediate(action))
}

pub fn open_account(world: &World, step: Step) -> (u8, Action) {
    let bound = step.b < 128;
    let action = AcmeAccountOpen {
        key: jwk(step.amount),
        binding: bound.then(|| binding(world, step.trader())),
    };
    (step.sender(AUTHORITY), Action::AcmeAccountOpen(action))
}

/// Accounts are found by the key with which they were opened.
fn account_of(world: &World, choice: u16) -> Digest {
    let id = |choice: u16| Digest::of(&[&jwk(choice)]);
    let exists = |choice: &u16| {
        let key = state_key::acme_account(id(*choice));
        world.state.contains_key(&key)
    };
    id((choice..choice + 24).find(exists).unwrap_or(choice))
}

pub fn change_account(world: &World, step: Step) -> (u8, Action) {
    let action = AcmeAccountChange {
        account: account_of(world, step.amount % 24),
        key: (step.b < 160).then(|| jwk(step.amount / 24)),
    };
    (step.sender(AUTHORITY), Action::AcmeAccountChange(action))
}

pub fn open_order(world: &World, step: Step) -> (u8, Action) {
    let mut nonce = [step.b; 32];
    nonce[0] = step.a;
    // The first account acts for the name's first owner.
    let choice = if step.b < 128 { 0 } else { step.amount % 24 };
    let names: &[&str] = match step.amount % 4 {
        0 => &["*.hello.internal", "hello.internal"],
        1 => &["www.hello.internal"],
        _ => &["hello.internal"],
    };
    let mut names: Vec<CertifiedName> = names.iter().map(|name| name.parse().unwrap()).collect();
    names.sort_unstable();
    let action = AcmeOrderOpen {
        account: account_of(world, choice),
        names,
        nonce,
    };
    (step.sender(AUTHORITY), Action::AcmeOrderOpen(action))
}

/// An order in a wanted status, or any.
fn order(world: &World, step: Step, wanted: impl Fn(AcmeOrderStatus) -> bool) -> Digest {
    let all: Vec<(Digest, AcmeOrderStatus)> = under(world, state_key::ACME_ORDERS)
        .filter_map(|(key, value)| {
            let id = key[state_key::ACME_ORDERS.len()..].try_into().ok()?;
            let order: record::AcmeOrder = record::decode(value).ok()?;
            Some((Digest(id), order.status))
        })
        .collect();
    // The latest entry is as good as any: ids are digests.
    let due: Vec<_> = all.iter().filter(|(_, status)| wanted(*status)).collect();
    match (due.len(), all.len()) {
        (0, 0) => Digest([step.b; 32]),
        (0, count) => all[usize::from(step.b) % count].0,
        (count, _) => due[usize::from(step.b) % count].0,
    }
}

pub fn validate(world: &World, step: Step) -> (u8, Action) {
    let order = order(world, step, |status| status == AcmeOrderStatus::Pending);
    let validation = match step.b % 6 {
        0 => Some(Validation::Owner),
        1 => Some(Validation::Dns01),
        2 => Some(Validation::Delegate),
        3 => Some(Validation::Http01([10, 0, 0, step.b % 2].into())),
        _ => None,
    };
    let name = u8::from(step.amount.is_multiple_of(16));
    let action = AcmeValidate {
        order,
        name,
        validation,
    };
    (step.sender(AUTHORITY), Action::AcmeValidate(action))
}

pub fn finalize(world: &World, step: Step) -> (u8, Action) {
    let order = order(world, step, |status| status == AcmeOrderStatus::Ready);
    let key = Digest([step.b; 32]);
    let action = AcmeFinalize { order, key };
    (step.sender(AUTHORITY), Action::AcmeFinalize(action))
}

pub fn issue(world: &World, step: Step) -> (u8, Action) {
    let is_due = |status| matches!(status, AcmeOrderStatus::Processing { .. });
    let action = AcmeIssue {
        order: order(world, step, is_due),
        serial: CertificateSerial([step.a; 16]),
        certificate: vec![1; 1 + usize::from(step.b)],
        not_after_ms: not_after(world, step),
    };
    (step.sender(AUTHORITY), Action::AcmeIssue(action))
}

pub fn revoke(world: &World, step: Step) -> (u8, Action) {
    let logged: Vec<_> = under(world, state_key::CERTIFICATE_LOG)
        .filter_map(|(key, _)| state_key::parse_logged_certificate(key))
        .collect();
    let none = (name(HELLO), CertificateSerial([step.b; 16]));
    let (domain, serial) = match logged.len() {
        0 => none,
        count => logged[usize::from(step.b) % count].clone(),
    };
    let action = RevokeCertificate {
        domain,
        serial,
        reason: (step.amount % 6) as u8,
    };
    (step.sender(AUTHORITY), Action::RevokeCertificate(action))
}
