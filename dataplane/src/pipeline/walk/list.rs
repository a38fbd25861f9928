//! Lists of actions: what each of them means for the walk.

use super::hash::{link, of_method, port_in, port_of};
use super::{ActionSet, OnMiss, Outer, Request, Stop, Walk, group, port};
use crate::flow::{Action, Bundle, Controller, Field, Multipath, reason};
use crate::packet::DropReason;
use crate::pipeline::path::Step;

impl<'a> Walk<'a, '_> {
    /// Runs a list; returns the table to go on in.
    pub(super) fn list(&mut self, actions: &'a [Action], outer: &Outer<'a, '_>) -> Result<Option<u8>, Stop> {
        let mut next = None;
        for (nth, action) in actions.iter().enumerate() {
            if self.exit {
                return Ok(None);
            }
            match action {
                Action::GotoTable(table) => next = Some(*table),
                _ => self.action(action, &Outer { rest: &actions[nth + 1..], outer: Some(outer) })?,
            }
        }
        Ok(next.filter(|_| !self.exit))
    }

    pub(super) fn action(&mut self, action: &'a Action, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.sink.action(action, self.depth);
        match action {
            Action::Output(port) => self.output(*port, outer),
            Action::OutputCut { port, max_len } => self.on_copy(|walk| {
                walk.step(Step::Truncate(*max_len))?;
                walk.output(*port, outer)
            }),
            Action::OutputField { source, .. } => {
                let port = port_of(self.read(*source)? as u64);
                self.output(port, outer)
            }
            Action::InPort => self.output(port::IN_PORT, outer),
            Action::Table => self.output(port::TABLE, outer),
            Action::Flood => self.output(port::FLOOD, outer),
            Action::All => self.output(port::ALL, outer),
            Action::Local => self.output(port::LOCAL, outer),
            Action::Normal => self.output(port::NORMAL, outer),
            Action::Enqueue { port, queue } => {
                let before = self.queue;
                self.set_queue(*queue)?;
                self.output(*port, outer)?;
                self.set_queue(before)
            }
            Action::Controller(controller) => self.controller(controller, outer),
            Action::Group(id) => self.group(*id, outer),
            Action::Meter(id) => self.step(Step::Meter(*id)),
            Action::SetQueue(queue) => self.set_queue(*queue),
            Action::PopQueue => self.set_queue(0),
            Action::Note(_) | Action::Conjunction { .. } => Ok(()),
            Action::Resubmit { port, table } => self.resubmit(*port, *table, outer),
            Action::Clone(actions) => self.clone_of(actions),
            Action::Learn(learn) => {
                if let Some(result) = learn.result {
                    self.write(result, 1)?;
                }
                self.fresh()?;
                self.request(Request::Learn(learn), outer)
            }
            Action::Multipath(multipath) => self.multipath(multipath),
            Action::Bundle(bundle) => self.bundle(bundle, outer),
            Action::CheckPktLarger { len, target } => {
                let frame_len = self.sink.frame_len().ok_or(Stop::NeedsFrame)?;
                self.write(*target, u128::from(frame_len > usize::from(*len)))
            }
            Action::FinTimeout { .. } => self.fin_timeout(),
            Action::Exit => {
                self.exit = true;
                Ok(())
            }
            Action::ClearActions => {
                self.state.set = ActionSet::default();
                self.note_set();
                Ok(())
            }
            Action::WriteActions(actions) => {
                self.state.set.write_all(actions)?;
                self.note_set();
                Ok(())
            }
            _ => self.change(action, outer),
        }
    }

    /// `actset_output` can be matched on.
    fn note_set(&mut self) {
        let output = self.state.set.output().unwrap_or(0);
        self.state.key.set(Field::ACTSET_OUTPUT, u64::from(output));
    }

    /// To a port, which may be a reserved one.
    pub(super) fn output(&mut self, number: u32, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let from = self.state.in_port();
        match number {
            port::IN_PORT => self.send(from),
            port::TABLE => self.through_tables(outer),
            port::NORMAL => self.step(Step::Normal { from }),
            port::FLOOD | port::ALL => self.step(Step::Flood { from, all: number == port::ALL }),
            port::CONTROLLER => self.controller(&PLAIN, outer),
            _ if number == from => self.step(Step::Drop(DropReason::OutputToIngress)),
            _ => self.send(number),
        }
    }

    /// What rules send to controllers there is their doing, not the packet-out's.
    fn through_tables(&mut self, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let before = std::mem::replace(&mut self.reason, reason::ACTION);
        let outcome = self.nested(0, OnMiss::Default, outer);
        self.reason = before;
        outcome
    }

    fn send(&mut self, number: u32) -> Result<(), Stop> {
        let port = self.bridge.ports.by_number(number);
        self.step(port.map_or(Step::Drop(DropReason::NoSuchPort), Step::Output))
    }

    fn controller(&mut self, controller: &'a Controller, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let reason = match controller.reason {
            reason::ACTION if self.follows_miss() => reason::NO_MATCH,
            reason::ACTION => self.reason,
            other => other,
        };
        if !controller.pause {
            return self.request(Request::Controller(controller, reason), outer);
        }
        self.fresh()?;
        self.request(Request::Pause(controller, reason), outer)?;
        (self.exit, self.paused) = (true, true);
        Ok(())
    }

    /// The rule is the table-miss entry: it has priority 0 and matches everything.
    fn follows_miss(&self) -> bool {
        self.state.rule.is_some_and(|rule| rule.flow.priority == 0 && rule.flow.matches.mask.is_empty())
    }

    fn resubmit(&mut self, port: Option<u32>, table: Option<u8>, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let from = self.state.key.field(Field::IN_PORT);
        let as_if = port.filter(|&port| port != port::IN_PORT).map_or(from, u64::from);
        self.state.key.set(Field::IN_PORT, as_if);
        let outcome = self.nested(table.unwrap_or(self.state.table), OnMiss::Ignore, outer);
        // Unless an action of the rules there set it.
        if self.state.key.field(Field::IN_PORT) == as_if {
            self.state.key.set(Field::IN_PORT, from);
        }
        outcome
    }

    /// Another lookup; afterwards the present rule goes on.
    fn nested(&mut self, table: u8, on_miss: OnMiss, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let before = (self.state.table, self.state.rule);
        let outcome = self.deeper(|walk| walk.enter(table, on_miss, outer));
        (self.state.table, self.state.rule) = before;
        outcome
    }

    fn clone_of(&mut self, actions: &'a [Action]) -> Result<(), Stop> {
        self.on_copy(|walk| {
            // What a clone pauses goes on by itself: the rest of the trip is not its own.
            let list = |walk: &mut Self| walk.list(actions, &Outer { rest: &[], outer: None }).map(drop);
            walk.deeper(list)?;
            (walk.exit, walk.paused) = (false, false);
            Ok(())
        })
    }

    fn multipath(&mut self, multipath: &Multipath) -> Result<(), Stop> {
        self.fresh()?;
        let hash = of_method(&self.state.key, multipath.fields, u64::from(multipath.basis));
        let link = link(hash, multipath.algorithm, multipath.links, multipath.argument);
        self.write(multipath.target, u128::from(link))
    }

    /// One of several ports that is up.
    fn bundle(&mut self, bundle: &Bundle, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.fresh()?;
        let hash = of_method(&self.state.key, bundle.fields, u64::from(bundle.basis));
        let mut alive = bundle.members.iter().copied().filter(|&port| group::port_is_up(self.bridge, port));
        let chosen = match bundle.active_backup {
            true => alive.next(),
            false => alive.max_by_key(|&port| super::hash::score(hash, port)),
        };
        match (bundle.target, chosen) {
            // Without a member that is up, the field says "no port".
            (Some(target), _) => self.write(target, port_in(chosen.unwrap_or(port::NONE), target.bits)),
            (None, Some(port)) => self.output(port, outer),
            (None, None) => self.step(Step::Drop(DropReason::NoBucket)),
        }
    }

    fn fin_timeout(&mut self) -> Result<(), Stop> {
        self.fresh()?;
        const FIN_OR_RST: u64 = 0b101;
        let Some(rule) = self.state.rule else { return Ok(()) };
        if self.state.key.field(Field::TCP_FLAGS) & FIN_OR_RST == 0 {
            return Ok(());
        }
        self.step(Step::Finish { table: self.state.table, rule: rule.id })
    }
}

/// An output to the controller port.
static PLAIN: Controller =
    Controller { max_len: u16::MAX, reason: reason::ACTION, id: 0, userdata: Vec::new(), pause: false, meter: None };
