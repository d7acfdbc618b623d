//! Which properties does OP-TEE read of the trusted application?

use optee_utee_build::{Error, TaConfig};

/// Names the application; its file is UUID.ta. Random, made once.
const UUID: &str = "5c2f3f0a-6a5f-4d0e-9c3d-0a4d1c1b7e42";

/// Verifying a P-256 signature takes some tens of KiB in an optimised build.
const STACK_BYTES: u32 = 128 * 1024;

/// A message, its decoded form and its answer, and what is known of 64 callers, each
/// with a credential of at most 4 KiB.
const HEAP_BYTES: u32 = 1024 * 1024;

fn main() -> Result<(), Error> {
    let config = TaConfig::new_default_with_cargo_env(UUID)?
        .ta_stack_size(STACK_BYTES)
        .ta_data_size(HEAP_BYTES)
        .trace_ext_prefix("vault");
    optee_utee_build::build(config)
}
