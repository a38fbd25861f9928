//! The engine against a recording dataplane: what is opened and closed, in which order, and what a failure leaves.

mod openflow;
mod pools;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ringswitch_dataplane::pipeline::{PacketOut, TableTotals, Trace, Upcall};
use ringswitch_dataplane::port::xdp::SortFilter;

use super::*;

/// Notes what it is told; refuses to open ports whose path is in `broken`.
#[derive(Default)]
struct Recorder {
    log: Rc<RefCell<Vec<String>>>,
    broken: Rc<RefCell<BTreeSet<String>>>,
    /// What was learned.
    addresses: Rc<RefCell<Vec<FdbEntry>>>,
    epoch: u64,
}

impl Recorder {
    fn note(&self, what: String) {
        self.log.borrow_mut().push(what);
    }
}

impl Dataplane for Recorder {
    fn sort(&mut self, uplink: PortId, port: &Port, pools: &[SortPool]) {
        let filters = |pool: &SortPool| pool.filters.iter().map(|one| format!(" {}", shown(one))).collect::<String>();
        let pools: Vec<_> =
            pools.iter().map(|pool| format!("{}*{}{}", pool.name, pool.weight, filters(pool))).collect();
        let only = port.settings.text("sorter").map(|sorter| format!(" by {sorter}")).unwrap_or_default();
        self.note(format!("sort {}{only}: {}", uplink.0, pools.join("; ")));
    }

    fn sorting(&self, _: PortId) -> Vec<PoolSorting> {
        Vec::new()
    }

    fn cycles(&self) -> BTreeMap<PortId, u64> {
        BTreeMap::new()
    }

    fn take_upcalls(&mut self) -> Vec<Upcall> {
        Vec::new()
    }

    fn packet_out(&mut self, _: usize, _: PacketOut) {}

    fn trace(&self, _: usize, _: &FlowKey, _: Option<&[u8]>) -> Option<Trace> {
        None
    }

    fn table_totals(&self, _: usize, _: u8) -> TableTotals {
        TableTotals::default()
    }

    fn open_port(&mut self, id: PortId, name: &str, port: &Port) -> Result<(), String> {
        let path = port.settings.text("path").or(port.settings.text("netdev")).unwrap_or("local");
        if self.broken.borrow().contains(path) {
            return Err(format!("{path} exists"));
        }
        self.note(format!("open {name} {path} as {}", id.0));
        Ok(())
    }

    fn check_port(&self, _: &str, port: &Port) -> Result<(), String> {
        let owner = port.settings.text("owner").filter(|&owner| owner == "nobdy");
        owner.map_or(Ok(()), |owner| Err(format!("no user named {owner}")))
    }

    fn close_port(&mut self, id: PortId) {
        self.note(format!("close {}", id.0));
    }

    fn forget_port(&mut self, id: PortId) {
        self.note(format!("forget {}", id.0));
    }

    fn port_status(&self, _: PortId) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn port_totals(&self, _: PortId) -> PortTotals {
        PortTotals::default()
    }

    fn queue_counts(&self, _: PortId) -> Vec<QueueCounts> {
        Vec::new()
    }

    fn port_mac(&self, _: PortId, _: &str, _: &Port) -> Option<Mac> {
        None
    }

    fn add_bridge(&mut self, bridge: usize, _: Learning) {
        self.note(format!("bridge {bridge}"));
    }

    fn set_bridge(&mut self, bridge: usize, learning: Learning) {
        self.note(format!("bridge {bridge} ages in {}", learning.aging));
    }

    fn remove_bridge(&mut self, bridge: usize) {
        self.note(format!("no bridge {bridge}"));
    }

    fn fdb(&self, _: usize) -> Vec<FdbEntry> {
        self.addresses.borrow().clone()
    }

    fn fdb_part(&self, _: usize, from: usize, places: usize) -> (Vec<FdbEntry>, Option<usize>) {
        let addresses = self.addresses.borrow();
        let left = addresses.get(from..).unwrap_or_default();
        let now = places.min(left.len());
        (left[..now].to_vec(), (now < left.len()).then_some(from + now))
    }

