//! Regions: where hardware stands and where a request wants it.
//!
//! A region is one to four segments from large to small, joined by `/`. Each
//! region of an offer, and "anywhere", is a place of its own in the index, so
//! that a request finds the offers in its region without meeting the others.

/// Segments of a location: continent, country, city, site.
const MAX_SEGMENTS: usize = 4;

/// Octets of a segment: a domain label's, and all four fit the index's length byte.
const MAX_SEGMENT_BYTES: usize = 63;

/// Whether `text` is a region: segments of lower-case letters, digits and hyphens.
pub(super) fn is_region(text: &str) -> bool {
    let segment = |segment: &str| {
        (1..=MAX_SEGMENT_BYTES).contains(&segment.len())
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.split('/').count() <= MAX_SEGMENTS
        && text.len() <= usize::from(u8::MAX)
        && text.split('/').all(segment)
}

/// Whether hardware in `location` stands in `region`; empty is anywhere.
pub(super) fn holds(region: &str, location: &str) -> bool {
    region.is_empty()
        || location
            .strip_prefix(region)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every region that holds `location`: anywhere first, the location itself last.
pub(super) fn all_holding(location: &str) -> impl Iterator<Item = &str> {
    let ends = location.match_indices('/').map(|(at, _)| at);
    std::iter::once("")
        .chain(ends.map(|end| &location[..end]))
        .chain(std::iter::once(location))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_holds_whole_segments() {
        assert!(holds("", "eu/de/fra1"));
        assert!(holds("eu", "eu/de/fra1"));
        assert!(holds("eu/de/fra1", "eu/de/fra1"));
        assert!(!holds("eu/d", "eu/de/fra1"));
        assert!(!holds("eu/de/fra1/a", "eu/de/fra1"));
    }

    #[test]
    fn every_region_that_holds_a_location_is_listed_once() {
        let all: Vec<_> = all_holding("eu/de/fra1").collect();
        assert_eq!(all, ["", "eu", "eu/de", "eu/de/fra1"]);
        assert!(all.iter().all(|region| holds(region, "eu/de/fra1")));
    }

    #[test]
    fn refuses_texts_that_are_no_regions() {
        for good in ["eu", "eu/de/fra1", "local", "a/b/c/d"] {
            assert!(is_region(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "/", "eu/", "/eu", "EU", "a/b/c/d/e", "a b", &long] {
            assert!(!is_region(bad), "{bad}");
        }
    }
}
