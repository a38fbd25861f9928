//! Random flows, groups and meters: printed and read again they are what they were.

use super::*;
use crate::flow::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 8) as usize % limit
    }

    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn small(&mut self) -> u16 {
        if self.once_in(3) { 0 } else { self.next() as u16 }
    }

    /// An ordinary port, mostly.
    fn port(&mut self) -> u32 {
        if self.once_in(6) { LOCAL_PORT } else { self.below(0xff00) as u32 }
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// A value that the field's text can say.
    fn value(&mut self, field: FieldId) -> u128 {
        match field {
            FieldId::IN_PORT | FieldId::ACTSET_OUTPUT => self.port().into(),
            FieldId::NXM_IN_PORT => self.below(0xff00) as u128,
            FieldId::ARP_OP => self.below(0x100) as u128,
            FieldId::IP_TOS => (self.below(64) << 2) as u128,
            FieldId::VLAN_VID => 0x1000 | self.below(0x1000) as u128,
            _ => self.wide() & field.ones(),
        }
    }

    fn mask(&mut self, field: FieldId) -> u128 {
        if field.info().maskable && self.once_in(3) { self.wide() & field.ones() } else { field.ones() }
    }

    fn matches(&mut self) -> Match {
        let mut matches = Match::default();
        let kinds = ["", "ip", "tcp", "udp6", "sctp", "icmp", "icmp6", "arp", "rarp", "mpls", "ipv6", "tcp6"];
        if let Ok(filter) = parse_filter(self.pick(&kinds), false, &()) {
            matches = filter.matches;
        }
        match self.below(6) {
            0 => matches.want_bits(FieldId::VLAN_TCI, 0x1000, 0x1000),
            1 if matches == Match::default() => matches.want_bits(FieldId::ETH_TYPE, 0x88e7, 0xffff),
            _ => {}
        }
        for _ in 0..self.below(5) {
            let field = self.pick(FieldId::ALL);
            let (value, mask) = (self.value(field), self.mask(field));
            // What decides which other fields there are is chosen above, and a type of service in its two parts.
            let fixed = [FieldId::ETH_TYPE, FieldId::IP_PROTO, FieldId::ARP_OP, FieldId::IP_TOS, FieldId::NXM_IN_PORT];
            let types = [FieldId::ICMP_TYPE, FieldId::ICMPV6_TYPE];
            if fixed.contains(&field) || types.contains(&field) || !field.info().needs.are_met(&matches) {
                continue;
            }
            match field {
                FieldId::IP_FRAG if matches.mask.get(field) == 0 => {
                    let (value, mask) = self.pick(&[(0, 3), (1, 1), (1, 3), (3, 3), (0, 2)]);
                    matches.want_bits(field, value, mask);
                }
                FieldId::IP_FRAG => {}
                _ => matches.want_bits(field, value & mask, mask),
            }
        }
        matches.normalized()
    }

    fn part(&mut self) -> Subfield {
        let field = self.pick(FieldId::ALL);
        let bits = field.info().bits;
        if self.once_in(2) {
            return Subfield::whole(field);
        }
        let start = self.below(bits.into()) as u16;
        Subfield { field, start, bits: 1 + self.below((bits - start).into()) as u16 }
    }

    /// Bits of a register, which may be read and written anywhere.
    fn register(&mut self, bits: u16) -> Subfield {
        let field = self.pick(&[FieldId::REG0, FieldId::REG15, FieldId::XREG3, FieldId::XXREG1, FieldId::METADATA]);
        let bits = bits.min(field.info().bits);
        Subfield { field, start: self.below((field.info().bits - bits + 1).into()) as u16, bits }
    }

    fn fields(&mut self) -> HashFields {
        self.pick(&[HashFields::EthSrc, HashFields::SymmetricL4, HashFields::SymmetricL3L4Udp, HashFields::NwDst])
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.next() as u8).collect()
    }

    /// Any action, sound or not.
    fn action(&mut self, depth: usize) -> Action {
        match self.below(6) {
            0 => self.output(),
            1 => self.modification(),
            2 => self.field_action(),
            3 => self.tag(),
            4 => self.extension(depth),
            _ => self.instruction(depth),
        }
    }

    fn output(&mut self) -> Action {
        let port = self.port();
        match self.below(14) {
            0..=2 => ports::output(port).expect("a port"),
            3 => Action::OutputCut { port, max_len: 14 + self.below(2000) as u32 },
            4 => Action::OutputField { source: self.register(16), max_len: u16::MAX },
            5 => [Action::InPort, Action::Table, Action::Flood, Action::All][self.below(4)].clone(),
            6 => Action::Normal,
            7 => Action::Enqueue { port, queue: self.next() as u32 },
            8 => Action::Group(self.next() as u32 >> 1),
            9 => Action::SetQueue(self.next() as u32),
            10 => Action::PopQueue,
            11 => Action::Controller(Box::new(Controller { max_len: self.small(), ..Controller::default() })),
            _ => Action::Controller(Box::new(Controller {
                max_len: self.small(),
                reason: self.below(6) as u8,
                id: self.small(),
                userdata: self.bytes(),
                pause: self.once_in(2),
                meter: self.once_in(2).then_some(1 + self.small() as u32),
            })),
        }
    }

    fn modification(&mut self) -> Action {
        let number = self.next();
        let [a, b, c, d, e, f, ..] = number.to_be_bytes();
        match self.below(18) {
            0 => Action::SetDlSrc([a, b, c, d, e, f]),
            1 => Action::SetDlDst([a, b, c, d, e, f]),
            2 => Action::SetVlanVid(number as u16 & 0xfff),
            3 => Action::SetVlanPcp(a & 7),
            4 => Action::SetNwSrc([a, b, c, d].into()),
            5 => Action::SetNwDst([a, b, c, d].into()),
            6 => Action::SetNwTos(a & 0xfc),
            7 => Action::SetNwEcn(a & 3),
            8 => Action::SetNwTtl(a),
            9 => Action::SetTpSrc(number as u16),
            10 => Action::SetTpDst(number as u16),
            11 => Action::SetTunnel(number >> (a & 63)),
            12 => Action::SetMplsLabel(number as u32 & 0xf_ffff),
            13 => Action::SetMplsTc(a & 7),
            14 => Action::SetMplsTtl(a),
            15 => Action::DecTtl((0..self.below(3)).map(|_| self.small()).collect()),
            16 => Action::FinTimeout { idle: self.small(), hard: self.small() },
            _ => Action::Note(self.bytes()),
        }
    }

    fn field_action(&mut self) -> Action {
        let part = self.part();
        match self.below(6) {
            0 | 1 => {
                let (value, mask) = (self.value(part.field), self.mask(part.field));
                Action::SetField { field: part.field, value: value & mask, mask }
            }
            2 if part.bits <= 64 => {
                Action::Load { value: self.wide() as u64 & (part.mask() >> part.start) as u64, target: part }
            }
            3 => Action::Move { source: part, target: self.register(part.bits) },
            4 => Action::Push(part),
            _ => Action::Pop(part),
        }
    }

    fn tag(&mut self) -> Action {
        let actions = [
            Action::PushVlan(0x8100),
            Action::PushVlan(0x88a8),
            Action::PopVlan,
            Action::PushMpls(0x8847),
            Action::PushMpls(0x8848),
            Action::PopMpls(0x0800),
            Action::PushPbb(0x88e7),
            Action::PopPbb,
            Action::DecMplsTtl,
            Action::CopyTtlOut,
            Action::CopyTtlIn,
            Action::Exit,
        ];
        actions[self.below(actions.len())].clone()
    }

    fn extension(&mut self, depth: usize) -> Action {
        match self.below(8) {
            0 => Action::Resubmit { port: self.once_in(2).then(|| self.port()), table: Some(self.below(254) as u8) },
            1 => Action::Clone(self.list(depth)),
            2 | 3 => Action::Learn(Box::new(self.learn())),
            4 => Action::Conjunction { id: self.next() as u32, clause: self.below(4) as u8, clauses: 4 },
            5 => Action::Multipath(Box::new(Multipath {
                fields: self.fields(),
                basis: self.small(),
                algorithm: self.pick(&[LinkAlgorithm::ModuloN, LinkAlgorithm::Hrw, LinkAlgorithm::IterHash]),
                links: 1 + self.below(16) as u16,
                argument: self.next() as u32,
                target: self.register(4),
            })),
            6 => Action::Bundle(Box::new(Bundle {
                fields: self.fields(),
                basis: self.small(),
                active_backup: self.once_in(2),
                members: (0..self.below(4)).map(|_| self.port()).collect(),
                target: self.once_in(2).then(|| self.register(16)),
            })),
            _ => Action::CheckPktLarger { len: self.small(), target: self.register(1) },
        }
    }

    fn instruction(&mut self, depth: usize) -> Action {
        match self.below(5) {
            0 => Action::Meter(1 + u32::from(self.small())),
            1 => Action::ClearActions,
            2 => Action::WriteActions(self.list(depth)),
            3 => {
                Action::WriteMetadata { value: self.next(), mask: if self.once_in(2) { u64::MAX } else { self.next() } }
            }
            _ => Action::GotoTable(self.below(254) as u8),
        }
    }

    fn list(&mut self, depth: usize) -> Vec<Action> {
        if depth == 3 { Vec::new() } else { (0..self.below(4)).map(|_| self.action(depth + 1)).collect() }
    }

    fn learn(&mut self) -> Learn {
        Learn {
            idle_timeout: self.small(),
            hard_timeout: self.small(),
            priority: if self.once_in(2) { DEFAULT_PRIORITY } else { self.small() },
            cookie: u64::from(self.small()),
            table: self.below(254) as u8,
            fin_idle_timeout: self.small(),
            fin_hard_timeout: self.small(),
            send_flow_rem: self.once_in(2),
            delete_learned: self.once_in(2),
            limit: u32::from(self.small()),
            result: self.once_in(3).then(|| self.register(1)),
            specs: (0..self.below(5)).map(|_| self.spec()).collect(),
        }
    }

    fn spec(&mut self) -> LearnSpec {
        let mut target = self.part();
        if target.field == FieldId::IP_FRAG {
            target = self.register(4);
        }
        let value = self.value(target.field) & target.mask() >> target.start;
        let source = match self.below(3) {
            0 => LearnSource::Field(target),
            1 => LearnSource::Field(self.register(target.bits)),
            _ => LearnSource::Value(value),
        };
        match (self.below(3), source) {
            (0, LearnSource::Field(part)) => LearnSpec { source, target: LearnTarget::Output, bits: part.bits },
            (1, _) => LearnSpec { source, target: LearnTarget::Load(target), bits: target.bits },
            _ => LearnSpec { source, target: LearnTarget::Match(target), bits: target.bits },
        }
    }

    /// Those of some random actions that are sound where they stand.
    fn actions(&mut self, matches: Option<Match>, place: Place) -> Vec<Action> {
        let mut checker = Checker::new(matches, place, false);
        let mut actions = Vec::new();
        for _ in 0..self.below(12) {
            let action = self.action(0);
            let mut next = checker.clone();
            if next.take(&action).is_ok() {
                checker = next;
                actions.push(action);
            }
        }
        actions
    }

    fn flow(&mut self) -> Flow {
        let (matches, table) = (self.matches(), self.below(254) as u8);
        Flow {
            table,
            priority: if self.once_in(2) { DEFAULT_PRIORITY } else { self.small() },
            cookie: if self.once_in(2) { 0 } else { self.next() },
            idle_timeout: self.small(),
            hard_timeout: self.small(),
            importance: self.small(),
            flags: FlowFlags {
                send_flow_rem: self.once_in(4),
                check_overlap: self.once_in(4),
                reset_counts: self.once_in(4),
                no_packet_counts: self.once_in(4),
                no_byte_counts: self.once_in(4),
            },
            matches,
            actions: self.actions(Some(matches), Place::Flow(table)),
        }
    }

    fn bucket(&mut self, id: u32, kind: GroupKind) -> Bucket {
        let watches = kind == GroupKind::FastFailover;
        Bucket {
            id,
            weight: if kind == GroupKind::Select { self.small() } else { 0 },
            watch_port: if watches || self.once_in(3) { self.port() } else { WATCH_ANY },
            watch_group: if self.once_in(3) { u32::from(self.small()) } else { WATCH_ANY },
            actions: self.actions(None, Place::Set),
        }
    }

    fn group(&mut self) -> Group {
        let kind = self.pick(&[GroupKind::All, GroupKind::Select, GroupKind::Indirect, GroupKind::FastFailover]);
        let selects = kind == GroupKind::Select && self.once_in(2);
        let mut fields: Vec<_> = (0..self.below(4)).map(|_| self.pick(FieldId::ALL)).collect();
        fields.retain(|field| ![FieldId::IP_FRAG, FieldId::ARP_OP].contains(field));
        let count = if kind == GroupKind::Indirect { 1 } else { self.below(4) as u32 };
        Group {
            id: self.next() as u32 >> 1,
            kind,
            selection: selects.then(|| Selection {
                method: "hash".to_owned(),
                parameter: u64::from(self.small()),
                fields: fields.into_iter().map(|field| (field, self.value(field))).collect(),
            }),
            buckets: (0..count).map(|id| self.bucket(id * 2, kind)).collect(),
        }
    }

    fn meter(&mut self) -> Meter {
        let burst = self.once_in(2);
        let band = |random: &mut Self| Band {
            kind: if random.once_in(2) { BandKind::Drop } else { BandKind::DscpRemark(random.next() as u8) },
            rate: 1 + u32::from(random.small()),
            burst_size: if burst { u32::from(random.small()) } else { 0 },
        };
        let id = if self.once_in(4) { METER_CONTROLLER } else { 1 + u32::from(self.small()) };
        let bands = (0..1 + self.below(3)).map(|_| band(self)).collect();
        Meter { id, pktps: self.once_in(2), burst, stats: self.once_in(2), bands }
    }
}

#[test]
fn whatever_is_sound_is_read_as_it_was_printed() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..30_000 {
        let flow = random.flow();
        for ports in [&() as &dyn PortNames, &Ports] {
            let printed = format_flow(&flow, None, ports);
            let again = parse_flow(&printed, ports).unwrap_or_else(|error| panic!("{error}\n{flow:?}"));
            assert_eq!(again, flow, "{printed}");
        }
    }
    for _ in 0..10_000 {
        let group = random.group();
        let printed = format_group(&group, &Ports);
        let again = parse_group(&printed, &Ports).unwrap_or_else(|error| panic!("{error}\n{group:?}"));
        assert_eq!(again, group, "{printed}");
        let meter = random.meter();
        assert_eq!(parse_meter(&format_meter(&meter)), Ok(meter));
    }
}
