//! Puts a master secret together from the states of a quorum of keykeepers, to be
//! searched for (crates/cli/tests/circle/master_secret.rs). No product does this;
//! it shows what a quorum that conspires has.
//!
//! Standard input: the committee's sharing, then each keykeeper's state, in hex, a
//! line each. Standard output: the secret, in hex.

use std::io::Read as _;

use borsh::BorshDeserialize;
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_cryptography::bls12381::primitives::group::{G2, Scalar, Share};
use commonware_math::{algebra::CryptoGroup as _, poly::Interpolator};
use commonware_parallel::Sequential;
use commonware_utils::{TryCollect as _, ordered::Map};
use threshold::Committee;

/// What a keykeeper stores (docs/spec/keys.md §2), as far as it is needed here.
#[derive(BorshDeserialize)]
struct State {
    _identity: [u8; 32],
    holding: Option<Holding>,
    _pending: Option<(u64, [u8; 32])>,
}

#[derive(BorshDeserialize)]
struct Holding {
    _round: u64,
    share: Vec<u8>,
}

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("text");
    let mut lines = text.lines().map(|line| hex::decode(line).expect("hex"));
    let sharing = lines.next().expect("a sharing");
    let committee = Committee::decode(&sharing).expect("a sharing");
    let shares: Vec<Share> = lines
        .map(|state| {
            let state = State::try_from_slice(&state).expect("a state");
            let holding = state.holding.expect("a share");
            Share::decode(Copying(&holding.share[..])).expect("a share")
        })
        .take(committee.quorum())
        .collect();
    let point = |share: &Share| Scalar::from_u64(u64::from(share.index.get()) + 1);
    let weights = Interpolator::new(shares.iter().map(|share| (share.index, point(share))));
    let values: Map<_, Scalar> = shares
        .iter()
        .map(|share| (share.index, share.private.expose(Clone::clone)))
        .try_collect()
        .expect("each share once");
    let secret = weights
        .interpolate(&values, &Sequential)
        .expect("a quorum of shares");
    let public = (G2::generator() * &secret).encode();
    assert_eq!(
        public.as_ref(),
        committee.master_key(),
        "this is the secret"
    );
    println!("{}", hex::encode(secret.encode()));
}
