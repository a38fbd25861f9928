//! Quality of service in Open vSwitch's words: records, files, and what queues get.

mod common;

use std::process::Command;

use common::guests::{assert_receives, drain, frame, mac, open, send};
use common::{BRIDGE, Daemon, TWO_PORTS, alone, config, eventually};
use serde_json::json;

/// A line of the manual, on vm1: 1 Gbit/s, queue 0 and queue 1.
const UPLINK: &str = "set port vm1 qos=@up -- --id=@up create qos type=linux-htb other-config:max-rate=1000000000 queues:0=@q0 \
    queues:1=@q1 -- --id=@q0 create queue other-config:min-rate=100000000 other-config:max-rate=500000000 -- --id=@q1 create queue \
    other-config:max-rate=800000000 other-config:priority=1";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_line_for_ovs_vsctl_makes_a_qos_and_answers_what_it_made() {
    let daemon = Daemon::start(TWO_PORTS);
    assert_eq!(daemon.ok(&words(UPLINK)), "up\nq0\nq1\n");
    let qos = "name                : up\nother_config        : {max-rate=\"1000000000\"}\nqueues              : {0=q0, 1=q1}\n\
        type                : linux-htb\n";
    assert_eq!(daemon.ok(&["list", "qos"]), qos);
    let queues = "name                : q0\nother_config        : {max-rate=\"500000000\", min-rate=\"100000000\"}\n\n\
        name                : q1\nother_config        : {max-rate=\"800000000\", priority=\"1\"}\n";
    assert_eq!(daemon.ok(&["list", "queue"]), queues);
    assert_eq!(daemon.ok(&words("get qos up queues:1 other-config:max-rate")), "q1\n\"1000000000\"\n");
    assert_eq!(daemon.ok(&words("get port vm1 qos")), "up\n");
    assert!(daemon.ok(&["show"]).contains("    Port vm1\n        qos: up\n"));
    assert_eq!(daemon.json(&["list", "qos", "up"])[0]["queues"], json!({"0": "q0", "1": "q1"}));

    // Another port shares by the same rules, for itself.
    daemon.ok(&words("set port vm2 qos=up"));
    let config = daemon.ok(&["queue-get-config", BRIDGE]);
    assert_eq!(config.lines().count(), 4, "{config}");
    assert_eq!(config.lines().next(), Some("  port 1 (vm1) queue 0: min-rate=100000000 max-rate=500000000 priority=0"));
    assert_eq!(daemon.json(&["queue-stats", BRIDGE, "vm2", "1"])[0]["tx_packets"], 0);
    for (line, said) in [
        ("queue-stats br0 vm2 7", "port vm2 has no queue 7"),
        ("queue-stats br0 ALL 7", "no port of bridge br0 has a queue 7"),
        ("queue-stats br0 vm7", "bridge br0 has no port vm7"),
        ("destroy qos up", "cannot delete QoS row up: port vm1 uses it"),
        ("destroy queue q1", "cannot delete Queue row q1: qos up uses it"),
        (
            "create qos type=egress-policer other_config:cir=1",
            "type egress-policer is not supported: it would drop what is \
         over its rate, which waits here: linux-htb with other_config:max-rate",
        ),
    ] {
        assert_eq!(daemon.refused(&words(line)), said);
    }
    daemon.ok(&words("clear port vm1 qos -- clear port vm2 qos -- --all destroy qos -- --all destroy queue"));
    assert_eq!(daemon.ok(&["list", "qos"]) + &daemon.ok(&["list", "queue"]), "");
    assert_eq!(daemon.ok(&["queue-stats", BRIDGE]), "");
}

#[test]
fn a_line_that_is_wrong_somewhere_leaves_nothing_behind() {
    let daemon = Daemon::start(TWO_PORTS);
    let wrong = UPLINK.replace("priority=1", "priority=first");
    let said = daemon.refused(&words(&wrong));
    assert_eq!(said, "other_config:priority: \"first\" is not a number from 0 to 4294967295");
    let said = daemon.refused(&words(&UPLINK.replace("queues:1=@q1", "queues:1=@q2")));
    assert_eq!(said, "row id \"@q2\" is referenced but never created (e.g. with \"-- --id=@q2 create ...\")");
    assert_eq!(daemon.ok(&["list", "qos"]) + &daemon.ok(&["list", "queue"]), "");
    assert_eq!(daemon.ok(&words("get port vm1 qos")), "[]\n");
}

