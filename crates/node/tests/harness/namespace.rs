//! A test that runs again by itself where it may do what needs root.

use std::process::{Command, Stdio};

/// Set for the test that runs inside of a namespace of its own.
const INSIDE: &str = "RINGFORT_TEST_NAMESPACE";

/// What a test needs of namespaces.
pub struct Namespaces<'a> {
    /// Which it has of its own, as `unshare` names them.
    pub kinds: &'a [&'a str],
    /// A command that shows, inside, whether it can be had.
    pub probe: &'a [&'a str],
    /// What is said where it cannot.
    pub needs: &'a str,
    /// How long the test may take, seconds.
    pub seconds: u32,
}

impl Namespaces<'_> {
    /// Runs `test` of this program again inside, or says that it is there already.
    ///
    /// Nothing of it is left behind: what it starts ends with its namespace.
    pub fn is_inside(&self, test: &str) -> bool {
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        let possible = Command::new("unshare")
            .args(self.kinds)
            .args(self.probe)
            .output();
        if !possible.is_ok_and(|tried| tried.status.success()) {
            eprintln!("skipped: {test} {}", self.needs);
            return false;
        }
        let status = Command::new("timeout")
            .args(["--kill-after=5", &self.seconds.to_string(), "unshare"])
            .args(self.kinds)
            .arg("--kill-child=KILL")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", test])
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{test} failed in its namespace: {status}");
        false
    }
}
