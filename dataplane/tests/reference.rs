//! Random rules in several tables against a second interpreter, written for nothing but being plain: the frames that come
//! out, the counters and the packet-ins must be the same, from a first walk, from the cache, alone and in batches.

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::TestSwitch;
use common::model::{Model, PORTS};
use common::random::Random;
use ringswitch_dataplane::flow::{
    Action, Bucket, FieldId, Flow, Group, GroupEntry, GroupKind, Match, Subfield, WATCH_ANY,
};
use ringswitch_dataplane::pipeline::Upcall;

const TABLES: u8 = 5;
const GROUPS: u32 = 3;
const MATCHED: &[FieldId] = &[
    FieldId::IN_PORT,
    FieldId::ETH_DST,
    FieldId::ETH_SRC,
    FieldId::VLAN_TCI,
    FieldId::IPV4_SRC,
    FieldId::IPV4_DST,
    FieldId::UDP_DST,
    FieldId::NW_TTL,
    FieldId::METADATA,
    FieldId::REG0,
    FieldId::REG1,
];
const SET: &[FieldId] = &[
    FieldId::ETH_DST,
    FieldId::ETH_SRC,
    FieldId::IPV4_SRC,
    FieldId::IPV4_DST,
    FieldId::UDP_SRC,
    FieldId::UDP_DST,
    FieldId::NW_TTL,
    FieldId::METADATA,
    FieldId::REG0,
    FieldId::REG1,
];

fn low_bits(random: &mut Random, field: FieldId) -> Subfield {
    let bits = 1 + random.below(usize::from(field.info().bits.min(16))) as u16;
    Subfield { field, start: 0, bits }
}

fn any_match(random: &mut Random) -> Match {
    let mut matches = Match::default();
    for _ in 0..random.below(3) {
        let field = random.of(MATCHED);
        let (value, bits) = match field {
            FieldId::VLAN_TCI => random.of(&[(0, 0xffff), (0x1000, 0x1000), (0x1001, 0x1fff)]),
            FieldId::IN_PORT => (1 + random.below(PORTS as usize) as u128, field.ones()),
            _ => (random.below(3) as u128, random.of(&[1, 3, 0xff])),
        };
        matches.want_bits(field, value & bits, bits);
    }
    matches
}

/// Actions that may stand anywhere; those that lead on lead from `table` upwards.
fn any_action(random: &mut Random, table: u8, depth: u32) -> Action {
    let value = random.below(3) as u128;
    match random.below(if depth > 2 { 14 } else { 18 }) {
        0..=2 => Action::Output(1 + random.below(PORTS as usize + 1) as u32),
        3 => random.of(&[0, 1, 2]).pipe(|kind| [Action::Flood, Action::InPort, Action::All][kind].clone()),
        4..=5 => random.of(SET).pipe(|field| Action::SetField { field, value, mask: field.ones() }),
        6 => random.of(SET).pipe(|field| Action::Load { value: value as u64 & 1, target: low_bits(random, field) }),
        7 => {
            let (source, target) = (random.of(SET), random.of(SET));
            let bits = low_bits(random, source).bits.min(target.info().bits);
            let part = |field| Subfield { field, start: 0, bits };
            Action::Move { source: part(source), target: part(target) }
        }
        8 => Action::SetVlanVid(value as u16),
        9 => random.of(&[0, 1]).pipe(|kind| [Action::PopVlan, Action::PushVlan(0x8100)][kind].clone()),
        10 => Action::DecTtl(Vec::new()),
        11 => random.of(SET).pipe(|field| Action::Push(low_bits(random, field))),
        12 => random.of(SET).pipe(|field| Action::Pop(low_bits(random, field))),
        13 => Action::Controller(Box::default()),
        14 if table + 1 < TABLES => Action::Resubmit { port: None, table: Some(table + 1) },
        15 => Action::Group(1 + random.below(GROUPS as usize) as u32),
        16 => Action::Exit,
        _ => Action::Clone(any_actions(random, table, depth + 1)),
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, with: impl FnOnce(Self) -> T) -> T {
        with(self)
    }
}

