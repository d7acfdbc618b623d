//! Which question it answers: which words does a text hold, and how often?
//! Pure apart from the reader it is handed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

/// The longest line that is counted, in bytes. A line is held in memory as a
/// whole, and an enclave's memory is dear; a longer one is an error, not a
/// silent cut through a word.
pub const LONGEST_LINE: u64 = 1 << 20;

/// The words seen so far. Words are runs of letters, digits and apostrophes
/// inside them, in lower case; bytes that are not UTF-8 separate words.
#[derive(Debug, Default)]
pub struct Counts {
    by_word: BTreeMap<String, u64>,
    lines: u64,
    words: u64,
}

impl Counts {
    /// Counts everything that `from` has to give.
    ///
    /// Errors: the reader's own, or `InvalidData` for a line above [`LONGEST_LINE`].
    pub fn read(&mut self, mut from: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = from
                .by_ref()
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if read as u64 > LONGEST_LINE {
                let message = format!("line {} is longer than 1 MiB", self.lines + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.lines += 1;
            self.add_line(&String::from_utf8_lossy(&line));
        }
    }

    fn add_line(&mut self, line: &str) {
        let words = line
            .split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’')
            .map(|word| word.trim_matches(['\'', '’']))
            .filter(|word| !word.is_empty());
        for word in words {
            self.words += 1;
            *self.by_word.entry(word.to_lowercase()).or_default() += 1;
        }
    }

    /// How many lines were read; a last line without a line feed counts.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How many words were read.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// How many different words were read.
    pub fn distinct(&self) -> usize {
        self.by_word.len()
    }

    /// Every word with its count: the most frequent first, equals by the alphabet.
    pub fn most_frequent(&self) -> Vec<(&str, u64)> {
        let mut table: Vec<_> = self
            .by_word
            .iter()
            .map(|(word, count)| (word.as_str(), *count))
            .collect();
        // The sort is stable and the map is in order of the words.
        table.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &[u8]) -> Counts {
        let mut counts = Counts::default();
        counts.read(text).expect("the text is readable");
        counts
    }

    #[test]
    fn puts_the_most_frequent_first_and_equals_by_the_alphabet() {
        let counts = counted(b"b a c B\na b");
        assert_eq!(counts.most_frequent(), [("b", 3), ("a", 2), ("c", 1)]);
        assert_eq!(
            (counts.lines(), counts.words(), counts.distinct()),
            (2, 6, 3)
        );
    }

    #[test]
    fn keeps_apostrophes_inside_words_only() {
        let counts = counted("'don’t' can't ''".as_bytes());
        assert_eq!(counts.most_frequent(), [("can't", 1), ("don’t", 1)]);
    }

    #[test]
    fn treats_bytes_that_are_not_utf8_as_separators() {
        let counts = counted(b"one\xff\xfetwo");
        assert_eq!(counts.most_frequent(), [("one", 1), ("two", 1)]);
    }

    #[test]
    fn counts_nothing_in_nothing() {
        let counts = counted(b"");
        assert_eq!(
            (counts.lines(), counts.words(), counts.distinct()),
            (0, 0, 0)
        );
    }

    #[test]
    fn refuses_a_line_that_would_fill_the_memory() {
        let longest = vec![b'a'; LONGEST_LINE as usize];
        assert_eq!(counted(&longest).words(), 1);
        let mut longer = longest;
        longer.push(b'a');
        let error = Counts::default().read(longer.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn counts_across_readers() {
        let mut counts = Counts::default();
        counts.read(&b"one"[..]).expect("readable");
        counts.read(&b"one two"[..]).expect("readable");
        assert_eq!(counts.most_frequent(), [("one", 2), ("two", 1)]);
    }
}
