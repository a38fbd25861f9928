//! An operator changes everything while guests talk: they lose nothing.

mod common;

use std::fmt::Write;
use std::fs;

use common::guests::{HonestPair, assert_receives, frame, mac, open, send};
use common::{BRIDGE, Daemon, alone, config, with_two_workers};

/// The pair's ports. What others call out stays in other VLANs.
const PORTS: &[(&str, &str)] = &[("vm1", "queues = 2\ntag = 5"), ("vm2", "queues = 2\ntag = 5")];

fn start(options: [&str; 2], flows: &[String]) -> (Daemon, HonestPair) {
    let daemon = Daemon::start(&with_two_workers(&config(PORTS, flows)));
    let pair = [("vm1", options[0]), ("vm2", options[1])].map(|(port, options)| open(&daemon.path(port), options));
    let pair = HonestPair::start(pair);
    pair.talks(5);
    (daemon, pair)
}

fn normal() -> Vec<String> {
    vec!["priority=0 actions=NORMAL".to_owned()]
}

#[test]
fn ports_come_and_go_while_others_talk() {
    let _alone = alone();
    let (mut daemon, pair) = start(["mrg", "packed,queues=2,mrg"], &normal());
    for round in 0..10 {
        let new = ["vm3", "type=vhost-user", "options:path=DIR/vm3"];
        daemon.ok(&[&["add-port", BRIDGE, "vm3", "tag=7", "--", "set", "interface"], &new[..]].concat());
        let mut guest = open(&daemon.path("vm3"), if round % 2 == 0 { "" } else { "packed" });
        send(&mut guest, 0, &frame(mac(3), [0xff; 6], 60, round));
        // One that hears the pair, whenever its addresses are forgotten, and never listens.
        daemon.ok(&["add-port", BRIDGE, "vm4", "type=vhost-user", "path=DIR/vm4", "tag=5"]);
        let _deaf = open(&daemon.path("vm4"), "packed,size=64");
        for _ in 0..5 {
            daemon.ok(&["fdb-flush", BRIDGE]);
            pair.talks(1);
        }
        // Half of the time the port goes first, and half of the time the guest.
        if round % 4 < 2 {
            drop(guest);
            daemon.ok(&["del-port", BRIDGE, "vm3", "--", "del-port", BRIDGE, "vm4"]);
        } else {
            daemon.ok(&["del-port", BRIDGE, "vm3"]);
            daemon.ok(&["del-port", BRIDGE, "vm4"]);
            drop(guest);
        }
        pair.talks(2);
    }
    pair.stop();
    assert!(daemon.is_alive());
}

#[test]
fn ten_thousand_flows_come_and_go_while_guests_talk() {
    let _alone = alone();
    let (daemon, pair) = start(["in_order", "packed"], &normal());
    let mut flows = String::new();
    for flow in 0..10_000 {
        let (high, low) = (flow >> 8, flow & 0xff);
        writeln!(flows, "priority={},ip,nw_dst=10.1.{high}.{low} actions=drop", 10 + flow % 5).expect("a string");
    }
    fs::write(daemon.path("flows"), flows).expect("a file");
    for _ in 0..2 {
        daemon.ok(&["add-flows", BRIDGE, "DIR/flows"]);
        assert_eq!(daemon.json(&["dump-flows", BRIDGE]).as_array().map(Vec::len), Some(10_001));
        pair.talks(5);
        for flow in 0..20 {
            daemon.ok(&["add-flow", BRIDGE, &format!("priority=99,tcp,tp_dst={flow} actions=drop")]);
            daemon.ok(&["fdb-flush", BRIDGE]);
        }
        daemon.ok(&["del-flows", BRIDGE, "ip"]);
        pair.talks(5);
        daemon.ok(&["del-flows", BRIDGE, "tcp"]);
        assert_eq!(daemon.json(&["dump-flows", BRIDGE]).as_array().map(Vec::len), Some(1));
    }
    pair.stop();
    daemon.assert_balanced();
}

#[test]
fn reloads_change_what_changed_while_guests_talk() {
    let _alone = alone();
    let (daemon, pair) = start(["event_idx", "packed,event_idx"], &normal());
    let more = [PORTS, &[("vm3", "tag = 7"), ("vm4", "mode = \"client\"")]].concat();
    let mut other = normal();
    other.push("priority=5,udp,tp_dst=53 actions=drop".to_owned());
    let write = |text: &str| daemon.write_config(&with_two_workers(text));
    for round in 0..10 {
        match round % 3 {
            0 => write(&config(&more, &other)),
            1 => write(&config(&more, &normal())),
            _ => write(&config(PORTS, &other)),
        }
        daemon.ok(&["reload"]);
        pair.talks(2);
        daemon.write_config("[nonsense]\n");
        assert!(!daemon.run(&["reload"]).status.success());
        daemon.ok(&["fdb-flush", BRIDGE]);
        pair.talks(2);
    }
    // The ports of the pair are the same as before: rings that were opened again would have been seen.
    let [mut one, mut two] = pair.stop();
    let last = frame(mac(1), mac(2), 600, 0);
    send(&mut one, 0, &last);
    assert_receives("at last", &mut two, &[last]);
    for port in ["vm1", "vm2"] {
        assert_eq!(daemon.json(&["get", "interface", port, "status:connections"])["status:connections"], "1");
    }
}
