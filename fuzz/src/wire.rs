//! OpenFlow messages: sound ones, and what may come instead.

use ringswitch_control::openflow::encode;
use ringswitch_control::openflow::message::{
    BundleControl, BundleControlKind, FlowMod, FlowModCommand, GROUP_ALL, GroupMod, GroupModCommand, Message, MeterMod,
    MeterModCommand, PacketIn, PacketInFormat, PacketOut, RemovedReason, Role, RoleChange, TABLE_ALL, Version,
};
use ringswitch_control::openflow::stats::{
    Count, Desc, FlowEntry, FlowRequest, FlowUpdate, GroupStats, MeterStats, MonitorCommand, MonitorRequest, Port,
    PortStats, QueueDesc, QueueStats, Reply, Request, TableDesc, TableFeatures,
};
use ringswitch_dataplane::flow::grammar::{parse_actions, parse_flow, parse_group, parse_meter};
use ringswitch_dataplane::flow::{Flow, FlowKey};
use ringswitch_dataplane::pipeline::Continuation;

use crate::{Random, openflow, text};

/// A version.
pub fn version(random: &mut Random) -> Version {
    *random.pick(&Version::ALL)
}

/// A flow, mostly an interesting one.
fn flow(random: &mut Random) -> Flow {
    for _ in 0..20 {
        let text = if random.once_in(4) { text::flow(random) } else { openflow::flow(random) };
        if let Ok(flow) = parse_flow(&text, &()) {
            return flow;
        }
    }
    Flow::default()
}

fn flow_mod(random: &mut Random) -> Message {
    use FlowModCommand as C;
    let flow = flow(random);
    let command = *random.pick(&[C::Add, C::Add, C::Modify, C::ModifyStrict, C::Delete, C::DeleteStrict]);
    let cookie_mask = if command != C::Add && random.once_in(4) { random.edge() } else { 0 };
    Message::FlowMod(Box::new(FlowMod {
        command,
        table: if random.once_in(8) { TABLE_ALL } else { flow.table },
        flow,
        cookie: random.edge() & cookie_mask,
        cookie_mask,
        new_cookie: random.once_in(2).then(|| random.edge()),
        buffer_id: None,
        out_port: random.once_in(4).then_some(5),
        out_group: random.once_in(4).then_some(6),
        nxm: random.once_in(2),
    }))
}

fn request(random: &mut Random) -> Request {
    let matches = flow(random).matches;
    let flows = FlowRequest {
        nxm: random.once_in(2),
        table: random.word() as u8,
        out_port: None,
        out_group: random.once_in(2).then_some(1),
        cookie: 0,
        cookie_mask: random.edge(),
        matches,
    };
    let monitor = MonitorRequest {
        id: random.word() as u32,
        command: MonitorCommand::Add,
        flags: MonitorRequest::ADD | random.below(32) as u16,
        out_port: Some(3),
        out_group: None,
        table: TABLE_ALL,
        matches,
    };
    let all = [
        Request::Flow(flows.clone()),
        Request::Aggregate(flows.clone()),
        Request::FlowStats(flows),
        Request::FlowMonitor(vec![monitor.clone(), monitor]),
        Request::Queue { port: 1, queue: 2 },
        Request::GroupDesc { group: GROUP_ALL },
        Request::Meter { meter: 5 },
        Request::PortStats { port: 9 },
        Request::PortDesc { port: 9 },
        Request::TableFeatures { change: false },
    ];
    random.pick(&all).clone()
}

/// What only a switch should send.
fn reply(random: &mut Random) -> Message {
    let flow = flow(random);
    let entry = FlowEntry { flow: flow.clone(), packets: random.edge(), ..FlowEntry::default() };
    let name = || "some".to_owned();
    let bands = vec![Count::default(); 3];
    let queue = QueueDesc { port: 1, queue: 2, min_rate: Some(5), max_rate: Some(6) };
    let groups = (0..3).filter_map(|_| parse_group(&openflow::group(random), &()).ok()).collect();
    let updates = vec![
        FlowUpdate::Added(Box::new(flow.clone())),
        FlowUpdate::Abbreviated { xid: 5 },
        FlowUpdate::Removed(Box::new(flow), RemovedReason::Delete),
    ];
    let table = TableFeatures { table: 1, name: name(), max_entries: 5, tables: 254 };
    let all = [
        Reply::Flow { nxm: random.once_in(2), flows: vec![entry.clone(), entry.clone()] },
        Reply::FlowStats(vec![entry]),
        Reply::Aggregate { nxm: false, packets: 1, bytes: 2, flows: 3 },
        Reply::PortDesc(vec![Port { name: name(), ..Port::default() }; 2]),
        Reply::PortStats(vec![PortStats::default(); 2]),
        Reply::Queue(vec![QueueStats::default(); 2]),
        Reply::QueueDesc(vec![queue; 2]),
        Reply::Group(vec![GroupStats { buckets: bands.clone(), ..GroupStats::default() }]),
        Reply::GroupDesc(groups),
        Reply::Meter(vec![MeterStats { bands, ..MeterStats::default() }]),
        Reply::TableFeatures(vec![table]),
        Reply::TableDesc(vec![TableDesc { vacancy: Some((1, 2, 3)), ..TableDesc::default() }]),
        Reply::Desc(Desc { hardware: name(), ..Desc::default() }),
        Reply::FlowMonitor(updates),
    ];
    let reply = all[random.index(all.len())].clone();
    Message::MultipartReply { more: random.once_in(2), reply: Box::new(reply) }
}

