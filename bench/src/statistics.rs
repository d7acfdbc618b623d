//! Medians, percentiles and how they are printed.

use std::time::Duration;

/// Sorted samples.
pub struct Samples(Vec<f64>);

impl Samples {
    /// Takes samples in any order and unit.
    ///
    /// Panics on none: a round that measured nothing is a broken benchmark.
    pub fn new(mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a round measured nothing");
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// As [`Samples::new`], in milliseconds.
    pub fn milliseconds(samples: &[Duration]) -> Self {
        Self::new(
            samples
                .iter()
                .map(|sample| sample.as_secs_f64() * 1e3)
                .collect(),
        )
    }

    /// The value that `percent` of the samples do not exceed (nearest rank).
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest and the largest.
    pub fn range(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

/// Prints ours beside the peer's: medians, ranges over rounds, and the median of
/// the ratios of neighbouring rounds.
pub fn print_ratio(what: &str, unit: &str, goal: f64, ours: &[f64], peer_name: &str, peer: &[f64]) {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(peer)
        .map(|(ours, peer)| ours / peer)
        .collect();
    let (ours, peer) = (Samples::new(ours.to_vec()), Samples::new(peer.to_vec()));
    let ratios = Samples::new(ratios);
    let line = |name: &str, samples: &Samples| {
        let (low, high) = samples.range();
        println!(
            "  {name:<18} {:>12.1} {unit}   ({low:.1} to {high:.1})",
            samples.median()
        );
    };
    println!("{what}, medians of {} alternating rounds", ours.count());
    line("ringfort", &ours);
    line(peer_name, &peer);
    let (low, high) = ratios.range();
    let verdict = if ratios.median() >= goal {
        "reached"
    } else {
        "missed"
    };
    println!(
        "  ratio              {:>12.2}            ({low:.2} to {high:.2})   goal {goal:.2}: {verdict}",
        ratios.median()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples = Samples::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(samples.median(), 50.0);
        assert_eq!(samples.percentile(99.0), 99.0);
        assert_eq!(samples.percentile(100.0), 100.0);
        assert_eq!(Samples::new(vec![7.0]).percentile(1.0), 7.0);
    }
}
