//! The tables together reach every reject of the protocol.

use std::collections::BTreeSet;

use wire::Reject;

#[test]
fn every_reject_is_reached_by_some_case() {
    let tables = [
        crate::accounts::CASES,
        crate::locks::CASES,
        crate::names::CASES,
        crate::name_keys::CASES,
        crate::name_records::CASES,
        crate::name_sales::CASES,
        crate::notary::CASES,
        crate::hosts::CASES,
        crate::market::CASES,
        crate::contracts::CASES,
        crate::enclaves::CASES,
        crate::keys::CASES,
        crate::zones::CASES,
        crate::name_servers::CASES,
        crate::members::CASES,
        crate::certificates::CASES,
        crate::updates::CASES,
    ];
    let reached: BTreeSet<Reject> = tables
        .into_iter()
        .flatten()
        .filter_map(|(_, verdict, _)| verdict.err())
        .collect();
    let missing: Vec<_> = Reject::ALL
        .iter()
        .filter(|reject| !reached.contains(reject))
        .collect();
    assert!(missing.is_empty(), "no case earns {missing:?}");
}
