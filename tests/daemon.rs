//! The daemon's life: start, supervision, reload beside living guests, and clients that misbehave.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use common::hosts::is_root;
use common::{BRIDGE, Daemon, TWO_PORTS, eventually, ringswitchd};
use rspktgen::guest::{Guest, GuestConfig};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn the_supervisor_is_told_what_the_daemon_does() {
    let dir = TempDir::new().unwrap();
    let name = dir.path().join("notify");
    let supervisor = UnixDatagram::bind(&name).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut text = [0; 200];
        let count = supervisor.recv(&mut text).unwrap();
        String::from_utf8(text[..count].to_vec()).unwrap()
    };
    let daemon = Daemon::start_in(dir, TWO_PORTS, &[("NOTIFY_SOCKET", &name)]);
    assert_eq!(told(), "READY=1\n");
    daemon.signal("-HUP");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1\n");
    daemon.signal("-TERM");
    assert_eq!(told(), "STOPPING=1\n");
}

#[test]
fn of_daemons_that_start_at_once_one_stays() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("ctl.sock");
    let start = || ringswitchd().arg("--socket").arg(&socket).stderr(Stdio::null()).spawn().unwrap();
    let mut children: Vec<_> = (0..6).map(|_| start()).collect();
    let alive = |children: &mut Vec<std::process::Child>| {
        children
            .iter_mut()
            .filter_map(|child| child.try_wait().unwrap().is_none().then_some(child.id()))
            .collect::<Vec<_>>()
    };
    eventually("all but one have ended", || alive(&mut children).len() <= 1);
    let survivor = alive(&mut children);
    let mut pid = None;
    eventually("the survivor answers", || {
        pid = UnixStream::connect(&socket).ok().map(|stream| ask(stream, "version")["result"]["pid"].clone());
        pid.is_some()
    });
    assert_eq!(pid.and_then(|pid| pid.as_u64()), survivor.first().map(|&pid| u64::from(pid)));
    for child in &mut children {
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            assert_eq!(child.wait().unwrap().code(), Some(1));
        }
    }
}

#[test]
fn at_boot_a_port_that_cannot_be_opened_keeps_no_other_port_away() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("vm1.sock"), "in the way").unwrap();
    let daemon = Daemon::start_in(dir, TWO_PORTS, &[]);
    assert!(daemon.is_socket("vm2.sock"));
    let show = daemon.ok(&["show"]).replace(daemon.dir().to_str().unwrap(), "DIR");
    assert!(show.contains("            error: \"DIR/vm1.sock: exists and is not a socket\"\n"), "{show}");
    assert!(daemon.ok(&["get", "interface", "vm1", "error"]).contains("exists and is not a socket"));
    fs::remove_file(daemon.path("vm1.sock")).unwrap();
    eventually("the port is opened", || daemon.is_socket("vm1.sock"));
    eventually("the error is gone", || daemon.ok(&["get", "interface", "vm1", "error"]) == "[]\n");
}

fn frame(from: u8, to: u8) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, to]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, from]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// Does a frame of one guest reach the other? Others (the host's) are passed over.
fn speaks(from: &mut Guest, to: &mut Guest) -> bool {
    let sent = frame(1, 2);
    assert!(from.send(0, &sent).unwrap());
    (0..50).any(|_| to.receive_within(Duration::from_millis(100)).unwrap().is_some_and(|got| got == sent))
}

#[test]
fn guests_stay_connected_through_a_reload_and_through_one_that_is_refused() {
    let daemon = Daemon::start(TWO_PORTS);
    let guest = |name: &str| Guest::open(GuestConfig::new(daemon.path(name))).unwrap();
    let (mut one, mut two) = (guest("vm1.sock"), guest("vm2.sock"));
    assert!(speaks(&mut one, &mut two));
    let third = "[bridges.br0.ports.vm3]\ntype = \"vhost-user\"\npath = \"DIR/vm3.sock\"\n";
    daemon.write_config(&format!("{TWO_PORTS}ofport_request = 9\n{third}"));
    daemon.signal("-HUP");
    eventually("the file is loaded", || daemon.is_socket("vm3.sock"));
    assert_eq!(daemon.ok(&["get", "interface", "vm2", "ofport"]), "9\n");
    assert!(speaks(&mut one, &mut two), "after a reload");

    // vm4 could be had, vm5 cannot: neither comes, and vm3 does not go.
    fs::write(daemon.path("file"), "").unwrap();
    let more = third.replace("vm3", "vm4") + &third.replace("vm3", "vm5").replace("vm5.sock", "file");
    daemon.write_config(&format!("{TWO_PORTS}{more}"));
    assert_eq!(daemon.refused(&["reload"]), "port vm5: DIR/file: exists and is not a socket");
    assert!(daemon.is_socket("vm3.sock") && !daemon.is_socket("vm4.sock"));
    assert_eq!(daemon.ok(&["list-ports", BRIDGE]), "vm1\nvm2\nvm3\n");
    assert!(speaks(&mut one, &mut two), "after a refused one");
    assert!(one.is_connected() && two.is_connected());
    for port in ["vm1", "vm2"] {
        assert_eq!(daemon.ok(&["get", "interface", port, "status:connections"]), "\"1\"\n", "{port}");
    }
}

