//! What would become of a packet, told step by step, as `ovs-appctl ofproto/trace` does: nothing is sent and nothing counted.
//!
//! The walk is the one that workers take; only who looks on differs. Neighbours: control asks and prints.

use std::sync::Arc;

use super::fdb::FdbKey;
use super::parse::{Depth, parse_again};
use super::path::Step;
use super::rewrite;
use super::snapshot::BridgeView;
use super::walk::{Outer, Request, Room, Sink, State, Stop, Walk, learned};
use crate::flow::{Action, Controller, FRAME_WORDS, Field, FieldId, Flow, FlowKey, Mask, Rule, reads};
use crate::packet::{Backup, DropReason, MAX_FRAME, MIN_FRAME, PacketBatch};

/// The budget of a trace: what the most patient port has.
const BUDGET: u32 = 1 << 20;

/// Everything that a trace found out, in order.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What happened.
    pub events: Vec<TraceEvent>,
    /// The packet's fields at the end.
    pub key: FlowKey,
    /// The bits of the packet that this way through the tables depended on: packets that agree in them go the same way.
    pub mask: Mask,
    /// Why the walk was given up, when it was; the packet is dropped then.
    pub gave_up: Option<DropReason>,
}

impl Trace {
    /// Why the packet goes nowhere; none when it goes somewhere.
    #[must_use]
    pub fn drop_reason(&self) -> Option<DropReason> {
        let went = |event: &TraceEvent| {
            matches!(event, TraceEvent::Output { .. } | TraceEvent::Flood { .. } | TraceEvent::Normal { .. })
        };
        if self.gave_up.is_some() || self.events.iter().any(went) {
            return self.gave_up;
        }
        let reason = self.events.iter().rev().find_map(|event| match event {
            TraceEvent::Drop(reason) => Some(*reason),
            TraceEvent::Controller { .. } => Some(DropReason::ToController),
            _ => None,
        });
        Some(reason.unwrap_or(DropReason::RuleDrop))
    }
}

/// Something that happened. `depth` counts resubmits, clones and buckets that it is inside of.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// A table was asked, with these fields.
    Table {
        /// See above.
        depth: u32,
        /// Which one.
        table: u8,
        /// What it found.
        rule: Option<Arc<Rule>>,
        /// The fields at that point.
        key: Box<FlowKey>,
    },
    /// An action is run.
    Action {
        /// See above.
        depth: u32,
        /// Which one; those that come from an action set too.
        action: Action,
    },
    /// The frame changes.
    Change(Action),
    /// It is cut to so many bytes.
    Cut(u32),
    /// It goes to the port with this number.
    Output {
        /// OpenFlow number.
        port: u32,
    },
    /// It goes to every port but the one with this number.
    Flood {
        /// OpenFlow number of the port that is left out.
        except: u32,
    },
    /// It goes where a learning switch would send it.
    Normal {
        /// The port behind which the destination is; all others when it is not known.
        port: Option<u32>,
    },
    /// It goes to controllers.
    Controller {
        /// What the action says.
        controller: Controller,
        /// Why.
        reason: u8,
    },
    /// A flow is learned.
    Learn(Box<Flow>),
    /// A meter is asked.
    Meter(u32),
    /// A group is entered.
    Group(u32),
    /// One of its buckets, by place.
    Bucket {
        /// The group.
        group: u32,
        /// The bucket's place.
        bucket: u16,
    },
    /// What follows is done to a copy.
    CopyBegins,
    /// Back to the packet as it was when the copy began.
    CopyEnds,
    /// It goes nowhere, when nothing else sends it.
    Drop(DropReason),
}

