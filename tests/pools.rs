//! Pools as an operator meets them: made, listed, changed under traffic; frames of an uplink sorted for the VMs they are for.

mod common;

use std::time::Duration;

use common::guests::{HonestPair, assert_receives, drain, mac, open, send};
use common::hosts::inside;
use common::{BRIDGE, Daemon, alone, config, eventually};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;
use rspktgen::guest::Guest;
use serde_json::{Value, json};

/// Ports vm1, vm1b and vm2 of a learning switch.
fn three_ports() -> String {
    config(&[("vm1", ""), ("vm1b", ""), ("vm2", "")], &["priority=0 actions=NORMAL".to_owned()])
}

fn pool<'a>(list: &'a Value, name: &str) -> &'a Value {
    let pools = list.as_array().expect("a list");
    pools.iter().find(|pool| pool["name"] == name).unwrap_or_else(|| panic!("no pool {name} in {list:#}"))
}

fn names(daemon: &Daemon) -> Vec<String> {
    let list = daemon.json(&["pool-list"]);
    list.as_array().expect("a list").iter().map(|pool| pool["name"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn pools_come_and_go_by_command_file_and_reload() {
    let _alone = alone();
    let daemon = Daemon::start(&format!("{}[pools.web]\nports = [\"vm1\"]\nweight = 200\n", three_ports()));
    assert_eq!(names(&daemon), [BRIDGE, "vm1b", "vm2", "web"]);
    let filters = "filters=52:54:00:00:00:01,52:54:00:00:00:02,10";
    daemon.ok(&["pool-set", "web", "ports=vm1,vm1b", filters, "--", "pool-set", "vm2", "priority=3", "max_rate=1000"]);
    assert_eq!(daemon.ok(&["get", "pool", "web", "ports", "weight", "priority"]), "[vm1, vm1b]\n200\n[]\n");
    daemon.ok(&["set", "pool", "web", "min_rate=5000"]);
    let list = daemon.json(&["pool-list"]);
    let web = pool(&list, "web");
    let address = |address: &str| json!({ "address": address, "origin": "config" });
    assert_eq!(web["filters"], json!([address("52:54:00:00:00:01"), address("52:54:00:00:00:02,10")]));
    assert_eq!((&web["min_rate"], &web["implicit"]), (&json!(5000), &json!(false)));
    let vm2 = pool(&list, "vm2");
    assert_eq!((&vm2["priority"], &vm2["max_rate"], &vm2["implicit"]), (&json!(3), &json!(1000), &json!(false)));
    let said = daemon.ok(&["pool-list"]);
    assert!(
        said.contains("Pool web\n    ports: vm1, vm1b\n    shares: weight 200, priority 0, min_rate 5000\n"),
        "{said}"
    );
    assert!(said.contains("filters: 52:54:00:00:00:01 (config); 52:54:00:00:00:02,10 (config)\n"), "{said}");
    let told = daemon.ok(&["pool-trace", "52:54:00:00:00:02,10"]);
    assert_eq!(told, "bridge br0: 52:54:00:00:00:02,10 belongs to pool web (config)\n");
    assert!(daemon.ok(&["pool-trace", BRIDGE, "52:54:00:00:00:02"]).contains("belongs to no pool: no filter"));

    // What is running is a file, and what changed in the file comes with a reload.
    let before = daemon.ok(&["dump-config"]);
    assert!(before.contains("[pools.web]") && before.contains("min_rate = 5000"), "{before}");
    let file = format!("{}[pools.web]\nports = [\"vm1\"]\nweight = 50\n", three_ports());
    daemon.write_config(&file);
    daemon.signal("-HUP");
    let weight = || daemon.ok(&["get", "pool", "web", "weight", "min_rate"]);
    eventually("the file's weight comes, the command's rate stays", || weight() == "50\n5000\n");
    daemon.write_config(&format!("{file}[pools.db]\nports = [\"vm1\"]\n"));
    let why = daemon.refused(&["reload"]);
    assert!(why.contains("pools.web.ports: port vm1 is in pool db already"), "{why}");
    assert!(why.starts_with("DIR/switch.toml:"), "{why}");

    // A port leaves its pool when it goes; a deleted pool leaves ports of their own.
    daemon.ok(&["del-port", "vm1b", "--", "pool-del", "vm2", "--", "--if-exists", "pool-del", "nothing"]);
    assert_eq!(daemon.ok(&["get", "pool", "web", "ports"]), "[vm1]\n");
    assert_eq!(pool(&daemon.json(&["pool-list"]), "vm2")["implicit"], true);
    daemon.ok(&["del-port", "vm1"]);
    assert_eq!(names(&daemon), [BRIDGE, "vm2"]);
}

#[test]
fn refusals_name_the_pool_and_change_nothing() {
    let daemon = Daemon::start(&format!("{}[pools.web]\nports = [\"vm1\"]\n", three_ports()));
    let cases: [(&[&str], &str); 8] = [
        (&["pool-set", "web", "ports=vm9"], "pool web: there is no port vm9; did you mean \"vm1\"?"),
        (&["pool-set", "web", "weight=0"], "weight: \"0\" is not a number from 1 to 10000"),
        (&["pool-set", "web", "wait=1"], "Pool does not contain a column \"wait\""),
        (&["pool-set", "db", "weight=1"], "pool db: it has no ports; expected ports, the names of at least one"),
        (&["pool-set", "vm1", "weight=1"], "pool web: port vm1 is in pool vm1 already; a port is in one pool at most"),
        (&["pool-del", "wob"], "no pool named wob; did you mean \"web\"?"),
        (&["pool-stats", "wob"], "no pool named wob; did you mean \"web\"?"),
        (
            &["pool-trace", "52:54:00:00:00"],
            "\"52:54:00:00:00\": expected an address such as 52:54:00:00:00:01, or 52:54:00:00:00:01,10 in VLAN 10",
        ),
    ];
    let before = daemon.ok(&["dump-config"]);
    for (words, expected) in cases {
        let said = daemon.refused(words);
        assert!(said.starts_with(expected), "{words:?}: {said}");
    }
    daemon.refused(&["pool-set", "web", "weight=7", "--", "pool-set", "web", "ports=vm1,vm9"]);
    assert_eq!(daemon.ok(&["dump-config"]), before);
    assert_eq!(daemon.run(&["pool-set", "web"]).status.code(), Some(2));
}

#[test]
fn shares_change_under_traffic_and_nothing_is_lost() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &common::wire()));
    let pair = HonestPair::start(["vm1", "vm2"].map(|port| open(&daemon.path(port), "mrg")));
    pair.talks(3);
    for round in 1..10 {
        let (weight, priority) = (format!("weight={}", round * 100), format!("priority={}", round % 8));
        daemon.ok(&["pool-set", "vm1", &weight, &priority, "--", "pool-set", "both", "ports=vm2", &weight]);
        pair.talks(2);
        daemon.ok(&["pool-del", "both", "--", "set", "pool", "vm1", "ports=vm1,vm2", "max_rate=900000000000"]);
        pair.talks(2);
        daemon.ok(&["pool-del", "vm1"]);
        pair.talks(2);
    }
    let _guests = pair.stop();
    assert_eq!(daemon.totals().all_drops(), 0);
    daemon.assert_balanced();
    let (stats, totals) = (daemon.json(&["pool-stats"]), daemon.totals());
    for port in ["vm1", "vm2"] {
        for counter in ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"] {
            assert_eq!(pool(&stats, port)[counter], totals.of(port, counter), "{port} {counter}");
        }
    }
    let shares = stats.as_array().expect("a list").iter().map(|pool| pool["cycles_share"].as_f64().expect("a number"));
    assert!((shares.sum::<f64>() - 1.0).abs() < 0.01, "{stats:#}");
}

