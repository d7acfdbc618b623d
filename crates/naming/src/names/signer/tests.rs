//! Claims about signing: what is signed, that nothing else is signed again,
//! and how keys follow one another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use domain::base::{CanonicalOrd as _, Rtype};
use domain::rdata::ZoneRecordData;
use proptest::prelude::*;
use wire::{DomainName, Height, SetZone, ZoneServer, record};

use super::{
    keys::{FileKeys, KeySource as _, Phase, Role},
    roll::{self, Surroundings},
    sign::{REFRESH_SECONDS, VALIDITY_SECONDS},
    signing::Signing,
};
use crate::{
    held::{HolderFailed, KeyHolder},
    names::{
        answer::zone_with_everything,
        dnssec::{self, SignatureError},
        zone::{Change, Label, Zone, ZoneSettings, serial},
    },
};

const NOW: u64 = 1_800_000_000;

fn apex() -> DomainName {
    "internal".parse().unwrap()
}

struct World {
    directory: tempfile::TempDir,
    signing: Signing<FileKeys>,
    /// A name server's image, signed by what the signer sent.
    edge: Zone,
    height: Height,
    now: u64,
    on_ledger: record::Zone,
    /// RRsets signed in the last step.
    signed: usize,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut keys = FileKeys::open(&directory.path().join("zone-keys.json")).unwrap();
        roll::begin(&mut keys, &apex(), NOW).unwrap();
        keys.save().unwrap();
        let on_ledger = zone_record(&keys);
        let zone = Zone::new(&[apex()], ZoneSettings::default());
        let mut world = Self {
            directory,
            signing: Signing::new(keys, zone.clone()),
            edge: zone,
            height: Height(0),
            now: NOW,
            on_ledger,
            signed: 0,
        };
        world.publish_keys();
        world
    }

    fn step(&mut self, changes: &[(DomainName, Option<record::Name>)]) {
        let changes: Vec<_> = changes
            .iter()
            .map(|(name, record)| Change::Name(name, record.as_ref()))
            .collect();
        self.step_with(&changes);
    }

    fn step_with(&mut self, changes: &[Change<'_>]) {
        self.height = self.height.plus(1);
        let made = self
            .signing
            .step(self.height, 0, self.now, changes.iter().copied())
            .unwrap();
        let (mut edge, touched) = self.edge.advance(self.height, 0, changes.iter().copied());
        self.signed = 0;
        for zone in &made {
            let apex = &mut edge.apexes_mut()[0];
            apex.set_serial(serial(self.height));
            dnssec::attach(apex, &zone.labels).unwrap();
            self.signed += zone
                .labels
                .iter()
                .map(|label| label.sets.len())
                .sum::<usize>();
        }
        for (index, labels) in touched {
            dnssec::check_whole(&edge.apexes()[index], &labels).unwrap();
        }
        self.edge = edge;
    }

    fn publish_keys(&mut self) {
        self.on_ledger = zone_record(self.signing.keys());
        let record = self.on_ledger.clone();
        self.step_with(&[Change::Zone(&apex(), Some(&record))]);
    }

    /// Everything is signed, under keys that count and for a while yet, and
    /// the name server holds the same.
    fn check(&self) {
        for zone in [self.signing.zone(), &self.edge] {
            let apex = &zone.apexes()[0];
            let labels: Vec<Label> = apex.labels_with_own().collect();
            dnssec::check_whole(apex, &labels).unwrap();
            check_chain(zone);
        }
        let texts = |zone: &Zone| -> Vec<String> {
            let records = zone.apexes()[0].records();
            records
                .map(|(owner, set)| format!("{owner} {set:?}"))
                .collect()
        };
        assert_eq!(texts(self.signing.zone()), texts(&self.edge));
    }

    /// Lets `seconds` pass, a step for each of `steps`, and rolls.
    fn pass(&mut self, seconds: u64, steps: u64) {
        for _ in 0..steps {
            self.now += seconds / steps;
            let mut keys = self.reopened();
            let in_use = self.signing.in_use(&apex()).cloned().unwrap_or_default();
            let around = Surroundings {
                now: self.now,
                on_ledger: Some(&self.on_ledger),
                in_use: &in_use,
            };
            let apex = apex();
            let stepped = roll::advance(&mut keys, &apex, around);
            self.take(keys);
            // The signer goes on under the former keys until the ledger shows the new.
            self.step(&[]);
            if stepped {
                self.publish_keys();
            }
            self.check();
        }
    }

    fn reopened(&self) -> FileKeys {
        FileKeys::open(&self.directory.path().join("zone-keys.json")).unwrap()
    }

    fn take(&mut self, mut keys: FileKeys) {
        keys.save().unwrap();
        self.signing.set_keys(keys);
    }

    fn phases(&self, role: Role) -> Vec<Phase> {
        let apex = apex();
        let of_role = self
            .signing
            .keys()
            .of(&apex)
            .filter(|(_, key)| key.role == role);
        of_role.map(|(_, key)| key.phase).collect()
    }
}

