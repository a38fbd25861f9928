//! OpenFlow from outside: the real `ovs-ofctl` on a bridge's management socket, and controllers of all kinds of behaviour.

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output};
use std::time::Duration;

use common::hosts::inside;
use common::{BRIDGE, Daemon, TWO_PORTS, eventually};
use ringswitch_control::openflow::message::{
    AsyncKind, FlowMod, FlowModCommand, PORT_ANY, Role, RoleChange, SwitchConfig, TABLE_ALL,
};
use ringswitch_control::openflow::stats::{Reply, Request};
use ringswitch_control::openflow::{Message, OfError, Version, decode, encode};
use ringswitch_dataplane::flow::grammar::parse_flow;
use ringswitch_dataplane::flow::{Action, FlowFlags};

const VERSIONS: [&str; 4] = ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"];

/// False, with a message, where Open vSwitch's tools are not installed.
fn has_ofctl() -> bool {
    let there = Command::new("ovs-ofctl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        println!("skipped: no ovs-ofctl here");
    }
    there
}

fn run(daemon: &Daemon, version: &str, words: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", "ovs-ofctl", "-O", version]).args(words).env("OVS_RUNDIR", daemon.dir());
    command.output().expect("timeout(1) runs")
}

/// What ovs-ofctl printed; it must succeed.
fn ofctl(daemon: &Daemon, version: &str, words: &[&str]) -> String {
    let output = run(daemon, version, words);
    assert!(output.status.success(), "{version} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The flows alone, without what changes from one look to the next.
fn flows(daemon: &Daemon, version: &str) -> Vec<String> {
    let dump = ofctl(daemon, version, &["--names", "--no-stats", "--sort", "dump-flows", BRIDGE]);
    dump.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn ovs_ofctl_finds_the_bridge_by_name_in_every_version() {
    if !has_ofctl() {
        return;
    }
    let daemon = Daemon::start(TWO_PORTS);
    for version in VERSIONS {
        let show = ofctl(&daemon, version, &["show", BRIDGE]);
        assert!(
            ["n_tables:254", " 1(vm1): addr:", " 2(vm2): addr:", "LOCAL(br0)"].iter().all(|it| show.contains(it)),
            "{show}"
        );
        assert_eq!(flows(&daemon, version), ["priority=0 actions=NORMAL"]);
        ofctl(
            &daemon,
            version,
            &["add-flow", BRIDGE, "table=7,cookie=0x5,priority=9,tcp,in_port=vm1,actions=output:vm2"],
        );
        let added = "cookie=0x5, table=7, priority=9,tcp,in_port=vm1 actions=output:vm2";
        assert_eq!(flows(&daemon, version)[1..], [added]);
        ofctl(&daemon, version, &["mod-flows", BRIDGE, "table=7,cookie=0x5/-1,actions=drop"]);
        assert!(flows(&daemon, version)[1].ends_with("actions=drop"));
        let aggregate = ofctl(&daemon, version, &["dump-aggregate", BRIDGE, "table=7"]);
        assert!(aggregate.contains("flow_count=1"), "{aggregate}");
        ofctl(&daemon, version, &["--strict", "del-flows", BRIDGE, "table=7,priority=9,tcp,in_port=vm1"]);
        assert_eq!(flows(&daemon, version).len(), 1);
        let ports = ofctl(&daemon, version, &["dump-ports", BRIDGE]);
        assert!(ports.contains("3 ports"), "{ports}");
        let tables = ofctl(&daemon, version, &["dump-tables", BRIDGE]);
        assert!(tables.contains("active=1, lookup="), "{tables}");
        assert!(ofctl(&daemon, version, &["dump-ports-desc", BRIDGE]).contains("vm2"));
        ofctl(&daemon, version, &["mod-port", BRIDGE, "vm1", "no-receive"]);
        assert!(ofctl(&daemon, version, &["show", BRIDGE]).contains("NO_RECV"));
        ofctl(&daemon, version, &["mod-port", BRIDGE, "vm1", "receive"]);
    }
    let refused = run(&daemon, "OpenFlow13", &["add-flow", BRIDGE, "actions=group:7"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("OFPBAC_BAD_OUT_GROUP"), "{said}");
}

#[test]
fn groups_meters_and_bundles_are_those_of_ovs_ofctl() {
    if !has_ofctl() {
        return;
    }
    let daemon = Daemon::start(TWO_PORTS);
    fs::write(daemon.path("new"), "arp actions=drop\nip actions=output:1\n").expect("written");
    fs::write(daemon.path("bad"), "tcp actions=drop\nudp actions=group:9\n").expect("written");
    let [new, bad] = ["new", "bad"].map(|name| daemon.path(name).to_string_lossy().into_owned());
    for version in &VERSIONS[1..] {
        let of = |words: &[&str]| ofctl(&daemon, version, words);
        of(&["add-group", BRIDGE, "group_id=1,type=select,bucket=weight:1,output:1,bucket=weight:2,output:2"]);
        of(&["add-meter", BRIDGE, "meter=3,pktps,stats,band=type=drop,rate=100"]);
        of(&["add-flow", BRIDGE, "udp,actions=group:1"]);
        of(&["add-flow", BRIDGE, "tcp,actions=meter:3,output:1"]);
        assert!(of(&["dump-group-stats", BRIDGE]).contains("group_id=1,duration="));
        assert!(of(&["meter-stats", BRIDGE]).contains("meter:3 flow_count:1"));
        assert!(of(&["dump-meters", BRIDGE]).contains("meter=3 pktps stats bands="));
        of(&["mod-group", BRIDGE, "group_id=1,type=all,bucket=output:2"]);
        assert!(of(&["dump-groups", BRIDGE]).contains("group_id=1,type=all,bucket="));
        of(&["del-groups", BRIDGE]);
        of(&["del-meters", BRIDGE]);
        assert_eq!(flows(&daemon, version), ["priority=0 actions=NORMAL"], "{version}: flows go with what they use");
        let refused = run(&daemon, version, &["--bundle", "add-flows", BRIDGE, &bad]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("OFPBFC_MSG_FAILED"), "{refused:?}");
        assert_eq!(flows(&daemon, version).len(), 1, "{version}: nothing is half done");
        of(&["--bundle", "replace-flows", BRIDGE, &new]);
        of(&["diff-flows", BRIDGE, &new]);
        of(&["replace-flows", BRIDGE, &new]);
        assert_eq!(flows(&daemon, version), ["arp actions=drop", "ip actions=output:vm1"]);
        daemon.ok(&["del-flows", BRIDGE]);
        daemon.ok(&["add-flow", BRIDGE, "priority=0 actions=NORMAL"]);
    }
}

#[test]
fn a_hundred_thousand_flows_are_loaded_and_read_back() {
    if !has_ofctl() {
        return;
    }
    let daemon = Daemon::start(TWO_PORTS);
    let flow = |number: u32| {
        format!("ip,nw_dst=10.{}.{}.{},actions=output:2\n", number >> 16, number >> 8 & 255, number & 255)
    };
    fs::write(daemon.path("many"), (0..100_000).map(flow).collect::<String>()).expect("written");
    let many = daemon.path("many").to_string_lossy().into_owned();
    ofctl(&daemon, "OpenFlow13", &["add-flows", BRIDGE, &many]);
    assert!(ofctl(&daemon, "OpenFlow13", &["dump-aggregate", BRIDGE]).contains("flow_count=100001"));
    assert_eq!(flows(&daemon, "OpenFlow10").len(), 100_001);
    ofctl(&daemon, "OpenFlow13", &["del-flows", BRIDGE]);
    assert_eq!(flows(&daemon, "OpenFlow10").len(), 0);
}

/// One end of OpenFlow, as a controller or a tool has it.
struct Peer {
    stream: UnixStream,
    version: Version,
    xid: u32,
    input: Vec<u8>,
}

impl Peer {
    /// Greets and is greeted.
    fn greet(mut stream: UnixStream, version: Version) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.write_all(&[version as u8, 0, 0, 8, 0, 0, 0, 1]).expect("it reads");
        let mut peer = Self { stream, version, xid: 100, input: Vec::new() };
        let hello = peer.bytes().expect("a hello");
        assert_eq!(hello[1], 0, "the first message is a hello");
        peer
    }

    /// As a tool, on the management socket.
    fn tool(daemon: &Daemon, version: Version) -> Self {
        Self::greet(UnixStream::connect(daemon.path("br0.mgmt")).expect("it listens"), version)
    }

    fn send(&mut self, message: &Message) -> u32 {
        self.xid += 1;
        let mut bytes = Vec::new();
        encode(self.version, self.xid, message, &mut bytes);
        self.stream.write_all(&bytes).expect("it reads");
        self.xid
    }

    /// The next message's bytes; none when nothing comes.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(&[_, _, high, low]) = self.input.first_chunk() {
                let len = usize::from(u16::from_be_bytes([high, low]));
                if self.input.len() >= len {
                    return Some(self.input.drain(..len).collect());
                }
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn receive(&mut self) -> Message {
        decode(&self.bytes().expect("a message"), false).expect("a message that can be read")
    }

    /// Asks, and waits for the reply; what comes in between is looked at by nobody.
    fn ask(&mut self, message: &Message) -> Message {
        let xid = self.send(message).to_be_bytes();
        loop {
            let bytes = self.bytes().expect("a reply");
            if bytes[4..8] == xid {
                return decode(&bytes, false).expect("a reply that can be read");
            }
        }
    }

    fn barrier(&mut self) {
        assert_eq!(self.ask(&Message::BarrierRequest), Message::BarrierReply);
    }

    fn flow(&mut self, command: FlowModCommand, text: &str) {
        let mut flow = parse_flow(text, &()).expect("a flow");
        flow.flags = FlowFlags { send_flow_rem: true, ..FlowFlags::default() };
        let table = if command == FlowModCommand::Delete { TABLE_ALL } else { flow.table };
        self.send(&Message::FlowMod(Box::new(FlowMod {
            command,
            table,
            flow,
            cookie: 0,
            cookie_mask: 0,
            new_cookie: None,
            buffer_id: None,
            out_port: None,
            out_group: None,
            nxm: false,
        })));
    }

    fn role(&mut self, role: Role, generation: u64) -> Message {
        self.ask(&Message::RoleRequest(RoleChange { nicira: false, role, generation_id: Some(generation) }))
    }
}

fn is_error(message: &Message, version: Version, error: OfError) -> bool {
    matches!(message, Message::Error(it) if it.code == error.code(version))
}

/// A bridge whose controller is at this socket.
fn controlled(more: &str) -> String {
    format!(
        "[bridges.br0]\ncontroller = [\"unix:DIR/controller\"]\n{more}\n[bridges.br0.ports.vm1]\ntype = \"vhost-user\"\npath = \"DIR/vm1.sock\"\n"
    )
}

#[test]
fn a_controller_is_connected_to_told_what_happens_and_waited_for() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let listener = UnixListener::bind(dir.path().join("controller")).expect("a socket");
    let daemon = Daemon::start_in(
        dir,
        &controlled("inactivity_probe = 1500\nmax_backoff = 1000\ndatapath-id = \"00000000000000ab\""),
        &[],
    );
    let mut peer = Peer::greet(listener.accept().expect("it connects").0, Version::V13);
    let Message::FeaturesReply(features) = peer.ask(&Message::FeaturesRequest) else { panic!("no features") };
    assert_eq!((features.datapath_id, features.tables), (0xab, 254));
    assert_eq!(daemon.ok(&["get-controller", BRIDGE]).trim(), format!("unix:{}", daemon.path("controller").display()));
    assert_eq!(daemon.ok(&["dump-flows", BRIDGE]), "", "the controller says what to do");

    peer.flow(FlowModCommand::Add, "priority=7,tcp actions=drop");
    peer.barrier();
    peer.flow(FlowModCommand::Delete, "actions=drop");
    let Message::FlowRemoved(removed) = peer.receive() else { panic!("the controller is not told") };
    assert_eq!((removed.flow.priority, removed.flow.table), (7, 0));
    daemon.ok(&["add-port", BRIDGE, "vm9", "type=vhost-user", "path=DIR/vm9.sock"]);
    loop {
        match peer.receive() {
            Message::PortStatus { port, .. } if port.name == "vm9" => break,
            Message::EchoRequest(_) | Message::PortStatus { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    // It is asked whether it is still there; when it does not answer, it is left, and called again.
    eventually("the switch gives up", || {
        let _ = listener.set_nonblocking(true);
        listener.accept().is_ok()
    });
    eventually("the bridge switches by itself", || daemon.log().contains("it switches by itself"));
    eventually("it is said that the controller is gone", || daemon.log().contains("controller is gone"));
}

#[test]
fn a_secure_bridge_waits_for_its_controller() {
    let daemon = Daemon::start(&controlled("inactivity_probe = 100\nfail_mode = \"secure\""));
    assert_eq!(daemon.ok(&["get-fail-mode", BRIDGE]), "secure\n");
    assert_eq!(daemon.ok(&["dump-flows", BRIDGE]), "");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!daemon.log().contains("it switches by itself"), "{}", daemon.log());
    daemon.ok(&["del-controller", BRIDGE, "--", "del-fail-mode", BRIDGE]);
    assert!(daemon.ok(&["dump-flows", BRIDGE]).contains("actions=NORMAL"));
}

#[test]
fn the_master_is_one_and_slaves_only_read() {
    let daemon = Daemon::start(TWO_PORTS);
    let [mut first, mut second] = [0; 2].map(|_| Peer::tool(&daemon, Version::V14));
    for peer in [&mut first, &mut second] {
        peer.send(&Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: 128 }));
        peer.barrier();
    }
    assert!(matches!(first.role(Role::Master, 5), Message::RoleReply(RoleChange { role: Role::Master, .. })));
    assert!(matches!(second.role(Role::Master, 6), Message::RoleReply(RoleChange { role: Role::Master, .. })));
    assert!(matches!(first.receive(), Message::RoleStatus { role: Role::Slave, generation_id: 6, .. }));
    assert!(is_error(&first.role(Role::Master, 5), Version::V14, OfError::OFPRRFC_STALE));
    first.flow(FlowModCommand::Add, "tcp actions=drop");
    assert!(is_error(&first.receive(), Version::V14, OfError::OFPBRC_IS_SECONDARY));
    let request = || Message::MultipartRequest { more: false, request: Box::new(Request::PortDesc { port: PORT_ANY }) };
    assert!(matches!(first.ask(&request()), Message::MultipartReply { .. }));
    second.flow(FlowModCommand::Add, "tcp actions=drop");
    second.barrier();
    second.flow(FlowModCommand::Delete, "actions=drop");
    assert!(matches!(second.receive(), Message::FlowRemoved(_)));
    first.barrier();
}

#[test]
fn packets_go_to_controllers_that_want_them_and_come_from_them() {
    let daemon = Daemon::start(TWO_PORTS);
    let mut peer = Peer::tool(&daemon, Version::V13);
    let mut other = Peer::tool(&daemon, Version::V13);
    peer.send(&Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: 128 }));
    let frame: Vec<u8> = (0..80).collect();
    let packet = |actions: Vec<Action>| {
        let mut key = ringswitch_dataplane::flow::FlowKey::default();
        key.set(ringswitch_dataplane::flow::Field::IN_PORT, 1);
        let frame = frame.clone();
        Message::PacketOut(Box::new(ringswitch_control::openflow::message::PacketOut {
            buffer_id: None,
            key,
            actions,
            frame,
        }))
    };
    peer.send(&packet(vec![Action::Controller(Box::default())]));
    let Message::PacketIn(packet_in) = peer.receive() else { panic!("no packet") };
    assert_eq!((packet_in.total_len, &packet_in.frame), (80, &frame));
    let Message::GetAsyncReply(asyncs) = peer.ask(&Message::GetAsyncRequest) else { panic!("no masks") };
    assert_eq!(asyncs.slave[AsyncKind::PacketIn as usize], 0);
    assert!(is_error(&peer.ask(&packet(vec![Action::Group(3)])), Version::V13, OfError::OFPBAC_BAD_OUT_GROUP));
    // Whoever did not ask for packets got none: the next thing it hears is the answer to its own request.
    let xid = other.send(&Message::BarrierRequest);
    assert_eq!(other.bytes().expect("a reply")[4..8], xid.to_be_bytes());
}

