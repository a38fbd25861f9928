//! What OpenFlow's requests do to flows, groups, meters and ports, and who is told.

use ringswitch_dataplane::flow::grammar::parse_flow;
use ringswitch_dataplane::flow::{
    Action, Band, BandKind, Bucket, Flow, FlowFlags, Group, GroupKind, Meter, RuleTotals, WATCH_ANY,
};
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::*;
use crate::openflow::message::{
    FlowMod, FlowModCommand, GROUP_ALL, GroupMod, GroupModCommand, METER_ALL, Message, MeterMod, MeterModCommand,
    PORT_ANY, PortMod, RemovedReason, TABLE_ALL,
};
use crate::openflow::stats::{FlowRequest, Port as PortDesc};
use crate::openflow::{OfError, stats};

const BRIDGE: usize = 0;

fn flow(text: &str) -> Flow {
    parse_flow(text, &()).unwrap()
}

fn request(command: FlowModCommand, flow: Flow) -> FlowMod {
    FlowMod {
        command,
        table: flow.table,
        flow,
        cookie: 0,
        cookie_mask: 0,
        new_cookie: None,
        buffer_id: None,
        out_port: None,
        out_group: None,
        nxm: false,
    }
}

fn group(id: u32, kind: GroupKind, buckets: &[&[Action]]) -> Group {
    let bucket = |(id, actions): (usize, &&[Action])| Bucket {
        id: id as u32,
        weight: 0,
        watch_port: WATCH_ANY,
        watch_group: WATCH_ANY,
        actions: actions.to_vec(),
    };
    Group { id, kind, selection: None, buckets: buckets.iter().enumerate().map(bucket).collect() }
}

impl Bench {
    /// No flows, not even the default one.
    fn bare() -> Self {
        let mut bench = Self::new(&["vm1", "vm2"]);
        bench.engine.del_flows("br0", None, false).unwrap();
        bench.engine.take_notices();
        bench
    }

    fn add(&mut self, text: &str) -> Result<usize, OfError> {
        self.ask(FlowModCommand::Add, flow(text))
    }

    fn ask(&mut self, command: FlowModCommand, flow: Flow) -> Result<usize, OfError> {
        self.engine.flow_mod(BRIDGE, request(command, flow))
    }

    fn group(&mut self, command: GroupModCommand, group: Group) -> Result<(), OfError> {
        self.engine.group_mod(BRIDGE, GroupMod { command, group, command_bucket: 0 })
    }

    fn count(&self) -> u32 {
        self.select(TABLE_ALL, |_| {}).len() as u32
    }

    fn select(&self, table: u8, more: impl FnOnce(&mut FlowRequest)) -> Vec<String> {
        let mut request = FlowRequest {
            nxm: false,
            table,
            out_port: None,
            out_group: None,
            cookie: 0,
            cookie_mask: 0,
            matches: Default::default(),
        };
        more(&mut request);
        let rules = self.engine.flows(BRIDGE, &request).unwrap();
        let text = |flow: &Flow| ringswitch_dataplane::flow::grammar::format_flow(flow, None, &());
        rules.iter().map(|rule| text(&rule.flow).trim().to_owned()).collect()
    }

    /// Reasons of the flows that went, since the last time.
    fn gone(&mut self) -> Vec<RemovedReason> {
        let reason = |notice: Notice| match notice.event {
            Event::FlowRemoved(removed) => Some(removed.reason),
            _ => None,
        };
        self.engine.take_notices().into_iter().filter_map(reason).collect()
    }
}

fn told(mut flow: Flow) -> Flow {
    flow.flags.send_flow_rem = true;
    flow
}

