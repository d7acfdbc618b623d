//! The order of names that NSEC records are chained in (RFC 4034 §6.1).
//!
//! Names here are relative, in wire form without the root label, lower case.

use std::cmp::Ordering;

/// Labels of a name: 255 octets hold no more.
const MAX_LABELS: usize = 128;

/// Where each label of `owner` begins, and how many there are.
fn starts(owner: &[u8]) -> ([u8; MAX_LABELS], usize) {
    let mut starts = [0; MAX_LABELS];
    let (mut at, mut labels) = (0, 0);
    while let Some(&length) = owner.get(at)
        && labels < MAX_LABELS
    {
        starts[labels] = at as u8;
        labels += 1;
        at += usize::from(length) + 1;
    }
    (starts, labels)
}

fn label(owner: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    let length = owner.get(start).copied().map_or(0, usize::from);
    owner.get(start + 1..start + 1 + length).unwrap_or_default()
}

/// Compares label by label from the right; an ancestor comes first.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let ((a_starts, a_labels), (b_starts, b_labels)) = (starts(a), starts(b));
    for back in 1..=a_labels.min(b_labels) {
        let a = label(a, a_starts[a_labels - back]);
        let b = label(b, b_starts[b_labels - back]);
        match a.cmp(b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    a_labels.cmp(&b_labels)
}

/// Whether `owner` lies strictly beneath `ancestor`.
pub(super) fn is_beneath(owner: &[u8], ancestor: &[u8]) -> bool {
    let Some(cut) = owner.len().checked_sub(ancestor.len()) else {
        return false;
    };
    // The octets may match in the middle of a label.
    let (starts, labels) = starts(owner);
    cut > 0
        && &owner[cut..] == ancestor
        && (ancestor.is_empty()
            || starts[..labels]
                .iter()
                .any(|start| usize::from(*start) == cut))
}

#[cfg(test)]
mod tests {
    use domain::base::Name;
    use proptest::prelude::*;

    use super::*;

    fn wire(labels: &[Vec<u8>]) -> Vec<u8> {
        labels
            .iter()
            .flat_map(|label| [&[label.len() as u8][..], label].concat())
            .collect()
    }

    proptest! {
        #[test]
        fn orders_as_the_library_does(
            a in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\x00\x01*-0az_"[..]), 1..4), 0..4),
            b in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"\x00\x01*-0az_"[..]), 1..4), 0..4),
        ) {
            let (a, b) = (wire(&a), wire(&b));
            let absolute = |owner: &[u8]| Name::from_octets([owner, b"\0"].concat()).unwrap();
            prop_assert_eq!(compare(&a, &b), absolute(&a).cmp(&absolute(&b)));
            let beneath = a != b && absolute(&a).ends_with(&absolute(&b));
            prop_assert_eq!(is_beneath(&a, &b), beneath);
        }
    }
}
