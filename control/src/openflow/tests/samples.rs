//! One or more messages of every kind: they come back as they were sent, and Open vSwitch can read them.

use std::time::Duration;

use ringswitch_dataplane::flow::{Action, Controller, Field, FieldId, FlowKey, Mac};
use ringswitch_dataplane::pipeline::Continuation;

use super::super::message::*;
use super::super::stats::*;
use super::*;

const AGE: Duration = Duration::from_nanos(5_000_000_007);
const MAC: Mac = [2, 0, 0, 0, 0, 9];

fn port(number: u32) -> Port {
    Port {
        number,
        mac: MAC,
        name: format!("port{number}"),
        config: Port::PORT_DOWN | Port::NO_PACKET_IN,
        state: Port::LINK_DOWN,
        current: 1 << 6 | 1 << 11,
        advertised: 1 << 5,
        supported: 1 << 4 | 1 << 13,
        peer: 1,
        ..Port::default()
    }
}

fn key() -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::IN_PORT, 3);
    key.set(Field::METADATA, 0x1234);
    key.put(FieldId::REG5, 0xabcd);
    key.set(Field::TUN_ID, 7);
    key.set(Field::PKT_MARK, 1);
    key
}

fn flow(text: &str) -> ringswitch_dataplane::flow::Flow {
    grammar::parse_flow(text, &()).unwrap_or_else(|error| panic!("{error}"))
}

fn packet_in(format: PacketInFormat, version: Version) -> Message {
    let (second, standard10) =
        (format == PacketInFormat::Nicira2, format == PacketInFormat::Standard && version == Version::V10);
    let mut only_port = FlowKey::default();
    only_port.set(Field::IN_PORT, 3);
    let continuation = Continuation {
        key: key(),
        table: 4,
        stack: vec![1, u128::MAX - 5],
        actions: vec![vec![Action::Output(5), Action::Exit], vec![Action::ClearActions, Action::GotoTable(9)]],
        action_set: vec![Action::Output(7)],
    };
    Message::PacketIn(Box::new(PacketIn {
        format,
        buffer_id: None,
        reason: 1,
        table: if standard10 { 0 } else { 4 },
        cookie: if standard10 { u64::MAX } else { 0x99 },
        key: if standard10 { only_port } else { key() },
        total_len: 70,
        frame: [MAC.as_slice(), &MAC, &[0x88, 0xcc], &[0; 46]].concat(),
        userdata: if second { vec![1, 2, 3] } else { Vec::new() },
        continuation: second.then(|| Box::new(continuation)),
    }))
}

/// The contents of packets and events.
fn events(version: Version) -> Vec<Message> {
    let mut key15 = FlowKey::default();
    key15.set(Field::IN_PORT, PORT_CONTROLLER.into());
    let controller = Controller { max_len: 99, ..Controller::default() };
    let removed = |reason, nxm: bool| {
        let mut flow = flow("priority=7,cookie=0x5,idle_timeout=6,tcp,tp_dst=80 actions=drop");
        flow.hard_timeout = if version == Version::V10 { 0 } else { 8 };
        flow.table = if version == Version::V10 && !nxm { 0 } else { 3 };
        Message::FlowRemoved(Box::new(FlowRemoved { nxm, flow, reason, duration: AGE, packets: 5, bytes: 6 }))
    };
    let mut messages = vec![
        packet_in(PacketInFormat::Standard, version),
        packet_in(PacketInFormat::Nicira, version),
        packet_in(PacketInFormat::Nicira2, version),
        Message::PacketOut(Box::new(PacketOut {
            buffer_id: None,
            key: key15,
            actions: vec![Action::Table, Action::Output(2), Action::Controller(Box::new(controller))],
            frame: vec![7; 60],
        })),
        removed(RemovedReason::HardTimeout, false),
        Message::PortStatus { reason: PortReason::Modify, port: Box::new(port(4)) },
    ];
    if version == Version::V10 {
        messages.push(removed(RemovedReason::Delete, true));
    } else {
        messages.push(removed(RemovedReason::GroupDelete, false));
    }
    messages
}