/// Follows a packet with this key: `in_port`, registers, metadata; and its frame's fields, unless there is a frame, from which
/// they are read. Without one, what only a frame can tell (its length, what a pop uncovers) stays as the key has it.
#[must_use]
pub fn trace(bridge: &BridgeView, key: &FlowKey, frame: Option<&[u8]>) -> Trace {
    let mut key = *key;
    let frame = frame.filter(|frame| (MIN_FRAME..=MAX_FRAME).contains(&frame.len()));
    let batch = frame.map(|frame| {
        let mut batch = PacketBatch::new();
        batch.slot_and_tally().0.reset(frame.len()).copy_from_slice(frame);
        batch.push();
        parse_again(&mut batch.packets_mut()[0], Depth::All, &mut key);
        batch
    });
    let (events, mask, backup) = (Vec::new(), Mask::NONE, Backup::default());
    let mut sink = Tracer { bridge, events, mask, key, batch, backup, originals: Vec::new() };
    let (mut room, mut budget) = (Room::default(), BUDGET);
    let outcome = Walk::new(bridge, key, &mut sink, &mut room, &mut budget).start();
    let gave_up = match outcome {
        Ok(()) => None,
        Err(Stop::Budget) => Some(DropReason::LookupBudget),
        Err(Stop::TooComplex | Stop::NeedsFrame) => Some(DropReason::TooComplex),
    };
    let Tracer { events, mut mask, key, .. } = sink;
    mask.words[FRAME_WORDS..].fill(0);
    Trace { events, key, mask, gave_up }
}

struct Tracer<'a> {
    bridge: &'a BridgeView,
    events: Vec<TraceEvent>,
    mask: Mask,
    /// As it was seen last.
    key: FlowKey,
    batch: Option<PacketBatch>,
    backup: Backup,
    /// Keys of those that copies were made of.
    originals: Vec<FlowKey>,
}

impl Tracer<'_> {
    /// Where NORMAL sends what the key tells of.
    fn normal(&self) -> Option<u32> {
        let tag = self.key.field(Field::VLAN_TCI) as u16;
        let vlan = if tag == 0 { 0 } else { tag & 0xfff };
        let probe = self.bridge.fdb.probe(FdbKey::new(self.key.field(Field::DL_DST), vlan));
        self.bridge.ports.number_of(self.bridge.fdb.lookup(probe)?)
    }

    fn change(&mut self, action: &Action) {
        rewrite::apply_to_key(&mut self.key, action);
        if let Some(batch) = &mut self.batch
            && let Err(reason) = rewrite::apply(&mut batch.packets_mut()[0], action)
        {
            self.events.push(TraceEvent::Drop(reason));
        }
    }
}

