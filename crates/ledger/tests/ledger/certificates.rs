//! Certificates: what an authority may record, what the ledger checks itself,
//! and what a change of owner revokes.

use wire::{limits::*, record::AcmeOrderStatus, *};

use crate::world::*;

/// An account's key in canonical form; the ledger reads nothing in it.
const JWK: &[u8] = br#"{"crv":"P-256","kty":"EC","x":"x","y":"y"}"#;

fn account_id() -> Digest {
    Digest::of(&[JWK])
}

fn binding(world: &World, owner: u8) -> OwnerBinding {
    binding_at(world, owner, World::time_ms(world.height))
}

fn binding_at(world: &World, owner: u8, time_ms: u64) -> OwnerBinding {
    let authority = account(AUTHORITY);
    let message = OwnerBinding::message(world.circle, authority, time_ms);
    OwnerBinding {
        owner: key(owner).public(),
        authority,
        time_ms,
        signature: key(owner).sign(OwnerBinding::PURPOSE, &message),
    }
}

fn open_account(world: &mut World, bound: Option<OwnerBinding>) -> Verdict {
    let action = AcmeAccountOpen {
        key: JWK.to_vec(),
        binding: bound,
    };
    world.send(AUTHORITY, Action::AcmeAccountOpen(action))
}

fn order_of(names: &[&str]) -> AcmeOrderOpen {
    AcmeOrderOpen {
        account: account_id(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        nonce: [9; 32],
    }
}

fn open_order(world: &mut World, names: &[&str]) -> Result<Digest, Reject> {
    let action = order_of(names);
    let id = action.id();
    world.send(AUTHORITY, Action::AcmeOrderOpen(action))?;
    Ok(id)
}

/// An order for `names` by an unbound account; `hello.internal` is the user's.
fn ordered(world: &mut World, names: &[&str]) -> Result<Digest, Reject> {
    world.register_name(USER, "hello.internal")?;
    open_account(world, None)?;
    open_order(world, names)
}

/// An order by an account that is bound to the user's key.
fn ordered_by_owner(world: &mut World) -> Result<Digest, Reject> {
    world.register_name(USER, "hello.internal")?;
    let bound = binding(world, USER);
    open_account(world, Some(bound))?;
    open_order(world, &["hello.internal"])
}

fn validate(world: &mut World, order: Digest, validation: Option<Validation>) -> Verdict {
    let name = 0;
    let action = AcmeValidate {
        order,
        name,
        validation,
    };
    world.send(AUTHORITY, Action::AcmeValidate(action))
}

fn finalize(world: &mut World, order: Digest) -> Verdict {
    let key = Digest([3; 32]);
    let action = AcmeFinalize { order, key };
    world.send(AUTHORITY, Action::AcmeFinalize(action))
}

fn issue_with(world: &mut World, order: Digest, change: impl FnOnce(&mut AcmeIssue)) -> Verdict {
    let mut action = AcmeIssue {
        order,
        serial: CertificateSerial([8; 16]),
        certificate: vec![1; 100],
        not_after_ms: World::time_ms(world.height) + 1_000_000,
    };
    change(&mut action);
    world.send(AUTHORITY, Action::AcmeIssue(action))
}

fn issued(world: &mut World) -> Result<Digest, Reject> {
    let order = ordered_by_owner(world)?;
    finalize(world, order)?;
    issue_with(world, order, |_| ())?;
    Ok(order)
}

fn set_of(owner: Option<&str>, rtype: u16, data: Vec<u8>) -> RecordSet {
    RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype,
        ttl: 60,
        data: vec![data],
    }
}

fn set(world: &mut World, owner: Option<&str>, rtype: u16, data: Vec<u8>) -> Verdict {
    set_all(world, vec![set_of(owner, rtype, data)])
}

fn set_all(world: &mut World, records: Vec<RecordSet>) -> Verdict {
    let name = name("hello.internal");
    world.send(USER, Action::NameSet(NameSet { name, records }))
}

/// Finalizes the owner's order for `names` beside CAA records: owner, flags,
/// tag, value.
fn with_caa(world: &mut World, names: &str, caa: &[(Option<&str>, u8, &str, &str)]) -> Verdict {
    world.register_name(USER, "hello.internal")?;
    let mut sets: Vec<RecordSet> = Vec::new();
    for &(owner, flags, tag, value) in caa {
        let data = [&[flags, tag.len() as u8], tag.as_bytes(), value.as_bytes()].concat();
        let one = set_of(owner, 257, data.clone());
        match sets.iter_mut().find(|set| set.owner == one.owner) {
            Some(set) => set.data.push(data),
            None => sets.push(one),
        }
    }
    set_all(world, sets)?;
    let bound = binding(world, USER);
    open_account(world, Some(bound))?;
    let order = open_order(world, &[names])?;
    finalize(world, order)
}

