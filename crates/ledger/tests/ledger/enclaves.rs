//! Enclaves: registration under the circle's and the request's policies,
//! certificates, and the names they are for.

use attest::development::{QuotingKey, certify};
use wire::{record::Stage, *};

use crate::world::*;

fn register(world: &mut World, change: impl FnOnce(&World, &mut RegisterEnclave)) -> Verdict {
    let (_, contract) = world.matched(request_terms());
    let mut action = world.registration(contract);
    change(world, &mut action);
    world.send(PROVIDER, Action::RegisterEnclave(action))
}

fn issue(world: &mut World, actor: u8, contract: ContractId, bytes: usize) -> Verdict {
    let action = IssueCertificate {
        contract,
        serial: CertificateSerial([world.height.0 as u8; 16]),
        certificate: vec![1; bytes],
        not_after_ms: World::time_ms(world.height) + 1_000_000,
    };
    world.send(actor, Action::IssueCertificate(action))
}

fn named_terms() -> RequestTerms {
    RequestTerms {
        name: Some(name("hello.internal")),
        ..request_terms()
    }
}

/// A contract of a request with a name, with its enclave registered.
fn named(world: &mut World) -> ContractId {
    world.register_name(USER, "hello.internal").unwrap();
    let (_, contract) = world.matched(named_terms());
    world.register_enclave(contract).unwrap();
    contract
}

