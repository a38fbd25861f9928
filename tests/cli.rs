//! The daemon and rsctl as an operator meets them: real programs, real sockets, temporary directories; no root needed.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use common::{BRIDGE, Daemon, TWO_PORTS, eventually, ringswitchd};
use tempfile::TempDir;

#[test]
fn bridges_and_ports_come_and_go_in_open_vswitchs_words() {
    let daemon = Daemon::empty();
    daemon.ok(&["add-br", "rst-a"]);
    daemon.ok(&["--may-exist", "add-br", "rst-a"]);
    let long =
        ["add-port", "rst-a", "vm1", "--", "set", "interface", "vm1", "type=vhost-user", "options:path=DIR/vm1.sock"];
    daemon.ok(&long);
    daemon.ok(&["add-port", "rst-a", "vm2", "type=vhost-user", "path=DIR/vm2.sock", "tag=10"]);
    assert!(daemon.is_socket("vm1.sock") && daemon.is_socket("vm2.sock"));
    assert_eq!(daemon.ok(&["list-br"]), "rst-a\n");
    assert_eq!(daemon.ok(&["list-ports", "rst-a"]), "vm1\nvm2\n");
    assert_eq!(daemon.ok(&["get", "interface", "vm2", "ofport", "type", "link_state"]), "2\nvhost-user\ndown\n");
    assert_eq!(daemon.ok(&["get", "port", "vm2", "tag", "trunks"]), "10\n[]\n");
    daemon.ok(&["set", "port", "vm2", "tag=[]", "trunks=10,20"]);
    assert_eq!(daemon.ok(&["get", "port", "vm2", "tag", "trunks"]), "[]\n[10, 20]\n");
    let show = daemon.ok(&["show"]);
    let vm2 = "    Port vm2\n        trunks: [10, 20]\n        Interface vm2\n            type: vhost-user\n            options: {path=";
    assert!(show.starts_with("Bridge rst-a\n    flows: 1\n    Port vm1\n") && show.contains(vm2), "{show}");
    assert_eq!(daemon.ok(&["--if-exists", "get", "interface", "vm2", "options:mode", "ofport"]), "\n2\n");
    assert_eq!(daemon.ok(&["--json", "set", "port", "vm2", "tag=7"]), "null\n");
    daemon.ok(&["del-port", "rst-a", "vm1"]);
    assert!(!daemon.is_socket("vm1.sock"));
    daemon.ok(&["--if-exists", "del-port", "vm1"]);
    daemon.ok(&["del-br", "rst-a"]);
    assert!(!daemon.is_socket("vm2.sock"));
    assert_eq!(daemon.ok(&["show"]), "");
}

#[test]
fn refusals_name_the_object_and_change_nothing() {
    let daemon = Daemon::start(TWO_PORTS);
    fs::write(daemon.path("file"), "").unwrap();
    let cases: [(&[&str], &str); 8] = [
        (&["add-br", BRIDGE], "cannot create a bridge named br0 because a bridge named br0 already exists"),
        (&["del-br", "nobr"], "no bridge named nobr"),
        (&["set", "port", "vm1", "tag=99999"], "tag: \"99999\" is not a number from 0 to 4095"),
        (&["get", "interface", "vm1", "bogus"], "Interface does not contain a column whose name matches \"bogus\""),
        (&["get", "port", "nope", "tag"], "no row \"nope\" in table Port"),
        (
            &["add-port", BRIDGE, "x", "type=vhost-user", "path=DIR/vm1.sock"],
            "port x: socket DIR/vm1.sock is already used by port vm1",
        ),
        (
            &["add-port", BRIDGE, "x", "type=vhost-user", "path=DIR/file"],
            "port x: DIR/file: exists and is not a socket",
        ),
        (&["dump-ports", BRIDGE, "77"], "bridge br0 has no port 77"),
    ];
    let before = daemon.ok(&["dump-config"]);
    for (words, expected) in cases {
        assert_eq!(daemon.refused(words), expected);
    }
    // The first command of a transaction is undone when the second one fails.
    let words = ["add-port", BRIDGE, "x", "type=vhost-user", "path=DIR/x.sock", "--", "set", "port", "y", "tag=1"];
    daemon.refused(&words);
    assert!(!daemon.is_socket("x.sock"));
    assert_eq!(daemon.ok(&["dump-config"]), before);
    assert_eq!(daemon.run(&["frobnicate"]).status.code(), Some(2));
    assert!(daemon.path("file").exists());
}