    fn fdb_flush(&mut self, _: usize, _: FdbFilter) -> usize {
        0
    }

    fn fdb_add(&mut self, _: usize, _: u16, _: Mac, _: PortId) -> Result<(), String> {
        Ok(())
    }

    fn fdb_remove(&mut self, _: usize, _: u16, _: Mac) -> bool {
        false
    }

    fn fdb_stats(&self, _: usize) -> FdbStats {
        FdbStats::default()
    }

    fn publish(&mut self, view: View<'_>) -> u64 {
        let ports = view.bridges.iter().flatten().flat_map(|bridge| &bridge.ports);
        let shared = |qos: &EgressSpec| {
            let queues: Vec<_> = qos.queues.iter().map(|queue| queue.id.to_string()).collect();
            format!(" at {} by {}", qos.max_bytes.map_or(0, |rate| rate.per_second), queues.join("/"))
        };
        let qos = |port: &PortView<'_>| {
            // A NIC that nobody limited is no news.
            port.qos.as_ref().filter(|qos| **qos != EgressSpec::default()).map(shared).unwrap_or_default()
        };
        let ports: Vec<_> = ports.map(|port| format!("{}={}{}", port.name, port.number, qos(port))).collect();
        self.epoch += 1;
        self.log.borrow_mut().push(format!("publish {}", ports.join(" ")));
        self.epoch
    }

    fn acknowledged(&self) -> u64 {
        self.epoch
    }

    fn is_in_effect(&self, epoch: u64) -> bool {
        self.epoch >= epoch
    }

    fn tend(&mut self) {}

    fn derive(&mut self) -> bool {
        false
    }

    fn pool_totals(&self, _: PoolId) -> SortTotals {
        SortTotals::default()
    }

    fn sorted(&self, _: usize, _: PortId, _: Mac, _: u16) -> Option<(PoolId, SortState)> {
        None
    }

    fn lanes(&self) -> usize {
        1
    }

    fn workers(&self) -> Vec<WorkerReport> {
        Vec::new()
    }

    fn place(&mut self, _: &Settings, affinity: &[Affinity]) {
        for Affinity { port, queue, cpu } in affinity {
            self.note(format!("queue {} {queue} on {cpu}", port.0));
        }
    }

    fn rebalance(&mut self, dry_run: bool) -> RebalanceReport {
        RebalanceReport { dry_run, ..RebalanceReport::default() }
    }

    fn clear_worker_stats(&mut self) {}
}

fn shown(filter: &SortFilter) -> String {
    crate::model::PoolFilter { mac: filter.mac, vlan: filter.vlan }.to_string()
}

struct Bench {
    engine: Engine<Recorder>,
    log: Rc<RefCell<Vec<String>>>,
    broken: Rc<RefCell<BTreeSet<String>>>,
    addresses: Rc<RefCell<Vec<FdbEntry>>>,
}

impl Bench {
    /// A switch with bridge br0 (whose own port, number 0, cannot be opened, as for ordinary users) and these ports.
    fn new(ports: &[&str]) -> Self {
        let recorder = Recorder::default();
        let (log, broken) = (Rc::clone(&recorder.log), Rc::clone(&recorder.broken));
        let addresses = Rc::clone(&recorder.addresses);
        broken.borrow_mut().insert("local".to_owned());
        let (_, events) = crossbeam_channel::unbounded();
        let engine = Engine::new(recorder, &Switch::default(), events, vec![0]);
        let mut bench = Self { engine, log, broken, addresses };
        let mut commands = vec![Command::AddBr { bridge: "br0".to_owned(), may_exist: false }];
        commands.extend(ports.iter().map(|name| add(name, &format!("/run/{name}"))));
        bench.engine.transact(&commands).unwrap();
        bench.taken();
        bench
    }

    /// What was done since the last time.
    fn taken(&mut self) -> Vec<String> {
        self.log.take()
    }
}