#[test]
fn what_runs_is_saved_and_what_the_file_says_else_is_carried_over() {
    let file = |rate: u64| {
        let port = TWO_PORTS.replace("[bridges.br0.ports.vm2]", "qos = \"up\"\n[bridges.br0.ports.vm2]");
        format!("[qos.up]\ntype = \"linux-htb\"\nmax-rate = {rate}\n[qos.up.queues.3]\npriority = 9\n{port}")
    };
    let daemon = Daemon::start(&file(8_000_000));
    daemon.ok(&words(
        "set qos up queues:4=@extra -- --id=@extra create queue other_config:burst=1 other_config:max-rate=8",
    ));
    let saved = daemon.ok(&["dump-config"]);
    assert!(saved.contains("[qos.up.queues.3]\npriority = 9\n") && saved.contains("4 = \"extra\""), "{saved}");
    daemon.write_config(&file(16_000_000));
    daemon.ok(&["reload"]);
    let queues = daemon.json(&["queue-get-config", BRIDGE, "vm1"]);
    let numbers: Vec<_> = queues.as_array().unwrap().iter().map(|queue| &queue["queue"]).collect();
    assert_eq!((numbers, &queues[0]["port_rate"]), (vec![&json!(0), &json!(3), &json!(4)], &json!(16_000_000)));
    // A file that lacks what is in use is refused as a whole.
    daemon.write_config(TWO_PORTS);
    daemon.ok(&words("set port vm2 qos=up"));
    assert!(daemon.refused(&["reload"]).contains("port vm2: there is no qos named \"up\""));
    daemon.write_config(&saved);
    daemon.ok(&words("set qos up other_config:max-rate=9000000"));
    assert_eq!(daemon.refused(&["reload"]), "qos up: max-rate is 8000000 in the file, but was set to 9000000 since");
}

/// What `ovs-ofctl` printed; nothing where it is not installed.
fn ofctl(daemon: &Daemon, version: &str, line: &str) -> Option<String> {
    let mut command = Command::new("ovs-ofctl");
    command.args(["-t", "20", "-O", version]).args(words(line)).env("OVS_RUNDIR", daemon.dir());
    let Ok(output) = command.output() else {
        println!("skipped: no ovs-ofctl here");
        return None;
    };
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn ovs_ofctl_is_told_about_queues_in_every_version() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&words(UPLINK));
    for version in ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"] {
        let asked = |line: &str| ofctl(&daemon, version, line);
        let Some(config) = asked("queue-get-config br0 1") else { return };
        assert!(
            config.contains("port=1\nqueue 0: min_rate:10.0% max_rate:50.0%\nqueue 1: max_rate:80.0%\n"),
            "{config}"
        );
        let stats = asked("queue-stats br0").unwrap();
        assert!(stats.contains("2 queues\n  port 1 queue 0: bytes=0, pkts=0, errors=0, duration="), "{stats}");
        assert!(asked("queue-stats br0 ALL 1").unwrap().contains("1 queues\n  port 1 queue 1: "), "{version}");
        assert!(asked("queue-stats br0 1 9").unwrap().contains("OFPQOFC_BAD_QUEUE"), "{version}");
        assert!(asked("queue-stats br0 9").unwrap().contains("OFPQOFC_BAD_PORT"), "{version}");
        assert!(asked("queue-get-config br0 9").unwrap().contains("OFPQOFC_BAD_PORT"), "{version}");
        // What a queue is called in actions survives both ways.
        asked("add-flow br0 tcp,actions=set_queue:1,output:1,pop_queue,enqueue:2:7").unwrap();
        let flows = asked("--no-stats dump-flows br0 tcp").unwrap();
        let enqueue = if version == "OpenFlow10" { "enqueue:2:7" } else { "set_queue:7,output:2,pop_queue" };
        assert!(flows.contains(&format!("actions=set_queue:1,output:1,pop_queue,{enqueue}")), "{flows}");
    }
    let flow = " tcp actions=set_queue:1,output:1,pop_queue,enqueue:2:7\n";
    daemon.ok(&["add-flow", BRIDGE, flow.trim()]);
    assert_eq!(daemon.ok(&words("--no-stats dump-flows br0 tcp")), flow);
}