fn zone_record(keys: &FileKeys) -> record::Zone {
    record::Zone {
        zone: SetZone {
            apex: apex(),
            keys: keys.public(&apex()),
            servers: vec![ZoneServer {
                label: "ns".parse().unwrap(),
                addresses: vec![[192, 0, 2, 53].into()],
            }],
            apex_ttl: 300,
            negative_ttl: 5,
            endpoint_ttl: 5,
        },
        signer: wire::AccountId([1; 32]),
        changed_at: Height(1),
    }
}

fn name(text: &str, records: Vec<wire::RecordSet>) -> (DomainName, Option<record::Name>) {
    let name: DomainName = text.parse().unwrap();
    let record = record::Name {
        name: name.clone(),
        owner: wire::SigningKey::ed25519([7; 32]).public(),
        deposit: wire::Amount(1),
        status: record::NameStatus::Active,
        registered_at: Height(0),
        rent_due: Height(9),
        changed_at: Height(0),
        notice_due: None,
        sale: None,
        records,
        keys: Vec::new(),
        endpoints: Vec::new(),
    };
    (name, Some(record))
}

fn address(owner: Option<&str>, last: u8) -> wire::RecordSet {
    wire::RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype: 1,
        ttl: 60,
        data: vec![vec![192, 0, 2, last]],
    }
}

/// The chain leads from the apex through every owner that has one, in
/// canonical order, back to the apex.
fn check_chain(zone: &Zone) {
    let apex = &zone.apexes()[0];
    let nexts: BTreeMap<String, String> = apex
        .records()
        .filter(|(_, set)| set.rtype == Rtype::NSEC)
        .map(|(owner, set)| {
            let [ZoneRecordData::Nsec(nsec)] = &set.data[..] else {
                panic!("{set:?}");
            };
            (owner.to_string(), nsec.next_name().to_string())
        })
        .collect();
    let signed: BTreeSet<String> = apex
        .records()
        .filter(|(_, set)| !set.signatures.is_empty())
        .map(|(owner, _)| owner.to_string())
        .collect();
    assert_eq!(nexts.keys().cloned().collect::<BTreeSet<_>>(), signed);
    let mut owners: Vec<_> = signed
        .iter()
        .map(|owner| crate::names::zone::absolute(owner).unwrap())
        .collect();
    owners.sort_by(|a, b| a.canonical_cmp(b));
    for (at, owner) in owners.iter().enumerate() {
        let next = &owners[(at + 1) % owners.len()];
        assert_eq!(nexts[&owner.to_string()], next.to_string());
    }
}

#[test]
fn a_change_signs_its_own_sets_and_one_neighbour() {
    let mut world = World::new();
    let names: Vec<_> = (0..200)
        .map(|index| name(&format!("n{index:03}.internal"), vec![address(None, 1)]))
        .collect();
    world.step(&names);
    world.check();
    // A new name: A, CAA and NSEC of its own; the neighbour's NSEC; the SOA.
    world.step(&[name("n100a.internal", vec![address(None, 1)])]);
    assert_eq!(world.signed, 5);
    // A changed address: one A and the SOA.
    world.step(&[name("n100a.internal", vec![address(None, 2)])]);
    assert_eq!(world.signed, 2);
    // It goes: the neighbour's NSEC and the SOA.
    world.step(&[("n100a.internal".parse().unwrap(), None)]);
    assert_eq!(world.signed, 2);
    // The first and the last of all.
    world.step(&[name("a.internal", vec![]), name("z.internal", vec![])]);
    world.check();
    // Nothing changed: nothing is signed.
    world.step(&[name("z.internal", vec![])]);
    assert_eq!(world.signed, 0);
}

