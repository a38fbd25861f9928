//! Runs the steps of a path on the packets that take it.
//!
//! Packets of a batch with the same path go step by step together, unless a step works on copies. Neighbours: `walk` made the
//! steps, `act` outputs and changes, `egress` sends.

use std::ops::Range;

use super::act::{self, Burst, each};
use super::live::replay;
use super::parse::{Depth, parse_again};
use super::path::{Path, Step};
use super::punt::LEARN_MS;
use super::{normal, rewrite};
use crate::flow::{Action, BandKind, FieldId, MeterEntry, RuleId};
use crate::packet::{DropReason, Packet};
use crate::pipeline::snapshot::PortEntry;
use crate::sys::clock;

/// Packets on their way along a path.
pub(super) struct Run<'r, 'b> {
    pub burst: &'r mut Burst<'b>,
    ids: Range<usize>,
    /// A bit for each packet that goes on.
    alive: u32,
    /// Of all of `ids`, as they came in.
    bytes: u64,
}

/// Takes a path with the packets of `ids`.
pub(super) fn run(burst: &mut Burst, path: Path, ids: Range<usize>) {
    let Path { steps, copies } = path;
    if copies {
        for id in ids {
            burst.slow.backup.clear();
            burst.slow.alive.clear();
            Run::new(burst, id..id + 1).take_all(steps);
        }
    } else {
        Run::new(burst, ids).take_all(steps);
    }
}

impl<'r, 'b> Run<'r, 'b> {
    pub fn new(burst: &'r mut Burst<'b>, ids: Range<usize>) -> Self {
        let bytes = burst.batch.packets()[ids.clone()].iter().map(Packet::len).sum::<usize>() as u64;
        Self { alive: act::all(&ids), burst, ids, bytes }
    }

    fn take_all(&mut self, steps: &[Step]) {
        let Some((last, before)) = steps.split_last() else { return };
        before.iter().for_each(|step| self.take(step, false));
        self.take(last, true);
    }

    /// Takes one step; none follows the `last` one.
    pub fn take(&mut self, step: &Step, last: bool) {
        match *step {
            Step::Rule { table, rule } => self.count_rule(table, rule),
            Step::Miss { table } => self.count_table(table, false),
            Step::Change(ref action) => self.change(action),
            Step::DecTtl { mpls, nth } => self.dec_ttl(mpls, nth),
            Step::Truncate(len) => self.change_each(|packet| packet.truncate(len as usize)),
            Step::Output(port) => act::send_all(self.burst, port, self.alive, &self.ids),
            Step::Flood { from, all } => act::flood(self.burst, from, all, self.alive, &self.ids),
            Step::Normal { from } => self.normal(from, last),
            Step::Queue(queue) => act::set_queue(self.burst, queue, self.alive, &self.ids),
            Step::Group(id) => self.count_group(id, None),
            Step::Bucket { group, bucket } => self.count_group(group, Some(bucket)),
            Step::Meter(id) => self.meter(id),
            Step::Controller { nth } => self.ask(nth),
            Step::Learn { nth, ref due_ms } => {
                if due_ms.get() <= self.burst.context.now_ms && self.alive != 0 && self.burst.may_punt() {
                    due_ms.set(self.burst.context.now_ms + LEARN_MS);
                    self.learn(nth);
                }
            }
            Step::Finish { table, rule } => {
                let rule = self.burst.bridge.program.tables.table(table).and_then(|table| table.rule(rule));
                rule.into_iter().for_each(|rule| rule.stats[self.burst.context.lane].finish());
            }
            Step::Save => self.save(),
            Step::Restore { .. } => self.restore(),
            Step::Drop(reason) => each(self.alive, &self.ids).for_each(|id| self.burst.egress.note_drop(id, reason)),
            Step::Nothing => {}
        }
    }

    /// True when some packet goes on.
    pub fn is_alive(&self) -> bool {
        self.alive != 0
    }

    fn count(&self) -> u64 {
        u64::from(self.alive.count_ones())
    }

    /// Bytes of the packets that go on, as they came in.
    fn alive_bytes(&self) -> u64 {
        if self.alive == act::all(&self.ids) {
            return self.bytes;
        }
        self.len_of(self.alive)
    }

    fn len_of(&self, some: u32) -> u64 {
        each(some, &self.ids).map(|id| self.burst.batch.packets()[id].len() as u64).sum()
    }

    fn count_rule(&self, table: u8, id: RuleId) {
        let context = self.burst.context;
        if let Some(rule) = self.burst.bridge.program.tables.table(table).and_then(|table| table.rule(id)) {
            rule.stats[context.lane].count(self.count(), self.alive_bytes(), context.now_ms);
        }
        self.count_table(table, true);
    }

    fn count_table(&self, table: u8, matched: bool) {
        self.burst.bridge.stats.count(self.burst.context.lane, table, self.count(), matched);
    }

    fn count_group(&self, id: u32, bucket: Option<u16>) {
        let lane = self.burst.bridge.program.groups.get(&id).and_then(|group| group.stats.get(self.burst.context.lane));
        let Some(lane) = lane else { return };
        let counts = match bucket {
            Some(bucket) => lane.buckets.get(usize::from(bucket)),
            None => Some(&lane.total),
        };
        counts.into_iter().for_each(|counts| counts.count(self.count(), self.len_of(self.alive)));
    }

