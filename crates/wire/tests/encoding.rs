//! The canonical encoding: golden vectors that hold it still, and refusals of
//! every other form of the same value.

use proptest::prelude::*;
use wire::{
    AccountId, Action, Amount, Block, CheckError, CheckedTransaction, CircleId, Condition, Digest,
    Header, Height, LockFunds, NameReveal, RecordSet, SignedTransaction, SigningKey, Transaction,
    Transfer, channel, limits, record,
};

const CIRCLE: CircleId = CircleId([0xc1; 32]);

fn transaction(actions: Vec<Action>) -> Transaction {
    Transaction {
        version: Transaction::VERSION,
        circle: CIRCLE,
        sender: SigningKey::ed25519([7; 32]).public(),
        sequence: 3,
        expires_at: Height(100),
        fee_limit: Amount(1000),
        actions,
    }
}

fn transfer() -> SignedTransaction {
    transaction(vec![Action::Transfer(Transfer {
        to: AccountId([2; 32]),
        amount: Amount(5),
    })])
    .sign(&SigningKey::ed25519([7; 32]))
}

#[test]
fn a_transfer_has_its_golden_encoding() {
    let bytes = transfer().encode();
    let body = format!(
        "01{circle}00{sender}0300000000000000{expires}{fee}0100000001{to}{amount}",
        circle = "c1".repeat(32),
        sender = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c",
        expires = "6400000000000000",
        fee = "e803000000000000",
        to = "02".repeat(32),
        amount = "0500000000000000",
    );
    // The signature is plain: kind 0 and 64 bytes.
    assert_eq!(hex::encode(&bytes[..bytes.len() - 64]), body + "00");
    assert_eq!(
        transfer().id().to_string(),
        "6ca8dc68c351c2488b47f254e9a912eed1e16780069ba42f13886a2601fed8aa",
        "the identifier covers the signature, which is deterministic"
    );
}

#[test]
fn a_header_has_its_golden_digest() {
    let header = Header {
        version: Header::VERSION,
        circle: CIRCLE,
        height: Height(9),
        time_ms: 1_700_000_000_000,
        parent: Digest([1; 32]),
        state_root: Digest([2; 32]),
        transactions: Block::transactions_digest(&[]),
    };
    assert_eq!(borsh::to_vec(&header).unwrap().len(), 145);
    assert_eq!(
        header.digest().to_string(),
        "b942c64476a6b20a72dec3a0bbf6e59205dfc392210e9586023b6a87e05eeb38"
    );
}

#[test]
fn refuses_a_changed_signature_sender_and_circle() {
    let good = transfer().encode();
    assert!(CheckedTransaction::check(&good, CIRCLE).is_ok());
    assert_eq!(
        CheckedTransaction::check(&good, CircleId([0xc2; 32])),
        Err(CheckError::OtherCircle(CIRCLE))
    );
    let mut other_sender = transfer();
    other_sender.transaction.sender = SigningKey::ed25519([8; 32]).public();
    assert_eq!(
        CheckedTransaction::check(&other_sender.encode(), CIRCLE),
        Err(CheckError::Signature)
    );
}

#[test]
fn a_batch_is_checked_as_each_of_it_alone() {
    use rand::SeedableRng as _;
    let good = transfer().encode();
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut entropy = rand::rngs::StdRng::seed_from_u64(1);
    let batches = [
        vec![],
        vec![good.clone(), good.clone()],
        vec![good.clone(), forged, b"noise".to_vec(), good],
    ];
    for batch in batches {
        let alone: Vec<_> = batch
            .iter()
            .map(|bytes| CheckedTransaction::check(bytes, CIRCLE))
            .collect();
        let together = CheckedTransaction::check_batch(&batch, CIRCLE, &mut entropy);
        assert_eq!(together, alone);
    }
}

