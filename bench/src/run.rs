//! How long it takes from `ringfort run` to the first answer over HTTPS, and
//! which step took how much of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{circle::Circle, statistics::Samples};

/// The goal of the whole.
const GOAL: Duration = Duration::from_secs(3);

/// One run: when each step was told, in order, and when the service answered.
struct Timeline {
    steps: Vec<(String, Duration)>,
    answered: Duration,
}

fn once(circle: &Circle, binary: &Path, component: &Path, name: &str) -> Result<Timeline> {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .arg("--state")
        .arg(circle.state())
        .args(["-o", "json", "run"])
        .arg(component)
        .args(["--name", name])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let output = child.stdout.take().context("the output is a pipe")?;
    let mut steps = Vec::new();
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        match serde_json::from_str::<Value>(&line) {
            Ok(step) if step["step"].is_string() => {
                let told = step["step"].as_str().unwrap_or_default().to_owned();
                steps.push((told, start.elapsed()));
            }
            // What comes after the steps is one document: where the service is reached.
            _ => last.push_str(&line),
        }
    }
    if !child.wait()?.success() {
        bail!("ringfort run failed");
    }
    let reach: Value = serde_json::from_str(&last).context("run ends with where it is reached")?;
    let curl = reach["curl"].as_str().context("run gives no curl line")?;
    let answer = Command::new("sh")
        .args(["-c", &format!("{curl} --fail --silent")])
        .output()?;
    if !answer.status.success() {
        bail!("{curl}: {}", String::from_utf8_lossy(&answer.stderr));
    }
    let answered = start.elapsed();
    circle.run(&["rm", name])?;
    Ok(Timeline { steps, answered })
}

/// Prints medians over `rounds` runs on one circle.
pub fn run(binary: &Path, component: &Path, rounds: usize) -> Result<()> {
    let circle = Circle::up(binary)?;
    let mut answered = Vec::new();
    let mut parts: BTreeMap<usize, (String, Vec<Duration>)> = BTreeMap::new();
    for round in 0..rounds {
        let timeline = once(
            &circle,
            binary,
            component,
            &format!("bench{round}.internal"),
        )?;
        let mut before = Duration::ZERO;
        for (index, (step, at)) in timeline.steps.into_iter().enumerate() {
            let part = parts.entry(index).or_insert_with(|| (step, Vec::new()));
            part.1.push(at.saturating_sub(before));
            before = at;
        }
        answered.push(timeline.answered);
    }
    println!("from `ringfort run` to the first answer over HTTPS, medians of {rounds} runs");
    for (step, durations) in parts.values() {
        println!(
            "  {:>8.0} ms  until {step}",
            Samples::milliseconds(durations).median()
        );
    }
    let whole = Samples::milliseconds(&answered);
    let goal = GOAL.as_secs_f64() * 1e3;
    let verdict = if whole.median() <= goal {
        "reached"
    } else {
        "missed"
    };
    println!(
        "  {:>8.0} ms  in all   goal {goal:.0} ms: {verdict}",
        whole.median()
    );
    Ok(())
}