#[test]
fn a_peer_that_misbehaves_costs_its_own_connection() {
    let daemon = Daemon::start(TWO_PORTS);
    let mut honest = Peer::tool(&daemon, Version::V13);
    let connect = || UnixStream::connect(daemon.path("br0.mgmt")).expect("it listens");
    // Garbage, a header that lies, a message that never ends.
    for bytes in [&[0xff; 64][..], &[4, 0, 0, 3, 0, 0, 0, 1], &[4, 0, 0xff, 0xff, 0, 0]] {
        let _ = connect().write_all(bytes);
    }
    let mut strange = Peer::tool(&daemon, Version::V13);
    strange.stream.write_all(&[4, 99, 0, 8, 0, 0, 0, 9]).expect("it reads");
    assert!(is_error(&strange.receive(), Version::V13, OfError::OFPBRC_BAD_TYPE));
    strange.stream.write_all(&[1, 2, 0, 8, 0, 0, 0, 9]).expect("it reads");
    assert!(matches!(strange.receive(), Message::Error(_)), "another version than agreed on");
    // One that asks and asks and does not read.
    let deaf = Peer::tool(&daemon, Version::V13);
    deaf.stream.set_nonblocking(true).expect("a socket");
    let mut echo = Vec::new();
    encode(Version::V13, 1, &Message::EchoRequest(vec![7; 60_000]), &mut echo);
    let mut sent = 0;
    while let Ok(count) = (&deaf.stream).write(&echo[sent % echo.len()..]) {
        sent += count;
        assert!(sent < 64 << 20, "the switch swallows everything");
    }
    // More than may come at once.
    let crowd: Vec<_> = (0..200).map(|_| connect()).collect();
    for number in 0..100 {
        honest.flow(FlowModCommand::Add, &format!("udp,tp_dst={number} actions=drop"));
        honest.barrier();
    }
    drop(crowd);
    let request = Request::Table;
    let reply = honest.ask(&Message::MultipartRequest { more: false, request: Box::new(request) });
    let Message::MultipartReply { reply, .. } = reply else { panic!("{reply:?}") };
    let Reply::Table(tables) = *reply else { panic!("{reply:?}") };
    assert_eq!(tables[0].active, 101);
}