fn text_for(order: Digest) -> Vec<u8> {
    let authorization = acme_key_authorization(&acme_token(order, 0), account_id());
    let text = acme_dns_text(&authorization);
    let mut data = vec![text.len() as u8];
    data.extend_from_slice(text.as_bytes());
    data
}

fn revocation(reason: u8) -> Action {
    Action::RevokeCertificate(RevokeCertificate {
        domain: name("hello.internal"),
        serial: CertificateSerial([8; 16]),
        reason,
    })
}

fn logged(world: &World) -> record::LoggedCertificate {
    let key = state_key::logged_certificate(&name("hello.internal"), CertificateSerial([8; 16]));
    world.get(&key).unwrap()
}

fn status(world: &World, order: Digest) -> AcmeOrderStatus {
    let order: record::AcmeOrder = world.get(&state_key::acme_order(order)).unwrap();
    order.status
}

/// The key of the node that serves the subdomain `sub`.
const CHILD: u8 = 30;

/// `www` is an alias of a name of somebody else's, with an address.
fn aliased(world: &mut World) -> Verdict {
    world.register_name(STRANGER, "proxy.internal")?;
    let alias = b"\x05proxy\x08internal\x00".to_vec();
    set(world, Some("www"), 5, alias)?;
    let there = NameSet {
        name: name("proxy.internal"),
        records: vec![set_of(None, 1, vec![192, 0, 2, 7])],
    };
    world.send(STRANGER, Action::NameSet(there))
}

fn secure_child(world: &mut World, server: Option<u8>) -> Verdict {
    let action = NameSecure {
        name: name("hello.internal"),
        owner: Some("sub".parse().unwrap()),
        server: server.map(|seed| (key(seed).public(), None)),
    };
    world.send(USER, Action::NameSecure(action))
}

/// Hands `sub` to a name server beneath it.
fn delegate(world: &mut World, server: Option<u8>) -> Verdict {
    let at = b"\x02ns\x03sub\x05hello\x08internal\x00".to_vec();
    let action = NameSet {
        name: name("hello.internal"),
        records: vec![
            set_of(Some("sub"), 2, at),
            set_of(Some("ns.sub"), 1, vec![192, 0, 2, 9]),
        ],
    };
    world.send(USER, Action::NameSet(action))?;
    secure_child(world, server)
}

/// An order by an account that is bound to the child's key.
fn ordered_by_child(world: &mut World, names: &[&str]) -> Result<Digest, Reject> {
    world.register_name(USER, "hello.internal")?;
    delegate(world, Some(CHILD))?;
    let bound = binding(world, CHILD);
    open_account(world, Some(bound))?;
    open_order(world, names)
}