#[test]
fn a_flow_that_may_meet_another_of_its_priority_is_refused_when_that_is_checked() {
    let mut bench = Bench::bare();
    bench.add("priority=5,tcp actions=drop").unwrap();
    let checked = |text: &str| Flow { flags: FlowFlags { check_overlap: true, ..FlowFlags::default() }, ..flow(text) };
    let add = |bench: &mut Bench, text: &str| bench.ask(FlowModCommand::Add, checked(text));
    assert_eq!(add(&mut bench, "priority=5,in_port=1 actions=drop"), Err(OfError::OFPFMFC_OVERLAP));
    assert_eq!(add(&mut bench, "priority=5,tcp actions=drop"), Err(OfError::OFPFMFC_OVERLAP));
    assert_eq!(add(&mut bench, "priority=6,in_port=1 actions=drop"), Ok(1));
    assert_eq!(add(&mut bench, "priority=5,udp actions=drop"), Ok(1));
    assert_eq!(bench.count(), 3);
}

#[test]
fn counters_go_on_when_a_flow_is_added_again_unless_it_says_otherwise() {
    let mut bench = Bench::bare();
    bench.add("tcp actions=drop").unwrap();
    let totals = |bench: &Bench| -> RuleTotals {
        bench.engine.state.bridges[0].as_ref().unwrap().program.tables.rules().next().unwrap().totals()
    };
    let rule = bench.engine.state.bridges[0].as_ref().unwrap().program.tables.rules().next().unwrap().clone();
    rule.stats[0].count(7, 700, coarse_ms());
    bench.add("tcp actions=NORMAL").unwrap();
    assert_eq!(totals(&bench).packets, 7);
    let reset = Flow { flags: FlowFlags { reset_counts: true, ..FlowFlags::default() }, ..flow("tcp actions=drop") };
    bench.ask(FlowModCommand::Modify, reset.clone()).unwrap();
    assert_eq!(totals(&bench).packets, 0);
    rule.stats[0].count(7, 700, coarse_ms());
    bench.ask(FlowModCommand::Add, reset).unwrap();
    assert_eq!(totals(&bench).packets, 0);
}

#[test]
fn only_what_openflow_1_0_modifies_is_added_when_it_is_not_there() {
    let mut bench = Bench::bare();
    assert_eq!(bench.ask(FlowModCommand::Modify, flow("udp actions=drop")), Ok(0));
    let mut old = request(FlowModCommand::ModifyStrict, flow("udp actions=drop"));
    old.new_cookie = Some(4);
    assert_eq!(bench.engine.flow_mod(BRIDGE, old.clone()), Ok(1));
    old.new_cookie = Some(5);
    assert_eq!(bench.engine.flow_mod(BRIDGE, old), Ok(1));
    assert_eq!(bench.count(), 1);
    assert!(bench.select(TABLE_ALL, |_| {})[0].contains("cookie=0x5"), "{:?}", bench.select(TABLE_ALL, |_| {}));
}

#[test]
fn what_is_deleted_is_selected_by_cookie_output_and_group() {
    let mut bench = Bench::bare();
    bench.group(GroupModCommand::Add, group(9, GroupKind::All, &[&[Action::Output(1)]])).unwrap();
    for text in ["cookie=0x1,tcp actions=output:1", "cookie=0x2,udp actions=output:2", "sctp actions=LOCAL"] {
        bench.add(text).unwrap();
    }
    let grouped = Flow { actions: vec![Action::WriteActions(vec![Action::Group(9)])], ..flow("arp actions=drop") };
    bench.ask(FlowModCommand::Add, grouped).unwrap();
    let delete = |bench: &mut Bench, change: &dyn Fn(&mut FlowMod)| {
        let mut request = request(FlowModCommand::Delete, Flow::default());
        request.table = TABLE_ALL;
        change(&mut request);
        bench.engine.flow_mod(BRIDGE, request).unwrap()
    };
    assert_eq!(delete(&mut bench, &|it| (it.cookie, it.cookie_mask) = (5, 1 << 2 | 1)), 0);
    assert_eq!(delete(&mut bench, &|it| (it.cookie, it.cookie_mask) = (1, 1)), 1);
    assert_eq!(delete(&mut bench, &|it| it.out_port = Some(1)), 0);
    assert_eq!(delete(&mut bench, &|it| it.out_port = Some(2)), 1);
    assert_eq!(delete(&mut bench, &|it| it.out_port = Some(0xffff_fffe)), 1);
    assert_eq!(delete(&mut bench, &|it| it.out_group = Some(8)), 0);
    assert_eq!(delete(&mut bench, &|it| it.out_group = Some(9)), 1);
    assert_eq!(bench.count(), 0);
}

