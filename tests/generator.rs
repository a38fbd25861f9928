//! rspktgen as its users call it, through a real daemon: what it sent it receives and checks, records and replays.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Daemon, alone, config, wire};
use serde_json::Value;

/// Runs it between two guests, who are connected by a wire; its JSON. `None` when it was not built.
fn generate(daemon: &Daemon, words: &str) -> Option<Value> {
    let program = Path::new(env!("CARGO_BIN_EXE_ringswitchd")).with_file_name("rspktgen");
    if !program.exists() {
        println!("skipped: rspktgen is not built, which `cargo test --workspace` does");
        return None;
    }
    let mut command = Command::new(program);
    for (port, options) in [("vm1", "packed,mrg"), ("vm2", "mrg")] {
        command.arg("--guest").arg(format!("{},{options}", daemon.path(port).display()));
    }
    let words = words.replace("DIR", daemon.dir().to_str().expect("a readable path"));
    let output = command.args(words.split(' ')).arg("--json").output().expect("rspktgen runs");
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn what_is_recorded_is_replayed_and_nothing_is_lost() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    let recording =
        "--no-learn --traffic 0->1 --size imix --flows 10 --count 500 --window 32 --check --record DIR/all.pcap";
    let Some(sent) = generate(&daemon, recording) else { return };
    assert_eq!((&sent["total"]["rx_packets"], &sent["lost"]), (&500.into(), &0.into()), "{sent:#}");
    let before = daemon.totals().of("vm2", "tx_bytes");
    let Some(sent) = generate(&daemon, "--traffic 0->1 --count 500 --rate 2000 --no-learn --pcap DIR/all.pcap") else {
        return;
    };
    assert_eq!(sent["total"]["rx_packets"], 500, "{sent:#}");
    let replayed = daemon.totals().of("vm2", "tx_bytes") - before;
    assert!(replayed > 500 * 64, "frames of several sizes: {replayed} bytes");
    daemon.assert_balanced();
}

#[test]
fn announcements_do_not_count_as_traffic() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    for options in ["", " --check"] {
        let Some(sent) = generate(&daemon, &format!("--bidir --count 500 --window 32{options}")) else { return };
        let total = &sent["total"];
        assert_eq!((&total["tx_packets"], &total["rx_packets"]), (&500.into(), &500.into()), "{sent:#}");
        assert!(options.is_empty() || sent["check"]["foreign"] == 0, "{sent:#}");
    }
    daemon.assert_balanced();
}

#[test]
fn a_search_for_the_rate_without_loss_ends() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    let Some(found) = generate(&daemon, "--bidir --rfc2544 --duration 0.1 --resolution 20 --tolerance 5") else {
        return;
    };
    assert!(found.get("lossless_pps").is_some(), "{found:#}");
    daemon.assert_balanced();
}

#[test]
fn both_ways_of_a_closed_loop_get_their_turn() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    let Some(sent) = generate(&daemon, "--bidir --window 64 --duration 0.5") else { return };
    let by_station: Vec<u64> = (0..2).filter_map(|n| sent["stations"][n]["tx_packets"].as_u64()).collect();
    let total: u64 = by_station.iter().sum();
    assert!(by_station.len() == 2 && by_station.iter().all(|&sent| sent > total / 4), "{by_station:?} of {sent:#}");
    assert_eq!(sent["lost"], 0, "{sent:#}");
    daemon.assert_balanced();
}

#[test]
fn touched_frames_arrive_as_others_do() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    let (mut before, words) = (0, "--no-learn --traffic 0->1 --size 64,700 --count 2000 --window 32 --touch --flows");
    // Frames that stay the same, and such whose heads change.
    for flows in [1, 1000] {
        let Some(sent) = generate(&daemon, &format!("{words} {flows}")) else { return };
        assert_eq!((&sent["total"]["rx_packets"], &sent["lost"]), (&2000.into(), &0.into()), "{sent:#}");
        let bytes = daemon.totals().of("vm2", "tx_bytes");
        assert_eq!(bytes - before, 2000 * (64 + 700) / 2, "{flows} flows");
        before = bytes;
    }
    daemon.assert_balanced();
}