/// Packets and bytes of a queue of port vm1.
fn counts(daemon: &Daemon, queue: u32) -> (u64, u64) {
    let stats = daemon.json(&["queue-stats", BRIDGE, "vm1", &queue.to_string()]);
    let number = |name: &str| stats[0][name].as_u64().expect("a number");
    (number("tx_packets"), number("tx_bytes"))
}

#[test]
fn every_packet_is_counted_in_the_queue_that_its_flow_says() {
    let _alone = alone();
    let flows = [
        "priority=9,in_port=2,udp actions=set_queue:1,output:1",
        "priority=8,in_port=2 actions=set_queue:77,output:1",
        "priority=9,in_port=3,ip,ip_proto=253 actions=set_queue:1,pop_queue,output:1",
        "priority=8,in_port=3 actions=enqueue:1:1",
        "in_port=1 actions=output:2",
    ];
    let ports = [("vm1", ""), ("vm2", ""), ("vm3", "")];
    let daemon = Daemon::start(&config(&ports, &flows.map(str::to_owned)));
    daemon.ok(&words(UPLINK));
    let [mut uplink, mut two, mut three] = ["vm1", "vm2", "vm3"].map(|port| open(&daemon.path(port), "mrg"));
    let mut sent = |guest: &mut _, of_udp: bool, seed: usize| {
        let mut frame = frame(mac(2), mac(1), 60 + 40 * seed, seed);
        if of_udp {
            frame[23] = 17;
        }
        send(guest, 0, &frame);
        assert_receives("the uplink", &mut uplink, std::slice::from_ref(&frame));
        frame.len() as u64
    };
    let (mut one, mut zero) = (0, 0);
    for seed in 0..20 {
        one += sent(&mut two, true, seed);
        zero += sent(&mut two, false, seed);
        one += sent(&mut three, true, seed);
        zero += sent(&mut three, false, seed);
    }
    eventually("queue 1 counts", || counts(&daemon, 1) == (40, one));
    assert_eq!(counts(&daemon, 0), (40, zero), "nobody set queue 77 up");
    assert_eq!(daemon.totals().of("vm1", "tx_packets"), 80);

    // Other settings let the queues count on; queues that come start at nothing.
    daemon.ok(&words("set qos up other_config:max-rate=900000000 queues:77=q1"));
    one += sent(&mut two, true, 3);
    let last = sent(&mut two, false, 3);
    eventually("queue 77 counts", || counts(&daemon, 77) == (1, last));
    assert_eq!((counts(&daemon, 1), counts(&daemon, 0)), ((41, one), (40, zero)));
    if let Some(told) = ofctl(&daemon, "OpenFlow13", "queue-stats br0 vm1 1") {
        assert!(told.contains(&format!("port 1 queue 1: bytes={one}, pkts=41, errors=0, ")), "{told}");
    }
    daemon.assert_balanced();
}