#[test]
fn whoever_asked_for_it_is_told_why_a_flow_went() {
    let mut bench = Bench::bare();
    bench.ask(FlowModCommand::Add, told(flow("hard_timeout=1,tcp actions=drop"))).unwrap();
    bench.ask(FlowModCommand::Add, told(flow("idle_timeout=1,udp actions=drop"))).unwrap();
    bench.ask(FlowModCommand::Add, told(flow("arp actions=drop"))).unwrap();
    bench.add("sctp actions=drop").unwrap();
    bench.engine.tend(coarse_ms() + 500);
    assert_eq!(bench.gone(), []);
    bench.engine.tend(coarse_ms() + 1500);
    let mut gone = bench.gone();
    gone.sort_by_key(|reason| *reason as u8);
    assert_eq!(gone, [RemovedReason::IdleTimeout, RemovedReason::HardTimeout]);
    bench.engine.del_flows("br0", None, false).unwrap();
    assert_eq!(bench.gone(), [RemovedReason::Delete]);
}

#[test]
fn a_full_table_refuses_or_lets_the_least_important_go() {
    let mut bench = Bench::bare();
    let limit = |bench: &mut Bench, column: &str| bench.engine.transact(&[set("bridge", "br0", column)]).unwrap();
    limit(&mut bench, "other_config:flow-limit=2");
    let important = |text: &str, importance| told(Flow { importance, ..flow(text) });
    bench.ask(FlowModCommand::Add, important("tcp actions=drop", 5)).unwrap();
    bench.ask(FlowModCommand::Add, important("udp actions=drop", 3)).unwrap();
    let third = important("arp actions=drop", 4);
    assert_eq!(bench.ask(FlowModCommand::Add, third.clone()), Err(OfError::OFPFMFC_TABLE_FULL));
    let again = important("tcp actions=NORMAL", 5);
    assert_eq!(bench.ask(FlowModCommand::Add, again), Ok(1), "that takes no more room");
    assert_eq!(bench.add("table=1,arp actions=drop"), Ok(1), "another table is another table");
    limit(&mut bench, "other_config:overflow-policy=evict");
    bench.engine.take_notices();
    bench.ask(FlowModCommand::Add, third).unwrap();
    assert_eq!(bench.gone(), [RemovedReason::Eviction]);
    assert!(bench.select(0, |_| {}).iter().all(|flow| !flow.contains("udp")));
}

#[test]
fn what_actions_name_has_to_be_there() {
    let mut bench = Bench::bare();
    let add = |bench: &mut Bench, actions: Vec<Action>| {
        bench.ask(FlowModCommand::Add, Flow { table: 3, actions, ..Flow::default() })
    };
    assert_eq!(add(&mut bench, vec![Action::Group(1)]), Err(OfError::OFPBAC_BAD_OUT_GROUP));
    assert_eq!(add(&mut bench, vec![Action::Clone(vec![Action::Group(1)])]), Err(OfError::OFPBAC_BAD_OUT_GROUP));
    assert_eq!(add(&mut bench, vec![Action::Meter(1)]), Err(OfError::OFPMMFC_INVALID_METER));
    assert_eq!(add(&mut bench, vec![Action::GotoTable(3)]), Err(OfError::OFPBIC_BAD_TABLE_ID));
    assert_eq!(add(&mut bench, vec![Action::Output(0xff00)]), Err(OfError::OFPBAC_BAD_OUT_PORT));
    assert_eq!(add(&mut bench, vec![Action::Output(99), Action::GotoTable(4)]), Ok(1));
    let beyond = Flow { table: 254, ..Flow::default() };
    assert_eq!(bench.ask(FlowModCommand::Add, beyond), Err(OfError::OFPFMFC_BAD_TABLE_ID));
}