/// An uplink whose far end is p0, and four VMs' ports.
const UPLINK: &str = "ip link add nic0 type veth peer name p0
    ip link set nic0 up
    ip link set p0 up
    ethtool -K p0 tx off txvlan off";
const VMS: [&str; 4] = ["vm1", "vm1b", "vm2", "vm3"];

fn uplink_and_vms(pools: &str) -> String {
    let ports = VMS.map(|vm| (vm, ""));
    let nic = "[bridges.br0.ports.nic0]\ntype = \"afxdp\"\n";
    format!("{}{nic}{pools}", config(&ports, &["priority=0 actions=NORMAL".to_owned()]))
}

/// A frame of no protocol that anybody answers.
fn frame_to(to: [u8; 6], tag: Option<u8>, seed: usize) -> Vec<u8> {
    let mut frame = vec![seed as u8; 60 + seed % 200];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&mac(99));
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    if let Some(tag) = tag {
        frame.splice(12..12, [0x81, 0, 0, tag]);
    }
    frame
}

/// Runs of frames for each VM, in turns; every VM gets its own, in order, and no other.
fn talk(far: &PacketSocket, guests: &mut [Guest; 4], rounds: usize) {
    for round in 0..rounds {
        let runs = [3, 1, 16, 5].map(|len| len + round % 3);
        let frames: Vec<Vec<_>> = (0..4)
            .map(|at| (0..runs[at]).map(|nth| frame_to(mac(at as u8 + 1), None, round * 7 + nth)).collect())
            .collect();
        for frame in frames.iter().flatten() {
            far.send(frame).expect("p0 takes it");
        }
        for (at, frames) in frames.iter().enumerate() {
            assert_receives(VMS[at], &mut guests[at], frames);
        }
    }
}

