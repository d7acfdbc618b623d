//! Every target for a short while on the stable toolchain: mutations of its
//! seeds, from a seed that is printed.

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

/// Inputs for each target; the long run is `script/fuzz`.
const INPUTS: usize = 4000;

fn mutate(rng: &mut StdRng, seed: &[u8]) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..rng.random_range(0..6) {
        if input.is_empty() {
            input.push(rng.random());
        }
        let at = rng.random_range(0..input.len());
        match rng.random_range(0..6) {
            0 => input[at] ^= 1 << rng.random_range(0..8),
            1 => input[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            2 => input.truncate(at),
            3 => {
                let insert: u8 = rng.random();
                input.insert(at, insert);
            }
            4 => {
                let end = (at + rng.random_range(1..9)).min(input.len());
                rng.fill_bytes(&mut input[at..end]);
            }
            _ => {
                let copy = input[at..(at + 16).min(input.len())].to_vec();
                input.extend_from_slice(&copy);
            }
        }
    }
    input
}

#[test]
fn no_target_panics_on_mutated_seeds() {
    let seed: u64 = std::env::var("RINGFORT_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("RINGFORT_FUZZ_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for target in fuzz::TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for _ in 0..INPUTS {
            let pick = rng.random_range(0..seeds.len());
            let input = mutate(&mut rng, &seeds[pick]);
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(
                outcome.is_ok(),
                "{} panicked on {}",
                target.name,
                hex(&input)
            );
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