pub const CASES: &[Case] = &[
    ("registers an enclave", Ok(()), |world| {
        register(world, |_, _| ())
    }),
    (
        "rejects a registration for no contract",
        Err(Reject::ContractNotFound),
        |world| register(world, |_, action| action.contract = ContractId([1; 32])),
    ),
    (
        "rejects another provider's enclave",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.matched(request_terms());
            let action = world.registration(contract);
            world.send(OTHER_PROVIDER, Action::RegisterEnclave(action))
        },
    ),
    (
        "rejects a second enclave",
        Err(Reject::WrongStage),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            world.register_enclave(contract)
        },
    ),
    (
        "rejects a zero agreement key",
        Err(Reject::KeysMalformed),
        |world| register(world, |_, action| action.keys.agreement = [0; 32]),
    ),
    (
        "rejects a TLS key without a name",
        Err(Reject::KeysMalformed),
        |world| register(world, |_, action| action.keys.tls_key = Digest([1; 32])),
    ),
    (
        "rejects a name without a TLS key",
        Err(Reject::KeysMalformed),
        |world| {
            world.register_name(USER, "hello.internal")?;
            let (_, contract) = world.matched(named_terms());
            let mut action = world.registration(contract);
            action.keys.tls_key = Digest([0; 32]);
            world.send(PROVIDER, Action::RegisterEnclave(action))
        },
    ),
    (
        "rejects evidence that was changed",
        Err(Reject::EvidenceMalformed),
        |world| {
            register(world, |_, action| {
                *action.evidence.bytes.last_mut().unwrap() ^= 1
            })
        },
    ),
    (
        "rejects evidence over its limit",
        Err(Reject::EvidenceMalformed),
        |world| {
            register(world, |_, action| {
                action.evidence.bytes = vec![0; limits::MAX_EVIDENCE_BYTES + 1];
            })
        },
    ),
    (
        "rejects development evidence under another kind's name",
        Err(Reject::EvidenceMalformed),
        |world| {
            register(world, |_, action| {
                action.evidence.kind = EvidenceKind::TdxDcap
            })
        },
    ),
    (
        "rejects evidence under another root",
        Err(Reject::EvidenceMalformed),
        |world| {
            register(world, |world, action| {
                let quoting = key(21);
                let certificate = certify(&key(99), quoting.public(), None, "forger").unwrap();
                let forged = QuotingKey::new(quoting, certificate).unwrap();
                let request = world.request(world.contract(action.contract).request);
                let agreement = request.terms.agreement_key;
                let report_data =
                    action
                        .keys
                        .report_data(world.circle, action.contract, &agreement);
                action.evidence = forged.quote(CODE, report_data, [9; 32]);
            })
        },
    ),
    (
        "rejects code that the circle does not admit",
        Err(Reject::EvidenceNotAdmitted),
        |world| {
            register(world, |world, action| {
                let request = world.request(world.contract(action.contract).request);
                let agreement = request.terms.agreement_key;
                let report_data =
                    action
                        .keys
                        .report_data(world.circle, action.contract, &agreement);
                action.evidence = quoting_key().quote(Measurement([1; 32]), report_data, [9; 32]);
            })
        },
    ),
    (
        "rejects other code than the offer's",
        Err(Reject::EvidenceNotAccepted),
        |world| {
            let other = Measurement([0xc1; 32]);
            *world = World::founded_on(&genesis(|genesis| {
                genesis.reference_values.push(ReferenceValue {
                    measurement: other,
                    kind: EvidenceKind::Development,
                });
            }));
            register(world, |world, action| {
                let request = world.request(world.contract(action.contract).request);
                let agreement = request.terms.agreement_key;
                let report_data =
                    action
                        .keys
                        .report_data(world.circle, action.contract, &agreement);
                action.evidence = quoting_key().quote(other, report_data, [9; 32]);
            })
        },
    ),
    (
        "rejects evidence for other keys",
        Err(Reject::ReportDataMismatch),
        |world| register(world, |_, action| action.keys.agreement = [6; 32]),
    ),
    (
        "rejects evidence for another contract",
        Err(Reject::ReportDataMismatch),
        |world| {
            let mut terms = request_terms();
            terms.replicas = 2;
            let (request, first) = world.matched(terms);
            let mut action = world.registration(world.live(request, 1));
            action.contract = first;
            world.send(PROVIDER, Action::RegisterEnclave(action))
        },
    ),
    ("records a certificate and its renewal", Ok(()), |world| {
        let contract = named(world);
        issue(world, AUTHORITY, contract, 100)?;
        issue(world, AUTHORITY, contract, 101)
    }),
    (
        "rejects a certificate of a stranger's",
        Err(Reject::NotAuthority),
        |world| {
            let contract = named(world);
            issue(world, STRANGER, contract, 100)
        },
    ),
    (
        "rejects a certificate without a name",
        Err(Reject::CertificateNotWanted),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            issue(world, AUTHORITY, contract, 100)
        },
    ),
    (
        "rejects a certificate before the enclave",
        Err(Reject::CertificateNotWanted),
        |world| {
            world.register_name(USER, "hello.internal")?;
            let (_, contract) = world.matched(named_terms());
            issue(world, AUTHORITY, contract, 100)
        },
    ),
    (
        "rejects a certificate once the name is gone",
        Err(Reject::CertificateNotWanted),
        |world| {
            let contract = named(world);
            let action = NameCancel {
                name: name("hello.internal"),
            };
            world.send(USER, Action::NameCancel(action))?;
            issue(world, AUTHORITY, contract, 100)
        },
    ),
    (
        "rejects a certificate of an ended contract",
        Err(Reject::ContractEnded),
        |world| {
            let contract = named(world);
            let action = EndContract {
                contract,
                reason: EndReason::ProviderWithdrew,
            };
            world.send(PROVIDER, Action::EndContract(action))?;
            issue(world, AUTHORITY, contract, 100)
        },
    ),
    (
        "rejects an empty certificate",
        Err(Reject::CertificateMalformed),
        |world| {
            let contract = named(world);
            issue(world, AUTHORITY, contract, 0)
        },
    ),
    (
        "rejects a certificate over its limit",
        Err(Reject::CertificateMalformed),
        |world| {
            let contract = named(world);
            issue(
                world,
                AUTHORITY,
                contract,
                limits::MAX_CERTIFICATE_BYTES + 1,
            )
        },
    ),
    (
        "rejects a certificate that has expired",
        Err(Reject::CertificateMalformed),
        |world| {
            let contract = named(world);
            let action = IssueCertificate {
                contract,
                serial: CertificateSerial([1; 16]),
                certificate: vec![1; 10],
                not_after_ms: World::time_ms(world.height.plus(1)),
            };
            world.send(AUTHORITY, Action::IssueCertificate(action))
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn registration_records_what_the_ledger_concluded() {
    let mut world = World::new();
    let (_, contract) = world.matched(request_terms());
    world.register_enclave(contract).unwrap();
    let enclave: record::Enclave = world.get(&state_key::enclave(contract)).unwrap();
    assert_eq!(enclave.result.measurement, CODE);
    assert!(!enclave.result.protects_from_host);
    assert_eq!(world.contract(contract).stage, Stage::AwaitingChallenge);
    assert!(
        !world
            .state
            .contains_key(&state_key::certificate_wanted(contract))
    );
}

#[test]
fn a_certificate_is_wanted_until_it_is_recorded() {
    let mut world = World::new();
    let contract = named(&mut world);
    let wanted = state_key::certificate_wanted(contract);
    assert!(world.state.contains_key(&wanted));
    issue(&mut world, AUTHORITY, contract, 100).unwrap();
    assert!(!world.state.contains_key(&wanted));
    let certificate: record::Certificate = world.get(&state_key::certificate(contract)).unwrap();
    assert_eq!(certificate.name, name("hello.internal"));
}

#[test]
fn a_rotated_key_keeps_the_certificates_of_enclaves_and_another_owner_does_not() {
    let rotated = |world: &World| {
        let name = name("hello.internal");
        let registered_at = world.name("hello.internal").registered_at;
        let owner = key(USER).public();
        let message = NameRotate::message(world.circle, &name, registered_at, &owner);
        Action::NameRotate(NameRotate {
            name,
            to: key(STRANGER).public(),
            consent: AnySignature::Plain(key(STRANGER).sign(NameRotate::PURPOSE, &message)),
        })
    };
    let transferred = |_: &World| {
        Action::NameTransfer(NameTransfer {
            name: name("hello.internal"),
            to: key(STRANGER).public(),
        })
    };
    type Change<'a> = (&'a dyn Fn(&World) -> Action, bool);
    let changes: [Change<'_>; 2] = [(&rotated, false), (&transferred, true)];
    for (change, revokes) in changes {
        let mut world = World::new();
        let contract = named(&mut world);
        issue(&mut world, AUTHORITY, contract, 100).unwrap();
        let change = change(&world);
        world.send(USER, change).unwrap();
        let prefix = state_key::certificate_log(&name("hello.internal"));
        let logged: Vec<record::LoggedCertificate> = world
            .state
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, value)| record::decode(value).unwrap())
            .collect();
        assert_eq!(logged.len(), 1);
        assert_eq!(logged[0].revoked.is_some(), revokes);
    }
}

