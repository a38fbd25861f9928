//! Real OpenFlow tools over the switch: ovs-ofctl, os-ken's switch test suite, simple_switch and Faucet. The programs in
//! `tests/openflow/` do the work; here are the parts of it that every change must pass, in less than a minute each.
//!
//! The tools come from Debian (Open vSwitch) and PyPI (os-ken, Faucet). Where one cannot be had the test says so and passes.

mod common;

use std::path::Path;
use std::process::Command;

use common::alone;
use common::hosts::is_root;

/// What a program exits with when it lacks something.
const CANNOT: i32 = 2;

/// Runs a program of `tests/openflow/` with the daemon that was built for this test.
fn passes(program: &str, words: &[&str]) {
    if !is_root() {
        println!("skipped: needs root");
        return;
    }
    for tool in ["python3", "ovs-vswitchd", "ovs-ofctl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {tool} is not installed");
            return;
        }
    }
    let _alone = alone();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openflow").join(program);
    let binaries = Path::new(env!("CARGO_BIN_EXE_ringswitchd")).parent().expect("a directory");
    let mut command = Command::new("python3");
    command.arg("-B").arg(path).args(words).arg("--programs").arg(binaries);
    let output = command.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(CANNOT) {
        println!("skipped: {}", errors.trim());
        return;
    }
    assert!(output.status.success(), "{program} {}:\n{said}\n{errors}", words.join(" "));
}

#[test]
fn ovs_ofctl_is_told_what_open_vswitch_tells_it() {
    passes("transcript", &["--switch", "ringswitch"]);
}

#[test]
fn hosts_talk_under_controllers_and_without() {
    passes("controllers", &["--switch", "ringswitch", "--controller", "simple_switch_13", "faucet"]);
}

/// One case for each field and action; `make openflow-suite` runs them all.
#[test]
fn the_switch_passes_cases_of_os_kens_suite() {
    let some = ["--suite", "of10", "of13", "--sample", "--jobs", "4", "--expect"];
    passes("switch-suite", &some);
}
