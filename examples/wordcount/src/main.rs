//! Which question it answers: what does the smallest useful *job* payload look
//! like? It is an ordinary Rust program; built for `wasm32-wasip2` it is a
//! component that exports `wasi:cli/run`. The enclave gives it a read-only
//! directory `/input` and a writable directory `/output`, keeps what it prints
//! as its log, and sends `/output` back to the user, encrypted.
//!
//! It reads every file in `/input` in the order of their names, or standard
//! input when there is no such directory; writes `/output/words.tsv` (a word, a
//! tab, its count; the most frequent first) or prints it when there is no such
//! directory; and prints a summary. `wordcount N` keeps the N most frequent.
//!
//! Exit status: 0 done, 1 something cannot be read or written, 2 bad arguments.
//! A host of the preview-2 `wasi:cli/run` sees only zero or not.

mod count;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use count::Counts;

const INPUT: &str = "/input";
const OUTPUT: &str = "/output";

fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).map(|text| text.parse::<usize>()) {
        None => usize::MAX,
        Some(Ok(keep)) => keep,
        Some(Err(_)) => {
            eprintln!("usage: wordcount [HOW MANY WORDS TO KEEP]");
            return ExitCode::from(2);
        }
    };
    match run(keep) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wordcount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(keep: usize) -> io::Result<String> {
    let mut counts = Counts::default();
    let files = input_files()?;
    for path in &files {
        File::open(path)
            .and_then(|file| counts.read(BufReader::new(file)))
            .map_err(|error| named(path, &error))?;
    }
    if files.is_empty() {
        counts.read(io::stdin().lock())?;
    }
    if Path::new(OUTPUT).is_dir() {
        let path = Path::new(OUTPUT).join("words.tsv");
        File::create(&path)
            .and_then(|file| write_table(BufWriter::new(file), &counts, keep))
            .map_err(|error| named(&path, &error))?;
    } else {
        write_table(io::stdout().lock(), &counts, keep)?;
    }
    Ok(format!(
        "{} lines, {} words, {} of them different",
        counts.lines(),
        counts.words(),
        counts.distinct()
    ))
}

/// The regular files in [`INPUT`], sorted so that two runs read alike; none when
/// there is no such directory.
fn input_files() -> io::Result<Vec<PathBuf>> {
    if !Path::new(INPUT).is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(INPUT)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn write_table(mut to: impl Write, counts: &Counts, keep: usize) -> io::Result<()> {
    for (word, count) in counts.most_frequent().into_iter().take(keep) {
        writeln!(to, "{word}\t{count}")?;
    }
    to.flush()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