struct Uplinked {
    daemon: Daemon,
    guests: [Guest; 4],
    far: PacketSocket,
}

impl Uplinked {
    /// The address behind port n is `mac(n + 1)`, and the bridge knows it.
    fn start(pools: &str) -> Self {
        let daemon = Daemon::start(&uplink_and_vms(pools));
        let guests = VMS.map(|vm| open(&daemon.path(vm), "mrg"));
        let far = PacketSocket::open("p0").expect("a packet socket");
        eventually("nic0 is up", || daemon.state("nic0").starts_with("up "));
        let mut started = Self { daemon, guests, far };
        started.greet();
        started
    }

    fn greet(&mut self) {
        for place in 0..4 {
            let mut hello = frame_to(mac(98), None, 0);
            hello[6..12].copy_from_slice(&mac(place as u8 + 1));
            send(&mut self.guests[place], 0, &hello);
        }
        eventually("all addresses are learned", || {
            let known = self.daemon.json(&["fdb-show", BRIDGE]);
            let known = known.as_array().expect("a list");
            (1..=4).all(|at| known.iter().any(|entry| entry["mac"] == format!("02:00:00:00:00:0{at}")))
        });
        self.guests.iter_mut().for_each(|guest| _ = drain(guest));
    }

    fn talk(&mut self, rounds: usize) {
        talk(&self.far, &mut self.guests, rounds);
    }

    /// A frame went from a VM to another one, so the worker has seen whatever was changed before.
    fn has_seen_it_all(&mut self) {
        let mut frame = frame_to(mac(4), None, 1);
        frame[6..12].copy_from_slice(&mac(1));
        send(&mut self.guests[0], 0, &frame);
        assert_receives("vm3", &mut self.guests[3], &[frame]);
    }

    fn sorting(&self, name: &str) -> Value {
        pool(&self.daemon.json(&["pool-list"]), name)["sorting"][0].clone()
    }

    fn stats(&self, name: &str) -> Value {
        self.daemon.json(&["pool-stats", name])[0].clone()
    }
}

