//! Network namespaces for tests: a test's own, made by starting its binary again inside it, and further ones beside it.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

const INSIDE: &str = "RINGSWITCH_TEST_NETNS";

/// True inside the namespace, where the test's body is to run. Outside it makes the namespace, runs `setup` there (one
/// command of ip(8) or another tool per line), and the test once more. Skips when not root.
pub fn inside(test: &str, setup: &str) -> bool {
    if is_inside() {
        return true;
    }
    if !is_root() {
        println!("skipped: {test} needs root");
        return false;
    }
    let namespace = Namespace::new(&format!("rst-{}-{test}", std::process::id()));
    namespace.run("ip link set lo up");
    setup.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| namespace.run(line));
    let binary = std::env::current_exe().expect("a test has a binary");
    let status = Command::new("ip")
        .args(["netns", "exec", namespace.name()])
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, namespace.name())
        .status();
    assert!(status.expect("ip runs").success(), "{test} failed inside its namespace");
    false
}

/// Does this run in a namespace that [`inside`] made?
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Is this root, who can make namespaces and netdevs?
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A network namespace without IPv6 (which speaks unasked); deleted when dropped.
pub struct Namespace(String);

impl Namespace {
    pub fn new(name: &str) -> Self {
        sh(&format!("ip netns add {name}"));
        let namespace = Self(name.to_owned());
        namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        namespace
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn run(&self, command: &str) {
        sh(&format!("ip netns exec {} {command}", self.0));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs a command, which must succeed, and returns what it printed.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