/// What sets a connection up.
fn session(version: Version) -> Vec<Message> {
    let v10 = version == Version::V10;
    let features = Features {
        datapath_id: 0x1234,
        buffers: 0,
        tables: 254,
        auxiliary_id: 0,
        capabilities: Features::FLOW_STATS | Features::TABLE_STATS | Features::PORT_STATS,
        ports: if v10 { vec![port(1), port(LOCAL)] } else { Vec::new() },
    };
    let config = SwitchConfig { flags: 1, miss_send_len: 0xffff };
    let mut change = AsyncChange { nicira: version < Version::V14, ..AsyncChange::default() };
    (change.master[0], change.slave[1], change.master[3]) = (Some(1), Some(7), Some(3));
    let mut messages = vec![
        Message::Hello { versions: Version::BITMAP },
        Message::error(version, OfError::OFPFMFC_OVERLAP, &[version as u8, 2, 0, 8, 0, 0, 0, 9]),
        Message::error(version, OfError::OFPBFC_BUNDLE_EXIST, &[version as u8, 2, 0, 8, 0, 0, 0, 9]),
        Message::EchoRequest(vec![1, 2, 3]),
        Message::EchoReply(Vec::new()),
        Message::FeaturesRequest,
        Message::FeaturesReply(features),
        Message::GetConfigRequest,
        Message::GetConfigReply(config),
        Message::SetConfig(config),
        Message::BarrierRequest,
        Message::BarrierReply,
        Message::RoleRequest(RoleChange { nicira: true, role: Role::Master, generation_id: None }),
        Message::RoleReply(RoleChange { nicira: true, role: Role::Slave, generation_id: None }),
        Message::SetAsync(change),
        Message::FlowModTableId(true),
        Message::SetPacketInFormat(PacketInFormat::Nicira2),
        Message::SetControllerId(5),
        Message::FlowAge,
        Message::TlvTableRequest,
        Message::TlvTableReply,
        Message::TlvTableClear,
    ];
    if v10 {
        messages.push(Message::SetFlowFormat(FlowFormat::Nxm));
    } else {
        let mut masks = AsyncConfig::default();
        (masks.master[0], masks.slave[1], masks.master[2]) = (1, 7, 4);
        messages.extend([
            Message::RoleRequest(RoleChange { nicira: false, role: Role::Slave, generation_id: Some(7) }),
            Message::RoleReply(RoleChange { nicira: false, role: Role::Equal, generation_id: None }),
            Message::RoleStatus { role: Role::Slave, reason: 0, generation_id: 9 },
            Message::GetAsyncRequest,
            Message::GetAsyncReply(masks),
        ]);
    }
    if version >= Version::V14 {
        let table = TableDesc { table: 2, eviction: true, eviction_flags: 1, vacancy: Some((10, 20, 30)) };
        messages.push(Message::TableStatus { reason: 3, table });
    } else {
        let (min_rate, max_rate) = (Some(100), Some(900));
        let queue = QueueDesc { port: 3, queue: 5, min_rate, max_rate };
        messages.extend([
            Message::QueueGetConfigRequest { port: 3 },
            Message::QueueGetConfigReply { port: 3, queues: vec![queue, QueueDesc { queue: 6, ..queue }] },
            Message::FlowMonitorCancel { id: 6 },
            Message::FlowMonitorPaused,
            Message::FlowMonitorResumed,
        ]);
    }
    messages
}

pub(super) fn group(text: &str) -> ringswitch_dataplane::flow::Group {
    grammar::parse_group(text, &()).unwrap_or_else(|error| panic!("{error}"))
}

fn changes(version: Version) -> Vec<Message> {
    let mut messages = Vec::new();
    let select = "group_id=7,type=select,bucket=weight:3,actions=output:1,bucket=weight:5,actions=output:2";
    let failover = "group_id=8,type=ff,bucket=watch_port:1,actions=output:1,bucket=watch_group:7,actions=group:7";
    let add = |group| GroupMod { command: GroupModCommand::Add, group, command_bucket: BUCKET_ALL };
    messages.extend([select, failover].map(|text| Message::GroupMod(Box::new(add(group(text))))));
    if matches!(version, Version::V10 | Version::V15) {
        let hashed = "group_id=9,type=select,selection_method=hash,selection_method_param=5,fields(ip_src,tcp_dst),\
                      bucket=bucket_id:4,weight:3,actions=output:1";
        let insert =
            GroupMod { command: GroupModCommand::InsertBucket, command_bucket: BUCKET_LAST, ..add(group(select)) };
        messages.extend([add(group(hashed)), insert].map(|it| Message::GroupMod(Box::new(it))));
    }
    messages.push(Message::PortMod(PortMod {
        port: 3,
        mac: MAC,
        config: Port::NO_FWD,
        mask: Port::NO_FWD | Port::PORT_DOWN,
        advertise: 1 << 6 | 1 << 12,
    }));
    if version != Version::V10 {
        let meter = grammar::parse_meter(METER).expect("a meter");
        let meter = Message::MeterMod(MeterMod { command: MeterModCommand::Modify, meter });
        let since14 = version >= Version::V14;
        let vacancy = since14.then_some((10, 90));
        messages.extend([
            Message::TableMod(TableMod { table: 5, eviction: since14.then_some(true), eviction_flags: None, vacancy }),
            Message::BundleControl(BundleControl { id: 5, kind: BundleControlKind::CommitRequest, flags: 3 }),
            Message::BundleAdd { id: 5, flags: 1, message: Box::new(super::add("tcp actions=output:1", false)) },
            Message::RequestForward { xid: 9, request: Box::new(meter.clone()) },
            meter,
        ]);
    }
    messages.push(super::add("table=3,tcp,tp_dst=80 actions=output:1", version == Version::V10));
    messages
}