/// A packet that waits for a controller, and goes on.
fn paused(random: &mut Random) -> Message {
    let actions = vec![flow(random).actions, flow(random).actions];
    let key = FlowKey::default();
    let stack = vec![random.word().into(), u128::MAX];
    let continuation = Continuation { key, table: 3, stack, actions, action_set: Vec::new() };
    Message::Resume(Box::new(PacketIn {
        format: PacketInFormat::Nicira2,
        buffer_id: None,
        reason: 1,
        table: 3,
        cookie: random.edge(),
        key,
        total_len: 60,
        frame: random.bytes(60),
        userdata: random.bytes(5),
        continuation: Some(Box::new(continuation)),
    }))
}

/// A sound message, as a controller or an operator's tool sends it.
pub fn message(random: &mut Random) -> Message {
    let nicira = random.once_in(2);
    match random.below(13) {
        0..4 => flow_mod(random),
        10 => paused(random),
        11 | 12 => reply(random),
        4 => match parse_group(&openflow::group(random), &()) {
            Ok(group) => {
                let command = *random.pick(&[GroupModCommand::Add, GroupModCommand::Modify]);
                Message::GroupMod(Box::new(GroupMod { command, group, command_bucket: u32::MAX }))
            }
            Err(_) => Message::BarrierRequest,
        },
        5 => match parse_meter(&openflow::meter(random)) {
            Ok(meter) => Message::MeterMod(MeterMod { command: MeterModCommand::Add, meter }),
            Err(_) => Message::FeaturesRequest,
        },
        6 => {
            let text = openflow::flow(random);
            let actions = text.split_once("actions=").map_or("", |(_, actions)| actions);
            let actions = parse_actions(actions, &()).unwrap_or_default();
            let mut key = FlowKey::default();
            key.set(ringswitch_dataplane::flow::Field::IN_PORT, 0xffff_fffd);
            Message::PacketOut(Box::new(PacketOut { buffer_id: None, key, actions, frame: random.bytes(60) }))
        }
        7 => Message::BundleControl(BundleControl { id: 1, kind: BundleControlKind::OpenRequest, flags: 3 }),
        8 => Message::RoleRequest(RoleChange { nicira, role: Role::Slave, generation_id: (!nicira).then_some(7) }),
        _ => Message::MultipartRequest { more: random.once_in(4), request: Box::new(request(random)) },
    }
}

/// The message's bytes, sometimes in a bundle.
pub fn bytes(random: &mut Random, version: Version) -> Vec<u8> {
    let mut message = message(random);
    if random.once_in(6) {
        message = Message::BundleAdd { id: 1, flags: 1, message: Box::new(message) };
    }
    let mut out = Vec::new();
    encode(version, random.word() as u32, &message, &mut out);
    out
}

/// Breaks a few bytes. Its length stays what its header says, mostly: anything else is refused at the door.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.index(bytes.len().max(1));
        match random.below(6) {
            0 if bytes.len() > at => bytes[at] ^= 1 << random.below(8),
            1 if bytes.len() > at => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, 8, 16]),
            2 if bytes.len() > at => {
                bytes.truncate(at);
            }
            3 => {
                let count = 8 * random.index(4);
                let more = random.bytes(count);
                let at = at.min(bytes.len());
                bytes.splice(at..at, more);
            }
            4 if bytes.len() > at + 2 => {
                let number = (random.edge() as u16).to_be_bytes();
                bytes[at..at + 2].copy_from_slice(&number);
            }
            _ if bytes.len() > at + 8 => {
                let from = random.index(bytes.len() - 8);
                let copy: Vec<_> = bytes[from..from + 8].to_vec();
                bytes[at..at + 8].copy_from_slice(&copy);
            }
            _ => {}
        }
    }
    if bytes.len() >= 4 && !random.once_in(20) {
        let len = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&len);
    }
}
