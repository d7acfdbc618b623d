//! How do people write sizes, durations and processors?
//!
//! Durations are written in time or in blocks; time becomes blocks by the
//! circle's idle interval, which is the longest a block takes when all is well.

use std::time::Duration;

/// The text is not a quantity of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct UnitError {
    text: String,
    wanted: &'static str,
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    Some((number, unit.trim()))
}

/// MiB of `64MiB`, `1GiB`, `512` (MiB) and the like; rounds up.
pub fn mebibytes(text: &str) -> Result<u32, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        wanted: "a size such as 64MiB or 2GiB",
    };
    let (number, unit) = split(text).ok_or_else(error)?;
    let bytes_per_unit: f64 = match unit {
        "" | "MiB" | "M" | "Mi" => 1024.0 * 1024.0,
        "KiB" | "K" | "Ki" => 1024.0,
        "GiB" | "G" | "Gi" => 1024.0 * 1024.0 * 1024.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(error()),
    };
    let mebibytes = (number * bytes_per_unit / (1024.0 * 1024.0)).ceil();
    if mebibytes > f64::from(u32::MAX) {
        return Err(error());
    }
    Ok(mebibytes as u32)
}

/// Thousandths of a processor of `0.5`, `2` or `250m`.
pub fn processors_milli(text: &str) -> Result<u32, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        wanted: "a number of processors such as 0.5, 2 or 250m",
    };
    let (number, unit) = split(text).ok_or_else(error)?;
    let milli = match unit {
        "" => number * 1000.0,
        "m" => number,
        _ => return Err(error()),
    };
    if !(1.0..=f64::from(u32::MAX)).contains(&milli) {
        return Err(error());
    }
    Ok(milli.ceil() as u32)
}

/// A span of service: time, or a number of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// Blocks, exactly.
    Blocks(u64),
    /// Time, made into blocks by [`Span::blocks`].
    Time(Duration),
}

impl Span {
    /// The number of blocks made in it at `block_interval_ms`; rounds up, at least one.
    pub fn blocks(self, block_interval_ms: u64) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks,
            Self::Time(time) => u64::try_from(time.as_millis())
                .unwrap_or(u64::MAX)
                .div_ceil(block_interval_ms.max(1))
                .max(1),
        }
    }
}

/// The span of `10m`, `90s`, `2h`, `1d` or `5000blocks`.
pub fn span(text: &str) -> Result<Span, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        wanted: "a duration such as 90s, 10m, 2h, 1d or 5000blocks",
    };
    let (number, unit) = split(text).ok_or_else(error)?;
    let seconds = match unit {
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        "block" | "blocks" if number.fract() == 0.0 && number >= 1.0 => {
            return Ok(Span::Blocks(number as u64));
        }
        _ => return Err(error()),
    };
    // Ten years: far beyond any contract, far below where arithmetic ends.
    if !(0.001..=315_360_000.0).contains(&seconds) {
        return Err(error());
    }
    Ok(Span::Time(Duration::from_secs_f64(seconds)))
}

/// A duration in words for people: `3 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_whole_mebibytes() {
        for (text, wanted) in [
            ("64MiB", 64),
            ("64", 64),
            ("1GiB", 1024),
            ("1KiB", 1),
            ("1.5GiB", 1536),
            ("64MB", 62),
        ] {
            assert_eq!(mebibytes(text), Ok(wanted), "{text}");
        }
        for bad in ["", "MiB", "-1MiB", "64 parsecs", "9999999GiB", "1e3"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (text, wanted) in [("1", 1000), ("0.5", 500), ("250m", 250), ("2.0", 2000)] {
            assert_eq!(processors_milli(text), Ok(wanted), "{text}");
        }
        for bad in ["", "0", "two", "-1", "1k"] {
            assert!(processors_milli(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_become_blocks_rounded_up() {
        assert_eq!(span("10m").unwrap().blocks(250), 2400);
        assert_eq!(span("1s").unwrap().blocks(300), 4);
        assert_eq!(span("5000blocks").unwrap().blocks(250), 5000);
        for bad in ["", "10", "0s", "0.5blocks", "-1s", "10y", "99999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_spoken_in_two_units_at_most() {
        let spoken_seconds = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!(spoken_seconds(59), "59 s");
        assert_eq!(spoken_seconds(250), "4 min 10 s");
        assert_eq!(spoken_seconds(7500), "2 h 5 min");
        assert_eq!(spoken_seconds(273_600), "3 d 4 h");
    }
}
