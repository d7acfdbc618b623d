//! The rules of the house are tests of this crate: `layers` says who may
//! depend on whom, `tidy` how files look. It holds nothing else, so that a
//! rule is checked without building what it judges.
