//! The benchmark's scripts start, and list what they would measure.

use std::path::Path;
use std::process::{Command, Stdio};

/// What a script prints; `None` without Python.
fn listed(script: &str, options: &[&str]) -> Option<String> {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: python3 is not installed");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let output = Command::new("python3").arg("-B").arg(path).arg("--dry-run").args(options).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn switches_take_turns() {
    let Some(text) = listed("vs-ovs", &["--rounds", "2", "--generator", "rspktgen"]) else { return };
    let mut turns: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth_back(2)).collect();
    turns.dedup();
    assert_eq!(turns, ["ringswitch", "ovs-dpdk", "testpmd-io", "ringswitch", "ovs-dpdk", "testpmd-io"], "{text}");
}

#[test]
fn a_switch_is_measured_where_it_can_play() {
    let Some(text) = listed("run", &[]) else { return };
    let scenario = |name: &str| text.lines().filter(|line| line.split_whitespace().next() == Some(name)).count();
    for name in [
        "sizes",
        "touched",
        "mrg",
        "learning",
        "macs",
        "tuples",
        "acl",
        "setup",
        "ports",
        "explosion",
        "latency",
        "wakeup",
        "flow_mods",
        "nic",
    ] {
        assert!(scenario(name) > 0, "{name} measures nothing");
    }
    let of = |switch: &str, scenario: &str| text.lines().any(|line| line.contains(switch) && line.contains(scenario));
    assert!(of("linux-bridge", "NIC and NIC") && !of("linux-bridge", " sizes "));
    assert!(of("testpmd-io", "64 B split") && !of("testpmd-io", " acl "));
}
