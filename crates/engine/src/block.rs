//! How does a block of ours look to the consensus engine?
//!
//! The engine sees an opaque value with a height, a parent and a digest. The
//! digest is the *header's*, because that is what a light client can check,
//! so decoding refuses a block whose transactions are not those that its
//! header commits to: otherwise one digest would stand for many blocks.

use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, RangeCfg, Read, Write};
use commonware_consensus::{Block as EngineBlock, BoundedBlock, Heightable, types::Height};
use commonware_cryptography::{Digestible, sha256::Digest as EngineDigest};
use wire::Block;

/// The largest block, in bytes of its borsh encoding: what four validators on
/// slow links can pass on within one leader timeout.
pub const MAX_BLOCK_BYTES: usize = 2 * 1024 * 1024;

/// A block with its encoding, as the engine carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedBlock {
    block: Block,
    /// The borsh bytes of `block`: encoded once, sent and stored often.
    encoded: Bytes,
}

impl OrderedBlock {
    /// `None` if the block is too large to be ordered or commits to other transactions.
    pub(crate) fn new(block: Block) -> Option<Self> {
        let encoded = borsh::to_vec(&block).ok()?;
        let fits = encoded.len() <= MAX_BLOCK_BYTES;
        (fits && is_consistent(&block)).then(|| Self {
            block,
            encoded: encoded.into(),
        })
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }
}

fn is_consistent(block: &Block) -> bool {
    Block::transactions_digest(&block.transactions) == block.header.transactions
}

pub(crate) fn engine_digest(digest: wire::Digest) -> EngineDigest {
    EngineDigest(digest.0)
}

impl Write for OrderedBlock {
    fn write(&self, writer: &mut impl BufMut) {
        self.encoded.write(writer);
    }
}

impl EncodeSize for OrderedBlock {
    fn encode_size(&self) -> usize {
        self.encoded.encode_size()
    }
}

impl Read for OrderedBlock {
    type Cfg = ();

    fn read_cfg(reader: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let encoded = Bytes::read_cfg(reader, &RangeCfg::from(0..=MAX_BLOCK_BYTES))?;
        // Borsh refuses trailing bytes and has one encoding of every block.
        let block: Block = borsh::from_slice(&encoded)
            .map_err(|_| Error::Invalid("OrderedBlock", "not a block"))?;
        if !is_consistent(&block) {
            return Err(Error::Invalid(
                "OrderedBlock",
                "transactions differ from the header's",
            ));
        }
        Ok(Self { block, encoded })
    }
}

impl Digestible for OrderedBlock {
    type Digest = EngineDigest;

    fn digest(&self) -> EngineDigest {
        engine_digest(self.block.header.digest())
    }
}

impl Heightable for OrderedBlock {
    fn height(&self) -> Height {
        Height::new(self.block.header.height.0)
    }
}

impl EngineBlock for OrderedBlock {
    fn parent(&self) -> EngineDigest {
        engine_digest(self.block.header.parent)
    }
}

impl BoundedBlock for OrderedBlock {
    fn max_encode_size(_: &()) -> usize {
        // The length prefix is a varint of at most five bytes.
        5 + MAX_BLOCK_BYTES
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use commonware_codec::{Decode, Encode};
    use proptest::prelude::*;
    use wire::{CircleId, Digest, Header};

    pub(crate) fn block(height: u64, transactions: Vec<Vec<u8>>) -> Block {
        Block {
            header: Header {
                version: Header::VERSION,
                circle: CircleId([1; 32]),
                height: wire::Height(height),
                time_ms: height,
                parent: Digest([2; 32]),
                state_root: Digest([3; 32]),
                transactions: Block::transactions_digest(&transactions),
            },
            transactions,
        }
    }

    #[test]
    fn block_survives_its_encoding() {
        let ordered = OrderedBlock::new(block(7, vec![vec![1, 2], vec![]])).unwrap();
        let decoded = OrderedBlock::decode_cfg(ordered.encode(), &()).unwrap();
        assert_eq!(decoded, ordered);
        assert_eq!(decoded.digest().0, ordered.block().header.digest().0);
        assert!(ordered.encode().len() <= OrderedBlock::max_encode_size(&()));
    }

    #[test]
    fn refuses_other_transactions_under_the_same_header() {
        let mut forged = block(7, vec![vec![1, 2]]);
        forged.transactions[0][0] = 9;
        assert!(OrderedBlock::new(forged.clone()).is_none());
        let bytes = Bytes::from(borsh::to_vec(&forged).unwrap()).encode();
        assert!(OrderedBlock::decode_cfg(bytes, &()).is_err());
    }

    #[test]
    fn refuses_trailing_truncated_and_oversized_bytes() {
        let good = borsh::to_vec(&block(7, vec![vec![1, 2]])).unwrap();
        let mut longer = good.clone();
        longer.push(0);
        assert!(OrderedBlock::decode_cfg(Bytes::from(longer).encode(), &()).is_err());
        let shorter = Bytes::copy_from_slice(&good[..good.len() - 1]);
        assert!(OrderedBlock::decode_cfg(shorter.encode(), &()).is_err());
        assert!(OrderedBlock::new(block(7, vec![vec![0; MAX_BLOCK_BYTES]])).is_none());
        let huge = borsh::to_vec(&block(7, vec![vec![0; MAX_BLOCK_BYTES]])).unwrap();
        assert!(OrderedBlock::decode_cfg(Bytes::from(huge).encode(), &()).is_err());
    }

    proptest! {
        #[test]
        fn decoding_arbitrary_bytes_never_panics_and_is_canonical(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(block) = OrderedBlock::decode_cfg(bytes.clone(), &()) {
                prop_assert_eq!(block.encode(), bytes);
            }
        }

        #[test]
        fn damaged_block_is_refused_or_has_another_digest(at in 0usize..200, flip in 1u8..) {
            let good = OrderedBlock::new(block(7, vec![vec![1, 2], vec![3; 20]])).unwrap();
            let mut bytes = good.encode().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(other) = OrderedBlock::decode_cfg(Bytes::from(bytes), &()) {
                prop_assert_ne!(other.digest(), good.digest());
            }
        }
    }
}