#[test]
fn versions_are_those_that_the_operator_allows() {
    if !has_ofctl() {
        return;
    }
    let daemon = Daemon::start(
        &TWO_PORTS
            .replace("[bridges.br0.ports.vm1]", "[bridges.br0]\nprotocols = [\"OpenFlow13\"]\n[bridges.br0.ports.vm1]"),
    );
    assert!(!run(&daemon, "OpenFlow10", &["show", BRIDGE]).status.success());
    assert!(ofctl(&daemon, "OpenFlow13", &["show", BRIDGE]).contains("OF1.3"));
    daemon.ok(&["set", "bridge", BRIDGE, "protocols=OpenFlow10,OpenFlow15"]);
    assert!(ofctl(&daemon, "OpenFlow10,OpenFlow15", &["show", BRIDGE]).contains("OF1.5"));
    assert!(daemon.refused(&["set", "bridge", BRIDGE, "protocols=OpenFlow11"]).contains("OpenFlow11"));
    assert!(daemon.refused(&["set-controller", BRIDGE, "tcp:example.com"]).contains("expected an IP address"));
}

#[test]
fn flows_are_monitored() {
    let daemon = Daemon::start(TWO_PORTS);
    let [mut watcher, mut changer] = [0; 2].map(|_| Peer::tool(&daemon, Version::V14));
    use ringswitch_control::openflow::stats::{FlowUpdate, MonitorCommand, MonitorRequest};
    let request = MonitorRequest {
        id: 1,
        command: MonitorCommand::Add,
        flags: MonitorRequest::INITIAL | MonitorRequest::ADD | MonitorRequest::REMOVED | MonitorRequest::INSTRUCTIONS,
        out_port: None,
        out_group: None,
        table: TABLE_ALL,
        matches: Default::default(),
    };
    let updates = |message: Message| -> Vec<FlowUpdate> {
        let Message::MultipartReply { reply, .. } = message else { panic!("{message:?}") };
        let Reply::FlowMonitor(updates) = *reply else { panic!("{reply:?}") };
        updates
    };
    let initial =
        watcher.ask(&Message::MultipartRequest { more: false, request: Box::new(Request::FlowMonitor(vec![request])) });
    assert!(matches!(&updates(initial)[..], [FlowUpdate::Initial(flow)] if flow.actions == [Action::Normal]));
    changer.flow(FlowModCommand::Add, "table=4,tcp actions=output:1");
    assert!(matches!(&updates(watcher.receive())[..], [FlowUpdate::Added(flow)] if flow.table == 4));
    watcher.flow(FlowModCommand::Add, "table=5,tcp actions=output:1");
    assert!(matches!(updates(watcher.receive())[..], [FlowUpdate::Abbreviated { .. }]));
    daemon.ok(&["del-flows", BRIDGE, "table=4"]);
    assert!(matches!(&updates(watcher.receive())[..], [FlowUpdate::Removed(flow, _)] if flow.table == 4));
}

