//! What Open vSwitch's `ovs-ofctl` sends is read as what was meant: it talks to a switch that notes down what it hears.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::oracle::{flows, name};
use super::*;

/// Answers what has to be answered, until the peer is done; everything else is returned.
fn listen(mut peer: UnixStream, version: Version) -> Vec<Message> {
    let (mut heard, mut bytes, mut table_id) = (Vec::new(), Vec::new(), false);
    let mut buffer = [0; 65536];
    peer.write_all(&super::bytes(version, &Message::Hello { versions: 1 << version as u32 })).expect("hello");
    loop {
        while let Some(header) = Header::read(&bytes).filter(|header| usize::from(header.len) <= bytes.len()) {
            let rest = bytes.split_off(header.len.into());
            let message = decode(&bytes, table_id).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
            bytes = rest;
            let mut answer = Vec::new();
            match message {
                Message::Hello { .. } => {}
                Message::BarrierRequest => encode(version, header.xid, &Message::BarrierReply, &mut answer),
                Message::EchoRequest(data) => encode(version, header.xid, &Message::EchoReply(data), &mut answer),
                Message::FlowModTableId(on) => table_id = on,
                Message::SetFlowFormat(_) => {}
                // Names of ports and of tables.
                Message::MultipartRequest { request, .. } => {
                    let table = stats::TableStats { name: "first".into(), ..stats::TableStats::default() };
                    let features = stats::TableFeatures { name: "first".into(), tables: 2, ..Default::default() };
                    let reply = Box::new(match *request {
                        stats::Request::Table => stats::Reply::Table(vec![table]),
                        stats::Request::TableFeatures { .. } => stats::Reply::TableFeatures(vec![features]),
                        _ => stats::Reply::PortDesc(vec![port()]),
                    });
                    encode(version, header.xid, &Message::MultipartReply { more: false, reply }, &mut answer);
                }
                Message::FeaturesRequest => encode(version, header.xid, &features(), &mut answer),
                Message::BundleControl(control) => {
                    let kind = match control.kind {
                        message::BundleControlKind::OpenRequest => message::BundleControlKind::OpenReply,
                        message::BundleControlKind::CloseRequest => message::BundleControlKind::CloseReply,
                        _ => message::BundleControlKind::CommitReply,
                    };
                    let control = message::BundleControl { kind, ..control };
                    encode(version, header.xid, &Message::BundleControl(control), &mut answer);
                }
                Message::BundleAdd { message, .. } => heard.push(*message),
                other => heard.push(other),
            }
            if peer.write_all(&answer).is_err() {
                return heard;
            }
        }
        match peer.read(&mut buffer) {
            Ok(0) | Err(_) => return heard,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn port() -> stats::Port {
    stats::Port { number: 999, name: "only".into(), ..stats::Port::default() }
}

/// A switch with one port.
fn features() -> Message {
    let (datapath_id, tables, ports) = (1, 254, vec![port()]);
    let features = message::Features { datapath_id, buffers: 0, tables, auxiliary_id: 0, capabilities: 0, ports };
    Message::FeaturesReply(features)
}

/// What `ovs-ofctl COMMAND SWITCH ARGUMENT` sends; none when it is not installed.
fn sent(version: Version, options: &[&str], command: &str, argument: &str) -> Option<Vec<Message>> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("switch");
    let listener = UnixListener::bind(&path).expect("a socket");
    let switch = format!("unix:{}", path.display());
    let mut child = Command::new("ovs-ofctl")
        .args(["-O", name(version), "-t", "10"])
        .args(options)
        .args([command, &switch, argument])
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    listener.set_nonblocking(true).expect("a socket");
    let mut heard = Vec::new();
    // It comes several times: for names first.
    while child.try_wait().expect("a child").is_none() {
        let Ok((peer, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        peer.set_nonblocking(false).expect("a socket");
        peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        heard.extend(listen(peer, version));
    }
    let mut errors = String::new();
    child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut errors));
    assert!(child.wait().is_ok_and(|status| status.success()), "{version:?} {command} {argument}: {errors}");
    Some(heard)
}

/// A flow as it is after a trip through a version: some actions are other ones then.
fn through(version: Version, text: &str) -> Message {
    decode(&bytes(version, &add(text, version == Version::V10)), true).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Actions that a version says in other words: what it means is told by Open vSwitch, in the tests above.
fn is_told_differently(text: &str, version: Version) -> bool {
    let words: &[&str] = match version {
        Version::V10 => &["set_field", "mod_nw_ecn", "mod_nw_ttl", "goto_table"],
        Version::V13 | Version::V14 => &["vlan_tci=0 ", "mod_", "set_tunnel", "set_field:0x5/0xff"],
        Version::V15 => &["vlan_tci=0 ", "mod_", "set_tunnel", "load:"],
    };
    let learned = text.contains("learn(");
    !learned && words.iter().any(|word| text.contains(word))
}

#[test]
fn flows_come_back_as_they_are() {
    for version in Version::ALL {
        let flows = flows(version);
        let same: Vec<_> = flows.iter().filter(|flow| !is_told_differently(flow, version)).collect();
        assert!(same.len() > 80, "{version:?}");
        for flow in same {
            assert_eq!(through(version, flow), add(flow, version == Version::V10), "{version:?}: {flow}");
        }
    }
}

#[test]
fn flows_of_ovs_ofctl_are_read_as_what_they_mean() {
    for (version, options) in Version::ALL
        .into_iter()
        .map(|version| (version, &[][..]))
        .chain([(Version::V13, &["--bundle"][..]), (Version::V15, &["--bundle"][..])])
    {
        let texts = flows(version);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), texts.join("\n")).expect("a file");
        let Some(heard) = sent(version, options, "add-flows", file.path().to_str().expect("a path")) else {
            eprintln!("skipped: no ovs-ofctl");
            return;
        };
        assert_eq!(heard.len(), texts.len(), "{version:?}");
        for (mut message, text) in heard.into_iter().zip(&texts) {
            if let Message::FlowMod(it) = &mut message {
                // In 1.0 it need not say which table.
                it.table = it.flow.table;
            }
            assert_eq!(message, through(version, text), "{version:?}: {text}");
        }
    }
}

#[test]
fn groups_and_meters_of_ovs_ofctl_are_read_as_what_they_mean() {
    for version in Version::ALL {
        let text =
            "group_id=7,type=select,bucket=weight:3,actions=output:1,bucket=weight:5,actions=set_queue:3,output:2";
        let Some(heard) = sent(version, &[], "add-group", text) else {
            eprintln!("skipped: no ovs-ofctl");
            return;
        };
        let [Message::GroupMod(it)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(it.group, samples::group(text), "{version:?}");
        if version != Version::V10 {
            let heard = sent(version, &[], "add-meter", samples::METER).expect("ovs-ofctl");
            let meter = grammar::parse_meter(samples::METER).expect("a meter");
            let command = message::MeterModCommand::Add;
            assert_eq!(heard, [Message::MeterMod(message::MeterMod { command, meter })], "{version:?}");
        }
    }
}