#[test]
fn a_name_server_refuses_signatures_that_do_not_hold() {
    let mut world = World::new();
    let change = [name("a.internal", vec![address(None, 1)])];
    world.step(&change);
    let all = world.signing.everything();
    let labels = &all[0].labels;
    let fresh = || {
        let record = world.on_ledger.clone();
        let (name, known) = &change[0];
        let changes = [
            Change::Zone(&record.zone.apex, Some(&record)),
            Change::Name(name, known.as_ref()),
        ];
        let empty = Zone::new(&[apex()], ZoneSettings::default());
        let (mut zone, _) = empty.advance(world.height, 0, changes);
        zone.apexes_mut()[0].set_serial(serial(world.height));
        zone
    };
    let mut zone = fresh();
    dnssec::attach(&mut zone.apexes_mut()[0], labels).unwrap();
    for at in 0..labels.len() {
        for set in 0..labels[at].sets.len() {
            let mut forged = labels.clone();
            forged[at].sets[set].signatures[0].octets[5] ^= 1;
            let refused = dnssec::attach(&mut fresh().apexes_mut()[0], &forged);
            assert!(matches!(refused, Err(SignatureError::Invalid { .. })));
            let mut less = labels.clone();
            less[at].sets.remove(set);
            let mut zone = fresh();
            let apex = &mut zone.apexes_mut()[0];
            dnssec::attach(apex, &less).unwrap();
            let all: Vec<Label> = apex.labels_with_own().collect();
            let refused = dnssec::check_whole(apex, &all);
            assert!(matches!(refused, Err(SignatureError::Missing { .. })));
        }
    }
    let mut stray = labels.clone();
    stray[0].sets[0].rtype = 15;
    let refused = dnssec::attach(&mut fresh().apexes_mut()[0], &stray);
    assert!(matches!(refused, Err(SignatureError::Stray { .. })));
}

#[test]
fn signatures_are_made_anew_before_they_end_and_not_all_at_once() {
    let mut world = World::new();
    let names: Vec<_> = (0..100)
        .map(|index| name(&format!("n{index}.internal"), vec![address(None, 1)]))
        .collect();
    world.step(&names);
    world.now += VALIDITY_SECONDS - REFRESH_SECONDS - 2 * 86_400;
    let mut busiest = 0;
    let mut all = 0;
    for _ in 0..50 {
        world.now += 3_600;
        world.step(&[]);
        busiest = busiest.max(world.signed);
        all += world.signed;
    }
    world.check();
    assert!(all >= 300, "{all}");
    assert!(busiest < 60, "{busiest} at once");
}

#[test]
fn a_zone_signing_key_is_rolled_by_pre_publication() {
    let mut world = World::new();
    let names: Vec<_> = (0..700)
        .map(|index| name(&format!("n{index}.internal"), vec![address(None, 1)]))
        .collect();
    world.step(&names);
    let mut keys = world.reopened();
    let former: Vec<u16> = keys.of(&apex()).map(|(tag, _)| tag).collect();
    let new = roll::roll_zone_signing(&mut keys, &apex(), world.now).unwrap();
    assert!(!former.contains(&new));
    assert!(roll::roll_zone_signing(&mut keys, &apex(), world.now).is_err());
    world.take(keys);
    world.publish_keys();
    world.check();
    assert_eq!(
        world.phases(Role::ZoneSigning),
        [Phase::Active, Phase::Published]
    );
    // Not before every cache knows the new key.
    world.pass(300, 2);
    assert_eq!(
        world.phases(Role::ZoneSigning),
        [Phase::Active, Phase::Published]
    );
    world.pass(120, 2);
    assert_eq!(
        world.phases(Role::ZoneSigning),
        [Phase::Retired, Phase::Active]
    );
    world.pass(60, 6);
    let in_use = world.signing.in_use(&apex()).unwrap();
    assert!(
        in_use.contains(&new) && !in_use.contains(&former[1]),
        "{in_use:?}"
    );
    // Not before every signature of the former is out of the caches.
    world.pass(80_000, 8);
    assert_eq!(
        world.phases(Role::ZoneSigning),
        [Phase::Retired, Phase::Active]
    );
    world.pass(10_000, 4);
    assert_eq!(world.phases(Role::ZoneSigning), [Phase::Active]);
    assert_eq!(world.on_ledger.zone.keys.len(), 2);
}