fn add(name: &str, path: &str) -> Command {
    let columns = vec!["type=vhost-user".to_owned(), format!("path={path}")];
    Command::AddPort { bridge: "br0".to_owned(), port: name.to_owned(), may_exist: false, columns }
}

fn set(table: &str, name: &str, column: &str) -> Command {
    Command::Set { table: table.to_owned(), record: name.to_owned(), columns: vec![column.to_owned()] }
}

fn del(name: &str) -> Command {
    Command::DelPort { bridge: None, port: name.to_owned(), if_exists: false }
}

#[test]
fn ports_get_the_lowest_free_number_or_the_one_they_ask_for() {
    let mut bench = Bench::new(&["vm1", "vm2"]);
    bench.engine.transact(&[del("vm1")]).unwrap();
    bench.engine.tend(0);
    bench
        .engine
        .transact(&[add("vm3", "/run/vm3"), add("vm4", "/run/vm4"), set("interface", "vm4", "ofport_request=9")])
        .unwrap();
    assert_eq!(bench.taken().last().unwrap(), "publish vm3=1 vm2=2 vm4=9");
    bench.engine.transact(&[set("interface", "vm3", "ofport_request=2")]).unwrap();
    assert_eq!(bench.taken(), ["publish vm3=1 vm2=2 vm4=9"]);
}

#[test]
fn what_was_opened_is_closed_again_when_a_later_step_fails() {
    let mut bench = Bench::new(&["vm1"]);
    bench.broken.borrow_mut().insert("/run/there".to_owned());
    let commands = [del("vm1"), add("vm2", "/run/vm2"), add("vm3", "/run/there")];
    assert_eq!(bench.engine.transact(&commands).unwrap_err(), "port vm3: /run/there exists");
    assert_eq!(bench.taken(), ["open vm2 /run/vm2 as 2", "forget 3", "close 2", "forget 2", "publish vm1=1"]);
    assert_eq!(bench.engine.transact(&[Command::ListPorts { bridge: "br0".to_owned() }]).unwrap()[0][0], "vm1");
}

#[test]
fn a_port_that_has_to_reopen_gets_its_old_socket_back_when_the_new_one_cannot_be_had() {
    let mut bench = Bench::new(&["vm1"]);
    bench.broken.borrow_mut().insert("/run/there".to_owned());
    bench.engine.transact(&[set("interface", "vm1", "options:path=/run/there")]).unwrap_err();
    assert_eq!(bench.taken(), ["close 1", "open vm1 /run/vm1 as 1", "publish vm1=1"]);
}

#[test]
fn a_tag_touches_no_device_and_admin_state_does() {
    let mut bench = Bench::new(&["vm1"]);
    bench.engine.transact(&[set("port", "vm1", "tag=5")]).unwrap();
    assert_eq!(bench.taken(), ["publish vm1=1"]);
    bench.engine.transact(&[set("interface", "vm1", "admin_state=down")]).unwrap();
    assert_eq!(bench.taken(), ["close 1", "publish "]);
    bench.engine.transact(&[set("interface", "vm1", "admin_state=up")]).unwrap();
    assert_eq!(bench.taken(), ["open vm1 /run/vm1 as 1", "publish vm1=1"]);
}

#[test]
fn queues_go_where_they_are_wanted_before_workers_see_the_change() {
    let mut bench = Bench::new(&["vm1"]);
    let wish = |value: &str| set("interface", "vm1", &format!("other_config:pmd-rxq-affinity={value}"));
    bench.engine.transact(&[wish("0:0"), set("port", "vm1", "tag=5")]).unwrap();
    assert_eq!(bench.taken(), ["queue 1 0 on 0", "publish vm1=1"]);
    let why = bench.engine.transact(&[wish("0:1")]).unwrap_err();
    assert_eq!(why, "port vm1: pmd-rxq-affinity: no worker is on CPU 1, which queue 0 asks for (workers: 0)");
    assert!(bench.taken().is_empty());
    bench.engine.transact(&[wish("[]"), set("open_vswitch", ".", "other_config:pmd-auto-lb=true")]).unwrap();
    assert_eq!(bench.taken(), ["publish vm1=1"]);
}

