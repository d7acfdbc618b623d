//! Programs that nobody here wrote: the Ruby interpreter and a JavaScript
//! engine, as their authors published them.

use std::process::Command;

use crate::harness::{Circle, Ended, real_payload, root};

/// The interpreters' components compile for many seconds on two busy cores.
const MEMORY: [&str; 4] = ["--memory", "1GiB", "--cpu", "1"];

#[test]
fn the_ruby_interpreter_runs_a_script_on_a_file() {
    let circle = Circle::up();
    let script = circle.scratch("sum.rb");
    std::fs::write(
        &script,
        "rows = File.readlines('/input/sales.csv').drop(1).map { |line| line.chomp.split(',') }\n\
         File.write('/output/report.txt', \"#{rows.size} rows, #{ARGV.first}\\n\")\n\
         puts RUBY_ENGINE\n",
    )
    .unwrap();
    let sales = root().join("examples/ruby/sales.csv");
    let rows = std::fs::read_to_string(&sales).unwrap().lines().count() - 1;
    let output = circle.scratch("output");
    let ruby = real_payload("ruby");
    let mut arguments = vec!["run", ruby.to_str().unwrap()];
    arguments.extend(MEMORY);
    arguments.extend([
        "--input",
        script.to_str().unwrap(),
        "--input",
        sales.to_str().unwrap(),
    ]);
    arguments.extend(["--output-directory", output.to_str().unwrap()]);
    arguments.extend(["--label", "ruby", "--", "/input/sum.rb", "from ruby"]);
    let left = circle.json(&arguments);
    assert_eq!(left["exit_code"], 0, "{left}");
    let report = std::fs::read_to_string(output.join("report.txt")).unwrap();
    assert_eq!(report, format!("{rows} rows, from ruby\n"));
    assert!(circle.ringfort(&["logs", "ruby"]).contains("ruby"));
}

#[test]
fn a_javascript_handler_answers_over_https() {
    let circle = Circle::up();
    let name = "javascript.internal";
    circle.serve(&real_payload("javascript"), name, &MEMORY);
    let place = circle.endpoints(name).remove(0);
    assert_eq!(
        circle.curl(name, &place, "/fibonacci/90").unwrap(),
        "2880067194370816120\n"
    );
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(circle.state().join("ca/roots.pem"))
        .args(["--resolve", &format!("{name}:{}:{}", place.1, place.0)])
        .args([
            "--data",
            r#"{"items":[{"price":1.5,"count":2},{"price":2,"count":3}]}"#,
        ])
        .arg(format!("https://{name}:{}/total", place.1))
        .output()
        .unwrap();
    assert_eq!(Ended::from(output).success("POST /total"), r#"{"total":9}"#);
}