#[test]
fn refuses_trailing_bytes_and_sizes_beyond_the_limits() {
    let mut trailing = transfer().encode();
    trailing.push(0);
    assert!(matches!(
        CheckedTransaction::check(&trailing, CIRCLE),
        Err(CheckError::Malformed(_))
    ));
    let large = vec![0; limits::MAX_TRANSACTION_BYTES + 1];
    assert_eq!(
        CheckedTransaction::check(&large, CIRCLE),
        Err(CheckError::TooLarge(large.len()))
    );
    let key = SigningKey::ed25519([7; 32]);
    let none = transaction(vec![]).sign(&key);
    assert_eq!(
        CheckedTransaction::check(&none.encode(), CIRCLE),
        Err(CheckError::Actions(0))
    );
    let transfer = Action::Transfer(Transfer {
        to: AccountId([2; 32]),
        amount: Amount(5),
    });
    let many = transaction(vec![transfer; limits::MAX_ACTIONS + 1]).sign(&key);
    assert_eq!(
        CheckedTransaction::check(&many.encode(), CIRCLE),
        Err(CheckError::Actions(limits::MAX_ACTIONS + 1))
    );
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // A list that claims four billion entries in a few bytes must fail by
    // running out of input, not by reserving memory for the claim.
    let mut bytes = transfer().encode();
    let actions_at = 1 + 32 + 33 + 8 + 8 + 8;
    bytes[actions_at..actions_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        CheckedTransaction::check(&bytes, CIRCLE),
        Err(CheckError::Malformed(_))
    ));
}

#[test]
fn a_deep_condition_is_refused_without_exhausting_the_stack() {
    // Each level of `Any` is five bytes: a transaction's limit allows thousands.
    let mut condition = vec![];
    for _ in 0..6000 {
        condition.extend_from_slice(&[5, 1, 0, 0, 0]);
    }
    let lock = LockFunds {
        amount: Amount(1),
        condition: Condition::Any(vec![]),
    };
    let mut signed = transaction(vec![Action::LockFunds(lock)])
        .sign(&SigningKey::ed25519([7; 32]))
        .encode();
    let at = signed.len() - 65 - 5;
    signed.splice(at..at + 5, condition);
    assert!(CheckedTransaction::check(&signed, CIRCLE).is_err());
}

#[test]
fn a_record_of_another_version_is_refused() {
    let bytes = record::encode(&record::Account {
        balance: Amount(1),
        sequence: 2,
    });
    assert_eq!(
        record::decode::<record::Account>(&bytes).unwrap(),
        record::Account {
            balance: Amount(1),
            sequence: 2
        }
    );
    let mut newer = bytes.clone();
    newer[0] = record::RECORD_VERSION + 1;
    assert!(record::decode::<record::Account>(&newer).is_err());
    assert!(record::decode::<record::Account>(&bytes[..bytes.len() - 1]).is_err());
    assert!(record::decode::<record::Account>(&[]).is_err());
}

#[test]
fn a_frame_over_the_limit_is_neither_written_nor_read() {
    let message = channel::HostMessage::Payload {
        bytes: vec![0; limits::MAX_FRAME_BYTES],
    };
    let mut out = vec![1];
    assert!(channel::encode_frame(&message, &mut out).is_err());
    assert_eq!(out, [1]);
    let header = ((limits::MAX_FRAME_BYTES + 1) as u32).to_le_bytes();
    assert!(channel::frame_length(header).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = CheckedTransaction::check(&bytes, CIRCLE);
        let _ = borsh::from_slice::<Block>(&bytes);
        let _ = channel::decode_frame::<channel::HostMessage>(&bytes);
        let _ = channel::decode_frame::<channel::EnclaveMessage>(&bytes);
        let _ = record::decode::<record::Contract>(&bytes);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        nonce in any::<[u8; 32]>(),
        deposit in any::<u64>(),
        rtype in any::<u16>(),
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let reveal = NameReveal {
            name: "hello.internal".parse().unwrap(),
            nonce,
            deposit: Amount(deposit),
        };
        let set = wire::NameSet {
            name: "hello.internal".parse().unwrap(),
            records: vec![RecordSet { owner: None, rtype, ttl: 60, data }],
        };
        let signed = transaction(vec![Action::NameReveal(reveal), Action::NameSet(set)])
            .sign(&SigningKey::p256([9; 32]).unwrap());
        let mut bytes = signed.encode();
        prop_assert_eq!(&borsh::from_slice::<SignedTransaction>(&bytes).unwrap(), &signed);
        let at = flip.0.index(bytes.len());
        bytes[at] ^= flip.1;
        if let Ok(other) = borsh::from_slice::<SignedTransaction>(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn json_keeps_every_action(amount in any::<u64>(), height in any::<u64>()) {
        let condition = Condition::All(vec![
            Condition::AfterHeight(Height(height)),
            Condition::Threshold {
                need: 1,
                of: vec![Condition::Key(SigningKey::ed25519([1; 32]).public())],
            },
            Condition::Preimage(Digest([4; 32])),
        ]);
        let action = Action::LockFunds(LockFunds { amount: Amount(amount), condition });
        let text = serde_json::to_string(&action).unwrap();
        prop_assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), action);
    }
}