#[test]
fn a_qos_reaches_workers_at_once_and_touches_no_device() {
    let mut bench = Bench::new(&["vm1", "vm2"]);
    let create = |table: &str, id: &str, columns: &[&str]| Command::Create {
        table: table.to_owned(),
        id: Some(id.to_owned()),
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
    };
    let qos = create("qos", "@up", &["type=linux-htb", "other_config:max-rate=8000", "queues:3=@q"]);
    let queue = create("queue", "@q", &["other_config:min-rate=800"]);
    let answers = bench.engine.transact(&[set("port", "vm1", "qos=@up"), qos.clone(), queue.clone()]).unwrap();
    assert_eq!(answers[1..], ["up", "q"]);
    assert_eq!(bench.taken(), ["publish vm1=1 at 1000 by 0/3 vm2=2"]);
    bench.engine.transact(&[set("port", "vm2", "qos=up"), set("qos", "up", "other_config:max-rate=16000")]).unwrap();
    assert_eq!(bench.taken(), ["publish vm1=1 at 2000 by 0/3 vm2=2 at 2000 by 0/3"]);
    bench.engine.transact(&[queue, qos, set("qos", "up", "other_config:max-rate=8")]).unwrap_err();
    assert_eq!(bench.taken(), [""; 0], "800 bits per second are promised");
    assert_eq!(bench.engine.to_toml().matches("[qos.").count(), 2, "nothing was created");
}

#[test]
fn flows_are_added_all_or_none_and_time_out() {
    let mut bench = Bench::new(&["vm1"]);
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    let flows = lines(&["# two", "hard_timeout=1,arp actions=drop", "", "in_port=vm1,ip actions=NORMAL"]);
    assert_eq!(bench.engine.add_flows("br0", &flows).unwrap().count, 2);
    let error = bench.engine.add_flows("br0", &lines(&["arp actions=NORMAL", "bogus actions=drop"])).unwrap_err();
    assert!(error.starts_with("line 2: ") && error.contains("bogus"), "{error}");
    let shown = |bench: &mut Bench| {
        let flows = bench.engine.dump_flows("br0", None, false, false).unwrap();
        flows.iter().map(|flow| format!("{} -> {}", flow.matches, flow.actions)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mut bench), ["arp -> drop", "ip,in_port=1 -> NORMAL", " -> NORMAL"]);
    bench.engine.tend(ringswitch_dataplane::sys::clock::coarse_ms() + 1001);
    assert_eq!(shown(&mut bench), ["ip,in_port=1 -> NORMAL", " -> NORMAL"]);
    assert_eq!(bench.engine.del_flows("br0", Some("ip"), false).unwrap().count, 1);
    assert_eq!(bench.engine.del_flows("br1", None, false).unwrap_err(), "no bridge named br1");
}

#[test]
fn a_modification_of_no_flow_adds_it_unless_it_selects_by_cookie() {
    let mut bench = Bench::new(&["vm1"]);
    bench.engine.del_flows("br0", None, false).unwrap();
    bench.engine.mod_flows("br0", "priority=5,cookie=3,udp actions=drop", false).unwrap();
    assert_eq!(bench.engine.mod_flows("br0", "cookie=9/-1,sctp actions=drop", false).unwrap().count, 0);
    bench.engine.mod_flows("br0", "udp actions=NORMAL", false).unwrap();
    let flows = bench.engine.dump_flows("br0", None, false, false).unwrap();
    let shown: Vec<_> = flows.iter().map(|flow| (flow.cookie, &*flow.matches, &*flow.actions)).collect();
    assert_eq!(shown, [(3, "udp", "NORMAL")]);
}