pub(super) const METER: &str = "meter=5,pktps,burst,stats,bands=type=drop rate=100 burst_size=7,type=dscp_remark rate=50 burst_size=8 prec_level=2";

fn requests(version: Version) -> Vec<Request> {
    let matches = flow("tcp,tp_dst=80 actions=drop").matches;
    let v10 = version == Version::V10;
    let flows = FlowRequest {
        nxm: false,
        table: 0xff,
        out_port: Some(3),
        out_group: (!v10).then_some(4),
        cookie: if v10 { 0 } else { 5 },
        cookie_mask: if v10 { 0 } else { 7 },
        matches,
    };
    let monitor = MonitorRequest {
        id: 5,
        command: MonitorCommand::Add,
        flags: MonitorRequest::INITIAL | MonitorRequest::ADD | MonitorRequest::INSTRUCTIONS,
        out_port: Some(2),
        out_group: (version >= Version::V14).then_some(8),
        table: 0xff,
        matches,
    };
    let all = if matches!(version, Version::V13 | Version::V14) { GROUP_ALL } else { 5 };
    let mut requests = vec![
        Request::Desc,
        Request::Flow(flows.clone()),
        Request::Aggregate(flows.clone()),
        Request::Table,
        Request::PortStats { port: PORT_ANY },
        Request::Queue { port: PORT_ANY, queue: QUEUE_ALL },
        Request::Group { group: 6 },
        Request::GroupDesc { group: all },
        Request::GroupFeatures,
        Request::PortDesc { port: PORT_ANY },
        Request::FlowMonitor(vec![monitor]),
    ];
    if v10 {
        let nxm = FlowRequest { nxm: true, cookie: 1, cookie_mask: 3, ..flows.clone() };
        requests.extend([Request::Flow(nxm.clone()), Request::Aggregate(nxm)]);
    } else {
        let change = false;
        requests.extend([
            Request::Meter { meter: METER_ALL },
            Request::MeterConfig { meter: 5 },
            Request::MeterFeatures,
            Request::TableFeatures { change },
        ]);
    }
    if version >= Version::V14 {
        requests.extend([Request::TableDesc, Request::QueueDesc { port: 3, queue: QUEUE_ALL }]);
    }
    requests
}