#[test]
fn a_front_end_that_stops_in_the_middle_of_a_message_holds_nobody_up() {
    let third = "[bridges.br0.ports.vm3]\ntype = \"vhost-user\"\npath = \"DIR/vm3.sock\"\n";
    let daemon = Daemon::start(&format!("{TWO_PORTS}{third}"));
    // SET_MEM_TABLE, of which more is to come.
    let mut slow = UnixStream::connect(daemon.path("vm3.sock")).unwrap();
    slow.write_all(&[5, 0, 0, 0, 1, 0, 0, 0, 40, 0, 0]).unwrap();
    let guest = |name: &str| Guest::open(GuestConfig::new(daemon.path(name))).unwrap();
    let (mut one, mut two) = (guest("vm1.sock"), guest("vm2.sock"));
    assert!(speaks(&mut one, &mut two));
    daemon.ok(&["set", "port", "vm2", "tag=7", "--", "set", "port", "vm1", "tag=7"]);
    assert!(speaks(&mut two, &mut one), "after a change");
    daemon.ok(&["del-port", BRIDGE, "vm3"]);
    assert!(!daemon.is_socket("vm3.sock"));
    assert!(speaks(&mut one, &mut two), "after the port has gone");
}

#[test]
fn a_guests_socket_belongs_to_whom_the_operator_says() {
    let whose = if is_root() { "owner = \"nobody\"\ngroup = \"nogroup\"\n" } else { "" };
    let daemon = Daemon::start(&format!("{TWO_PORTS}permissions = \"0620\"\n{whose}"));
    let meta = fs::metadata(daemon.path("vm2.sock")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o620);
    if is_root() {
        assert_eq!((meta.uid(), meta.gid()), (65534, 65534));
    }
    let refused = daemon.refused(&["set", "interface", "vm1", "options:owner=nobody-at-all"]);
    assert_eq!(refused, "port vm1: no user named nobody-at-all");
    assert!(daemon.is_socket("vm1.sock"), "it was not touched");
}

fn ask(mut stream: UnixStream, method: &str) -> Value {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    writeln!(stream, "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\"}}").unwrap();
    reply(stream)
}

fn reply(stream: UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn clients_that_say_too_much_nothing_or_never_read_hold_nobody_up() {
    let daemon = Daemon::start(TWO_PORTS);
    let connect = || UnixStream::connect(daemon.path("ctl.sock")).unwrap();
    let flows: String = (0..5000).map(|n| format!("ip,nw_dst=10.0.{}.{} actions=drop\n", n / 256, n % 256)).collect();
    fs::write(daemon.path("flows"), flows).unwrap();
    daemon.ok(&["add-flows", BRIDGE, "DIR/flows"]);

    // Asks for megabytes, many times, and reads nothing.
    let mut deaf = connect();
    let dump = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dump-flows\",\"params\":{\"bridge\":\"br0\"}}\n";
    deaf.write_all(dump.repeat(100).as_bytes()).unwrap();
    // A request that never ends, of which the daemon takes so much and no more.
    let mut endless = connect();
    let piece = vec![b'x'; 1 << 20];
    let pieces = (0..200).take_while(|_| endless.write_all(&piece).is_ok()).count();
    assert!(pieces < 100, "{pieces} MB were taken");
    let mut said = String::new();
    let _ = endless.read_to_string(&mut said);
    assert!(said.contains("a request has at most"), "{said}");
    // Half a request, and no more.
    let mut slow = connect();
    slow.write_all(b"{\"jsonrpc\":\"2.0\",").unwrap();

    assert!(ask(connect(), "version")["result"]["pid"].is_u64());
    slow.write_all(b"\"id\":1,\"method\":\"version\"}\n").unwrap();
    assert!(reply(slow)["result"]["pid"].is_u64(), "the rest is still welcome");

    let mut crowd: Vec<_> = (0..70).map(|_| connect()).collect();
    let last = crowd.pop().unwrap();
    assert_eq!(reply(last)["error"]["message"], "too many clients");
    assert_eq!(daemon.refused(&["version"]), "too many clients");
    drop(crowd);
    eventually("there is room again", || daemon.run(&["version"]).status.success());
}