#[test]
fn flows_are_added_changed_shown_and_removed() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-flow", BRIDGE, "priority=7,arp actions=drop"]);
    fs::write(daemon.path("flows"), "# a comment\ntcp,tp_dst=80 actions=NORMAL\n\nudp actions=output:2\n").unwrap();
    daemon.ok(&["add-flows", BRIDGE, "DIR/flows"]);
    let shown = |words: &[&str]| {
        let text = daemon.ok(words);
        text.lines()
            .map(|line| line.split("idle_age=").nth(1).unwrap().split_once(", ").unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };
    let all = [
        "tcp,tp_dst=80 actions=NORMAL",
        "udp actions=output:2",
        "priority=7,arp actions=drop",
        "priority=0 actions=NORMAL",
    ];
    assert_eq!(shown(&["dump-flows", BRIDGE]), all);
    daemon.ok(&["mod-flows", BRIDGE, "udp actions=drop"]);
    assert_eq!(shown(&["dump-flows", BRIDGE, "udp"]), ["udp actions=drop"]);
    daemon.ok(&["--strict", "del-flows", BRIDGE, "priority=7,arp"]);
    fs::write(daemon.path("flows"), "icmp actions=drop\nicmp,nonsense=1 actions=drop\n").unwrap();
    assert!(daemon.refused(&["add-flows", BRIDGE, "DIR/flows"]).starts_with("DIR/flows: line 2: "));
    assert_eq!(shown(&["dump-flows", BRIDGE]).len(), 3);
    let alone = " tcp,tp_dst=80 actions=NORMAL\n udp actions=drop\n priority=0 actions=NORMAL\n";
    assert_eq!(daemon.ok(&["--no-stats", "dump-flows", BRIDGE]), alone);
    daemon.ok(&["del-flows", BRIDGE]);
    assert_eq!(daemon.ok(&["dump-flows", BRIDGE]), "");
    assert_eq!(daemon.json(&["dump-flows", BRIDGE]), serde_json::json!([]));
}

#[test]
fn addresses_counters_workers_and_queues_are_shown() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["fdb-add", BRIDGE, "vm2", "10", "52:54:00:00:00:09"]);
    let shown = " port  VLAN  MAC                Age\n    2    10  52:54:00:00:00:09  static\n";
    // The host's own stack may speak through the bridge's own port.
    let fdb = || {
        let text = daemon.ok(&["fdb-show", BRIDGE]);
        text.lines().filter(|line| !line.starts_with("LOCAL")).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(fdb(), shown);
    assert!(daemon.ok(&["fdb-stats", BRIDGE]).contains("Current static MAC entries in the table : 1\n"));
    daemon.ok(&["fdb-flush", BRIDGE]);
    assert_eq!(fdb(), shown);
    daemon.ok(&["fdb-del", BRIDGE, "10", "52:54:00:00:00:09"]);
    assert!(daemon.ok(&["dump-ports", BRIDGE, "vm1"]).starts_with("  port  1 (vm1): rx pkts=0, bytes=0, drop=0"));
    assert!(daemon.ok(&["worker-stats"]).starts_with("worker 0 on CPU "));
    daemon.ok(&["queue-show"]);
    assert!(daemon.ok(&["completions", "bash"]).contains("rsctl"));
}

#[test]
fn a_reload_touches_what_changed_and_refuses_what_is_wrong() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-port", BRIDGE, "cli", "type=vhost-user", "path=DIR/cli.sock"]);
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(daemon.path(name)).unwrap());
    let before = inode("vm1.sock");
    daemon.write_config(&(TWO_PORTS.replace("vm2", "vm3") + "tag = 4\n"));
    daemon.ok(&["reload"]);
    assert_eq!(daemon.ok(&["list-ports", BRIDGE]), "cli\nvm1\nvm3\n");
    assert_eq!(daemon.ok(&["get", "port", "vm3", "tag"]), "4\n");
    assert_eq!(inode("vm1.sock"), before, "a port that did not change was opened again");

    daemon.write_config(&(TWO_PORTS.to_owned() + "tga = 4\n"));
    let said = daemon.refused(&["reload"]);
    assert!(said.starts_with("DIR/switch.toml:8:1: unknown key \"tga\""), "{said}");
    assert_eq!(daemon.ok(&["list-ports", BRIDGE]), "cli\nvm1\nvm3\n");

    daemon.write_config(TWO_PORTS);
    daemon.signal("-HUP");
    eventually("the file is loaded", || daemon.ok(&["list-ports", BRIDGE]) == "cli\nvm1\nvm2\n");
}

