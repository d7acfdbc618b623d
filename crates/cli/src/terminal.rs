//! What does the terminal look like, and how do tables and progress look on it?
//!
//! Colours only where a terminal reads them and `NO_COLOR` is not set;
//! progress and notes go to standard error, results to standard output, so
//! that a result can always be piped.

use std::{io::IsTerminal as _, time::Instant};

/// Whether to paint, and since when the command has run.
pub struct Terminal {
    paint: bool,
    quiet: bool,
    started: Instant,
}

impl Terminal {
    /// Looks at standard error and the environment.
    pub fn detect(quiet: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            paint: std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !plain,
            quiet,
            started: Instant::now(),
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.paint {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// For errors.
    pub fn red(&self, text: &str) -> String {
        self.painted("31;1", text)
    }

    /// For what is well.
    pub fn green(&self, text: &str) -> String {
        self.painted("32", text)
    }

    /// For warnings.
    pub fn yellow(&self, text: &str) -> String {
        self.painted("33", text)
    }

    /// For what matters.
    pub fn bold(&self, text: &str) -> String {
        self.painted("1", text)
    }

    /// For what can be skipped.
    pub fn dim(&self, text: &str) -> String {
        self.painted("2", text)
    }

    /// One line of progress, with the time since the command began.
    pub fn progress(&self, text: &str) {
        if !self.quiet {
            let elapsed = self.started.elapsed().as_secs_f64();
            eprintln!("{} {text}", self.dim(&format!("[{elapsed:6.2} s]")));
        }
    }

    /// A line that matters whatever else is printed.
    pub fn note(&self, text: &str) {
        eprintln!("{} {text}", self.yellow("note:"));
    }
}

/// Restores the default action of SIGPIPE, which Rust's start-up sets to ignore.
pub fn exit_quietly_on_broken_pipe() {
    std::panic::set_hook(Box::new({
        let default = std::panic::take_hook();
        move |panic| {
            let text = panic.payload_as_str().unwrap_or_default();
            if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
                std::process::exit(0);
            }
            default(panic);
        }
    }));
}

/// Prints rows under a heading, columns aligned.
///
/// Shape: every row has as many cells as the heading; the last column is not padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            let pad = width + 2 - cell.chars().count();
            text.extend(std::iter::repeat_n(' ', pad));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_its_columns_and_leaves_no_trailing_blanks() {
        let rows = vec![
            vec!["a".into(), "long cell".into(), "x".into()],
            vec!["bbb".into(), "".into(), "".into()],
        ];
        let text = table(&["ONE", "TWO", "THREE"], &rows);
        assert_eq!(text, "ONE  TWO        THREE\na    long cell  x\nbbb\n");
    }
}
