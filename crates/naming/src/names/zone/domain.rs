//! RRsets, the nodes that hold them, and everything at and beneath one label
//! under an apex.

use domain::base::{Ttl, iana::Rtype};

use super::{Data, order};

/// The records of one owner and type (RFC 9499), and what signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// Their type.
    pub rtype: Rtype,
    /// Their one time to live (RFC 2181 §5.2).
    pub ttl: Ttl,
    /// Their data; never empty, no two equal.
    pub data: Vec<Data>,
    /// The RRSIGs over them; none in an unsigned zone, and none for what a
    /// zone holds but does not speak for.
    pub signatures: Vec<Data>,
}

impl RrSet {
    /// An RRset that nothing signs yet.
    pub fn new(rtype: Rtype, ttl: Ttl, data: Vec<Data>) -> Self {
        Self {
            rtype,
            ttl,
            data,
            signatures: Vec::new(),
        }
    }

    /// Whether a signature over one of them is one over the other.
    pub(super) fn signs_alike(&self, other: &Self) -> bool {
        self.rtype == other.rtype
            && self.ttl == other.ttl
            && self.data.len() == other.data.len()
            && self.data.iter().all(|data| other.data.contains(data))
    }
}

/// A name that exists: its RRsets, ascending by type; none for an empty
/// non-terminal (RFC 8499).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    sets: Vec<RrSet>,
}

/// What a zone is to a node of it (RFC 1034 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It speaks for it.
    Authoritative,
    /// It delegates it: it speaks for DS and NSEC there and for nothing else.
    Cut,
    /// It lies beneath a delegation or a redirection.
    Beneath,
}

impl Standing {
    /// Whether the zone signs the RRset of `rtype` at such a node (RFC 4035 §2.2).
    pub fn signs(self, rtype: Rtype) -> bool {
        match self {
            Self::Authoritative => true,
            Self::Cut => matches!(rtype, Rtype::DS | Rtype::NSEC),
            Self::Beneath => false,
        }
    }
}

impl Node {
    /// The RRset of `rtype`.
    pub fn get(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// Every RRset, ascending by type.
    pub fn sets(&self) -> &[RrSet] {
        &self.sets
    }

    /// Adds records; an RRset that exists takes the union and the smaller
    /// time to live.
    pub(in crate::names) fn add(
        &mut self,
        rtype: Rtype,
        ttl: Ttl,
        data: impl IntoIterator<Item = Data>,
    ) {
        let at = match self.sets.binary_search_by_key(&rtype, |set| set.rtype) {
            Ok(at) => at,
            Err(at) => {
                self.sets.insert(at, RrSet::new(rtype, ttl, Vec::new()));
                at
            }
        };
        let set = &mut self.sets[at];
        set.ttl = set.ttl.min(ttl);
        for item in data {
            if !set.data.contains(&item) {
                set.data.push(item);
            }
        }
        if set.data.is_empty() {
            self.sets.remove(at);
        }
    }

    /// Puts an RRset in the place of that of its type, whose signatures it
    /// keeps if they hold for it too.
    pub(super) fn put(&mut self, mut set: RrSet) {
        match self
            .sets
            .binary_search_by_key(&set.rtype, |present| present.rtype)
        {
            Ok(at) if self.sets[at].signs_alike(&set) => {
                set.signatures = std::mem::take(&mut self.sets[at].signatures);
                self.sets[at] = set;
            }
            Ok(at) => self.sets[at] = set,
            Err(at) => self.sets.insert(at, set),
        }
    }

    /// Keeps only the RRsets of which `keep` holds.
    pub(in crate::names) fn retain(&mut self, keep: impl FnMut(&RrSet) -> bool) {
        self.sets.retain(keep);
    }

    pub(in crate::names) fn get_mut(&mut self, rtype: Rtype) -> Option<&mut RrSet> {
        self.sets.iter_mut().find(|set| set.rtype == rtype)
    }

    pub(in crate::names) fn sets_mut(&mut self) -> &mut [RrSet] {
        &mut self.sets
    }

    /// Takes the signatures of `former` where they still hold.
    pub(super) fn adopt_signatures(&mut self, former: &Self) {
        for set in &mut self.sets {
            if let Some(known) = former.get(set.rtype)
                && known.signs_alike(set)
            {
                set.signatures.clone_from(&known.signatures);
            }
        }
    }

    /// Whether a node of that standing has an NSEC record: it has data that
    /// the zone speaks for, or delegates (RFC 4035 §2.3).
    fn is_chained(&self, standing: Standing) -> bool {
        standing != Standing::Beneath && self.sets.iter().any(|set| set.rtype != Rtype::NSEC)
    }
}

/// Everything at and beneath one label under an apex: a registered name, or a
/// name server.
///
/// Shape: owners are relative to that label, in wire form, lower case, without
///        the root label; the empty owner is the label's own. They ascend in
///        the canonical order. Every ancestor of an owner is an owner, so that
///        empty non-terminals exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    nodes: Vec<(Box<[u8]>, Node)>,
}

impl Domain {
    /// A name that holds nothing yet.
    pub(in crate::names) fn with_apex() -> Self {
        let mut domain = Self::default();
        domain.node_mut(&[]);
        domain
    }

    /// Adds a node behind all others, as it was before.
    pub(in crate::names) fn push(&mut self, owner: &[u8], sets: Vec<RrSet>) {
        self.nodes.push((owner.into(), Node { sets }));
    }

