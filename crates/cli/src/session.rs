//! What do all commands share? Where the state is, how to print, and whose
//! passphrase file to read: the global options, with the environment behind them.

use std::path::PathBuf;

use crate::{
    arguments::{Arguments, Command},
    state_directory::StateDirectory,
    terminal::Terminal,
};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs: one JSON document on standard output.
    Json,
}

/// The global options of one run.
pub struct Session {
    /// Where the circle's state is.
    pub state: StateDirectory,
    /// How to print results.
    pub format: Format,
    /// Where a key file's passphrase is, if not asked for.
    pub passphrase_file: Option<PathBuf>,
    /// Which key acts, by name or file; the only one there is if not given.
    pub key: Option<String>,
    /// Whether to print no progress.
    pub quiet: bool,
    /// What the terminal can do.
    pub terminal: Terminal,
}

impl Session {
    /// Splits the command line into what all commands share and the command.
    pub fn of(arguments: Arguments) -> (Self, Command) {
        let session = Self {
            state: StateDirectory::at(&arguments.global.state),
            format: arguments.global.output,
            passphrase_file: arguments.global.passphrase_file,
            key: arguments.global.key,
            quiet: arguments.global.quiet,
            terminal: Terminal::detect(arguments.global.quiet),
        };
        (session, arguments.command)
    }

    /// Prints a result: `human` makes the text for people, which ends in a newline.
    pub fn print<T: serde::Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Human => print!("{}", human(value)),
            // One line, so that it can follow lines of progress.
            Format::Json => println!("{}", serde_json::to_string(value)?),
        }
        Ok(())
    }

    /// How this program was called, with the state directory where it is not
    /// the default one: the beginning of every command that is suggested.
    pub fn invocation(&self) -> String {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "ringfort".to_owned());
        let default = std::path::absolute(DEFAULT_STATE).ok();
        let from_environment = std::env::var_os("RINGFORT_STATE").is_some();
        if default.as_deref() == Some(self.state.root()) || from_environment {
            shell_word(&program)
        } else {
            let state = self.state.root().display().to_string();
            format!("{} --state {}", shell_word(&program), shell_word(&state))
        }
    }
}

/// The state directory where none is named.
pub const DEFAULT_STATE: &str = "ringfort-state";

/// `text` as one word of a shell.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_stays_one_word_of_the_shell() {
        assert_eq!(shell_word("/a/b-c.pem"), "/a/b-c.pem");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
