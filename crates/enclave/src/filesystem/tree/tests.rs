//! What a guest may and may not do with its files.

use proptest::prelude::*;

use super::*;

fn filesystem(limit: u64) -> (Arc<Node>, Arc<Node>, Filesystem) {
    let files = [("script.rb", &b"puts 1"[..]), ("lib/a.rb", b"a")];
    let filesystem = Filesystem::for_job(files.into_iter(), limit).unwrap();
    let node = |index: usize| Arc::clone(&filesystem.preopens[index].0);
    (node(0), node(1), filesystem)
}

fn create(at: &Arc<Node>, path: &str) -> Result<Arc<Node>, ErrorCode> {
    Node::create(&at.resolve(path)?, false)
}

fn error<T>(result: Result<T, ErrorCode>) -> ErrorCode {
    result.err().expect("it is refused")
}

#[test]
fn input_is_read_and_never_changed() {
    let (input, output, _) = filesystem(1 << 20);
    let script = input.find("script.rb").unwrap();
    assert_eq!(script.read_at(0, 100).unwrap(), b"puts 1");
    assert_eq!(script.read_at(5, 100).unwrap(), b"1");
    assert_eq!(script.read_at(u64::MAX, 100).unwrap(), b"");
    assert_eq!(input.find("lib/../lib/./a.rb").unwrap().size(), 1);
    assert_eq!(error(script.write_at(Some(0), b"x")), ErrorCode::ReadOnly);
    assert_eq!(error(script.set_size(0)), ErrorCode::ReadOnly);
    assert_eq!(error(create(&input, "new")), ErrorCode::ReadOnly);
    assert_eq!(error(create(&input, "lib/new")), ErrorCode::ReadOnly);
    assert_eq!(error(input.remove("script.rb", false)), ErrorCode::ReadOnly);
    let moved = input.rename("script.rb", &output, "script.rb");
    assert_eq!(error(moved), ErrorCode::ReadOnly);
}

#[test]
fn no_path_leaves_the_directory_that_the_guest_holds() {
    let (input, _, _) = filesystem(1 << 20);
    let lib = input.find("lib").unwrap();
    for path in ["..", "../script.rb", "../../x", "../lib/a.rb"] {
        assert_eq!(error(lib.resolve(path)), ErrorCode::NotPermitted, "{path}");
    }
    assert_eq!(error(lib.resolve("/a.rb")), ErrorCode::NotPermitted);
    assert_eq!(error(lib.find("")), ErrorCode::NoEntry);
    assert_eq!(error(lib.find("a.rb/")), ErrorCode::NotDirectory);
    assert_eq!(error(lib.find("a.rb/b")), ErrorCode::NotDirectory);
    assert_eq!(error(lib.find("missing/b")), ErrorCode::NoEntry);
    assert_eq!(error(lib.find(&"a".repeat(256))), ErrorCode::NameTooLong);
    assert_eq!(error(lib.find(&"a/".repeat(100))), ErrorCode::NameTooLong);
}

#[test]
fn output_is_written_within_its_quota_and_given_back() {
    let (_, output, filesystem) = filesystem(10 * NODE_BYTES);
    let file = create(&output, "a").unwrap();
    file.write_at(Some(3), b"abc").unwrap();
    file.write_at(None, b"d").unwrap();
    assert_eq!(file.read_at(0, 10).unwrap(), b"\0\0\0abcd");
    assert_eq!(
        error(file.write_at(Some(20 * NODE_BYTES), b"x")),
        ErrorCode::InsufficientSpace
    );
    assert_eq!(
        error(file.write_at(Some(u64::MAX), b"x")),
        ErrorCode::FileTooLarge
    );
    assert_eq!(file.size(), 7, "a write that is refused changes nothing");
    file.set_size(9 * NODE_BYTES).unwrap();
    assert_eq!(error(create(&output, "b")), ErrorCode::InsufficientSpace);
    file.set_size(1).unwrap();
    Node::create(&output.resolve("dir").unwrap(), true).unwrap();
    create(&output, "dir/b")
        .unwrap()
        .write_at(None, b"b")
        .unwrap();
    filesystem.with_output(|files| {
        assert_eq!(
            files,
            [
                ("a".to_owned(), &b"\0"[..]),
                ("dir/b".to_owned(), &b"b"[..])
            ]
        );
    });
    // A file that is removed and closed frees its share.
    drop(file);
    output.remove("a", false).unwrap();
    output.remove("dir/b", false).unwrap();
    output.remove("dir", true).unwrap();
    let file = create(&output, "c").unwrap();
    file.set_size(9 * NODE_BYTES).unwrap();
}

#[test]
fn directories_are_removed_and_replaced_only_when_empty() {
    let (_, output, _) = filesystem(1 << 20);
    Node::create(&output.resolve("d").unwrap(), true).unwrap();
    Node::create(&output.resolve("d/e").unwrap(), true).unwrap();
    create(&output, "f").unwrap();
    assert_eq!(error(output.remove("d", true)), ErrorCode::NotEmpty);
    assert_eq!(error(output.remove("d", false)), ErrorCode::IsDirectory);
    assert_eq!(error(output.remove("f", true)), ErrorCode::NotDirectory);
    assert_eq!(error(output.remove(".", true)), ErrorCode::NotEmpty);
    assert_eq!(
        error(output.rename("f", &output, "d")),
        ErrorCode::IsDirectory
    );
    assert_eq!(
        error(output.rename("d", &output, "f")),
        ErrorCode::NotDirectory
    );
    let into_itself = output.rename("d", &output, "d/e/g");
    assert_eq!(error(into_itself), ErrorCode::Invalid);
    output.rename("f", &output, "f").unwrap();
    output.rename("f", &output, "d/e/f").unwrap();
    assert!(output.find("d/e/f").is_ok() && output.find("f").is_err());
    assert_eq!(
        error(Node::create(&output.resolve("d").unwrap(), true)),
        ErrorCode::Exist
    );
}

proptest! {
    #[test]
    fn any_path_resolves_within_the_tree_or_not_at_all(path in "[a./]{0,20}") {
        let (input, _, _) = filesystem(1 << 20);
        if let Ok(resolved) = input.resolve(&path) {
            prop_assert!(input.holds(&resolved.parent).unwrap());
        }
    }

    #[test]
    fn the_quota_is_exact_over_any_writes(writes in prop::collection::vec((0u64..2000, 0usize..500), 0..30)) {
        let limit = 4000;
        let (_, output, _) = filesystem(limit);
        let file = create(&output, "a").unwrap();
        let mut model: Vec<u8> = Vec::new();
        for (offset, length) in writes {
            let end = model.len().max(offset as usize + length);
            let result = file.write_at(Some(offset), &vec![1; length]);
            if end as u64 + NODE_BYTES <= limit {
                prop_assert!(result.is_ok());
                model.resize(end, 0);
                model[offset as usize..offset as usize + length].fill(1);
            } else {
                prop_assert!(result.is_err());
            }
            prop_assert_eq!(file.read_at(0, 10_000).unwrap(), model.clone());
        }
    }
}
