//! Which records answer a question: the algorithm of RFC 1034 §4.3.2 with
//! wildcards (RFC 4592), DNAME (RFC 6672) and minimal ANY (RFC 8482), and the
//! NSEC records that prove what there is not (RFC 4035 §3.1.3).
//!
//! It knows nothing of messages, sizes or transports.

use std::borrow::Cow;

use domain::{
    base::{
        Name,
        iana::{Rcode, Rtype},
    },
    rdata::{Cname, ZoneRecordData},
};

use crate::names::zone::{Apex, Domain, Node, OwnerName, RrSet, Zone};

/// Aliases followed for one question: more than any sane zone holds, few
/// enough that a ring of them costs nothing.
const MAX_ALIASES: usize = 16;

/// Octets of a name in wire form (RFC 1035 §2.3.4).
const MAX_WIRE_NAME: usize = 255;

/// Labels of a name, the root not counted.
const MAX_LABELS: usize = 127;

/// An RRset and the owner under which it is given.
pub(super) struct Placed<'z> {
    /// The owner; that of the question where a wildcard matched.
    pub owner: OwnerName,
    /// The records.
    pub set: Cow<'z, RrSet>,
}

/// What answers a question.
pub(super) struct Answer<'z> {
    /// Its outcome.
    pub rcode: Rcode,
    /// Whether the zone speaks for the name asked (not so in a referral).
    pub authoritative: bool,
    /// Aliases in the order in which they were followed, then the records.
    pub answer: Vec<Placed<'z>>,
    /// SOA of a denial, or NS of a referral.
    pub authority: Vec<Placed<'z>>,
    /// Addresses that the client could not find otherwise (RFC 9471): a
    /// response without them is truncated.
    pub glue: Vec<Placed<'z>>,
    /// Addresses that save the client a question.
    pub additional: Vec<Placed<'z>>,
}

impl<'z> Answer<'z> {
    /// The answer from a name that has `set` and nothing else.
    pub fn of_own(qname: &OwnerName, qtype: Rtype, set: &'z RrSet) -> Self {
        let mut answer = Self::empty(Rcode::NOERROR, true);
        if qtype == set.rtype || qtype == Rtype::ANY {
            answer
                .answer
                .push(placed(qname.clone(), Cow::Borrowed(set)));
        }
        answer
    }

    fn empty(rcode: Rcode, authoritative: bool) -> Self {
        Self {
            rcode,
            authoritative,
            answer: Vec::new(),
            authority: Vec::new(),
            glue: Vec::new(),
            additional: Vec::new(),
        }
    }
}

/// A name with its lower-case form and where its labels begin.
struct Sought {
    name: OwnerName,
    lower: [u8; MAX_WIRE_NAME],
    starts: [u8; MAX_LABELS + 1],
    /// Labels, the root not counted.
    labels: usize,
}

impl Sought {
    fn new(name: OwnerName) -> Self {
        let mut lower = [0; MAX_WIRE_NAME];
        let mut starts = [0; MAX_LABELS + 1];
        let octets = name.as_slice();
        // A length octet is below 64 and so never taken for a letter.
        for (to, from) in lower.iter_mut().zip(octets) {
            *to = from.to_ascii_lowercase();
        }
        let (mut at, mut labels) = (0, 0);
        while let Some(&length) = octets.get(at)
            && length != 0
            && labels < MAX_LABELS
        {
            starts[labels] = at as u8;
            labels += 1;
            at += usize::from(length) + 1;
        }
        starts[labels] = at as u8;
        Self {
            name,
            lower,
            starts,
            labels,
        }
    }

    /// The lower-case labels from index `from` up to index `to`, in wire form.
    fn range(&self, from: usize, to: usize) -> &[u8] {
        &self.lower[usize::from(self.starts[from])..usize::from(self.starts[to])]
    }

    /// The name from label `from` on, as it was asked.
    fn suffix(&self, from: usize) -> OwnerName {
        self.name.range_from(usize::from(self.starts[from]))
    }

    /// Labels of this name that stand before `apex`; none if it is not beneath.
    fn labels_above(&self, apex: &Apex) -> Option<usize> {
        let above = self.labels.checked_sub(apex.labels())?;
        let suffix = &self.lower[usize::from(self.starts[above])..self.name.len()];
        (suffix == apex.name().as_slice()).then_some(above)
    }
}

/// Where a name was found.
enum Found<'z> {
    /// At this node.
    Node(Cow<'z, Node>),
    /// At the wildcard beneath the closest encloser, which begins at this label.
    Wildcard {
        node: Cow<'z, Node>,
        encloser: usize,
    },
    /// At or beneath a delegation, which begins at this label.
    Cut {
        ns: RrSet,
        label: usize,
        domain: Cow<'z, Domain>,
    },
    /// Beneath a DNAME, which stands at this label.
    Redirected { dname: RrSet, label: usize },
    /// Nowhere; the closest encloser begins at this label.
    Nothing { encloser: usize },
}