pub const CASES: &[Case] = &[
    ("publishes a root", Ok(()), |world| {
        let root = vec![1];
        world.send(
            AUTHORITY,
            Action::PublishAuthority(PublishAuthority { root }),
        )
    }),
    (
        "rejects a stranger's root",
        Err(Reject::NotAuthority),
        |world| {
            let root = vec![1];
            world.send(
                STRANGER,
                Action::PublishAuthority(PublishAuthority { root }),
            )
        },
    ),
    (
        "rejects an intermediate for no name",
        Err(Reject::NameNotFound),
        |world| {
            let action = PublishIntermediate {
                domain: name("hello.internal"),
                certificate: vec![1],
                not_after_ms: u64::MAX,
            };
            world.send(AUTHORITY, Action::PublishIntermediate(action))
        },
    ),
    (
        "rejects a stranger's account",
        Err(Reject::NotAuthority),
        |world| {
            let action = AcmeAccountOpen {
                key: JWK.to_vec(),
                binding: None,
            };
            world.send(STRANGER, Action::AcmeAccountOpen(action))
        },
    ),
    (
        "rejects a second account with one key",
        Err(Reject::AcmeAccountExists),
        |world| {
            open_account(world, None)?;
            open_account(world, None)
        },
    ),
    (
        "rejects a binding that its owner did not sign",
        Err(Reject::AcmeBindingInvalid),
        |world| {
            let mut bound = binding(world, STRANGER);
            bound.owner = key(USER).public();
            open_account(world, Some(bound))
        },
    ),
    (
        "rejects a binding that was used",
        Err(Reject::AcmeBindingInvalid),
        |world| {
            let bound = binding(world, USER);
            open_account(world, Some(bound))?;
            let action = AcmeAccountOpen {
                key: b"another key".to_vec(),
                binding: Some(bound),
            };
            world.send(AUTHORITY, Action::AcmeAccountOpen(action))
        },
    ),
    (
        "rejects a binding that is over a day old",
        Err(Reject::AcmeBindingInvalid),
        |world| {
            let bound = binding(world, USER);
            world.height = world.height.plus(BINDING_LIFE_MS / 250 + 8);
            open_account(world, Some(bound))
        },
    ),
    (
        "rejects http-01 at the address of a replica's host",
        Err(Reject::AcmeNotProven),
        |world| {
            world.register_name(USER, "hello.internal")?;
            open_account(world, None)?;
            let mut terms = request_terms();
            terms.name = Some(name("hello.internal"));
            world.post_offer(PROVIDER, offer_terms());
            let request = world.post_request(terms);
            world.start(world.live(request, 0));
            let record: record::Name = world
                .get(&state_key::name(&name("hello.internal")))
                .unwrap();
            let host = record.endpoints[0].endpoint.addresses[0];
            let order = open_order(world, &["hello.internal"])?;
            validate(world, order, Some(Validation::Http01(host)))
        },
    ),
    (
        "rejects an order of no account",
        Err(Reject::AcmeAccountNotFound),
        |world| open_order(world, &["hello.internal"]).map(drop),
    ),
    (
        "rejects an order for a name nobody registered",
        Err(Reject::AcmeNamesRefused),
        |world| ordered(world, &["other.internal"]).map(drop),
    ),
    (
        "rejects an order over two registered names",
        Err(Reject::AcmeNamesRefused),
        |world| {
            world.register_name(STRANGER, "other.internal")?;
            ordered(world, &["hello.internal", "other.internal"]).map(drop)
        },
    ),
    (
        "rejects an order for an apex",
        Err(Reject::AcmeNamesRefused),
        |world| ordered(world, &["internal"]).map(drop),
    ),
    (
        "rejects finalizing an order that is not validated",
        Err(Reject::AcmeOrderState),
        |world| {
            let order = ordered(world, &["hello.internal"])?;
            finalize(world, order)
        },
    ),
    (
        "rejects an order that is not there",
        Err(Reject::AcmeOrderNotFound),
        |world| finalize(world, Digest([1; 32])),
    ),
    (
        "rejects an owner's validation of an unbound account",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["hello.internal"])?;
            validate(world, order, Some(Validation::Owner))
        },
    ),
    (
        "rejects dns-01 without the record",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["hello.internal"])?;
            validate(world, order, Some(Validation::Dns01))
        },
    ),
    ("accepts dns-01 with the record", Ok(()), |world| {
        let order = ordered(world, &["hello.internal"])?;
        set(world, Some("_acme-challenge"), 16, text_for(order))?;
        validate(world, order, Some(Validation::Dns01))
    }),
    ("accepts dns-01 for a wildcard beneath", Ok(()), |world| {
        let order = ordered(world, &["*.www.hello.internal"])?;
        set(world, Some("_acme-challenge.www"), 16, text_for(order))?;
        validate(world, order, Some(Validation::Dns01))
    }),
    ("accepts dns-01 where an alias leads", Ok(()), |world| {
        let order = ordered(world, &["*.www.hello.internal"])?;
        world.register_name(STRANGER, "proofs.internal")?;
        let alias = b"\x04Acme\x06proofs\x08internal\x00".to_vec();
        set(world, Some("_acme-challenge.www"), 5, alias)?;
        let there = set_of(Some("*"), 16, text_for(order));
        world.send(
            STRANGER,
            Action::NameSet(NameSet {
                name: name("proofs.internal"),
                records: vec![there],
            }),
        )?;
        validate(world, order, Some(Validation::Dns01))
    }),
    (
        "rejects dns-01 by a wildcard above a name that exists",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["www.hello.internal"])?;
            set(world, Some("*"), 16, text_for(order))?;
            set(world, Some("www"), 1, vec![192, 0, 2, 1])?;
            validate(world, order, Some(Validation::Dns01))
        },
    ),
    (
        "rejects dns-01 where aliases lead in a circle",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["hello.internal"])?;
            let itself = b"\x0f_acme-challenge\x05hello\x08internal\x00".to_vec();
            set(world, Some("_acme-challenge"), 5, itself)?;
            validate(world, order, Some(Validation::Dns01))
        },
    ),
    (
        "rejects a name whose CAA names another authority",
        Err(Reject::CertificateForbidden),
        |world| with_caa(world, "hello.internal", &[(None, 0, "issue", "ca.example")]),
    ),
    (
        "rejects a name whose CAA lets nobody issue",
        Err(Reject::CertificateForbidden),
        |world| with_caa(world, "hello.internal", &[(None, 0, "issue", ";")]),
    ),
    ("accepts a name whose CAA names the apex", Ok(()), |world| {
        let several = [
            (None, 0, "issue", "ca.example"),
            (
                None,
                0,
                "Issue",
                " Internal ; validationmethods=dns-01,ca-owner-key; x=y",
            ),
        ];
        with_caa(world, "hello.internal", &several)
    }),
    (
        "rejects a validation that the CAA does not name",
        Err(Reject::CertificateForbidden),
        |world| {
            let only = (None, 0, "issue", "internal; validationmethods=dns-01");
            with_caa(world, "hello.internal", &[only])
        },
    ),
    (
        "rejects a critical property that nobody here knows",
        Err(Reject::CertificateForbidden),
        |world| with_caa(world, "hello.internal", &[(None, 128, "future", "x")]),
    ),
    (
        "accepts an unknown property that is not critical",
        Ok(()),
        |world| with_caa(world, "hello.internal", &[(None, 0, "future", "x")]),
    ),
    (
        "rejects a wildcard that issuewild keeps to another",
        Err(Reject::CertificateForbidden),
        |world| {
            let both = [
                (None, 0, "issue", "internal"),
                (None, 0, "issuewild", "ca.example"),
            ];
            with_caa(world, "*.hello.internal", &both)
        },
    ),
    (
        "rejects beneath a name whose CAA names another authority",
        Err(Reject::CertificateForbidden),
        |world| {
            let above = (Some("b"), 0, "issue", "ca.example");
            with_caa(world, "a.b.hello.internal", &[above])
        },
    ),
    ("accepts by the closest CAA alone", Ok(()), |world| {
        let both = [
            (None, 0, "issue", "ca.example"),
            (Some("b"), 0, "issue", "internal"),
        ];
        with_caa(world, "a.b.hello.internal", &both)
    }),
    (
        "rejects http-01 at an address that is not the name's",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["hello.internal"])?;
            set(world, None, 1, vec![192, 0, 2, 1])?;
            let elsewhere = Validation::Http01([192, 0, 2, 2].into());
            validate(world, order, Some(elsewhere))
        },
    ),
    ("accepts http-01 at the name's address", Ok(()), |world| {
        let order = ordered(world, &["hello.internal"])?;
        set(world, None, 1, vec![192, 0, 2, 1])?;
        validate(
            world,
            order,
            Some(Validation::Http01([192, 0, 2, 1].into())),
        )
    }),
    ("accepts http-01 where an alias leads", Ok(()), |world| {
        let order = ordered(world, &["www.hello.internal"])?;
        aliased(world)?;
        let there = Validation::Http01([192, 0, 2, 7].into());
        validate(world, order, Some(there))
    }),
    (
        "accepts tls-alpn-01 where an alias leads",
        Ok(()),
        |world| {
            let order = ordered(world, &["www.hello.internal"])?;
            aliased(world)?;
            let there = Validation::TlsAlpn01([192, 0, 2, 7].into());
            validate(world, order, Some(there))
        },
    ),
    (
        "rejects http-01 where an alias leads out of the circle",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["www.hello.internal"])?;
            set(world, Some("www"), 5, b"\x07example\x03com\x00".to_vec())?;
            let there = Validation::Http01([192, 0, 2, 7].into());
            validate(world, order, Some(there))
        },
    ),
    (
        "rejects http-01 at the glue of a delegated subdomain",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["ns.sub.hello.internal"])?;
            delegate(world, Some(CHILD))?;
            let glue = Validation::Http01([192, 0, 2, 9].into());
            validate(world, order, Some(glue))
        },
    ),
    (
        "accepts names of a delegated subdomain by its server's key",
        Ok(()),
        |world| {
            let order = ordered_by_child(world, &["a.sub.hello.internal", "*.sub.hello.internal"])?;
            finalize(world, order)?;
            issue_with(world, order, |_| ())
        },
    ),
    (
        "rejects by the key of a subdomain a name above it",
        Err(Reject::AcmeOrderState),
        |world| {
            let names = ["a.sub.hello.internal", "hello.internal"];
            let order = ordered_by_child(world, &names)?;
            finalize(world, order)
        },
    ),
    (
        "rejects by the key of a subdomain its neighbour",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered_by_child(world, &["xsub.hello.internal"])?;
            validate(world, order, Some(Validation::Delegate))
        },
    ),
    (
        "rejects a delegate's certificate once its key is another",
        Err(Reject::NotOwner),
        |world| {
            let order = ordered_by_child(world, &["sub.hello.internal"])?;
            finalize(world, order)?;
            secure_child(world, Some(STRANGER))?;
            issue_with(world, order, |_| ())
        },
    ),
    (
        "rejects a delegate's certificate once the delegation is gone",
        Err(Reject::NotOwner),
        |world| {
            let order = ordered_by_child(world, &["sub.hello.internal"])?;
            let removed = |owner: &str, rtype| RecordSet {
                owner: Some(owner.parse().unwrap()),
                rtype,
                ttl: 60,
                data: Vec::new(),
            };
            let action = NameSet {
                name: name("hello.internal"),
                records: vec![removed("sub", 2), removed("ns.sub", 1)],
            };
            world.send(USER, Action::NameSet(action))?;
            finalize(world, order)
        },
    ),
    (
        "rejects a delegate whose parent forbids its authority",
        Err(Reject::CertificateForbidden),
        |world| {
            let order = ordered_by_child(world, &["sub.hello.internal"])?;
            let only = b"\x00\x05issueinternal; validationmethods=dns-01".to_vec();
            set(world, None, 257, only)?;
            finalize(world, order)
        },
    ),
    (
        "rejects http-01 for a wildcard",
        Err(Reject::AcmeNotProven),
        |world| {
            let order = ordered(world, &["*.hello.internal"])?;
            set(world, None, 1, vec![192, 0, 2, 1])?;
            validate(
                world,
                order,
                Some(Validation::Http01([192, 0, 2, 1].into())),
            )
        },
    ),
    (
        "rejects a certificate once the name has another owner",
        Err(Reject::NotOwner),
        |world| {
            let order = ordered_by_owner(world)?;
            finalize(world, order)?;
            let action = NameTransfer {
                name: name("hello.internal"),
                to: key(STRANGER).public(),
            };
            world.send(USER, Action::NameTransfer(action))?;
            issue_with(world, order, |_| ())
        },
    ),
    (
        "rejects a certificate that lives too long",
        Err(Reject::CertificateMalformed),
        |world| {
            let order = ordered_by_owner(world)?;
            finalize(world, order)?;
            issue_with(world, order, |action| action.not_after_ms = u64::MAX)
        },
    ),
    (
        "rejects a second certificate for one order",
        Err(Reject::AcmeOrderState),
        |world| {
            let order = issued(world)?;
            issue_with(world, order, |action| {
                action.serial = CertificateSerial([7; 16]);
            })
        },
    ),
    (
        "rejects more certificates than a name may have",
        Err(Reject::CertificateLimit),
        |world| {
            let order = ordered_by_owner(world)?;
            finalize(world, order)?;
            // As if so many had been logged: the count is what is looked at.
            let key = state_key::certificate_count(&name("hello.internal"));
            let full = record::encode(&MAX_CERTIFICATES_PER_NAME);
            world.state.insert(key, full);
            issue_with(world, order, |_| ())
        },
    ),
    ("an owner revokes", Ok(()), |world| {
        issued(world)?;
        world.send(USER, revocation(1))
    }),
    (
        "rejects a stranger's revocation",
        Err(Reject::NotOwner),
        |world| {
            issued(world)?;
            world.send(STRANGER, revocation(1))
        },
    ),
    (
        "rejects a second revocation",
        Err(Reject::CertificateNotFound),
        |world| {
            issued(world)?;
            world.send(USER, revocation(1))?;
            world.send(AUTHORITY, revocation(4))
        },
    ),
    (
        "rejects a revocation for a reason that is none",
        Err(Reject::CertificateMalformed),
        |world| {
            issued(world)?;
            world.send(USER, revocation(6))
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn an_owners_order_is_ready_at_once_and_ends_in_the_log() {
    let mut world = World::new();
    let order = ordered_by_owner(&mut world).unwrap();
    assert_eq!(status(&world, order), AcmeOrderStatus::Ready);
    finalize(&mut world, order).unwrap();
    let grant: record::Grant = world.get(&state_key::grant(&order.0)).unwrap();
    assert_eq!(grant.owner, key(USER).public());
    assert_eq!(grant.key, Digest([3; 32]));
    issue_with(&mut world, order, |_| ()).unwrap();
    assert!(matches!(
        status(&world, order),
        AcmeOrderStatus::Valid { .. }
    ));
    assert_eq!(logged(&world).names, order_of(&["hello.internal"]).names);
}

#[test]
fn another_owners_binding_is_worth_nothing() {
    let mut world = World::new();
    world.register_name(USER, "hello.internal").unwrap();
    let bound = binding(&world, STRANGER);
    open_account(&mut world, Some(bound)).unwrap();
    let order = open_order(&mut world, &["hello.internal"]).unwrap();
    assert_eq!(status(&world, order), AcmeOrderStatus::Pending);
}

#[test]
fn a_failed_challenge_ends_the_order() {
    let mut world = World::new();
    let order = ordered(&mut world, &["hello.internal"]).unwrap();
    validate(&mut world, order, None).unwrap();
    assert_eq!(status(&world, order), AcmeOrderStatus::Invalid { name: 0 });
    assert_eq!(
        validate(&mut world, order, Some(Validation::Dns01)),
        Err(Reject::AcmeOrderState)
    );
}

#[test]
fn a_name_that_changes_hands_or_is_given_up_loses_its_certificates() {
    let transfer = Action::NameTransfer(NameTransfer {
        name: name("hello.internal"),
        to: key(STRANGER).public(),
    });
    let cancel = Action::NameCancel(NameCancel {
        name: name("hello.internal"),
    });
    for (action, reason) in [(transfer, 3), (cancel, 5)] {
        let mut world = World::new();
        issued(&mut world).unwrap();
        assert_eq!(logged(&world).revoked, None);
        world.send(USER, action).unwrap();
        let revoked = logged(&world).revoked.unwrap();
        assert_eq!(revoked.reason, reason);
        assert_eq!(revoked.time_ms, World::time_ms(world.height));
    }
}

#[test]
fn what_expired_is_forgotten_and_counts_no_more() {
    let mut world = World::new();
    let order = ordered_by_owner(&mut world).unwrap();
    finalize(&mut world, order).unwrap();
    let soon = World::time_ms(world.height) + 1_000;
    issue_with(&mut world, order, |action| action.not_after_ms = soon).unwrap();
    world.idle(5);
    let prefix = state_key::certificate_log(&name("hello.internal"));
    assert!(!world.state.keys().any(|key| key.starts_with(&prefix)));
    let count = state_key::certificate_count(&name("hello.internal"));
    assert!(!world.state.contains_key(&count));
    // The order stands until its own time is over.
    world.height = Height(world.height.0 + ORDER_LIFE_MS / 250);
    world.idle(2);
    assert!(!world.state.contains_key(&state_key::acme_order(order)));
    assert!(!world.state.contains_key(&state_key::grant(&order.0)));
    let account: record::AcmeAccount = world.get(&state_key::acme_account(account_id())).unwrap();
    assert_eq!(account.orders, 0);
}

#[test]
fn an_account_keeps_its_id_when_its_key_changes_and_dies_for_good() {
    let mut world = World::new();
    open_account(&mut world, None).unwrap();
    let change = |key: Option<Vec<u8>>| {
        Action::AcmeAccountChange(AcmeAccountChange {
            account: account_id(),
            key,
        })
    };
    world
        .send(AUTHORITY, change(Some(b"new".to_vec())))
        .unwrap();
    let found: Digest = world
        .get(&state_key::acme_key(Digest::of(&[b"new"])))
        .unwrap();
    assert_eq!(found, account_id());
    // The former key opens nothing: its id is taken.
    assert_eq!(
        open_account(&mut world, None),
        Err(Reject::AcmeAccountExists)
    );
    world.send(AUTHORITY, change(None)).unwrap();
    assert_eq!(
        world.send(AUTHORITY, change(Some(b"later".to_vec()))),
        Err(Reject::AcmeAccountNotFound)
    );
}
