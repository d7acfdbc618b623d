//! Each judge finds what it is there for, in a sound run that was tampered with.

use std::sync::{Arc, OnceLock};

use engine::simulation::{identity_seed, simulate};
use node::sample::account;
use wire::SignedTransaction;

use super::*;
use crate::life::{Lives, ProvenRead};

/// A calm run of four, whose evidence tests change.
struct Ran {
    circle: Arc<Circle>,
    plan: Plan,
    outcome: Outcome,
    disks: Vec<MemoryDisk>,
    lives: Lives,
}

fn ran() -> Ran {
    let circle = Arc::new(Circle::new(4));
    let mut plan = Plan::calm(5, 4);
    plan.circle = circle.genesis.circle();
    plan.submissions = crate::scenario::submissions(&circle, &plan);
    let disks: Vec<MemoryDisk> = (0..4).map(|_| MemoryDisk::default()).collect();
    let lives = Lives::new(circle.clone(), 5);
    let outcome = simulate(&plan, |birth| {
        let disk = disks[birth.node].clone();
        let seed = identity_seed(birth.node);
        let parts = Parts::open_for(&circle.genesis, &disk, seed).unwrap();
        lives.begin(birth, parts, disk)
    });
    Ran {
        outcome: outcome.unwrap(),
        circle,
        plan,
        disks,
        lives,
    }
}

fn verdict(ran: &Ran, seen: &Seen) -> Result<Report, Checker> {
    let evidence = Evidence {
        circle: &ran.circle,
        plan: &ran.plan,
        outcome: &ran.outcome,
        disks: &ran.disks,
        seen,
    };
    judge(&evidence).map_err(|violation| violation.checker)
}

#[test]
fn each_judge_finds_what_it_is_there_for() {
    let mut ran = ran();
    let mut seen = ran.lives.seen();
    let report = verdict(&ran, &seen).unwrap();
    assert!(report.applied > 0 && report.reads.0 > 0, "{report:?}");

    let read = ProvenRead {
        user: Some(0),
        height: Height(1),
        account: None,
    };
    seen.reads.push(read);
    assert_eq!(verdict(&ran, &seen), Err(Checker::Reads));
    seen.reads.pop();
    seen.false_proofs.push("forged".into());
    assert_eq!(verdict(&ran, &seen), Err(Checker::Reads));
    seen.false_proofs.clear();

    let (key, receipt) = seen.acknowledged.pop_first().unwrap();
    let mut lost = receipt.clone();
    lost.transaction.0[0] ^= 1;
    let key_of_lost = (key.0, lost.transaction);
    seen.acknowledged.insert(key_of_lost, lost);
    assert_eq!(verdict(&ran, &seen), Err(Checker::Acknowledged));
    seen.acknowledged.remove(&key_of_lost);
    seen.acknowledged.insert(key, receipt);

    let told = ran.outcome.finalized[&2][&3];
    let other = Digest([9; 32]);
    ran.outcome.finalized.get_mut(&2).unwrap().insert(3, other);
    assert_eq!(verdict(&ran, &seen), Err(Checker::Agreement));
    // All are told the same, and it is not what they stored.
    for own in ran.outcome.finalized.values_mut() {
        own.insert(3, other);
    }
    assert_eq!(verdict(&ran, &seen), Err(Checker::Prefix));
    for own in ran.outcome.finalized.values_mut() {
        own.insert(3, told);
    }
    assert!(verdict(&ran, &seen).is_ok());

    let certificate = ran.outcome.certificates[&8];
    let mut forged = certificate;
    forged.view += 1;
    ran.outcome.certificates.insert(8, forged);
    assert_eq!(verdict(&ran, &seen), Err(Checker::Certificates));
    // A certificate of a block that nobody was told of.
    ran.outcome.certificates.insert(8, certificate);
    ran.outcome.certificates.insert(1_000_000, certificate);
    assert_eq!(verdict(&ran, &seen), Err(Checker::Certificates));
    ran.outcome.certificates.remove(&1_000_000);
    assert!(verdict(&ran, &seen).is_ok());

    let mut other = Circle::new(4);
    other.genesis.accounts[0].1.0 += 1;
    ran.circle = Arc::new(other);
    // It is another circle's store then.
    assert!(verdict(&ran, &seen).is_err());
}

#[test]
fn a_sum_that_is_not_the_genesis_is_found() {
    let ran = ran();
    let store = Parts::inspect(&ran.disks[0]).unwrap();
    let snapshot = store.snapshot().unwrap().unwrap();
    assert!(conservation(&ran.circle, 0, &snapshot).is_ok());
    let mut other = Circle::new(4);
    other.genesis.accounts[0].1.0 += 1;
    let violation = conservation(&other, 0, &snapshot).unwrap_err();
    assert_eq!(violation.checker, Checker::Conservation);
}

#[test]
fn a_transfer_that_the_model_does_not_have_is_found() {
    static CIRCLE: OnceLock<Circle> = OnceLock::new();
    let circle = CIRCLE.get_or_init(|| Circle::new(4));
    let signed: SignedTransaction = circle.transfer(0, 1, 1, 5);
    let receipt = wire::Receipt {
        transaction: signed.id(),
        sender: account(0),
        height: Height(1),
        index: 0,
        result: TransactionResult::Applied,
        fee: Amount(1),
    };
    // The first transaction of a user has sequence 0.
    assert!(crate::model::accepts(&signed, &receipt).is_err());
    let first = circle.transfer(0, 0, 1, 5);
    let receipt = wire::Receipt {
        transaction: first.id(),
        ..receipt
    };
    assert_eq!(crate::model::accepts(&first, &receipt), Ok(()));
    let of_another = wire::Receipt {
        sender: account(1),
        ..receipt.clone()
    };
    assert!(crate::model::accepts(&first, &of_another).is_err());
    // It can pay, so it may not be refused; and who cannot may not be served.
    let refused = wire::Receipt {
        result: TransactionResult::Rejected {
            reject: wire::Reject::InsufficientBalance,
            action: Some(0),
        },
        ..receipt.clone()
    };
    assert!(crate::model::accepts(&first, &refused).is_err());
    let above = circle.transfer(0, 0, 1, node::sample::BALANCE.0);
    let receipt = wire::Receipt {
        transaction: above.id(),
        ..receipt
    };
    assert!(crate::model::accepts(&above, &receipt).is_err());
}