#[test]
fn a_grant_lasts_as_long_as_its_contract() {
    let mut world = World::new();
    let contract = named(&mut world);
    let grant: record::Grant = world.get(&state_key::grant(&contract.0)).unwrap();
    assert_eq!(grant.key, Digest([7; 32]));
    assert_eq!(grant.owner, key(USER).public());
    let request = world.contract(contract).request;
    world
        .send(USER, Action::CloseRequest(CloseRequest { request }))
        .unwrap();
    assert!(!world.state.contains_key(&state_key::grant(&contract.0)));
}

#[test]
fn a_names_endpoints_follow_its_running_replicas() {
    let mut world = World::new();
    let contract = named(&mut world);
    assert!(world.name("hello.internal").endpoints.is_empty());
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    let record = world.name("hello.internal");
    assert_eq!(record.endpoints.len(), 1);
    assert_eq!(record.endpoints[0].contract, contract);
    assert_eq!(record.endpoints[0].tls_key, Digest([7; 32]));
    assert_eq!(record.changed_at, world.height);
    let request = world.contract(contract).request;
    let operation = Operation::Stop;
    world
        .send(USER, Action::Operate(Operate { request, operation }))
        .unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    assert!(world.name("hello.internal").endpoints.is_empty());
}

#[test]
fn endpoints_do_not_follow_a_name_to_its_new_owner() {
    let mut world = World::new();
    let contract = named(&mut world);
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    let action = NameTransfer {
        name: name("hello.internal"),
        to: key(STRANGER).public(),
    };
    world.send(USER, Action::NameTransfer(action)).unwrap();
    assert!(world.name("hello.internal").endpoints.is_empty());
    // The replica runs on, without the name.
    world.idle(1);
    world.beat(contract).unwrap();
    assert!(
        !world
            .state
            .contains_key(&state_key::certificate_wanted(contract))
    );
}

#[test]
fn a_production_circle_has_no_place_for_development_evidence() {
    let genesis = genesis(|genesis| {
        genesis.kind = CircleKind::Production;
        genesis.development_roots.clear();
        genesis.reference_values[0].kind = EvidenceKind::SevSnp;
    });
    let mut world = World::founded_on(&genesis);
    let terms = offer_terms();
    assert_eq!(
        world.send(PROVIDER, Action::PostOffer(PostOffer { terms })),
        Err(Reject::EvidenceNotAdmitted)
    );
    let mut terms = offer_terms();
    terms.evidence = vec![EvidenceKind::SevSnp];
    world.post_offer(PROVIDER, terms);
    let mut terms = request_terms();
    terms.evidence = vec![EvidenceKind::Development, EvidenceKind::SevSnp];
    let request = world.post_request(terms);
    let contract = world.live(request, 0);
    assert_eq!(
        world.register_enclave(contract),
        Err(Reject::EvidenceMalformed)
    );
}