#[test]
fn controllers_over_tls_have_to_be_signed_by_the_authority() {
    let test = "controllers_over_tls_have_to_be_signed_by_the_authority";
    if !has_ofctl() || !inside(test, "") {
        return;
    }
    let dir = tempfile::TempDir::new().expect("a directory");
    let sign = |authority: &str, name: &str| {
        let script = format!(
            "openssl req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name} &&
             printf 'basicConstraints=CA:FALSE\\n' > ext &&
             openssl x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -extfile ext -out {name}.pem"
        );
        sh_in(dir.path(), &script)
    };
    let authority = |name: &str| {
        sh_in(
            dir.path(),
            &format!("openssl req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -subj /CN={name}"),
        )
    };
    if !(authority("ca")
        && authority("stranger")
        && sign("ca", "switch")
        && sign("ca", "tool")
        && sign("stranger", "thief"))
    {
        println!("skipped: no openssl here");
        return;
    }
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&[
        "set-ssl",
        &file("switch.key"),
        &file("switch.pem"),
        &file("ca.pem"),
        "--",
        "set-controller",
        BRIDGE,
        "pssl:6653:127.0.0.1",
    ]);
    assert!(daemon.ok(&["get-ssl"]).contains("switch.pem"));
    let show = |who: &str| {
        let (key, certificate, authority) = (file(&format!("{who}.key")), file(&format!("{who}.pem")), file("ca.pem"));
        let files = [
            &*format!("--private-key={key}"),
            &*format!("--certificate={certificate}"),
            &*format!("--ca-cert={authority}"),
        ];
        run(&daemon, "OpenFlow13", &[&files[..], &["show", "ssl:127.0.0.1:6653"]].concat())
    };
    eventually("a tool with the right certificate gets through", || {
        String::from_utf8_lossy(&show("tool").stdout).contains("n_tables:254")
    });
    assert!(!show("thief").status.success());
}

fn sh_in(dir: &std::path::Path, script: &str) -> bool {
    Command::new("sh").args(["-ec", script]).current_dir(dir).output().is_ok_and(|output| output.status.success())
}
