//! A fuzz target for every decoder that reads bytes from a peer, a file or a
//! user.
//!
//! A target is a function over bytes that must not panic, whatever they are,
//! and that asserts what must hold of what it accepts. `tests/short.rs` runs
//! all of them on the stable toolchain over mutated seeds; `script/fuzz` runs
//! one under libFuzzer for as long as is wished.

mod acme;
mod applications;
mod delegation;
mod dns;
mod handshakes;
mod hosts;
mod keys;
mod ledger;
mod presentation;
mod update;

/// One decoder under test.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Valid inputs to mutate; not empty.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Decodes; panics only on a defect.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "credential",
        seeds: applications::credentials,
        run: applications::credential,
    },
    Target {
        name: "vault_session",
        seeds: applications::vault_sessions,
        run: applications::vault_session,
    },
    Target {
        name: "program_file",
        seeds: applications::programs,
        run: applications::program,
    },
    Target {
        name: "keykeeper_frame",
        seeds: applications::keykeeper_frames,
        run: applications::keykeeper_frame,
    },
    Target {
        name: "recovery_request",
        seeds: applications::recovery_requests,
        run: applications::recovery_request,
    },
    Target {
        name: "key_escrow",
        seeds: keys::escrows,
        run: keys::escrow,
    },
    Target {
        name: "child_zone",
        seeds: delegation::answers,
        run: delegation::zone,
    },
    Target {
        name: "presentation",
        seeds: presentation::texts,
        run: presentation::text,
    },
    Target {
        name: "name_update",
        seeds: update::messages,
        run: update::message,
    },
    Target {
        name: "acme_message",
        seeds: acme::messages,
        run: acme::message,
    },
    Target {
        name: "certificate_request",
        seeds: acme::requests,
        run: acme::request,
    },
    Target {
        name: "transaction",
        seeds: ledger::transactions,
        run: ledger::transaction,
    },
    Target {
        name: "block",
        seeds: ledger::blocks,
        run: ledger::block,
    },
    Target {
        name: "genesis",
        seeds: ledger::geneses,
        run: ledger::genesis,
    },
    Target {
        name: "record",
        seeds: ledger::records,
        run: ledger::record,
    },
    Target {
        name: "domain_name",
        seeds: ledger::names,
        run: ledger::name,
    },
    Target {
        name: "proof",
        seeds: ledger::proofs,
        run: ledger::proof,
    },
    Target {
        name: "checkpoint",
        seeds: ledger::checkpoints,
        run: ledger::checkpoint,
    },
    Target {
        name: "evidence",
        seeds: ledger::evidences,
        run: ledger::evidence,
    },
    Target {
        name: "evidence_intel",
        seeds: hosts::intel_seeds,
        run: hosts::intel,
    },
    Target {
        name: "evidence_amd",
        seeds: hosts::amd_seeds,
        run: hosts::amd,
    },
    Target {
        name: "evidence_nitro",
        seeds: hosts::nitro_seeds,
        run: hosts::nitro,
    },
    Target {
        name: "evidence_tpm",
        seeds: hosts::tpm_seeds,
        run: hosts::tpm,
    },
    Target {
        name: "boot_log",
        seeds: hosts::boot_logs,
        run: hosts::boot_log,
    },
    Target {
        name: "measurement_list",
        seeds: hosts::measurement_lists,
        run: hosts::measurement_list,
    },
    Target {
        name: "package",
        seeds: hosts::packages,
        run: hosts::package,
    },
    Target {
        name: "frame",
        seeds: handshakes::frames,
        run: handshakes::frame,
    },
    Target {
        name: "payload",
        seeds: handshakes::payloads,
        run: handshakes::payload,
    },
    Target {
        name: "bundle",
        seeds: handshakes::bundles,
        run: handshakes::bundle,
    },
    Target {
        name: "archive",
        seeds: handshakes::archives,
        run: handshakes::archive,
    },
    Target {
        name: "sealed_message",
        seeds: handshakes::messages,
        run: handshakes::message,
    },
    Target {
        name: "log_record",
        seeds: handshakes::logs,
        run: handshakes::log,
    },
    Target {
        name: "key_round",
        seeds: keys::posts,
        run: keys::post,
    },
    Target {
        name: "key_state",
        seeds: keys::states,
        run: keys::state,
    },
    Target {
        name: "key_answer",
        seeds: keys::answers,
        run: keys::answer,
    },
    Target {
        name: "label_message",
        seeds: keys::messages,
        run: keys::message,
    },
    Target {
        name: "zone_feed",
        seeds: dns::feeds,
        run: naming::names::fuzz_feed,
    },
    Target {
        name: "dns_query",
        seeds: dns::queries,
        run: naming::names::fuzz_query,
    },
    Target {
        name: "dns_rendered",
        seeds: dns::queries,
        run: naming::names::fuzz_rendered,
    },
    Target {
        name: "dns_fronts",
        seeds: dns::fronts,
        run: naming::names::fuzz_fronts,
    },
];

/// The function of the target called `name`.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .map(|target| target.run)
}

/// The names of all targets.
pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name).collect()
}