#[test]
fn what_is_over_a_rate_waits_until_the_rate_is_another_one() {
    let _alone = alone();
    let ports = [("vm1", ""), ("vm2", ""), ("vm3", "")];
    let flows = ["in_port=2 actions=set_queue:1,output:1", "in_port=3 actions=output:1", "in_port=1 actions=output:2"];
    for limit in [
        "set port vm1 qos=@q -- --id=@q create qos type=linux-htb other_config:max-rate=8000",
        "set port vm1 qos=@q -- --id=@q create qos type=linux-htb queues:1=@s -- --id=@s create queue other_config:max-rate=8000",
    ] {
        let daemon = Daemon::start(&config(&ports, &flows.map(str::to_owned)));
        daemon.ok(&words(limit));
        let [mut uplink, mut two, mut three] = ["vm1", "vm2", "vm3"].map(|port| open(&daemon.path(port), "mrg"));
        let frames: Vec<_> = (0..60).map(|seed| frame(mac(2), mac(1), 1000 + seed, seed)).collect();
        frames.iter().for_each(|frame| send(&mut two, 0, frame));
        let sleeps = daemon.worker("sleeps");
        eventually("the worker sleeps although a ring is not empty", || daemon.worker("sleeps") > sleeps + 2);
        let early = drain(&mut uplink);
        assert!((1..50).contains(&early), "{early} frames of 1000 bytes came at 1000 bytes per second");
        if limit.contains("queues") {
            // The other queue has no limit.
            let other = frame(mac(3), mac(1), 1400, 7);
            (0..40).for_each(|_| send(&mut three, 0, &other));
            let came = |daemon: &Daemon| counts(daemon, 0).0;
            eventually("the other queue's frames come", || came(&daemon) == 40);
            drain(&mut uplink);
        }
        assert_eq!(daemon.totals().all_drops(), 0);
        daemon.ok(&words("clear port vm1 qos"));
        eventually("the rest comes", || {
            drain(&mut uplink);
            daemon.totals().of("vm1", "tx_bytes") >= frames.iter().map(|frame| frame.len() as u64).sum()
        });
        assert_eq!(daemon.totals().all_drops(), 0);
        daemon.assert_balanced();
    }
}

/// Two guests send all the time, through queue 1 and 2 of 5 Mbit/s, until the uplink got so many frames. What each queue carried. So
/// slow that their rings are not empty when this thread is kept from its CPU for a while.
fn race(settings: &str) -> (u64, u64) {
    let ports = [("vm1", ""), ("vm2", ""), ("vm3", "")];
    let flows = [
        "in_port=2 actions=set_queue:1,output:1",
        "in_port=3 actions=set_queue:2,output:1",
        "in_port=1 actions=output:2",
    ];
    let daemon = Daemon::start(&config(&ports, &flows.map(str::to_owned)));
    let qos =
        "set port vm1 qos=@q -- --id=@q create qos type=linux-htb other_config:max-rate=5000000 queues=1=@one,2=@two";
    daemon.ok(&words(&format!("{qos} -- {settings}")));
    let [mut uplink, mut two, mut three] = ["vm1", "vm2", "vm3"].map(|port| open(&daemon.path(port), "mrg"));
    let frames = [frame(mac(2), mac(1), 1000, 1), frame(mac(3), mac(1), 1000, 2)];
    let mut received = 0;
    eventually("enough frames came", || {
        for _ in 0..20 {
            for (guest, frame) in [&mut two, &mut three].into_iter().zip(&frames) {
                while guest.send(0, frame).expect("a sound ring") {}
            }
            while uplink.receive(0).expect("a sound ring").is_some() {
                received += 1;
            }
        }
        received > 1000
    });
    assert_eq!(daemon.totals().all_drops(), 0, "nothing is dropped");
    (counts(&daemon, 1).1, counts(&daemon, 2).1)
}

#[test]
fn queues_have_what_they_were_promised_and_no_more_than_they_may() {
    let _alone = alone();
    let (one, two) =
        race("--id=@one create queue other_config:priority=1 -- --id=@two create queue other_config:priority=8");
    assert!(one > two, "the smaller priority comes first: {one} and {two} bytes");
    let (one, two) = race(
        "--id=@one create queue other_config:min-rate=4000000 -- --id=@two create queue other_config:min-rate=200000",
    );
    assert!(one > two, "4 Mbit/s of 5 are promised to the first: {one} and {two} bytes");
    let (one, two) =
        race("--id=@one create queue other_config:max-rate=1000000 -- --id=@two create queue other_config={}");
    assert!(two > one, "the first may have 1 Mbit/s of 5: {one} and {two} bytes");
    let (one, two) = race("--id=@one create queue other_config={} -- --id=@two create queue other_config={}");
    assert!(one < two * 4 && two < one * 4, "equal queues are served alike: {one} and {two} bytes");
}
