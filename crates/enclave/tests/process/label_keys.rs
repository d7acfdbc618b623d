//! Keys of labels for a payload: from honest keykeepers through an honest host,
//! and what a host that lies gets.

use handshake::LabelVariable;
use threshold::{Board, Committee, Keeper, Post, Task, keeper_key};
use wire::{
    AccountId, CircleId, Digest, KeyRequestId, LabelName, Operation, Outcome, PayloadHolder,
    PayloadKind, RequestKey,
    channel::{EnclaveMessage, HostMessage, MAX_REASON_BYTES},
};

use crate::host::{Host, User, job_bundle};

const CIRCLE: CircleId = CircleId([1; 32]);
const BLOCK: Digest = Digest([8; 32]);
const REQUEST: KeyRequestId = KeyRequestId([9; 32]);

/// A first key among three keykeepers, made by `seed`.
fn office(seed: u8) -> (Committee, Vec<Keeper>) {
    let mut keepers: Vec<Keeper> = (0..3)
        .map(|index| Keeper::new([seed + index; 32]))
        .collect();
    let invited = (0..3).map(|index| keeper_key(&[seed + index; 32]));
    let task = Task::first(CIRCLE, 1, None, invited.collect());
    let mut board = Board::new(task).unwrap();
    for phase in 0..3 {
        for (index, keeper) in keepers.iter_mut().enumerate() {
            let fresh = [seed + 10 * phase + index as u8; 32];
            let key = keeper.key();
            match keeper.act(&board, fresh).unwrap().unwrap() {
                Post::Join(join) => board.join(key, join).unwrap(),
                Post::Deal(dealing) => board.deal(key, dealing).unwrap(),
                Post::Answer(answer) => board.answer(key, answer).unwrap(),
            }
        }
        board.close_phase();
    }
    let mut committee = None;
    for keeper in &mut keepers {
        committee = keeper.settle(&board).unwrap();
    }
    (committee.unwrap().committee, keepers)
}

fn label() -> LabelName {
    LabelName {
        owner: AccountId([4; 32]),
        service: "disk".to_owned(),
        version: 1,
    }
}

fn user(committee: &Committee) -> User {
    let mut bundle = job_bundle();
    bundle.label_keys = vec![LabelVariable {
        variable: "DISK_KEY".to_owned(),
        label: label(),
        least_epoch: 2,
        master_key: committee.master_key(),
    }];
    User::with(&bundle)
}

/// Says how the label stands when the enclave asks; gives the wish's number.
fn begin(host: &mut Host, epoch: u64, committee: &Committee) -> u32 {
    let wish = host.expect("a wish", |message| match message {
        EnclaveMessage::LabelWanted { wish, label: named } => {
            assert_eq!(*named, label());
            Some(*wish)
        }
        _ => None,
    });
    host.send(&HostMessage::LabelState {
        wish,
        epoch,
        block: BLOCK,
        sharing: committee.encode(),
    });
    wish
}