impl<T> Pipe for T {}

fn any_actions(random: &mut Random, table: u8, depth: u32) -> Vec<Action> {
    (0..random.below(4)).map(|_| any_action(random, table, depth)).collect()
}

/// What may stand in an action set.
fn set_actions(random: &mut Random, groups: bool) -> Vec<Action> {
    let one = |random: &mut Random| match random.below(6) {
        0 | 1 => Action::Output(1 + random.below(PORTS as usize) as u32),
        2 => Action::PushVlan(0x8100),
        3 => Action::PopVlan,
        4 if groups => Action::Group(1 + random.below(GROUPS as usize) as u32),
        _ => {
            Action::SetField { field: FieldId::ETH_DST, value: random.below(3) as u128, mask: FieldId::ETH_DST.ones() }
        }
    };
    (0..random.below(4)).map(|_| one(random)).collect()
}

fn any_rule(random: &mut Random, table: u8, priority: u16) -> Flow {
    let mut actions = any_actions(random, table, 0);
    if random.chance(6) {
        actions.push(Action::ClearActions);
    }
    if random.chance(3) {
        actions.push(Action::WriteActions(set_actions(random, true)));
    }
    if random.chance(4) {
        actions.push(Action::WriteMetadata { value: random.below(3) as u64, mask: 3 });
    }
    if table + 1 < TABLES && random.chance(2) {
        actions.push(Action::GotoTable(table + 1 + random.below(usize::from(TABLES - table - 1)) as u8));
    }
    Flow { table, priority, matches: any_match(random).normalized(), actions, ..Flow::default() }
}

fn any_group(random: &mut Random, id: u32) -> Group {
    let kind = random.of(&[GroupKind::All, GroupKind::Indirect, GroupKind::FastFailover]);
    let count = if kind == GroupKind::Indirect { 1 } else { random.below(3) };
    let bucket = |place: usize, random: &mut Random| Bucket {
        id: place as u32,
        weight: 1,
        watch_port: if kind == GroupKind::FastFailover { 1 + random.below(PORTS as usize) as u32 } else { WATCH_ANY },
        watch_group: WATCH_ANY,
        actions: set_actions(random, false),
    };
    Group { id, kind, selection: None, buckets: (0..count).map(|place| bucket(place, random)).collect() }
}

/// The second interpreter, on its way with one packet.
struct Reference<'a> {
    rules: &'a [Flow],
    groups: &'a [Group],
    dead_port: u32,
    packet: Model,
    set: Vec<Action>,
    stack: Vec<u128>,
    /// No more actions.
    exit: bool,
    /// Dropped for its TTL.
    expired: bool,
    found: &'a mut Found,
}

/// What became of packets.
#[derive(Default)]
struct Found {
    frames: HashMap<u32, Vec<Vec<u8>>>,
    rules: HashMap<u16, u64>,
    packet_ins: usize,
}