#[test]
fn a_key_signing_key_is_rolled_by_double_ds() {
    let mut world = World::new();
    world.step(&[name("a.internal", vec![address(None, 1)])]);
    let mut keys = world.reopened();
    assert!(roll::confirm_parent(&mut keys, &apex(), world.now).is_err());
    let new = roll::roll_key_signing(&mut keys, &apex(), world.now).unwrap();
    world.take(keys);
    world.publish_keys();
    let cds = |world: &World| {
        let node = world.edge.apexes()[0].node();
        [Rtype::CDS, Rtype::CDNSKEY, Rtype::DNSKEY].map(|rtype| node.get(rtype).unwrap().data.len())
    };
    assert_eq!(cds(&world), [2, 2, 2]);
    // Without the operator's word nothing moves.
    world.pass(30 * 86_400, 30);
    assert_eq!(
        world.phases(Role::KeySigning),
        [Phase::Active, Phase::Announced]
    );
    let mut keys = world.reopened();
    assert_eq!(
        roll::confirm_parent(&mut keys, &apex(), world.now).unwrap(),
        new
    );
    world.take(keys);
    world.pass(86_400, 4);
    assert_eq!(
        world.phases(Role::KeySigning),
        [Phase::Active, Phase::Confirmed]
    );
    world.pass(86_500, 4);
    assert_eq!(
        world.phases(Role::KeySigning),
        [Phase::Withdrawn, Phase::Active]
    );
    assert_eq!(cds(&world), [2, 2, 2]);
    world.pass(500, 4);
    assert_eq!(world.phases(Role::KeySigning), [Phase::Active]);
    assert_eq!(cds(&world), [1, 1, 2]);
}

#[test]
fn a_wait_begins_when_the_ledger_shows_the_key() {
    let world = World::new();
    let mut keys = world.reopened();
    roll::roll_zone_signing(&mut keys, &apex(), world.now).unwrap();
    let in_use = BTreeSet::new();
    let apex = apex();
    let mut at = |now: u64, on_ledger: &record::Zone| {
        let around = Surroundings {
            now,
            on_ledger: Some(on_ledger),
            in_use: &in_use,
        };
        roll::advance(&mut keys, &apex, around)
    };
    // The ledger has not taken the key yet, for days.
    assert!(!at(NOW + 5 * 86_400, &world.on_ledger));
    let mut shown = world.on_ledger.clone();
    shown.zone.keys = world.signing.keys().public(&apex);
    assert!(!at(NOW + 5 * 86_400 + 300, &shown), "another key is shown");
}

#[test]
fn keys_stay_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let mut keys = FileKeys::open(&path).unwrap();
    assert!(roll::begin(&mut keys, &apex(), NOW).unwrap());
    assert!(!roll::begin(&mut keys, &apex(), NOW).unwrap());
    keys.save().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path) & 0o777, 0o600);
    let again = FileKeys::open(&path).unwrap();
    assert_eq!(again.public(&apex()), keys.public(&apex()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        FileKeys::open(&path),
        Err(super::keys::KeyFileError::Exposed { .. })
    ));
    let shown = format!("{keys:?}");
    assert!(shown.len() < 40, "only tags are shown: {shown}");
}

