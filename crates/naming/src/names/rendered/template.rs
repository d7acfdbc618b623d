//! An RRset at an apex, rendered so that it fits behind any question beneath.

use domain::base::{iana::Class, rdata::ComposeRecordData as _};
use domain::rdata::ZoneRecordData;

use crate::names::zone::{Data, OwnerName, RrSet};

/// The two bits that mark a compression pointer (RFC 1035 §4.1.4).
pub const POINTER: u16 = 0xc000;

/// Records with gaps where the apex' name belongs: a response points there to
/// where its question has it.
#[derive(Clone, Debug)]
pub(super) struct Template {
    octets: Vec<u8>,
    /// Where the gaps are, ascending.
    gaps: Vec<u16>,
    /// Records before the signatures, and the octets that they take.
    pub records: u16,
    plain: usize,
    /// Signatures.
    pub signatures: u16,
}

impl Template {
    pub fn new(apex: &OwnerName, set: &RrSet) -> Self {
        let mut template = Self {
            octets: Vec::new(),
            gaps: Vec::new(),
            records: set.data.len() as u16,
            plain: 0,
            signatures: set.signatures.len() as u16,
        };
        for data in &set.data {
            template.push(apex, set, data);
        }
        template.plain = template.octets.len();
        for data in &set.signatures {
            template.push(apex, set, data);
        }
        template
    }

    fn gap(&mut self) {
        self.gaps.push(self.octets.len() as u16);
        self.octets.extend_from_slice(&[0; 2]);
    }

    fn push(&mut self, apex: &OwnerName, set: &RrSet, data: &Data) {
        self.gap();
        push_head(&mut self.octets, set, data);
        let ZoneRecordData::Soa(soa) = data else {
            // Composing into a vector does not fail.
            let _ = data.compose_len_rdata(&mut self.octets);
            return;
        };
        let length_at = self.octets.len();
        self.octets.extend_from_slice(&[0; 2]);
        for name in [soa.mname(), soa.rname()] {
            // The only type here whose names may be compressed (RFC 3597 §4).
            let octets = name.as_slice();
            match octets.len().checked_sub(apex.len()) {
                Some(cut) if name.ends_with(apex) => {
                    self.octets.extend_from_slice(&octets[..cut]);
                    self.gap();
                }
                _ => self.octets.extend_from_slice(octets),
            }
        }
        self.octets.extend(soa.serial().into_int().to_be_bytes());
        for ttl in [soa.refresh(), soa.retry(), soa.expire(), soa.minimum()] {
            self.octets.extend(ttl.as_secs().to_be_bytes());
        }
        let length = self.octets.len() - length_at - 2;
        self.octets[length_at..length_at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }

    /// The records, with their signatures if `signed`; gaps are zero.
    pub fn octets(&self, signed: bool) -> &[u8] {
        if signed {
            &self.octets
        } else {
            &self.octets[..self.plain]
        }
    }

    /// Fills the gaps of a copy of [`Template::octets`].
    pub fn fill(&self, copy: &mut [u8], apex_at: usize) {
        let pointer = (POINTER | apex_at as u16).to_be_bytes();
        for gap in &self.gaps {
            // Those of the signatures are missing in a copy without them.
            if let Some(gap) = copy.get_mut(usize::from(*gap)..usize::from(*gap) + 2) {
                gap.copy_from_slice(&pointer);
            }
        }
    }
}

/// Appends type, class and time to live.
pub(super) fn push_head(octets: &mut Vec<u8>, set: &RrSet, data: &Data) {
    use domain::base::rdata::RecordData as _;
    octets.extend(data.rtype().to_int().to_be_bytes());
    octets.extend(Class::IN.to_int().to_be_bytes());
    octets.extend(set.ttl.as_secs().to_be_bytes());
}