impl Reference<'_> {
    fn table(&mut self, table: u8) {
        if self.expired {
            return;
        }
        let rules = self.rules;
        let matching = rules.iter().filter(|rule| rule.table == table && self.packet.matches(&rule.matches));
        let Some(rule) = matching.max_by_key(|rule| rule.priority) else { return };
        *self.found.rules.entry(rule.priority).or_default() += 1;
        self.list(&rule.actions);
        if let Some(Action::GotoTable(next)) = rule.actions.last()
            && !self.exit
        {
            self.table(*next);
        }
    }

    fn list(&mut self, actions: &[Action]) {
        for action in actions {
            if !self.exit {
                self.action(action);
            }
        }
    }

    fn action(&mut self, action: &Action) {
        if self.expired {
            return;
        }
        match action {
            Action::Output(port) if *port != self.packet.in_port => self.output(*port),
            Action::InPort => self.output(self.packet.in_port),
            Action::Flood | Action::All => {
                let from = self.packet.in_port;
                (1..=PORTS).filter(|&port| port != from).for_each(|port| self.output(port));
            }
            Action::SetField { field, value, mask } => self.packet.set(*field, *value, *mask),
            Action::Load { value, target } => self.packet.set(target.field, u128::from(*value), target.mask()),
            Action::Move { source, target } => {
                let value = self.packet.get(source.field) & source.mask();
                self.packet.set(target.field, value, target.mask());
            }
            Action::SetVlanVid(vid) => self.packet.set_vid(*vid),
            Action::PushVlan(_) => self.packet.push_tag(),
            Action::PopVlan => self.packet.pop_tag(),
            Action::DecTtl(_) => self.dec_ttl(),
            Action::Push(source) => self.stack.push(self.packet.get(source.field) & source.mask()),
            Action::Pop(target) => {
                let value = self.stack.pop().unwrap_or(0) & target.mask();
                self.packet.set(target.field, value, target.mask());
            }
            Action::Controller(_) => self.found.packet_ins += 1,
            Action::Resubmit { table, .. } => self.table(table.expect("always given here")),
            Action::Group(id) => self.group(*id),
            Action::Exit => self.exit = true,
            Action::Clone(actions) => self.copy(|copy| copy.list(actions)),
            Action::ClearActions => self.set.clear(),
            Action::WriteActions(actions) => actions.iter().for_each(|action| write(&mut self.set, action)),
            Action::WriteMetadata { value, mask } => {
                self.packet.set(FieldId::METADATA, u128::from(*value), u128::from(*mask));
            }
            _ => {}
        }
    }

    fn dec_ttl(&mut self) {
        match self.packet.ttl() {
            None => {}
            Some(0 | 1) => {
                self.expired = true;
                self.found.packet_ins += 1;
            }
            Some(ttl) => self.packet.set(FieldId::NW_TTL, u128::from(ttl - 1), 0xff),
        }
    }

    fn output(&mut self, port: u32) {
        if (1..=PORTS).contains(&port) {
            self.found.frames.entry(port).or_default().push(self.packet.to_frame());
        }
    }

    fn copy(&mut self, run: impl FnOnce(&mut Reference)) {
        let mut copy = Reference {
            packet: self.packet.clone(),
            set: self.set.clone(),
            stack: self.stack.clone(),
            exit: false,
            expired: self.expired,
            found: self.found,
            ..*self
        };
        run(&mut copy);
        let left = copy.stack.len();
        self.stack.truncate(left);
    }

    fn group(&mut self, id: u32) {
        let group = &self.groups[id as usize - 1];
        let alive = |bucket: &&Bucket| bucket.watch_port == WATCH_ANY || bucket.watch_port != self.dead_port;
        let mut buckets: Vec<_> = group.buckets.iter().filter(alive).collect();
        if group.kind != GroupKind::All {
            buckets.truncate(1);
        }
        for bucket in buckets {
            let mut set = Vec::new();
            bucket.actions.iter().for_each(|action| write(&mut set, action));
            self.copy(|copy| copy.run_set(&set));
        }
    }

    fn run_set(&mut self, set: &[Action]) {
        let has_group = set.iter().any(|action| matches!(action, Action::Group(_)));
        let kinds: [fn(&Action) -> bool; 5] = [
            |action| matches!(action, Action::PopVlan),
            |action| matches!(action, Action::PushVlan(_)),
            |action| matches!(action, Action::SetField { .. }),
            |action| matches!(action, Action::Group(_)),
            |action| matches!(action, Action::Output(_)),
        ];
        for (nth, is_kind) in kinds.into_iter().enumerate() {
            if nth < 4 || !has_group {
                set.iter().filter(|action| is_kind(action)).for_each(|action| self.action(action));
            }
        }
    }
}

fn write(set: &mut Vec<Action>, action: &Action) {
    set.retain(|old| std::mem::discriminant(old) != std::mem::discriminant(action));
    set.push(action.clone());
}