#[test]
fn groups_are_checked_and_take_their_flows_with_them() {
    use GroupModCommand::{Add, Delete, InsertBucket, Modify, RemoveBucket};
    let mut bench = Bench::bare();
    let to = |group| vec![Action::Group(group)];
    let all = |id, actions: Vec<Action>| group(id, GroupKind::All, &[&actions]);
    assert_eq!(bench.group(Modify, all(1, vec![])), Err(OfError::OFPGMFC_UNKNOWN_GROUP));
    assert_eq!(bench.group(Add, all(1, to(2))), Err(OfError::OFPBAC_BAD_OUT_GROUP));
    assert_eq!(bench.group(Add, all(1, to(1))), Err(OfError::OFPGMFC_LOOP));
    assert_eq!(bench.group(Add, group(1, GroupKind::Indirect, &[])), Err(OfError::OFPGMFC_INVALID_GROUP));
    assert_eq!(bench.group(Add, group(1, GroupKind::FastFailover, &[&[]])), Err(OfError::OFPGMFC_INVALID_GROUP));
    bench.group(Add, all(1, vec![Action::Output(1)])).unwrap();
    bench.group(Add, all(2, to(1))).unwrap();
    bench.group(Add, all(3, to(2))).unwrap();
    assert_eq!(bench.group(Add, all(1, vec![])), Err(OfError::OFPGMFC_GROUP_EXISTS));
    assert_eq!(bench.group(Modify, all(1, to(3))), Err(OfError::OFPGMFC_LOOP));
    assert_eq!(bench.group(Delete, all(1, vec![])), Err(OfError::OFPGMFC_CHAINED_GROUP));
    assert_eq!(bench.group(Delete, all(77, vec![])), Ok(()));

    let mut more = all(3, vec![Action::Output(2)]);
    more.buckets[0].id = 7;
    assert_eq!(bench.group(InsertBucket, more.clone()), Ok(()));
    assert_eq!(bench.group(InsertBucket, more), Err(OfError::OFPGMFC_BUCKET_EXISTS));
    assert_eq!(bench.engine.groups(BRIDGE, 3).unwrap()[0].buckets.len(), 2);
    assert_eq!(bench.group(RemoveBucket, all(3, vec![])), Ok(()));
    assert_eq!(bench.engine.groups(BRIDGE, 3).unwrap()[0].buckets[0].id, 7);

    bench.ask(FlowModCommand::Add, told(Flow { actions: to(3), ..flow("tcp actions=drop") })).unwrap();
    bench.ask(FlowModCommand::Add, told(flow("udp actions=drop"))).unwrap();
    assert_eq!(
        bench.engine.group_stats(BRIDGE, GROUP_ALL).unwrap().iter().map(|group| group.references).sum::<u32>(),
        2
    );
    bench.group(Delete, all(GROUP_ALL, vec![])).unwrap();
    assert_eq!((bench.gone(), bench.count()), (vec![RemovedReason::GroupDelete], 1));
}

#[test]
fn meters_take_their_flows_with_them() {
    let mut bench = Bench::bare();
    let ask = |bench: &mut Bench, command, id| {
        let band = Band { kind: BandKind::Drop, rate: 10, burst_size: 1 };
        let meter = Meter { id, pktps: true, burst: false, stats: true, bands: vec![band] };
        bench.engine.meter_mod(BRIDGE, MeterMod { command, meter })
    };
    assert_eq!(ask(&mut bench, MeterModCommand::Modify, 1), Err(OfError::OFPMMFC_UNKNOWN_METER));
    assert_eq!(ask(&mut bench, MeterModCommand::Add, 0), Err(OfError::OFPMMFC_INVALID_METER));
    assert_eq!(ask(&mut bench, MeterModCommand::Delete, METER_ALL), Ok(()), "none is fine");
    ask(&mut bench, MeterModCommand::Add, 1).unwrap();
    assert_eq!(ask(&mut bench, MeterModCommand::Add, 1), Err(OfError::OFPMMFC_METER_EXISTS));
    let metered = told(Flow { actions: vec![Action::Meter(1), Action::Normal], ..flow("tcp actions=drop") });
    bench.ask(FlowModCommand::Add, metered).unwrap();
    assert_eq!(bench.engine.meter_stats(BRIDGE, 1).unwrap()[0].flows, 1);
    ask(&mut bench, MeterModCommand::Delete, 1).unwrap();
    assert_eq!((bench.gone(), bench.count()), (vec![RemovedReason::MeterDelete], 0));
    assert_eq!(bench.engine.meters(BRIDGE, 1), Err(OfError::OFPMMFC_UNKNOWN_METER));
}