    /// Sends what waits, when one of the packets that are about to change is among it.
    pub fn release(&mut self) {
        if each(self.alive, &self.ids).any(|id| self.burst.egress.is_output(id)) {
            self.burst.egress.flush(self.burst.context, self.burst.batch);
        }
    }

    fn change_each(&mut self, change: impl Fn(&mut Packet)) {
        self.release();
        each(self.alive, &self.ids).for_each(|id| change(&mut self.burst.batch.packets_mut()[id]));
    }

    fn change(&mut self, action: &Action) {
        self.alive = act::rewrite_all(self.burst, action, self.alive, &self.ids);
    }

    fn drop(&mut self, id: usize, reason: DropReason) {
        self.burst.egress.note_drop(id, reason);
        self.alive &= !(1 << id);
    }

    fn dec_ttl(&mut self, mpls: bool, nth: u16) {
        self.release();
        for id in each(self.alive, &self.ids) {
            if self.dec_ttl_of(id, mpls) {
                continue;
            }
            if self.burst.may_punt() {
                replay(self.burst, nth, id);
            }
        }
    }

    /// False when the packet's life is over.
    pub fn dec_ttl_of(&mut self, id: usize, mpls: bool) -> bool {
        let action = if mpls { Action::DecMplsTtl } else { Action::DecTtl(Vec::new()) };
        match rewrite::apply(&mut self.burst.batch.packets_mut()[id], &action) {
            Ok(()) => true,
            Err(reason) => {
                self.drop(id, reason);
                reason != DropReason::TtlExpired
            }
        }
    }

    /// NORMAL, for packets that rules believe to have come in at the port with this number.
    fn normal(&mut self, from: u32, last: bool) {
        let ingress = self.burst.ingress;
        if ingress.number == from {
            return normal::forward(self.burst, self.alive, &self.ids, last);
        }
        match port_numbered(self.burst, from) {
            Some(other) => {
                self.burst.ingress = other;
                normal::forward(self.burst, self.alive, &self.ids, last);
                self.burst.ingress = ingress;
            }
            None => self.take(&Step::Drop(DropReason::NoSuchPort), last),
        }
    }

    fn meter(&mut self, id: u32) {
        // A meter that is gone took its flows along; a packet-out may name any.
        let Some(meter) = self.burst.bridge.program.meters.get(&id) else { return };
        let (count, bytes, now_ns) = (self.count(), self.len_of(self.alive), clock::monotonic_ns());
        meter.count(count, bytes);
        if meter.admits_all(count, bytes, now_ns) {
            return;
        }
        self.release();
        for id in each(self.alive, &self.ids) {
            let len = self.burst.batch.packets()[id].len() as u64;
            match meter.catch(len, now_ns) {
                None => {}
                Some(BandKind::Drop) => self.drop(id, DropReason::Metered),
                Some(BandKind::DscpRemark(levels)) => remark(&mut self.burst.batch.packets_mut()[id], levels),
            }
        }
    }

    fn ask(&mut self, nth: u16) {
        for id in each(self.alive, &self.ids) {
            let made = self.burst.may_punt() && replay(self.burst, nth, id);
            let reason = if made { DropReason::ToController } else { DropReason::UpcallLimit };
            self.burst.egress.note_drop(id, reason);
        }
    }

    fn learn(&mut self, nth: u16) {
        if let Some(id) = each(self.alive, &self.ids).next() {
            replay(self.burst, nth, id);
        }
    }

    fn save(&mut self) {
        self.burst.slow.alive.push(self.alive);
        for id in each(self.alive, &self.ids) {
            if !self.burst.slow.backup.save(&self.burst.batch.packets()[id]) {
                // Nothing may change what cannot be restored: it goes no further, and is nothing to restore either.
                self.drop(id, DropReason::TooComplex);
                self.burst.slow.alive.iter_mut().for_each(|alive| *alive &= !(1 << id));
            }
        }
    }

    fn restore(&mut self) {
        self.alive = self.burst.slow.alive.pop().unwrap_or(0);
        self.release();
        for id in each(self.alive, &self.ids) {
            self.burst.slow.backup.restore(&mut self.burst.batch.packets_mut()[id]);
        }
    }
}

fn port_numbered<'b>(burst: &Burst<'b>, number: u32) -> Option<&'b PortEntry> {
    let id = burst.bridge.ports.by_number(number)?;
    burst.context.snapshot.port(id).map(|entry| &**entry)
}

/// Raises the drop precedence of an assured-forwarding packet (RFC 2597); others have none.
fn remark(packet: &mut Packet, levels: u8) {
    let mut key = crate::flow::FlowKey::default();
    parse_again(packet, Depth::Network, &mut key);
    let dscp = key.get(FieldId::IP_DSCP) as u8;
    let (class, precedence) = (dscp >> 3, dscp >> 1 & 3);
    if (1..=4).contains(&class) && precedence > 0 && dscp & 1 == 0 {
        let raised = class << 3 | (precedence + levels).min(3) << 1;
        // Of a frame that has the field, this cannot fail.
        let _ = rewrite::apply(packet, &Action::SetNwTos(raised << 2));
    }
}

/// True when the meters let one more packet-in pass.
pub(super) fn meters_admit(meter: Option<&std::sync::Arc<MeterEntry>>, len: usize) -> bool {
    meter.is_none_or(|meter| {
        meter.count(1, len as u64);
        meter.catch(len as u64, clock::monotonic_ns()).is_none()
    })
}
