//! How do files look? Style that a reader would otherwise have to check.

use std::path::{Path, PathBuf};

/// Past this a file answers more than one question and is split by meaning.
const MAX_LINES: usize = 800;

/// Module names that say nothing about what is inside.
const SAYS_NOTHING: &[&str] = &[
    "util", "utils", "common", "misc", "manager", "helper", "helpers",
];

/// Words of other languages and of unfinished work. Written in two pieces so
/// that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// A reader that meets a secret in the source would be right to ask.
const NEVER: &[&str] = &[
    concat!("#[ignore", "]"),
    concat!("-----BEGIN ", "PRIVATE KEY"),
];

/// What begins unsafe code; an `unsafe fn` alone does nothing yet.
const BEGINS_UNSAFE: &[&str] = &[concat!("unsafe", " {"), concat!("unsafe", " impl")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for directory in ["crates", "bench", "fuzz", "examples", "optee"] {
        rust_files(&root().join(directory), &mut files);
    }
    assert!(files.len() > 50, "found only {} source files", files.len());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

fn complain(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    complain(&long);
}

#[test]
fn every_file_opens_by_saying_what_it_answers() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| {
            let code = text
                .lines()
                .find(|line| !line.starts_with("#![") && !line.trim().is_empty());
            !code.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|(path, _)| format!("{}: no //! opening", path.display()))
        .collect();
    complain(&silent);
}

#[test]
fn module_names_say_what_is_inside() {
    let empty: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| {
            path.strip_prefix(root()).unwrap().iter().any(|part| {
                let part = part.to_string_lossy();
                SAYS_NOTHING.contains(&part.trim_end_matches(".rs"))
            })
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    complain(&empty);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let words = UNFINISHED.iter().chain(NEVER);
            for word in words.filter(|word| line.contains(**word)) {
                complaints.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let begins = BEGINS_UNSAFE.iter().any(|begin| code.contains(begin));
            let reasoned = lines[number.saturating_sub(6)..=number]
                .iter()
                .any(|line| line.contains("SAFETY:"));
            if begins && !reasoned {
                complaints.push(format!("{}:{}: no SAFETY line", path.display(), number + 1));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn the_example_workspace_and_ours_are_apart() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let inside = |member: &toml::Value| member.as_str().unwrap().starts_with("examples");
    assert!(
        !members.iter().any(inside),
        "payloads are never linked into the product"
    );
}
