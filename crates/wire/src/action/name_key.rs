//! Actions that change which key owns a name: rotation by its owner, and
//! recovery by vote of the members after a delay in which the owner can veto.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AnySignature, CircleId, DomainName, Height, PublicKey};

/// Changes a name's primary key and nothing else: records, server keys,
/// endpoints, deposit and the request that it serves stay.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameRotate {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// The new primary key.
    pub to: PublicKey,
    /// The new key's signature over [`NameRotate::message`] for
    /// [`NameRotate::PURPOSE`]: a name is never bound to a key that nobody holds.
    pub consent: AnySignature,
}

impl NameRotate {
    /// The purpose for which the new key signs.
    pub const PURPOSE: &'static str = "ringfort/name-rotation/1";

    /// What the new key signs: circle, name, when it was registered, and the
    /// key that it follows, so that a consent serves one rotation only.
    pub fn message(
        circle: CircleId,
        name: &DomainName,
        registered_at: Height,
        from: &PublicKey,
    ) -> Vec<u8> {
        borsh::to_vec(&(circle, name, registered_at, from)).expect("a message always encodes")
    }
}

/// A member's vote to hand a name, whose owner lost its key, to another one.
///
/// A member has one vote for a name: a later one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameRecover {
    /// The registered name.
    pub name: DomainName,
    /// The key that shall own it.
    pub to: PublicKey,
}

/// Ends a recovery; the owner still has its key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameVeto {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
}
