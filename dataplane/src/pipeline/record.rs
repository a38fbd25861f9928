//! A walk recorded as a path, and the verdict that a key gets.
//!
//! The walk sees only those bits of the key that some rule looks at, so what it finds holds for every packet that agrees in
//! them. Neighbours: the classifier asks when its cache does not know.

use std::cell::Cell;
use std::sync::Arc;

use super::cache::Verdict;
use super::classify::Workshop;
use super::path::{self, Paths, Step};
use super::snapshot::BridgeView;
use super::walk::{Outer, Request, Sink, State, Stop, Walk};
use crate::flow::{FlowKey, Rule, RuleId, is_plain};
use crate::packet::DropReason;

/// What becomes of packets with this key, not known when the budget was spent. `full` is set when there is no room for their
/// path: those at hand walk live then.
pub(super) fn judge(
    bridge: &BridgeView,
    key: &FlowKey,
    paths: &mut Paths,
    workshop: &mut Workshop,
    budget: &mut u32,
    full: &mut bool,
) -> Verdict {
    let steps = &mut workshop.steps;
    steps.clear();
    let mut sink = Record { steps, plain: None, lookups: 0 };
    let outcome = Walk::new(bridge, *key, &mut sink, &mut workshop.room, budget).start();
    if let Some(rule) = sink.plain {
        return Verdict::rule(rule);
    }
    match outcome {
        Ok(()) => {}
        Err(Stop::Budget) => return Verdict::UNKNOWN,
        Err(Stop::NeedsFrame) => return Verdict::LIVE,
        Err(Stop::TooComplex) => {
            steps.clear();
            steps.push(Step::Drop(DropReason::TooComplex));
        }
    }
    if matches!(steps[..], [Step::Miss { table: 0 }, Step::Drop(_)]) {
        return Verdict::NO_RULE;
    }
    path::finish(steps);
    let path = paths.add(steps);
    *full |= path.is_none();
    path.map_or(Verdict::LIVE, Verdict::path)
}

struct Record<'s> {
    steps: &'s mut Vec<Step>,
    /// The first rule, when it needs no path.
    plain: Option<RuleId>,
    lookups: u32,
}

impl<'a> Sink<'a> for Record<'_> {
    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    fn request(&mut self, nth: u16, request: Request<'a>, _: &State<'a>, _: &[u128], _: &Outer<'a, '_>) {
        self.steps.push(match request {
            Request::Controller(..) | Request::Pause(..) => Step::Controller { nth },
            Request::Expired(_, mpls) => Step::DecTtl { mpls, nth },
            Request::Learn(_) => Step::Learn { nth, due_ms: Cell::new(0) },
        });
    }

    fn save(&mut self) -> usize {
        self.steps.push(Step::Save);
        self.steps.len() - 1
    }

    fn close(&mut self, save: usize) {
        path::close(self.steps, save);
    }

    fn read(&mut self, _: &mut FlowKey) -> bool {
        false
    }

    fn frame_len(&mut self) -> Option<usize> {
        None
    }

    fn found(&mut self, _: u8, rule: Option<&'a Arc<Rule>>, _: &FlowKey, _: u32) {
        self.lookups += 1;
        if self.lookups == 1
            && let Some(rule) = rule
            && rule.flow.actions.iter().all(is_plain)
        {
            self.plain = Some(rule.id);
        }
    }
}