/// A node of a domain, to be had for longer than the domain, which may have
/// been unpacked for this question alone.
fn node_of(domain: &Domain, owner: &[u8]) -> Option<Node> {
    domain.node(owner).cloned()
}

/// An RRset of a node, likewise.
fn set_of<'z>(node: &Node, rtype: Rtype) -> Option<Cow<'z, RrSet>> {
    node.get(rtype).cloned().map(Cow::Owned)
}

/// Finds what `zone` answers to a question for `qtype` at `qname`, with what
/// proves it if `dnssec` and the zone is signed.
pub(super) fn lookup(zone: &Zone, qname: OwnerName, qtype: Rtype, dnssec: bool) -> Answer<'_> {
    let mut sought = Sought::new(qname);
    let Some(apex) = zone
        .apexes()
        .iter()
        .find(|apex| sought.labels_above(apex).is_some())
    else {
        return Answer::empty(Rcode::REFUSED, false);
    };
    let mut answer = Answer::empty(Rcode::NOERROR, true);
    for _ in 0..=MAX_ALIASES {
        // An alias that leaves the zone is for the client to follow.
        let Some(above) = sought.labels_above(apex) else {
            return answer;
        };
        let prover = Prover {
            apex: (dnssec && apex.keys().is_some()).then_some(apex),
            sought: &sought,
            above,
        };
        let found = find(apex, &sought, above, qtype);
        if let Found::Wildcard { .. } = found {
            // RFC 4035 §3.1.3.3: that there is no closer match.
            prover.prove_name(&mut answer);
        }
        let wildcard = match found {
            Found::Wildcard { encloser, .. } => Some(encloser),
            _ => None,
        };
        let next = match found {
            Found::Node(node) | Found::Wildcard { node, .. } => match alias(&node, qtype) {
                Some((set, target)) => {
                    answer.answer.push(placed(sought.name.clone(), set));
                    target
                }
                None => {
                    if answer_from(&mut answer, apex, &sought, &node, qtype) {
                        return answer;
                    }
                    match wildcard {
                        Some(encloser) => prover.prove_wildcard(&mut answer, encloser),
                        None => prover.prove_name(&mut answer),
                    }
                    return answer;
                }
            },
            Found::Cut { ns, label, domain } => {
                refer(&mut answer, apex, &sought, &ns, label, &domain);
                prover.prove_cut(&mut answer, &domain, label);
                return answer;
            }
            Found::Redirected { dname, label } => {
                match redirect(&mut answer, &sought, &dname, label) {
                    // The alias that was made is itself what was asked for.
                    Some(_) if qtype == Rtype::CNAME => return answer,
                    Some(target) => target,
                    None => return answer,
                }
            }
            Found::Nothing { encloser } => {
                answer.rcode = Rcode::NXDOMAIN;
                deny(&mut answer, apex);
                prover.prove_name(&mut answer);
                prover.prove_wildcard(&mut answer, encloser);
                return answer;
            }
        };
        // A ring of aliases is answered as far as it goes, once.
        let is_alias_of =
            |placed: &Placed<'_>| placed.set.rtype == Rtype::CNAME && placed.owner == next;
        if answer.answer.iter().any(is_alias_of) {
            return answer;
        }
        sought = Sought::new(next);
    }
    answer
}

/// Walks down from the apex to the name, as far as there are nodes.
fn find<'z>(apex: &'z Apex, sought: &Sought, above: usize, qtype: Rtype) -> Found<'z> {
    let Some(top) = above.checked_sub(1) else {
        return Found::Node(Cow::Borrowed(apex.node()));
    };
    let Some(domain) = apex.domain(&sought.range(top, above)[1..]) else {
        let node = apex.domain(b"*").and_then(|domain| node_of(&domain, &[]));
        return at_wildcard(node, above);
    };
    for label in (0..=top).rev() {
        let Some(node) = domain.node(sought.range(label, top)) else {
            let encloser = label + 1;
            let (key, length) = wildcard_key(sought.range(encloser, top));
            return at_wildcard(node_of(&domain, &key[..length]), encloser);
        };
        // RFC 4035 §3.1.4.1: DS stands on the parent's side of the cut.
        let is_parents = label == 0 && qtype == Rtype::DS;
        if let Some(ns) = node.get(Rtype::NS)
            && !is_parents
        {
            let ns = ns.clone();
            return Found::Cut { ns, label, domain };
        }
        if label == 0 {
            break;
        }
        if let Some(dname) = node.get(Rtype::DNAME) {
            let dname = dname.clone();
            return Found::Redirected { dname, label };
        }
    }
    match node_of(&domain, sought.range(0, top)) {
        Some(node) => Found::Node(Cow::Owned(node)),
        None => Found::Nothing { encloser: above },
    }
}

