//! Every size limit of the wire format, with its reason.
//!
//! Limits are part of consensus: changing one changes which transactions are
//! valid.

/// A signed transaction, encoded: room for an enclave's evidence and a
/// certificate request, small enough that a thousand fit a block's time.
pub const MAX_TRANSACTION_BYTES: usize = 32 * 1024;

/// All transactions of a block: what four members on ordinary links spread
/// well within one view.
pub const MAX_BLOCK_BYTES: usize = 1024 * 1024;

/// Transactions in a block: bounds the work of one block to what a slow core
/// verifies within a view.
pub const MAX_BLOCK_TRANSACTIONS: usize = 4096;

/// Actions in one atomic list.
pub const MAX_ACTIONS: usize = 16;

/// Depth of a lock's condition tree: no contract anyone has shown needs more,
/// and it bounds recursion.
pub const MAX_CONDITION_DEPTH: usize = 8;

/// Nodes of a lock's condition tree.
pub const MAX_CONDITION_NODES: usize = 64;

/// Signatures and preimages in a witness; at least one per leaf of a condition.
pub const MAX_WITNESS_ITEMS: usize = 64;

/// A hash preimage: 64 bytes leaves room for any digest and for salted secrets.
pub const MAX_PREIMAGE_BYTES: usize = 64;

/// RRsets of one name, all owners beneath it counted.
pub const MAX_RECORD_SETS: usize = 64;

/// Records in one RRset.
pub const MAX_RECORDS_PER_SET: usize = 16;

/// Data of one record: a TXT record of a DKIM key or a certificate association fits.
pub const MAX_RECORD_DATA_BYTES: usize = 1024;

/// Server keys of one name: as many as it may have RRsets is more than anyone runs.
pub const MAX_NAME_KEYS: usize = 16;

/// Names of one owner with one confusable skeleton: each registration reads
/// them all.
pub const MAX_CONFUSABLE_NAMES: usize = 16;

/// The media type of notarised data: the longest registered one has 85 octets.
pub const MAX_MEDIA_BYTES: usize = 128;

/// Authenticator data of a passkey's assertion: 37 octets, and extensions.
pub const MAX_AUTHENTICATOR_DATA_BYTES: usize = 512;

/// Client data of a passkey's assertion: the challenge, and an origin that may
/// have a whole name in it.
pub const MAX_CLIENT_DATA_BYTES: usize = 1024;

/// Replicas of one request.
pub const MAX_REPLICAS: u16 = 64;

/// Mirrors of one payload.
pub const MAX_LOCATIONS: usize = 8;

/// A location, technology, region or similar short text.
pub const MAX_TEXT_BYTES: usize = 256;

/// Entries of a short list in an offer or request (kinds, technologies, addresses).
pub const MAX_LIST: usize = 16;

/// A sealed message on the ledger: a wrapped key or a confirmation; logs and
/// results travel beside the ledger.
pub const MAX_SEALED_BYTES: usize = 2 * 1024;

/// Evidence: a DCAP quote with its certificates and collateral is below 16 KiB
/// today; Intel's lists grow, and a transaction has room for no more.
pub const MAX_EVIDENCE_BYTES: usize = 24 * 1024;

/// Machines that a policy may name: a circle's own, in one room or two.
pub const MAX_PINNED_CHIPS: usize = 64;

/// A certificate request or a certificate, DER.
pub const MAX_CERTIFICATE_BYTES: usize = 4 * 1024;

/// How far ahead of the ledger's time a certificate may end: a week and a day
/// for clocks. Short lives keep the log and the revocation lists short.
pub const MAX_CERTIFICATE_LIFE_MS: u64 = 8 * 24 * 60 * 60 * 1000;

/// Certificates of one registered name that have not expired: two for each of
/// the most replicas of a request, and as many again. It bounds what a change
/// of owner revokes in one block.
pub const MAX_CERTIFICATES_PER_NAME: u32 = 256;

/// Names in one ACME order: a site and its parts.
pub const MAX_ORDER_NAMES: usize = 16;

/// Orders of one ACME account that have not been forgotten.
pub const MAX_ORDERS_PER_ACCOUNT: u32 = 64;

/// How long an [`crate::OwnerBinding`] can be used: a day's set-up work.
pub const BINDING_LIFE_MS: u64 = 24 * 60 * 60 * 1000;

/// How long an order stands, and how long a finished one can still be read:
/// clients that poll come back within minutes, people within hours.
pub const ORDER_LIFE_MS: u64 = 4 * 60 * 60 * 1000;

/// A JWK in canonical form: one of RSA with 4096 bits has about 720 octets.
pub const MAX_JWK_BYTES: usize = 1024;

/// Keys of one zone: two roll-overs at once. Validators try every key for
/// every signature, so that a large set is an attack on them (CVE-2023-50387).
pub const MAX_ZONE_KEYS: usize = 6;

/// Name servers of one zone: as many as the root has.
pub const MAX_ZONE_SERVERS: usize = 13;

/// Seconds for which a zone's own records may be cached: a day, so that a
/// key's roll-over ends within days.
pub const MAX_ZONE_TTL: u32 = 86_400;

/// Addresses of one name server: a few networks, each with IPv4 and IPv6.
pub const MAX_NAME_SERVER_ADDRESSES: usize = 8;

/// Heartbeats in one action.
pub const MAX_HEARTBEATS: usize = 64;

/// Members of a circle: votes are counted one by one, and the engine's
/// committees hold no more.
pub const MAX_MEMBERS: usize = 128;

/// Open proposals of one member, so that none crowds out the others'.
pub const MAX_OPEN_PROPOSALS: usize = 8;

/// A validator's dealing: for 128 validators a commitment of 86 points of 96
/// bytes and an acknowledgement of 65 bytes from each are below 24 KiB.
pub const MAX_DEALING_BYTES: usize = 24 * 1024;

/// A frame between a host and its enclave.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// A payload, encrypted: what an enclave may hold in memory twice over.
pub const MAX_PAYLOAD_BYTES: u64 = 512 * 1024 * 1024;

/// A service's name in a label: as long as a name's label.
pub const MAX_SERVICE_BYTES: usize = 63;

/// A keykeeper's answer: a signature share of 48 bytes, an index and what
/// sealing adds (`threshold` checks that they fit).
pub const MAX_KEY_ANSWER_BYTES: usize = 112;

/// Blocks in which a request for a key can be answered, and that the state
/// keeps it and its answers.
pub const KEY_REQUEST_BLOCKS: u64 = 256;

/// Blocks that a phase of a round may last: below the least, an honest
/// keykeeper may be too slow; above the most, nobody waits for a result.
pub const KEY_WINDOW_BLOCKS: std::ops::RangeInclusive<u32> = 8..=100_000;

/// Keykeepers of a circle: the work of a round grows with their square, and a
/// dealing for each must fit a transaction.
pub const MAX_KEYKEEPERS: usize = 64;

/// A keykeeper's share in escrow among the most members is below 20 KiB
/// (`threshold` checks that it fits).
pub const MAX_KEY_ESCROW_BYTES: usize = 23 * 1024;

/// What a keykeeper posts in a round: a dealing for 64 players is below 10 KiB.
pub const MAX_KEY_POST_BYTES: usize = 10 * 1024;

/// Signed updates of one name whose signatures begin in the same second: more
/// than a person sends, few enough to remember.
pub const MAX_UPDATES_PER_SECOND: usize = 16;
