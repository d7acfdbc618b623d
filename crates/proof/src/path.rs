//! Which root follows from an entry and the hashes beside its way up?
//!
//! The state is a Jellyfish Merkle tree (the `jmt` crate) under SHA-256: a
//! binary trie over key hashes in which a subtree of one leaf *is* that leaf.
//! This file folds a path; the rules are those of docs/spec/proofs.md §2. It
//! trusts nothing: a path is worth what the root it leads to is worth.

use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use wire::Digest;

/// The hash of a subtree that holds nothing.
pub const EMPTY_SUBTREE: Digest = Digest(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");

/// The deepest leaf: one level for each bit of a key's hash.
pub const MAX_DEPTH: usize = 256;

const LEAF_TAG: &[u8] = b"JMT::LeafNode";
const INTERNAL_TAG: &[u8] = b"JMT::IntrnalNode";

/// A leaf of another key that stands where the key's leaf would stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OtherLeaf {
    /// SHA-256 of the other key.
    pub key_hash: Digest,
    /// SHA-256 of the other key's value.
    pub value_hash: Digest,
}

/// What stands beside the way from an entry to the root.
///
/// Shape: `siblings` runs from the bottom to the root, one for each level;
///        none stands for [`EMPTY_SUBTREE`]. `other_leaf` is given in a proof
///        of absence where the place is taken by another key, and only there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Path {
    siblings: Vec<Option<Digest>>,
    other_leaf: Option<OtherLeaf>,
}

/// A path that can belong to no key, or not to this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Deeper than a tree can be.
    #[error("the path has {0} levels; a tree has at most {MAX_DEPTH}")]
    TooDeep(usize),
    /// A proof of presence that shows another leaf.
    #[error("the path shows another leaf, but the entry is said to be present")]
    PresentWithOtherLeaf,
    /// A proof of absence that shows the leaf whose absence it claims.
    #[error("the path shows the leaf of the very key that is said to be absent")]
    AbsentWithOwnLeaf,
    /// A proof of absence with a leaf that stands elsewhere.
    #[error("the other leaf does not stand where the key would stand")]
    LeafElsewhere,
    /// Not a proof as the tree's library writes it.
    #[error("the bytes are not a proof of the tree's library: {0}")]
    Malformed(String),
}

/// A node beside the path as the tree's library writes it: whole, where a
/// path needs its hash only.
#[derive(BorshDeserialize)]
enum LibraryNode {
    Empty,
    Internal([[u8; 32]; 2]),
    Leaf([[u8; 32]; 2]),
}

impl Path {
    /// A path from its parts; see the type for their order.
    ///
    /// Errors: [`PathError::TooDeep`].
    pub fn new(
        siblings: Vec<Option<Digest>>,
        other_leaf: Option<OtherLeaf>,
    ) -> Result<Self, PathError> {
        if siblings.len() > MAX_DEPTH {
            return Err(PathError::TooDeep(siblings.len()));
        }
        Ok(Self {
            siblings,
            other_leaf,
        })
    }

    /// The path in `jmt::proof::SparseMerkleProof`'s borsh form, for the key
    /// whose hash is `key_hash`.
    ///
    /// Errors: [`PathError::Malformed`], [`PathError::TooDeep`].
    pub fn from_library(bytes: &[u8], key_hash: Digest) -> Result<Self, PathError> {
        let malformed = |error: Error| PathError::Malformed(error.to_string());
        let (leaf, nodes) =
            <(Option<OtherLeaf>, Vec<LibraryNode>)>::try_from_slice(bytes).map_err(malformed)?;
        let siblings = nodes
            .into_iter()
            .map(|node| match node {
                LibraryNode::Empty => None,
                LibraryNode::Internal([left, right]) => Some(internal_hash(left, right)),
                LibraryNode::Leaf([key, value]) => Some(leaf_hash(Digest(key), Digest(value))),
            })
            .collect();
        let other_leaf = leaf.filter(|leaf| leaf.key_hash != key_hash);
        Self::new(siblings, other_leaf)
    }

    /// Levels between the entry and the root.
    pub fn depth(&self) -> usize {
        self.siblings.len()
    }

    /// The root that follows if `key` has `value`, or if it is absent.
    ///
    /// Errors: [`PathError`] where no tree can hold this path and this key.
    /// Source: docs/spec/proofs.md §2.
    pub fn root(&self, key: &[u8], value: Option<&[u8]>) -> Result<Digest, PathError> {
        let key_hash = Digest::of(&[key]);
        let bottom = match (value, &self.other_leaf) {
            (Some(value), None) => leaf_hash(key_hash, Digest::of(&[value])),
            (Some(_), Some(_)) => return Err(PathError::PresentWithOtherLeaf),
            (None, None) => EMPTY_SUBTREE,
            (None, Some(leaf)) => {
                if leaf.key_hash == key_hash {
                    return Err(PathError::AbsentWithOwnLeaf);
                }
                let shared = (0..self.siblings.len())
                    .all(|level| bit(&leaf.key_hash, level) == bit(&key_hash, level));
                if !shared {
                    return Err(PathError::LeafElsewhere);
                }
                leaf_hash(leaf.key_hash, leaf.value_hash)
            }
        };
        let depth = self.siblings.len();
        let root = self
            .siblings
            .iter()
            .enumerate()
            .fold(bottom, |hash, (index, sibling)| {
                let sibling = sibling.unwrap_or(EMPTY_SUBTREE);
                if bit(&key_hash, depth - 1 - index) {
                    internal_hash(sibling.0, hash.0)
                } else {
                    internal_hash(hash.0, sibling.0)
                }
            });
        Ok(root)
    }
}