fn at_wildcard<'z>(node: Option<Node>, encloser: usize) -> Found<'z> {
    match node {
        Some(node) => Found::Wildcard {
            node: Cow::Owned(node),
            encloser,
        },
        None => Found::Nothing { encloser },
    }
}

/// The owner of the wildcard directly beneath the closest encloser (RFC 4592
/// §3.3.1), and its length.
fn wildcard_key(encloser: &[u8]) -> ([u8; MAX_WIRE_NAME + 2], usize) {
    let mut key = [0; MAX_WIRE_NAME + 2];
    key[..2].copy_from_slice(b"\x01*");
    key[2..2 + encloser.len()].copy_from_slice(encloser);
    (key, 2 + encloser.len())
}

/// Adds NSEC records to an answer; of an unsigned zone, none.
struct Prover<'s, 'z> {
    apex: Option<&'z Apex>,
    sought: &'s Sought,
    /// Labels of the name that stand before the apex.
    above: usize,
}

impl<'z> Prover<'_, 'z> {
    /// The label and the owner beneath it of the name from label `from` on.
    fn place(&self, from: usize) -> (&[u8], &[u8]) {
        match self.above.checked_sub(1) {
            Some(top) if from <= top => (
                &self.sought.range(top, self.above)[1..],
                self.sought.range(from, top),
            ),
            _ => (&[], &[]),
        }
    }

    /// What the name itself has, or that there is no such name.
    fn prove_name(&self, answer: &mut Answer<'z>) {
        let (label, owner) = self.place(0);
        add_nsec(answer, self.apex, label, owner);
    }

    /// What the wildcard beneath the closest encloser has, or that there is none.
    fn prove_wildcard(&self, answer: &mut Answer<'z>, encloser: usize) {
        if encloser >= self.above {
            return add_nsec(answer, self.apex, b"*", &[]);
        }
        let (label, owner) = self.place(encloser);
        let (key, length) = wildcard_key(owner);
        add_nsec(answer, self.apex, label, &key[..length]);
    }

    /// The DS of a delegation, or that it has none (RFC 4035 §3.1.4).
    fn prove_cut(&self, answer: &mut Answer<'z>, domain: &Domain, label: usize) {
        if self.apex.is_none() {
            return;
        }
        let (first, owner) = self.place(label);
        match node_of(domain, owner).and_then(|node| set_of(&node, Rtype::DS)) {
            Some(ds) => answer.authority.push(placed(self.sought.suffix(label), ds)),
            None => add_nsec(answer, self.apex, first, owner),
        }
    }
}

/// Adds the NSEC record at or before a name, unless it is there.
fn add_nsec<'z>(answer: &mut Answer<'z>, apex: Option<&'z Apex>, label: &[u8], owner: &[u8]) {
    let Some(apex) = apex else {
        return;
    };
    let found = if label.is_empty() {
        let nsec = apex.node().get(Rtype::NSEC);
        nsec.map(|set| (apex.name().clone(), Cow::Borrowed(set)))
    } else {
        apex.covering(label, owner)
    };
    let Some((owner, set)) = found else {
        return;
    };
    let present = |placed: &Placed<'_>| placed.set.rtype == Rtype::NSEC && placed.owner == owner;
    if !answer.authority.iter().any(present) {
        answer.authority.push(placed(owner, set));
    }
}

/// The alias to follow, if the node is one and the question is not for it or
/// for what signing put beside it (RFC 4035 §2.5).
fn alias<'z>(node: &Node, qtype: Rtype) -> Option<(Cow<'z, RrSet>, OwnerName)> {
    if matches!(
        qtype,
        Rtype::CNAME | Rtype::ANY | Rtype::RRSIG | Rtype::NSEC
    ) {
        return None;
    }
    let set = set_of(node, Rtype::CNAME)?;
    let target = match set.data.first()? {
        ZoneRecordData::Cname(cname) => cname.cname().clone(),
        _ => return None,
    };
    Some((set, target))
}

/// Answers from a node that is no alias: its records, or that there are none.
/// Gives whether there are.
fn answer_from<'z>(
    answer: &mut Answer<'z>,
    apex: &'z Apex,
    sought: &Sought,
    node: &Node,
    qtype: Rtype,
) -> bool {
    let set = match qtype {
        // RFC 8482 §4.1: one RRset is answer enough.
        Rtype::ANY => node.sets().first().and_then(|set| set_of(node, set.rtype)),
        Rtype::RRSIG => {
            answer.answer.extend(signatures(node, &sought.name));
            None
        }
        _ => set_of(node, qtype),
    };
    let answered = match qtype {
        Rtype::RRSIG => node.sets().iter().any(|set| !set.signatures.is_empty()),
        _ => set.is_some(),
    };
    if let Some(set) = set {
        for target in targets(&set) {
            add_addresses(&mut answer.additional, apex, target);
        }
        answer.answer.push(placed(sought.name.clone(), set));
    }
    if !answered {
        deny(answer, apex);
    }
    answered
}