/// Holds keys that come of a word: what a label's holder is to the signer.
#[derive(Debug)]
struct Word(&'static str);

impl Word {
    fn key(&self, context: &str) -> p256::ecdsa::SigningKey {
        let text = format!("{}/{context}", self.0);
        let scalar = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        p256::ecdsa::SigningKey::from_slice(scalar.as_ref()).unwrap()
    }
}

impl KeyHolder for Word {
    fn point(&self, context: &str) -> Result<[u8; 65], HolderFailed> {
        let point = self.key(context).verifying_key().to_sec1_point(false);
        Ok(point.as_bytes().try_into().unwrap())
    }

    fn sign(&self, context: &str, message: &[u8]) -> Result<[u8; 64], HolderFailed> {
        use p256::ecdsa::signature::Signer as _;
        let signature: p256::ecdsa::Signature = self.key(context).sign(message);
        Ok(signature.to_bytes().into())
    }

    fn secret(&self, _context: &str) -> Result<zeroize::Zeroizing<[u8; 32]>, HolderFailed> {
        Err(HolderFailed("no secret is asked for".to_owned()))
    }
}

#[test]
fn keys_of_a_holder_are_numbers_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let holder = |word| Some(Arc::new(Word(word)) as Arc<dyn KeyHolder>);
    let mut keys = FileKeys::open_with(&path, holder("one")).unwrap();
    assert!(roll::begin(&mut keys, &apex(), NOW).unwrap());
    keys.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("pkcs8"), "{text}");

    let again = FileKeys::open_with(&path, holder("one")).unwrap();
    assert_eq!(again.public(&apex()), keys.public(&apex()));
    let key = again.held(&apex(), false).remove(0);
    let signature = again.sign(&key, b"octets").unwrap();
    let mut point = vec![4];
    point.extend_from_slice(&key.public_key);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(b"octets", &signature)
        .unwrap();

    // Who only looks sees them, and can neither sign nor add.
    let mut seen = FileKeys::open(&path).unwrap();
    assert_eq!(seen.public(&apex()), keys.public(&apex()));
    assert!(seen.sign(&key, b"octets").is_err());
    let refused = roll::roll_zone_signing(&mut seen, &apex(), NOW).unwrap_err();
    assert!(refused.to_string().contains("signer.toml"), "{refused}");

    // A removed key's number is not used again.
    let mut again = FileKeys::open_with(&path, holder("one")).unwrap();
    let tag = again
        .add(&apex(), Role::ZoneSigning, Phase::Published, NOW)
        .unwrap();
    let first = again.public(&apex()).pop().unwrap();
    again.remove(&apex(), tag);
    again.save().unwrap();
    let mut again = FileKeys::open_with(&path, holder("one")).unwrap();
    again
        .add(&apex(), Role::ZoneSigning, Phase::Published, NOW)
        .unwrap();
    assert_ne!(again.public(&apex()).pop().unwrap(), first);

    // Another label's holder has other keys, and signs nothing with them.
    let other = FileKeys::open_with(&path, holder("two")).unwrap_err();
    assert!(
        matches!(other, super::keys::KeyFileError::Other { .. }),
        "{other}"
    );
}

#[test]
fn a_zone_of_every_shape_is_signed_whole() {
    let zone = zone_with_everything();
    let apex = &zone.apexes()[zone.apexes().len() - 1];
    assert!(apex.keys().is_some());
    let labels: Vec<Label> = apex.labels_with_own().collect();
    dnssec::check_whole(apex, &labels).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_sequence_of_changes_leaves_one_whole_chain(
        steps in prop::collection::vec(
            prop::collection::vec((0usize..12, 0u8..4, prop::option::of(0usize..4)), 1..4),
            1..12,
        ),
    ) {
        let names = ["a", "a-b", "ab", "b", "n0", "n00", "n1", "ns-x", "x", "xn--a", "y", "z"];
        let owners = ["w", "deep.er", "_443._tcp", "a.b.c"];
        let mut world = World::new();
        for step in steps {
            let changes: Vec<_> = step
                .into_iter()
                .map(|(at, value, owner)| {
                    let text = format!("{}.internal", names[at]);
                    match value {
                        0 => (text.parse().unwrap(), None),
                        _ => {
                            let owner = owner.map(|owner| owners[owner]);
                            name(&text, vec![address(None, 9), address(owner, value)])
                        }
                    }
                })
                .collect();
            world.step(&changes);
            world.check();
        }
    }
}