#[test]
fn a_second_daemon_says_so_and_disturbs_nothing() {
    let daemon = Daemon::start(TWO_PORTS);
    let mode = fs::metadata(daemon.path("ctl.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut second = ringswitchd();
    let second = second.arg("--socket").arg(daemon.path("ctl.sock")).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another ringswitchd is listening on"), "{said}");
    assert_eq!(daemon.ok(&["list-ports", BRIDGE]), "vm1\nvm2\n");
}

#[test]
fn a_killed_daemons_socket_is_replaced_and_a_stopped_one_leaves_nothing() {
    let mut daemon = Daemon::start(TWO_PORTS);
    assert_eq!(daemon.end("-TERM").code(), Some(0));
    for name in ["ctl.sock", "ctl.sock.lock", "vm1.sock", "vm2.sock"] {
        assert!(!daemon.path(name).exists(), "{name} is left");
    }
    assert!(daemon.refused(&["show"]).starts_with("cannot reach ringswitchd at DIR/ctl.sock: "));
    // What a killed daemon leaves: a socket file that nobody listens on.
    drop(UnixListener::bind(daemon.path("ctl.sock")).unwrap());
    daemon.start_again();
}

#[test]
fn a_file_with_errors_is_refused_with_every_place() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("bad.toml");
    fs::write(&file, "[workers]\ncpu = [0]\n[bridges.b.ports.p]\ntype = \"vhost\"\n").unwrap();
    let output = ringswitchd().arg("--check-config").arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().map(|line| line.split("bad.toml:").nth(1).unwrap()).collect();
    assert_eq!(
        lines,
        [
            "2:1: unknown key \"cpu\" in workers; did you mean \"cpus\"?",
            "4:8: bridges.b.ports.p.type: expected one of vhost-user, afxdp, tap, internal, found string \"vhost\"",
        ]
    );
}

#[test]
fn flows_are_taken_from_standard_input_and_shown_by_the_names_of_ports() {
    let daemon = Daemon::start(TWO_PORTS);
    let lines = "# two\nadd priority=7,tcp,in_port=vm1 actions=vm2 # there\n\npriority=8,udp actions=vm1\n";
    daemon.ok_with_input(&["add-flows", "br0", "-"], lines);
    let by_name = " priority=8,udp actions=output:vm1\n priority=7,tcp,in_port=vm1 actions=output:vm2\n priority=0 actions=NORMAL\n";
    assert_eq!(daemon.ok(&["--no-stats", "--names", "dump-flows", "br0"]), by_name);
    assert_eq!(
        daemon.ok(&["dump-flows", "--no-stats", "--strict", "br0", "priority=7,tcp,in_port=1"]),
        " priority=7,tcp,in_port=1 actions=output:2\n"
    );
    daemon.ok_with_input(&["mod-flows", "br0", "-"], "tcp actions=drop\n# no more\nudp actions=drop\n");
    daemon.ok_with_input(&["--strict", "del-flows", "br0", "-"], "priority=8,udp\n");
    daemon.ok_with_input(&["del-flows", "br0", "-"], "icmp\n");
    let left = " priority=7,tcp,in_port=1 actions=drop\n priority=0 actions=NORMAL\n";
    assert_eq!(daemon.ok(&["--no-stats", "dump-flows", "br0"]), left);

    fs::write(daemon.path("flows"), b"tcp actions=drop\n\xff\n").unwrap();
    assert_eq!(daemon.refused(&["add-flows", "br0", "DIR/flows"]), "DIR/flows: line 2: not UTF-8");
    assert_eq!(daemon.run(&["add-flow", "br0", " "]).status.code(), Some(2), "an empty flow is none");
    assert_eq!(daemon.ok(&["--no-stats", "dump-flows", "br0"]), left);
}

#[test]
fn a_port_without_its_netdev_is_added_and_the_operator_told() {
    let daemon = Daemon::start(TWO_PORTS);
    let output = daemon.run(&["add-port", "br0", "typo0", "type=afxdp"]);
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") {
        return eprintln!("skipped: AF_XDP needs root");
    }
    assert!(output.status.success());
    assert_eq!(said, "rsctl: port typo0 is down: no such netdev\n");
    assert_eq!(daemon.ok(&["get", "interface", "br0", "ofport"]), "65534\n");
}

#[test]
fn a_reload_that_names_an_unknown_owner_or_other_workers_leaves_sockets_alone() {
    let daemon = Daemon::start(TWO_PORTS);
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(daemon.path(name)).unwrap());
    let before = (inode("vm1.sock"), inode("vm2.sock"));
    daemon.write_config(
        &TWO_PORTS
            .replace("type = ", "queues = 2\ntype = ")
            .replace("DIR/vm2.sock\"", "DIR/vm2.sock\"\ngroup = \"nobdy\""),
    );
    assert_eq!(daemon.refused(&["reload"]), "port vm2: no group named nobdy");
    let cpu = ringswitch_dataplane::sys::affinity::allowed_cpus()[0];
    daemon.write_config(&format!("[workers]\ncpus = [{cpu}]\n{TWO_PORTS}"));
    assert_eq!(
        daemon.refused(&["reload"]),
        format!(
            "[workers] cpus cannot change while the daemon runs, restart it (cpus is [{cpu}], was unset at the start)"
        )
    );
    assert_eq!((inode("vm1.sock"), inode("vm2.sock")), before);
}