#[test]
fn a_bundle_happens_as_a_whole_or_not_at_all() {
    let mut bench = Bench::bare();
    let flows = |texts: &[&str]| -> Vec<_> {
        let message = |text: &&str| Message::FlowMod(Box::new(request(FlowModCommand::Add, flow(text))));
        texts.iter().map(|text| (None, message(text))).collect()
    };
    let mut requests = flows(&["tcp actions=drop", "udp actions=drop", "arp actions=drop"]);
    let wrong = Flow { actions: vec![Action::Group(5)], ..Flow::default() };
    requests.insert(2, (None, Message::FlowMod(Box::new(request(FlowModCommand::Add, wrong)))));
    let add = GroupMod { command: GroupModCommand::Add, group: group(4, GroupKind::All, &[]), command_bucket: 0 };
    requests.insert(0, (None, Message::GroupMod(Box::new(add))));
    bench.taken();
    assert_eq!(bench.engine.commit(BRIDGE, requests), Err((3, OfError::OFPBAC_BAD_OUT_GROUP)));
    bench.engine.flush();
    assert_eq!((bench.count(), bench.engine.groups(BRIDGE, GROUP_ALL).unwrap().len()), (0, 0));
    assert_eq!(bench.taken(), [""; 0], "workers saw something of it");
    bench.engine.commit(BRIDGE, flows(&["tcp actions=drop", "udp actions=drop"])).unwrap();
    bench.engine.flush();
    assert_eq!((bench.count(), bench.taken().len()), (2, 1), "they see all of it at once");
}