#[test]
fn lines_of_a_flow_file_may_start_with_a_verb() {
    let mut bench = Bench::new(&["vm1"]);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    bench.engine.add_flows("br0", &lines("delete\nadd udp actions=drop\npriority=9,arp,actions=drop\n")).unwrap();
    bench.engine.add_flows("br0", &lines("modify_strict udp,actions=FLOOD\ndelete_strict priority=9,arp")).unwrap();
    let flows = bench.engine.dump_flows("br0", None, false, false).unwrap();
    assert_eq!(flows.iter().map(|flow| (&*flow.matches, &*flow.actions)).collect::<Vec<_>>(), [("udp", "FLOOD")]);
    bench.engine.add_flows("br0", &lines("delete\nadd bogus=1,actions=drop")).unwrap_err();
    assert_eq!(bench.engine.dump_flows("br0", None, false, false).unwrap().len(), 1, "nothing is half done");
}

#[test]
fn at_the_start_a_port_that_cannot_be_opened_is_in_error_and_tried_again() {
    let mut bench = Bench::new(&[]);
    bench.broken.borrow_mut().insert("/run/taken".to_owned());
    let mut wanted = bench.engine.model.clone();
    let commands = [add("vm1", "/run/taken"), add("vm2", "/run/vm2")];
    commands.iter().for_each(|command| edit(&mut wanted, command).unwrap());
    bench.engine.start(None, wanted).unwrap();
    assert_eq!(bench.taken().last().unwrap(), "publish vm2=2");
    let error = |bench: &Bench| bench.engine.show()[0].ports[0].error.clone();
    assert_eq!(error(&bench).as_deref(), Some("/run/taken exists"));
    bench.engine.transact(&[set("interface", "vm1", "options:path=/run/taken")]).unwrap();
    bench.engine.transact(&[set("interface", "vm1", "options:queues=2")]).unwrap_err();
    assert_eq!(error(&bench).as_deref(), Some("/run/taken exists"), "whoever asks by command is told");
    bench.taken();
    bench.engine.tend(5_000);
    assert_eq!(bench.taken(), [""; 0]);
    bench.broken.borrow_mut().remove("/run/taken");
    bench.engine.tend(6_000);
    assert_eq!(bench.taken(), [""; 0], "not at every occasion");
    bench.engine.tend(9_000);
    assert_eq!(bench.taken(), ["open vm1 /run/taken as 1", "publish vm1=1 vm2=2"]);
    assert_eq!(error(&bench), None);
}

#[test]
fn what_is_known_to_be_wrong_is_refused_before_a_guest_notices() {
    let mut bench = Bench::new(&["vm1", "vm2"]);
    let commands = [set("interface", "vm1", "options:queues=2"), set("interface", "vm2", "options:owner=nobdy")];
    assert_eq!(bench.engine.transact(&commands).unwrap_err(), "port vm2: no user named nobdy");
    assert_eq!(bench.taken(), Vec::<String>::new(), "a port was closed or opened");
}

#[test]
fn flow_files_have_comments_as_those_of_ovs_ofctl() {
    let mut bench = Bench::new(&["vm#1"]);
    let lines = ["# all of it", "tcp actions=drop # the rest of it", "   ", "udp,in_port=\"vm#1\" actions=drop"];
    assert_eq!(bench.engine.add_flows("br0", &lines.map(str::to_owned)).unwrap().count, 2);
    let shown = |bench: &mut Bench, names| {
        let flows = bench.engine.dump_flows("br0", Some("udp"), false, names).unwrap();
        flows.into_iter().map(|flow| flow.matches).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mut bench, false), ["udp,in_port=1"]);
    assert_eq!(shown(&mut bench, true), ["udp,in_port=\"vm#1\""]);
}

#[test]
fn a_strict_dump_shows_one_flow_and_the_match_stands_apart_from_the_priority() {
    let mut bench = Bench::new(&[]);
    let lines = ["priority=5,tcp actions=drop", "priority=6,tcp actions=drop"].map(str::to_owned);
    bench.engine.add_flows("br0", &lines).unwrap();
    let flows = bench.engine.dump_flows("br0", Some("priority=6,tcp"), true, false).unwrap();
    assert_eq!(flows.iter().map(|flow| (flow.priority, &*flow.matches)).collect::<Vec<_>>(), [(6, "tcp")]);
    assert!(bench.engine.dump_flows("br0", Some("priority=6,tcp"), false, false).is_err());
}