impl<'a> Sink<'a> for Tracer<'_> {
    fn step(&mut self, step: Step) {
        let event = match step {
            Step::Change(action) => {
                self.change(&action);
                TraceEvent::Change(action)
            }
            Step::Truncate(len) => {
                self.batch.iter_mut().for_each(|batch| batch.packets_mut()[0].truncate(len as usize));
                TraceEvent::Cut(len)
            }
            Step::Output(port) => match self.bridge.ports.number_of(port) {
                Some(_) if self.bridge.ports.is_mute(port) => TraceEvent::Drop(DropReason::PortConfig),
                Some(port) => TraceEvent::Output { port },
                None => TraceEvent::Drop(DropReason::NoSuchPort),
            },
            Step::Flood { from, .. } => TraceEvent::Flood { except: from },
            Step::Normal { .. } => TraceEvent::Normal { port: self.normal() },
            Step::Group(id) => TraceEvent::Group(id),
            Step::Bucket { group, bucket } => TraceEvent::Bucket { group, bucket },
            Step::Meter(id) => TraceEvent::Meter(id),
            Step::Drop(reason) => TraceEvent::Drop(reason),
            _ => return,
        };
        self.events.push(event);
    }

    fn request(&mut self, _: u16, request: Request<'a>, state: &State<'a>, _: &[u128], _: &Outer<'a, '_>) {
        let event = match request {
            Request::Controller(controller, reason) | Request::Pause(controller, reason) => {
                TraceEvent::Controller { controller: controller.clone(), reason }
            }
            Request::Learn(learn) => TraceEvent::Learn(Box::new(learned(learn, &state.key))),
            Request::Expired(_, mpls) => {
                let action = if mpls { Action::DecMplsTtl } else { Action::DecTtl(Vec::new()) };
                let ttl = state.key.get(if mpls { FieldId::MPLS_TTL } else { FieldId::NW_TTL });
                self.change(&action);
                if ttl == 1 { TraceEvent::Drop(DropReason::TtlExpired) } else { TraceEvent::Change(action) }
            }
        };
        self.events.push(event);
    }

    fn save(&mut self) -> usize {
        if let Some(batch) = &self.batch {
            // A copy that does not fit shows what it did to the original.
            let _ = self.backup.save(&batch.packets()[0]);
        }
        self.originals.push(self.key);
        self.events.push(TraceEvent::CopyBegins);
        0
    }

    fn close(&mut self, _: usize) {
        if let Some(batch) = &mut self.batch {
            self.backup.restore(&mut batch.packets_mut()[0]);
        }
        self.key = self.originals.pop().unwrap_or(self.key);
        self.events.push(TraceEvent::CopyEnds);
    }

    fn end(&mut self, key: &FlowKey) {
        self.key = *key;
    }

    fn read(&mut self, key: &mut FlowKey) -> bool {
        if let Some(batch) = &mut self.batch {
            parse_again(&mut batch.packets_mut()[0], Depth::All, key);
        }
        true
    }

    fn frame_len(&mut self) -> Option<usize> {
        Some(self.batch.as_ref().map_or(0, |batch| batch.packets()[0].len()))
    }

    fn found(&mut self, table: u8, rule: Option<&'a Arc<Rule>>, key: &FlowKey, depth: u32) {
        self.key = *key;
        if let Some(rules) = self.bridge.program.tables.table(table) {
            self.mask.union(&rules.union_mask());
        }
        if let Some(rule) = rule {
            self.mask.union(&reads(&rule.flow.actions));
        }
        self.events.push(TraceEvent::Table { depth, table, rule: rule.cloned(), key: Box::new(*key) });
    }

    fn action(&mut self, action: &'a Action, depth: u32) {
        if let Action::Group(id) = action
            && let Some(group) = self.bridge.program.groups.get(id)
        {
            self.mask.union(&group.reads);
        }
        self.events.push(TraceEvent::Action { depth, action: action.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::grammar::parse_flow;
    use crate::pipeline::{BridgePorts, Fdb, Program, TableStats};

    fn bridge(flows: &str) -> BridgeView {
        let mut program = Program::default();
        for line in flows.lines() {
            program.tables.insert(parse_flow(line.trim(), &()).expect(line), 0, 1);
        }
        let (ports, stats) = (Arc::new(BridgePorts::default()), Arc::new(TableStats::new(0)));
        BridgeView::new(1, program, Arc::new(Fdb::new(16)), ports, stats)
    }

    #[test]
    fn a_trace_tells_tables_rules_actions_and_what_mattered() {
        let bridge = bridge(
            "in_port=1,actions=load:7->NXM_NX_REG0[],resubmit(,3),goto_table:5\n\
             table=3,reg0=7,actions=mod_dl_dst:02:00:00:00:00:09\n\
             table=5,dl_dst=02:00:00:00:00:09,actions=CONTROLLER,NORMAL\n\
             table=9,tp_dst=1,tcp,actions=drop",
        );
        let mut key = FlowKey::default();
        key.set(Field::IN_PORT, 1);
        let trace = trace(&bridge, &key, None);
        let passed = trace.events.iter().filter_map(|event| match event {
            TraceEvent::Table { depth, table, rule, .. } => Some((*depth, *table, rule.is_some())),
            _ => None,
        });
        assert_eq!(passed.collect::<Vec<_>>(), [(0, 0, true), (1, 3, true), (0, 5, true)]);
        assert_eq!(trace.drop_reason(), None);
        assert_eq!(trace.key.field(Field::DL_DST), 0x0200_0000_0009);
        assert_ne!(trace.mask.field(Field::IN_PORT), 0);
        assert_eq!(trace.mask.field(Field::TP_DST), 0, "table 9 was not asked");
    }
}