fn replies(version: Version) -> Vec<Reply> {
    let v10 = version == Version::V10;
    let entry = |text, idle| {
        let mut flow = flow(text);
        flow.importance = if version >= Version::V14 { 5 } else { 0 };
        FlowEntry { flow, duration: AGE, idle, hard: None, packets: 5, bytes: 300 }
    };
    let flow_text = "table=3,priority=7,cookie=0x9,idle_timeout=8,tcp,tp_dst=80 actions=output:1,output:2";
    let idle = (version == Version::V15).then_some(Duration::from_secs(3));
    let flows = vec![entry(flow_text, idle), entry("priority=0 actions=NORMAL", idle)];
    let count = Count { packets: 3, bytes: 180 };
    let (name, max_entries) = if v10 { ("table".to_owned(), 1000) } else { (String::new(), 0) };
    let duration = (!v10).then_some(AGE);
    let stats =
        PortStats { number: 3, rx_packets: 1, tx_bytes: 5, collisions: u64::MAX, duration, ..PortStats::default() };
    let updated = |text| Box::new(flow(text));
    let mut replies = vec![
        Reply::Desc(Desc { manufacturer: "somebody".into(), datapath: "br0".into(), ..Desc::default() }),
        Reply::Flow { nxm: false, flows: flows.clone() },
        Reply::Aggregate { nxm: false, packets: 7, bytes: 8, flows: 9 },
        Reply::Table(vec![TableStats { table: 2, name, max_entries, active: 4, lookups: 9, matched: 8 }]),
        Reply::PortStats(vec![stats, PortStats { number: LOCAL, ..stats }]),
        Reply::Queue(vec![QueueStats { port: 3, queue: 1, tx_bytes: 9, tx_packets: 1, tx_errors: 0, duration }]),
        Reply::Group(vec![GroupStats { group: 7, references: 1, count, duration: AGE, buckets: vec![count, count] }]),
        Reply::GroupDesc(vec![group("group_id=7,type=all,bucket=actions=output:1,bucket=actions=output:2")]),
        Reply::GroupFeatures(GroupFeatures { types: 0xf, capabilities: 7, max_groups: [9, 8, 7, 6] }),
        Reply::PortDesc(vec![port(1), port(LOCAL)]),
        Reply::FlowMonitor(vec![
            FlowUpdate::Added(updated(flow_text)),
            FlowUpdate::Removed(updated("tcp actions=drop"), RemovedReason::HardTimeout),
            FlowUpdate::Modified(updated(flow_text)),
            FlowUpdate::Abbreviated { xid: 0x99 },
        ]),
    ];
    if v10 {
        let entry = entry(flow_text, Some(Duration::from_secs(3)));
        let flows = vec![FlowEntry { hard: Some(Duration::from_secs(4)), ..entry }];
        replies.push(Reply::Flow { nxm: true, flows });
        replies.push(Reply::Aggregate { nxm: true, packets: 7, bytes: 8, flows: 9 });
    } else {
        let meter = grammar::parse_meter(METER).expect("a meter");
        let bands = vec![count, count];
        let features = TableFeatures { table: 1, name: "one".into(), max_entries: 500, tables: 254 };
        let most = MeterFeatures { max_meters: 50, band_types: 6, capabilities: 15, max_bands: 9, max_color: 1 };
        replies.extend([
            Reply::Meter(vec![MeterStats { meter: 5, flows: 2, count, duration: AGE, bands }]),
            Reply::MeterConfig(vec![meter.clone(), meter]),
            Reply::MeterFeatures(most),
            Reply::TableFeatures(vec![features]),
        ]);
    }
    if version >= Version::V14 {
        let desc = TableDesc { table: 2, eviction: false, eviction_flags: 3, vacancy: None };
        let queue = QueueDesc { port: 3, queue: 5, min_rate: Some(9), max_rate: None };
        replies.extend([Reply::TableDesc(vec![desc]), Reply::QueueDesc(vec![queue])]);
        replies.push(Reply::FlowMonitor(vec![FlowUpdate::Initial(updated(flow_text)), FlowUpdate::Paused]));
    }
    replies
}

/// What Open vSwitch does not know, of 1.5.
fn only_15() -> Vec<Message> {
    let matches = flow("tcp actions=drop").matches;
    let request =
        FlowRequest { nxm: false, table: 3, out_port: None, out_group: None, cookie: 0, cookie_mask: 0, matches };
    let entry = FlowEntry {
        flow: ringswitch_dataplane::flow::Flow { table: 3, priority: 5, matches, ..Default::default() },
        duration: AGE,
        idle: Some(Duration::from_secs(1)),
        hard: None,
        packets: 1,
        bytes: 2,
    };
    let status =
        ControllerStatus { short_id: 5, role: Role::Master, reason: 1, up: true, uri: "tcp:192.0.2.1:6653".into() };
    let more = false;
    vec![
        Message::ControllerStatus(status.clone()),
        Message::MultipartRequest { more, request: Box::new(Request::FlowStats(request)) },
        Message::MultipartRequest { more, request: Box::new(Request::ControllerStatus) },
        Message::MultipartRequest { more, request: Box::new(Request::BundleFeatures) },
        Message::MultipartReply { more, reply: Box::new(Reply::FlowStats(vec![entry.clone(), entry])) },
        Message::MultipartReply { more, reply: Box::new(Reply::ControllerStatus(vec![status])) },
        Message::MultipartReply { more, reply: Box::new(Reply::BundleFeatures { capabilities: 3 }) },
    ]
}

const LOCAL: u32 = 0xffff_fffe;

/// Messages of every kind that Open vSwitch knows too.
pub(super) fn common(version: Version) -> Vec<Message> {
    let more = false;
    let requests = requests(version).into_iter().map(Box::new);
    let replies = replies(version).into_iter().map(Box::new);
    let mut messages = session(version);
    messages.extend(events(version));
    messages.extend(changes(version));
    messages.extend(requests.map(|request| Message::MultipartRequest { more, request }));
    messages.extend(replies.map(|reply| Message::MultipartReply { more, reply }));
    messages
}

#[test]
fn every_kind_of_message_comes_back() {
    for version in Version::ALL {
        let more = if version == Version::V15 { only_15() } else { Vec::new() };
        for message in common(version).into_iter().chain(more) {
            let bytes = bytes(version, &message);
            assert!(!bytes.is_empty(), "{version:?} has no {message:?}");
            let back =
                decode(&bytes, true).unwrap_or_else(|error| panic!("{version:?} {message:?}: {error} {bytes:02x?}"));
            assert_eq!(back, message, "{version:?} {bytes:02x?}");
        }
    }
}