/// The VM with two ports is said, the others are found out.
const WEB: &str =
    "[pools.web]\nports = [\"vm1\", \"vm1b\"]\nfilters = [\"02:00:00:00:00:01\", \"02:00:00:00:00:02\"]\n";

#[test]
fn frames_of_an_uplink_reach_the_vm_they_are_for_and_are_counted() {
    if !inside("frames_of_an_uplink_reach_the_vm_they_are_for_and_are_counted", UPLINK) {
        return;
    }
    let mut switch = Uplinked::start(WEB);
    switch.talk(20);
    let origins = |name: &str| {
        let list = switch.daemon.json(&["pool-list"]);
        let filters = pool(&list, name)["filters"].as_array().expect("a list").clone();
        filters.iter().map(|one| format!("{} {}", one["address"], one["origin"]).replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(origins("web"), ["02:00:00:00:00:01 config", "02:00:00:00:00:02 config"]);
    assert_eq!(origins("vm2"), ["02:00:00:00:00:03 learned"]);
    switch.daemon.ok(&["add-flow", BRIDGE, "dl_vlan=7,dl_dst=02:00:00:00:00:33,actions=output:vm3"]);
    assert_eq!(origins("vm3"), ["02:00:00:00:00:04 learned", "02:00:00:00:00:33,7 flow"]);
    assert_eq!(origins("nic0"), [""; 0], "what is behind an uplink is nobody's");
    switch.far.send(&frame_to([2, 0, 0, 0, 0, 0x33], Some(7), 1)).expect("p0 takes it");
    assert_receives("vm3", &mut switch.guests[3], &[frame_to([2, 0, 0, 0, 0, 0x33], Some(7), 1)]);
    switch.daemon.assert_balanced();

    eventually("the XDP program sorts", || switch.sorting("web")["sorter"] == "xdp");
    let sorting = switch.sorting("web");
    assert_eq!((&sorting["uplink"], &sorting["queues"]), (&json!("nic0"), &json!("socket on the queue")));
    assert!(sorting["why_not"]["nic"].as_str().is_some_and(|why| !why.is_empty()), "{sorting:#}");
    let told = || switch.daemon.ok(&["pool-trace", BRIDGE, "02:00:00:00:00:02"]);
    eventually("no table is needed", || told().contains("without the tables: all of them are for NORMAL"));
    let told = told();
    assert!(
        told.starts_with("bridge br0: 02:00:00:00:00:02 belongs to pool web (config)\n    sorted on nic0: xdp ("),
        "{told}"
    );

    let came = |stats: &Value| ["nic", "xdp", "software"].map(|by| stats["sorted"][by].as_u64().expect("a number"));
    let ways = |stats: &Value| ["direct", "walked"].map(|way| stats[way].as_u64().expect("a number"));
    eventually("the change to that sorter is over", || {
        let before = came(&switch.stats("web"));
        switch.talk(1);
        came(&switch.stats("web"))[2] == before[2]
    });
    let before: u64 = switch.stats("web")["tx_packets"].as_u64().expect("a number");
    let web = switch.stats("web");
    let (came_before, ways_before) = (came(&web), ways(&web));
    switch.talk(10);
    let totals = switch.daemon.totals();
    let web = switch.stats("web");
    let sent = totals.of("vm1", "tx_packets") + totals.of("vm1b", "tx_packets");
    assert_eq!(web["tx_packets"], sent);
    assert_eq!(sent - before, (0..10).map(|round| 4 + 2 * (round as u64 % 3)).sum::<u64>());
    assert_eq!(web["ports"], json!(["vm1", "vm1b"]));
    let frames = sent - before;
    assert_eq!(ways(&web), [ways_before[0] + frames, ways_before[1]], "all of them went directly");
    assert_eq!(came(&web), [0, came_before[1] + frames, came_before[2]], "the program sorted all of them");
    assert_eq!(ways(&web).iter().sum::<u64>(), came(&web).iter().sum::<u64>());
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!(number(&web["tx_bytes"]) > 0 && number(&web["rx_packets"]) >= 2, "{web:#}");
}

#[test]
fn a_rule_for_one_vms_address_is_obeyed_at_once() {
    if !inside("a_rule_for_one_vms_address_is_obeyed_at_once", UPLINK) {
        return;
    }
    let mut switch = Uplinked::start(WEB);
    switch.talk(5);
    let to = frame_to(mac(1), None, 5);
    for round in 0..10 {
        switch.daemon.ok(&["add-flow", BRIDGE, "priority=9,dl_dst=02:00:00:00:00:01 actions=drop"]);
        switch.has_seen_it_all();
        let told = || switch.daemon.ok(&["pool-trace", "02:00:00:00:00:01"]);
        eventually("the rule is named", || told().contains("through the tables: rules drop it"));
        let dropped = switch.daemon.totals().drops("nic0", "rule_drop");
        (0..10).for_each(|_| switch.far.send(&to).expect("p0 takes it"));
        eventually("all of them are dropped", || switch.daemon.totals().drops("nic0", "rule_drop") == dropped + 10);
        assert_eq!(drain(&mut switch.guests[0]), 0, "round {round}: a dropped frame arrived");

        let rewrite = "priority=9,dl_dst=02:00:00:00:00:01 actions=mod_dl_src:02:00:00:00:00:aa,output:vm1,output:vm2";
        switch.daemon.ok(&["add-flow", BRIDGE, rewrite]);
        switch.has_seen_it_all();
        switch.far.send(&to).expect("p0 takes it");
        let mut rewritten = to.clone();
        rewritten[11] = 0xaa;
        rewritten[6..11].copy_from_slice(&[2, 0, 0, 0, 0]);
        for at in [0, 2] {
            assert_receives(VMS[at], &mut switch.guests[at], std::slice::from_ref(&rewritten));
        }
        switch.daemon.ok(&["--strict", "del-flows", BRIDGE, "priority=9,dl_dst=02:00:00:00:00:01"]);
        switch.has_seen_it_all();
        switch.talk(1);
    }
    switch.daemon.assert_balanced();
}

#[test]
fn pools_change_under_an_uplinks_traffic_and_no_frame_is_lost_or_doubled() {
    if !inside("pools_change_under_an_uplinks_traffic_and_no_frame_is_lost_or_doubled", UPLINK) {
        return;
    }
    let Uplinked { daemon, mut guests, far } = Uplinked::start("");
    let change = || {
        let commands: [&[&str]; 8] = [
            &["pool-set", "web", "ports=vm1,vm1b", "filters=02:00:00:00:00:01,02:00:00:00:00:02"],
            &["pool-set", "web", "weight=300", "--", "pool-set", "vm2", "priority=2"],
            // Filters that are wrong cost time and nothing else.
            &["pool-set", "web", "filters=02:00:00:00:00:03", "--", "pool-set", "vm3", "filters=02:00:00:00:00:01"],
            &["pool-set", "web", "filters=auto", "--", "pool-set", "vm3", "filters=auto"],
            &["set", "interface", "nic0", "options:sorter=software"],
            &["set", "interface", "nic0", "options:sorter=xdp"],
            &["pool-del", "web", "--", "pool-del", "vm2", "--", "pool-del", "vm3"],
            &["set", "interface", "nic0", "options:sorter=[]"],
        ];
        for command in commands.iter().cycle().take(5 * commands.len()) {
            daemon.ok(command);
            std::thread::sleep(Duration::from_millis(60));
        }
    };
    std::thread::scope(|scope| {
        let changing = scope.spawn(change);
        while !changing.is_finished() {
            talk(&far, &mut guests, 3);
        }
    });
    assert!(guests.iter_mut().all(|guest| drain(guest) == 0), "a frame came twice");
    assert_eq!(daemon.totals().all_drops(), 0);
    daemon.assert_balanced();
}