#[test]
fn ports_are_changed_by_whoever_knows_their_address_and_everybody_is_told() {
    let mut bench = Bench::bare();
    let vm1 = bench.engine.ports(BRIDGE, 1).unwrap().remove(0);
    assert_eq!((&*vm1.name, vm1.state & PortDesc::LIVE), ("vm1", 0));
    let ask = |mac, port| PortMod { port, mac, config: PortDesc::NO_FLOOD, mask: PortDesc::NO_FLOOD, advertise: 0 };
    assert_eq!(bench.engine.port_mod(BRIDGE, &ask([0; 6], 1)), Err(OfError::OFPPMFC_BAD_HW_ADDR));
    assert_eq!(bench.engine.port_mod(BRIDGE, &ask(vm1.mac, 5)), Err(OfError::OFPPMFC_BAD_PORT));
    bench.engine.port_mod(BRIDGE, &ask(vm1.mac, 1)).unwrap();
    assert_eq!(bench.engine.ports(BRIDGE, 1).unwrap()[0].config, PortDesc::NO_FLOOD);
    bench.engine.transact(&[del("vm2"), super::add("vm3", "/run/vm3")]).unwrap();
    let told: Vec<_> = bench
        .engine
        .take_notices()
        .into_iter()
        .filter_map(|notice| match notice.event {
            Event::Port(reason, port) => Some(format!("{reason:?} {}", port.name)),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["Modify vm1", "Delete vm2", "Add vm3"]);
    assert_eq!(bench.engine.ports(BRIDGE, PORT_ANY).unwrap().len(), 3);
    assert_eq!(bench.engine.port_stats(BRIDGE, 9), Err(OfError::OFPBRC_BAD_PORT));
}

#[test]
fn a_bridge_without_its_controllers_switches_by_itself_and_keeps_its_flows() {
    let mut bench = Bench::new(&["vm1"]);
    bench.engine.transact(&[set("bridge", "br0", "controller=tcp:127.0.0.1:1")]).unwrap();
    assert_eq!(bench.count(), 0, "its controller will say what to do");
    bench.add("tcp actions=drop").unwrap();
    bench.engine.set_standalone(BRIDGE, true);
    let seen = |bench: &Bench| bench.engine.state.view()[0].as_ref().unwrap().program.tables.len();
    let first = bench.engine.state.view()[0].as_ref().unwrap().program.tables.rules().next().unwrap().clone();
    assert_eq!((first.flow.actions.clone(), bench.count()), (vec![Action::Normal], 1));
    bench.add("udp actions=drop").unwrap();
    bench.engine.set_standalone(BRIDGE, false);
    assert_eq!(seen(&bench), 2);
    bench.engine.transact(&[set("bridge", "br0", "controller=[]")]).unwrap();
    assert_eq!(bench.count(), 3, "it switches by itself again");
}

#[test]
fn learned_flows_are_refreshed_limited_and_do_not_outlive_their_teacher() {
    use ringswitch_dataplane::flow::Learn;
    let mut bench = Bench::bare();
    let teach = Learn { table: 5, cookie: 0x77, delete_learned: true, ..Learn::default() };
    let teacher = Flow { actions: vec![Action::Learn(Box::new(teach))], ..flow("tcp actions=drop") };
    bench.ask(FlowModCommand::Add, teacher).unwrap();
    let learned = |vlan: u16| flow(&format!("table=5,cookie=0x77,hard_timeout=2,dl_vlan={vlan} actions=output:1"));
    let learn = |bench: &mut Bench, flow: Flow, now: u64| {
        bench
            .engine
            .edit(BRIDGE, |editor| {
                editor.now_ms = now;
                editor.learn_flow(flow, 2)
            })
            .unwrap();
    };
    let now = coarse_ms();
    (1..=4).for_each(|vlan| learn(&mut bench, learned(vlan), now));
    assert_eq!(bench.select(5, |_| {}).len(), 2, "not more than the limit");
    learn(&mut bench, learned(1), now + 1500);
    bench.engine.tend(now + 2100);
    assert_eq!(bench.select(5, |_| {}).len(), 1, "the one that was refreshed");
    bench.engine.del_flows("br0", Some("tcp"), false).unwrap();
    assert_eq!(bench.count(), 0);
}

#[test]
fn monitored_flows_are_noticed_with_whose_request_it_was() {
    let mut bench = Bench::bare();
    bench.add("tcp actions=drop").unwrap();
    assert!(bench.engine.take_notices().is_empty());
    bench.engine.watch_flows(BRIDGE, true);
    bench.engine.set_origin(Some(Origin { connection: 4, xid: 9 }));
    bench.add("tcp actions=NORMAL").unwrap();
    bench.add("udp actions=NORMAL").unwrap();
    bench.engine.set_origin(None);
    bench.engine.del_flows("br0", Some("udp"), false).unwrap();
    let seen: Vec<_> = bench
        .engine
        .take_notices()
        .into_iter()
        .map(|notice| match notice.event {
            Event::FlowChanged(change, _) => (change, notice.origin.map(|origin| origin.xid)),
            other => panic!("{other:?}"),
        })
        .collect();
    let removed = FlowChange::Removed(RemovedReason::Delete);
    assert_eq!(seen, [(FlowChange::Modified, Some(9)), (FlowChange::Added, Some(9)), (removed, None)]);
}

#[test]
fn statistics_are_about_what_was_asked_for() {
    let mut bench = Bench::bare();
    bench.add("table=2,tcp actions=drop").unwrap();
    let tables = bench.engine.table_stats(BRIDGE).unwrap();
    assert_eq!((tables.len(), tables[2].active, tables[3].active), (254, 1, 0));
    assert!(
        bench
            .engine
            .flows(
                BRIDGE,
                &FlowRequest {
                    nxm: false,
                    table: 254,
                    out_port: None,
                    out_group: None,
                    cookie: 0,
                    cookie_mask: 0,
                    matches: Default::default(),
                }
            )
            .is_err()
    );
    assert_eq!(bench.engine.queue_stats(BRIDGE, 9, 0), Err(OfError::OFPQOFC_BAD_PORT));
    let nothing: Vec<stats::QueueStats> = Vec::new();
    assert_eq!(bench.engine.queue_stats(BRIDGE, PORT_ANY, u32::MAX), Ok(nothing));
}
