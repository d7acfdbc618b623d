//! Jobs: a file in, files and an exit status back, opened by their user alone.

use crate::harness::{Circle, component};

#[test]
fn a_job_gets_its_input_and_gives_its_output_and_exit_status_back() {
    let circle = Circle::up();
    let input = circle.scratch("text.txt");
    std::fs::write(&input, "one two two\nthree three three\n").unwrap();
    let output = circle.scratch("output");
    let wordcount = component("wordcount");
    let left = circle.json(&[
        "run",
        wordcount.to_str().unwrap(),
        "--input",
        input.to_str().unwrap(),
        "--output-directory",
        output.to_str().unwrap(),
        "--",
        "2",
    ]);
    assert_eq!(left["exit_code"], 0, "{left}");
    let table = std::fs::read_to_string(output.join("words.tsv")).unwrap();
    assert_eq!(table, "three\t3\ntwo\t2\n");

    // The result can be fetched again, by the beginning of the id.
    let id = left["request"].as_str().unwrap();
    let again = circle.scratch("again");
    circle.ringfort(&["result", &id[..12], again.to_str().unwrap()]);
    assert_eq!(
        std::fs::read_to_string(again.join("words.tsv")).unwrap(),
        table
    );
    let logs = circle.ringfort(&["logs", &id[..12]]);
    assert!(logs.contains("6 words, 3 of them different"), "{logs}");
    let row = circle.request(id);
    assert_eq!(row["reason"], "completed");
    assert_eq!(row["escrow"], 0, "what was not used came back");
}

#[test]
fn a_job_that_fails_says_so_by_its_exit_status() {
    let circle = Circle::up();
    let wordcount = component("wordcount");
    let ended = circle.run(&["run", wordcount.to_str().unwrap(), "--", "not-a-number"]);
    assert_eq!(ended.code, 7, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("exit status"), "{}", ended.stdout);
    let logs = circle.ringfort(&["logs", "wordcount"]);
    assert!(logs.contains("usage: wordcount"), "{logs}");
}