fn expect(rules: &[Flow], groups: &[Group], dead_port: u32, packets: &[Model]) -> Found {
    let mut found = Found::default();
    for packet in packets {
        let (set, stack) = (Vec::new(), Vec::new());
        let (packet, exit, expired) = (packet.clone(), false, false);
        let mut run = Reference { rules, groups, dead_port, packet, set, stack, exit, expired, found: &mut found };
        run.table(0);
        run.exit = false;
        let set = std::mem::take(&mut run.set);
        run.run_set(&set);
    }
    found.frames.values_mut().for_each(|frames| frames.sort());
    found
}

fn any_packet(random: &mut Random) -> Model {
    Model {
        in_port: 1 + random.below(PORTS as usize) as u32,
        dst: random.below(3) as u64,
        src: random.below(3) as u64,
        tags: (0..random.of(&[0, 0, 0, 1, 1, 2, 3])).map(|_| random.below(3) as u16).collect(),
        ip: [random.below(3) as u32, random.below(3) as u32],
        ttl: random.of(&[1, 2, 3, 64]),
        ports: [random.below(3) as u16, random.below(3) as u16],
        metadata: 0,
        regs: [0; 2],
        payload: random.of(&[20, 100, 700]),
    }
}

#[test]
fn the_pipeline_does_what_a_plain_interpreter_does() {
    for seed in 0..5000 {
        let mut random = Random(seed * 7919 + 1);
        let mut priority = 0;
        let mut rules = Vec::new();
        for table in 0..TABLES {
            for _ in 0..2 + random.below(6) {
                priority += 1;
                rules.push(any_rule(&mut random, table, priority));
            }
        }
        let groups: Vec<_> = (1..=GROUPS).map(|id| any_group(&mut random, id)).collect();
        let dead_port = 1 + random.below(PORTS as usize) as u32;
        let mut switch = TestSwitch::new(PORTS as usize);
        // Where there is none, the cache is asked about plain rules too.
        switch.has_shortlist = random.chance(2);
        switch.set_flows("");
        for rule in &rules {
            // Of two rules with the same match in one table, the later one has the higher priority and wins.
            switch.program.tables.insert(rule.clone(), 0, 1);
        }
        for group in &groups {
            switch.program.groups.insert(group.id, Arc::new(GroupEntry::new(group.clone(), 0, 1)));
        }
        switch.program.dead_ports = Arc::new(vec![dead_port]);
        switch.publish();
        let packets: Vec<_> = (0..12).map(|_| any_packet(&mut random)).collect();
        // Each alone, each again, and all in batches.
        let mut counted = HashMap::new();
        for packet in packets.iter().chain(&packets) {
            check(&mut switch, &rules, &groups, dead_port, std::slice::from_ref(packet), &mut counted, seed);
        }
        check(&mut switch, &rules, &groups, dead_port, &packets, &mut counted, seed);
        switch.assert_accounted();
    }
}

fn check(
    switch: &mut TestSwitch,
    rules: &[Flow],
    groups: &[Group],
    dead_port: u32,
    packets: &[Model],
    counted: &mut HashMap<u16, u64>,
    seed: u64,
) {
    let found = expect(rules, groups, dead_port, packets);
    for packet in packets {
        switch.offer(packet.in_port, [packet.to_frame()]);
    }
    while switch.poll_once() > 0 {}
    for port in 1..=PORTS {
        let mut got = switch.received(port);
        got.sort();
        let wanted = found.frames.get(&port).cloned().unwrap_or_default();
        assert_eq!(got, wanted, "seed {seed}, port {port}, {packets:?}, {rules:#?}, {groups:#?}");
    }
    let packet_ins = switch.upcalls().iter().filter(|upcall| matches!(upcall, Upcall::PacketIn(_))).count();
    assert_eq!(packet_ins, found.packet_ins, "seed {seed}, packet-ins, {packets:?}, {rules:#?}");
    found.rules.iter().for_each(|(rule, count)| *counted.entry(*rule).or_default() += count);
    for (priority, count) in switch.rule_packets() {
        assert_eq!(count, counted.get(&priority).copied().unwrap_or(0), "seed {seed}, rule {priority}, {rules:#?}");
    }
}