/// The signatures at a node as records of their own. They are no RRset
/// (RFC 4035 §2.2): each has the time to live of what it covers.
fn signatures<'z>(node: &Node, owner: &OwnerName) -> Vec<Placed<'z>> {
    let signed = node.sets().iter().filter(|set| !set.signatures.is_empty());
    signed
        .map(|set| Placed {
            owner: owner.clone(),
            set: Cow::Owned(RrSet::new(Rtype::RRSIG, set.ttl, set.signatures.clone())),
        })
        .collect()
}

/// Adds the SOA that says for how long the denial holds (RFC 2308 §3).
fn deny<'z>(answer: &mut Answer<'z>, apex: &'z Apex) {
    answer
        .authority
        .push(placed(apex.name().clone(), Cow::Borrowed(apex.denial())));
}

/// Refers to the name servers of a delegated zone.
fn refer<'z>(
    answer: &mut Answer<'z>,
    apex: &'z Apex,
    sought: &Sought,
    ns: &RrSet,
    label: usize,
    domain: &Domain,
) {
    answer.authoritative = !answer.answer.is_empty();
    let cut = sought.suffix(label);
    for target in targets(ns) {
        let target = Sought::new(target.clone());
        let Some(above) = target.labels_above(apex) else {
            continue;
        };
        let Some(top) = above.checked_sub(1) else {
            continue;
        };
        if target.name.ends_with(&cut) {
            // Occluded by the cut, and the only place where these stand.
            let node = domain.node(target.range(0, top));
            answer.glue.extend(addresses(node, &target.name));
        } else {
            add_addresses(&mut answer.additional, apex, &target.name);
        }
    }
    let ns = Cow::Owned(ns.clone());
    answer.authority.push(placed(cut, ns));
}

/// Adds a DNAME and the CNAME that follows from it; gives where it leads
/// (RFC 6672 §3.1).
fn redirect<'z>(
    answer: &mut Answer<'z>,
    sought: &Sought,
    dname: &RrSet,
    label: usize,
) -> Option<OwnerName> {
    let ZoneRecordData::Dname(data) = dname.data.first()? else {
        return None;
    };
    let set = Cow::Owned(dname.clone());
    answer.answer.push(placed(sought.suffix(label), set));
    let mut octets = sought.name.as_slice()[..usize::from(sought.starts[label])].to_vec();
    octets.extend_from_slice(data.dname().as_slice());
    let Ok(target) = Name::from_octets(bytes::Bytes::from(octets)) else {
        answer.rcode = Rcode::YXDOMAIN;
        return None;
    };
    let data = vec![Cname::new(target.clone()).into()];
    let cname = RrSet::new(Rtype::CNAME, dname.ttl, data);
    answer.answer.push(Placed {
        owner: sought.name.clone(),
        set: Cow::Owned(cname),
    });
    Some(target)
}

fn placed(owner: OwnerName, set: Cow<'_, RrSet>) -> Placed<'_> {
    Placed { owner, set }
}

/// The hosts whose addresses a client of this RRset asks for next.
fn targets(set: &RrSet) -> impl Iterator<Item = &OwnerName> {
    set.data.iter().filter_map(|data| match data {
        ZoneRecordData::Ns(ns) => Some(ns.nsdname()),
        ZoneRecordData::Mx(mx) => Some(mx.exchange()),
        ZoneRecordData::Srv(srv) => Some(srv.target()),
        _ => None,
    })
}

/// Adds the addresses of `host` that the zone speaks for.
fn add_addresses<'z>(to: &mut Vec<Placed<'z>>, apex: &'z Apex, host: &OwnerName) {
    let host = Sought::new(host.clone());
    let Some(above) = host.labels_above(apex) else {
        return;
    };
    if to.iter().any(|placed| placed.owner == host.name) {
        return;
    }
    let found = find(apex, &host, above, Rtype::A);
    if let Found::Node(node) | Found::Wildcard { node, .. } = found {
        to.extend(addresses(Some(&node), &host.name));
    }
}

fn addresses<'z>(node: Option<&Node>, owner: &OwnerName) -> Vec<Placed<'z>> {
    let Some(node) = node else {
        return Vec::new();
    };
    [Rtype::A, Rtype::AAAA]
        .into_iter()
        .filter_map(|rtype| set_of(node, rtype))
        .map(|set| placed(owner.clone(), set))
        .collect()
}

/// The absolute name that a parsed question asks for; none if memory for it
/// cannot be had.
pub(super) fn owned(name: &impl domain::base::ToName) -> Option<OwnerName> {
    name.try_to_name().ok()
}