    /// Gives back room that was taken for more.
    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        for (_, node) in &mut self.nodes {
            node.sets.shrink_to_fit();
            for set in &mut node.sets {
                set.data.shrink_to_fit();
            }
        }
    }

    fn position(&self, owner: &[u8]) -> Result<usize, usize> {
        self.nodes
            .binary_search_by(|(present, _)| order::compare(present, owner))
    }

    /// The node at `owner` (see the type's shape).
    pub fn node(&self, owner: &[u8]) -> Option<&Node> {
        self.position(owner).ok().map(|at| &self.nodes[at].1)
    }

    /// The node at `owner`, made with its ancestors if need be.
    pub(in crate::names) fn node_mut(&mut self, owner: &[u8]) -> &mut Node {
        let mut rest = owner;
        while let Some((&length, _)) = rest.split_first() {
            rest = rest.get(usize::from(length) + 1..).unwrap_or_default();
            if let Err(at) = self.position(rest) {
                self.nodes.insert(at, (rest.into(), Node::default()));
            }
        }
        let at = match self.position(owner) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(at, (owner.into(), Node::default()));
                at
            }
        };
        &mut self.nodes[at].1
    }

    /// The node at `owner`, if it exists.
    pub(in crate::names) fn existing_mut(&mut self, owner: &[u8]) -> Option<&mut Node> {
        let at = self.position(owner).ok()?;
        Some(&mut self.nodes[at].1)
    }

    pub(in crate::names) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().map(|(_, node)| node)
    }

    /// Every owner with its node, in canonical order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(owner, node)| (&**owner, node))
    }

    /// What the zone is to each node, in canonical order.
    pub fn standings(&self) -> Vec<Standing> {
        // Descendants follow their ancestor directly.
        let mut cut: Option<&[u8]> = None;
        let standing = |(owner, node): (&[u8], &Node), cut: Option<&[u8]>| match cut {
            Some(cut) if order::is_beneath(owner, cut) => Standing::Beneath,
            _ if node.get(Rtype::NS).is_some() => Standing::Cut,
            _ => Standing::Authoritative,
        };
        let mut standings = Vec::with_capacity(self.nodes.len());
        for (owner, node) in &self.nodes {
            let here = standing((owner, node), cut);
            let redirects = node.get(Rtype::DNAME).is_some();
            if here == Standing::Cut || here == Standing::Authoritative && redirects {
                cut = Some(owner);
            }
            standings.push(here);
        }
        standings
    }

    /// Leaves out what a delegation or redirection hides: at the cut, all but
    /// NS, DS and addresses; beneath it, all but addresses, which are glue.
    pub(in crate::names) fn settle_cuts(&mut self) {
        let standings = self.standings();
        for ((_, node), standing) in self.nodes.iter_mut().zip(standings) {
            node.retain(|set| match standing {
                Standing::Authoritative => true,
                Standing::Cut => {
                    matches!(set.rtype, Rtype::NS | Rtype::DS | Rtype::A | Rtype::AAAA)
                }
                Standing::Beneath => matches!(set.rtype, Rtype::A | Rtype::AAAA),
            });
        }
        // A node with neither records nor descendants does not exist.
        let mut kept: Vec<(Box<[u8]>, Node)> = Vec::with_capacity(self.nodes.len());
        while let Some((owner, node)) = self.nodes.pop() {
            let has_descendants = kept
                .last()
                .is_some_and(|(next, _)| order::is_beneath(next, &owner));
            if owner.is_empty() || !node.sets.is_empty() || has_descendants {
                kept.push((owner, node));
            }
        }
        kept.reverse();
        self.nodes = kept;
    }

    /// The owners that have an NSEC record in a signed zone, in order.
    pub(super) fn chained(&self) -> Vec<Box<[u8]>> {
        self.nodes
            .iter()
            .zip(self.standings())
            .filter(|((_, node), standing)| node.is_chained(*standing))
            .map(|((owner, _), _)| owner.clone())
            .collect()
    }

    /// The first owner that has an NSEC record in a signed zone.
    pub(super) fn first_chained(&self) -> Option<&[u8]> {
        self.nodes
            .iter()
            .zip(self.standings())
            .find(|((_, node), standing)| node.is_chained(*standing))
            .map(|((owner, _), _)| &**owner)
    }

    /// The last owner at or before `owner` with an NSEC record, and the record.
    pub(super) fn covering(&self, owner: &[u8]) -> Option<(&[u8], &RrSet)> {
        let end = match self.position(owner) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        self.nodes[..end]
            .iter()
            .rev()
            .find_map(|(owner, node)| Some((&**owner, node.get(Rtype::NSEC)?)))
    }

    /// The last owner with an NSEC record, and the record.
    pub(super) fn last_nsec(&self) -> Option<(&[u8], &RrSet)> {
        self.nodes
            .iter()
            .rev()
            .find_map(|(owner, node)| Some((&**owner, node.get(Rtype::NSEC)?)))
    }

    /// Takes the signatures of `former` where they still hold, and its NSEC
    /// records, which the chain's repair then looks at.
    pub(super) fn adopt_signatures(&mut self, former: &Self) {
        for (owner, node) in &mut self.nodes {
            let Some(known) = former.node(owner) else {
                continue;
            };
            node.adopt_signatures(known);
            if let Some(nsec) = known.get(Rtype::NSEC) {
                node.put(nsec.clone());
            }
        }
    }

    /// Every RRset that the zone signs: owner, RRset.
    pub fn signed_sets(&self) -> impl Iterator<Item = (&[u8], &RrSet)> {
        self.nodes
            .iter()
            .zip(self.standings())
            .flat_map(|((owner, node), standing)| {
                node.sets
                    .iter()
                    .filter(move |set| standing.signs(set.rtype))
                    .map(|set| (&**owner, set))
            })
    }
}