#[test]
fn a_payload_starts_with_the_key_that_a_quorum_derives_for_its_enclave() {
    let (committee, keepers) = office(40);
    let user = user(&committee);
    let mut host = Host::launch(&user, PayloadKind::Job);
    let (mut session, server) = host.challenge(&user, 1, Operation::Start);
    let response = session
        .client_response(&server, &user.data_key, &mut handshake::Entropy)
        .unwrap();
    host.respond(1, Operation::Start, response);
    host.send_payload(&user.payload);
    let wish = begin(&mut host, 2, &committee);
    let (epoch, one_time_key, report_data) = host.expect("a request", |message| match message {
        EnclaveMessage::KeyRequest {
            wish: of,
            epoch,
            one_time_key,
            report_data,
        } if *of == wish => Some((*epoch, *one_time_key, *report_data)),
        _ => None,
    });
    assert_eq!(epoch, 2);
    // Evidence binds whose payload it is, as the ledger has it.
    let holder = PayloadHolder {
        contract: host.launch.contract,
        user_agreement: host.launch.user_agreement,
        payload_sha256: host.launch.payload_sha256,
    };
    let expected =
        RequestKey::report_data(CIRCLE, &label(), 2, &one_time_key, BLOCK, Some(&holder));
    assert_eq!(report_data, expected);
    let bytes = label().bytes(CIRCLE, 2);
    for keeper in &keepers {
        let mut sealed = threshold::answer(
            keeper,
            &committee,
            &bytes,
            &Digest(REQUEST.0),
            &one_time_key,
            &mut handshake::Entropy,
        )
        .unwrap();
        // The first answers badly: two of three are enough.
        if keeper.key() == keepers[0].key() {
            sealed[40] ^= 1;
        }
        host.send(&HostMessage::KeyAnswer {
            wish,
            request: REQUEST,
            keeper: keeper.key(),
            sealed,
        });
    }
    host.expect("the key", |message| {
        matches!(message, EnclaveMessage::KeyCombined { wish: of } if *of == wish).then_some(())
    });
    let message = host.outcome(&mut session, 1);
    assert_eq!(message.outcome, Outcome::Confirmed, "{}", message.message);
}

/// What a host says upon a wish.
type Said<'a> = Box<dyn Fn(u32) -> HostMessage + 'a>;

/// What a host says in the place of the truth, and what the user is told.
#[test]
fn a_host_that_lies_about_a_label_is_refused_and_the_user_is_told() {
    let (committee, _) = office(40);
    let (other, _) = office(60);
    let user = user(&committee);
    let mut host = Host::launch(&user, PayloadKind::Job);
    let cases: [(&str, Said<'_>); 4] = [
        (
            "another master key",
            Box::new(|wish| HostMessage::LabelState {
                wish,
                epoch: 2,
                block: BLOCK,
                sharing: other.encode(),
            }),
        ),
        (
            "offers epoch 1",
            Box::new(|wish| HostMessage::LabelState {
                wish,
                epoch: 1,
                block: BLOCK,
                sharing: committee.encode(),
            }),
        ),
        (
            "sharing",
            Box::new(|wish| HostMessage::LabelState {
                wish,
                epoch: 2,
                block: BLOCK,
                sharing: vec![7; 200],
            }),
        ),
        (
            "the policy does not admit it",
            Box::new(|wish| HostMessage::KeyRefused {
                wish,
                reason: "the policy does not admit it".to_owned(),
            }),
        ),
    ];
    for (number, (told, says)) in (1..).zip(cases) {
        let (mut session, server) = host.challenge(&user, number, Operation::Start);
        let response = session
            .client_response(&server, &user.data_key, &mut handshake::Entropy)
            .unwrap();
        host.respond(number, Operation::Start, response);
        host.send_payload(&user.payload);
        let wish = host.expect("a wish", |message| match message {
            EnclaveMessage::LabelWanted { wish, .. } => Some(*wish),
            _ => None,
        });
        // What concerns an earlier wish moves nothing.
        host.send(&HostMessage::KeyRefused {
            wish: wish - 1,
            reason: String::new(),
        });
        host.send(&says(wish));
        let message = host.outcome(&mut session, number);
        assert_eq!(message.outcome, Outcome::Error);
        assert!(
            message.message.contains(told),
            "{told}: {}",
            message.message
        );
        assert!(message.message.contains("disk"), "{}", message.message);
    }

    let (mut session, server) = host.challenge(&user, 9, Operation::Start);
    let response = session
        .client_response(&server, &user.data_key, &mut handshake::Entropy)
        .unwrap();
    host.respond(9, Operation::Start, response);
    host.send_payload(&user.payload);
    let wish = host.expect("a wish", |message| match message {
        EnclaveMessage::LabelWanted { wish, .. } => Some(*wish),
        _ => None,
    });
    host.send(&HostMessage::KeyRefused {
        wish,
        reason: "x".repeat(MAX_REASON_BYTES + 1),
    });
    let (words, _) = host.fault();
    assert!(words.contains("reason"), "{words}");
}