/// Bit `index` of a hash, the most significant first.
fn bit(hash: &Digest, index: usize) -> bool {
    hash.0[index / 8] >> (7 - index % 8) & 1 == 1
}

fn leaf_hash(key_hash: Digest, value_hash: Digest) -> Digest {
    Digest::of(&[LEAF_TAG, &key_hash.0, &value_hash.0])
}

fn internal_hash(left: [u8; 32], right: [u8; 32]) -> Digest {
    Digest::of(&[INTERNAL_TAG, &left, &right])
}

/// The first byte of an encoded path: whether another leaf follows.
const NO_OTHER_LEAF: u8 = 0;
const WITH_OTHER_LEAF: u8 = 1;

impl BorshSerialize for Path {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        match &self.other_leaf {
            None => writer.write_all(&[NO_OTHER_LEAF])?,
            Some(leaf) => {
                writer.write_all(&[WITH_OTHER_LEAF])?;
                leaf.serialize(writer)?;
            }
        }
        // A path of 256 levels is possible in form, so two bytes hold its depth.
        (self.siblings.len() as u16).serialize(writer)?;
        for eight in self.siblings.chunks(8) {
            let occupied = eight
                .iter()
                .enumerate()
                .map(|(index, sibling)| u8::from(sibling.is_some()) << index)
                .sum::<u8>();
            writer.write_all(&[occupied])?;
        }
        self.siblings
            .iter()
            .flatten()
            .try_for_each(|sibling| writer.write_all(&sibling.0))
    }
}

impl BorshDeserialize for Path {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let invalid = |reason| Error::new(ErrorKind::InvalidData, reason);
        let other_leaf = match u8::deserialize_reader(reader)? {
            NO_OTHER_LEAF => None,
            WITH_OTHER_LEAF => Some(OtherLeaf::deserialize_reader(reader)?),
            _ => return Err(invalid("a path starts with 0 or 1")),
        };
        let depth = usize::from(u16::deserialize_reader(reader)?);
        if depth > MAX_DEPTH {
            return Err(invalid("a path is deeper than any tree"));
        }
        let mut occupied = vec![0; depth.div_ceil(8)];
        reader.read_exact(&mut occupied)?;
        // Bits past the depth must be clear, or one path would have several encodings.
        if let Some(last) = occupied.last()
            && depth % 8 != 0
            && last >> (depth % 8) != 0
        {
            return Err(invalid("a path marks siblings past its depth"));
        }
        let siblings = (0..depth)
            .map(|level| {
                if occupied[level / 8] >> (level % 8) & 1 == 1 {
                    Digest::deserialize_reader(reader).map(Some)
                } else {
                    Ok(None)
                }
            })
            .collect::<IoResult<_>>()?;
        Ok(Self {
            siblings,
            other_leaf,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_key_needs_the_other_leaf_to_stand_in_its_place() {
        let absent = b"absent";
        let own = OtherLeaf {
            key_hash: Digest::of(&[absent]),
            value_hash: Digest([1; 32]),
        };
        let path = Path::new(vec![], Some(own)).unwrap();
        assert_eq!(path.root(absent, None), Err(PathError::AbsentWithOwnLeaf));

        let mut elsewhere = own;
        elsewhere.key_hash.0[0] ^= 0x80;
        let path = Path::new(vec![None], Some(elsewhere)).unwrap();
        assert_eq!(path.root(absent, None), Err(PathError::LeafElsewhere));
        let path = Path::new(vec![], Some(elsewhere)).unwrap();
        assert!(path.root(absent, None).is_ok());
        assert_eq!(
            path.root(absent, Some(b"v")),
            Err(PathError::PresentWithOtherLeaf)
        );
    }

    #[test]
    fn a_path_of_every_depth_survives_its_encoding() {
        for depth in 0..=MAX_DEPTH {
            let siblings = (0..depth)
                .map(|level| (level % 3 != 0).then_some(Digest([level as u8; 32])))
                .collect();
            let path = Path::new(siblings, None).unwrap();
            let bytes = borsh::to_vec(&path).unwrap();
            assert_eq!(Path::try_from_slice(&bytes).unwrap(), path);
        }
        assert_eq!(
            Path::new(vec![None; 257], None),
            Err(PathError::TooDeep(257))
        );
    }

    #[test]
    fn refuses_a_depth_or_a_bitmap_out_of_range() {
        let too_deep = [&[0u8][..], &257u16.to_le_bytes(), &[0; 33]].concat();
        assert!(Path::try_from_slice(&too_deep).is_err());
        let past_depth = [0, 1, 0, 0b10];
        assert!(Path::try_from_slice(&past_depth).is_err());
        assert!(Path::try_from_slice(&[2, 0, 0]).is_err());
    }
}
