//! The proof that one verdict holds for all frames of an entry, or why there is none.
//!
//! It is the walk that packets take, with the entry's key, watched: at every table the rule found must be found for all of the
//! frames, and every action must do the same whatever else they carry and leave them as they are. Then no frame can leave the
//! walk's way, and what the walk emits is what becomes of each. Trust: rules are a controller's; the walk and the rules looked
//! at are bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{SortEntry, SortState, Target, known_of};
use crate::flow::{Action, FRAME_WORDS, FieldId, FlowKey, Follower, OpenRules, Rule, Tables, grammar};
use crate::pipeline::path::Step;
use crate::pipeline::snapshot::BridgeView;
use crate::pipeline::walk::{Outer, Request, Room, Sink, State, Walk, port};

/// Subtables that the walk itself may probe: what a port's packets may in one pass, so that a worker can take it too.
const WALK_BUDGET: u32 = crate::pipeline::classify::WALK_BUDGET / 4;

/// Why frames take the normal way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another rule decides some of them.
    #[error("a rule of table {table} looks at {field}: {rule}")]
    LooksAt {
        /// Its table.
        table: u8,
        /// What it looks at that is not the same for all frames.
        field: &'static str,
        /// Its match.
        rule: String,
    },
    /// An action that does more than output.
    #[error("{what} in table {table}")]
    Action {
        /// What it is.
        what: &'static str,
        /// Where.
        table: u8,
    },
    /// More than one output: a mirror, a flood.
    #[error("several outputs")]
    SeveralOutputs,
    /// No rule matches.
    #[error("no rule")]
    NoRule,
    /// The rules drop them.
    #[error("rules drop it")]
    Dropped,
    /// They go to somebody else.
    #[error("rules send it to another port than the pool's")]
    Elsewhere,
    /// So many tables or actions that the walk is given up.
    #[error("the walk through the tables is too long")]
    TooComplex,
    /// So many rules that it is not worth while.
    #[error("too many rules that may match")]
    TooManyRules,
}

/// The rules of a bridge's tables that look at what entries do not know; a copy that is brought up to date in bounded turns.
#[derive(Default)]
pub struct Openings {
    follower: Follower,
    /// By table; for frames without a tag and for those with one.
    tables: BTreeMap<u8, [OpenRules; 2]>,
}

impl Openings {
    /// Brings it up to date, until `budget` rules were taken in. True when it is.
    pub(super) fn follow(&mut self, tables: &Tables, budget: &mut u32) -> bool {
        let of_table = &mut self.tables;
        let new = || [false, true].map(|is_tagged| OpenRules::new(known_of(is_tagged)));
        self.follower.follow(tables, budget, |before, after| {
            let Some(table) = before.or(after).map(|rule| rule.flow.table) else { return };
            for open in of_table.entry(table).or_insert_with(new) {
                open.change(before.map(|rule| &**rule), after.map(|rule| &**rule));
            }
        })
    }

    fn of(&self, table: u8, entry: &SortEntry) -> Option<&OpenRules> {
        self.tables.get(&table).map(|open| &open[usize::from(entry.is_tagged())])
    }
}

/// The entry with what is true of it in this bridge, whose `rules` these are. Probes are taken from `budget`.
pub(super) fn prove(bridge: &BridgeView, rules: &Openings, entry: &SortEntry, budget: &mut u32) -> SortEntry {
    let mut sink = Prover { bridge, rules, entry, budget, tables: [0; 4], table: 0, refusal: None, target: None };
    let (mut room, mut probes) = (Room::default(), WALK_BUDGET);
    let outcome = Walk::new(bridge, entry.key, &mut sink, &mut room, &mut probes).start();
    if outcome.is_err() {
        sink.refuse(Refusal::TooComplex);
    }
    let state = match (sink.refusal, sink.target) {
        (Some(why), _) => SortState::Refused(why),
        (None, Some(target)) => SortState::Uniform(target),
        (None, None) => SortState::Refused(Refusal::Dropped),
    };
    entry.decided(sink.tables, state)
}

struct Prover<'p> {
    bridge: &'p BridgeView,
    rules: &'p Openings,
    entry: &'p SortEntry,
    budget: &'p mut u32,
    /// Those that the walk came through, one bit each.
    tables: [u64; 4],
    /// The last of them.
    table: u8,
    refusal: Option<Refusal>,
    target: Option<Target>,
}

impl Prover<'_> {
    /// The first reason is the one that counts: what follows was not reached by all frames.
    fn refuse(&mut self, why: Refusal) {
        self.refusal.get_or_insert(why);
    }

    fn output(&mut self, target: Target) {
        let is_own = |port| self.entry.pool.ports().contains(&port);
        match (self.target, target) {
            (Some(_), _) => self.refuse(Refusal::SeveralOutputs),
            (None, Target::Port(port)) if !is_own(port) => self.refuse(Refusal::Elsewhere),
            (None, _) => self.target = Some(target),
        }
    }
}

impl<'a> Sink<'a> for Prover<'_> {
    fn step(&mut self, step: Step) {
        match step {
            Step::Output(port) => self.output(Target::Port(port)),
            Step::Normal { .. } => self.output(Target::Normal),
            Step::Flood { .. } => self.refuse(Refusal::SeveralOutputs),
            // An output that goes nowhere, beside others: whoever takes the walk notes it.
            Step::Rule { .. } | Step::Miss { .. } | Step::Drop(_) | Step::Nothing => {}
            // Actions that lead to others were refused before.
            _ => self.refuse(Refusal::Action { what: "an action that does more than output", table: self.table }),
        }
    }

    fn request(&mut self, _: u16, _: Request<'a>, _: &State<'a>, _: &[u128], _: &Outer<'a, '_>) {
        self.refuse(Refusal::Action { what: "a request to control", table: self.table });
    }

    fn save(&mut self) -> usize {
        self.refuse(Refusal::Action { what: "a copy", table: self.table });
        0
    }

    fn close(&mut self, _: usize) {}

    fn read(&mut self, _: &mut FlowKey) -> bool {
        false
    }

    fn frame_len(&mut self) -> Option<usize> {
        None
    }

    fn found(&mut self, table: u8, rule: Option<&'a Arc<Rule>>, key: &FlowKey, depth: u32) {
        if self.refusal.is_some() {
            return;
        }
        self.table = table;
        self.tables[usize::from(table) / 64] |= 1 << (table % 64);
        let (rules, found) = (self.bridge.program.tables.table(table), rule.map(|rule| &**rule));
        let open = self.rules.of(table, self.entry);
        match open.map_or(Ok(None), |open| open.rival(rules, key, found, self.budget)) {
            Ok(None) => {}
            Ok(Some(rival)) => self.refuse(looks_at(rival, self.entry)),
            Err(_) => self.refuse(Refusal::TooManyRules),
        }
        // A resubmit that finds nothing just comes back.
        if rule.is_none() && depth == 0 {
            self.refuse(Refusal::NoRule);
        }
    }

    fn action(&mut self, action: &'a Action, _: u32) {
        if let Some(what) = objection(action) {
            self.refuse(Refusal::Action { what, table: self.table });
        }
    }
}

fn looks_at(rule: &Rule, entry: &SortEntry) -> Refusal {
    let matches = &rule.flow.matches;
    let is_open = |field: &&FieldId| {
        matches.mask.get(**field) & !entry.known.get(**field) != 0 && field.info().needs.are_met(matches)
    };
    // The last ones are those that say most: tcp_dst rather than dl_type.
    let field = FieldId::ALL.iter().rev().find(is_open).map_or("a conjunction", |field| field.info().name);
    let rule_text = grammar::format_match(matches, rule.flow.priority, &());
    Refusal::LooksAt { table: rule.flow.table, field, rule: rule_text }
}

/// Why an action is in the way; `None` for those that do the same to every frame, leave it as it is, and set nothing that rules
/// look at to what is not known.
fn objection(action: &Action) -> Option<&'static str> {
    // The port where a frame came in lies among the frame's fields, and must stay what it is too.
    let is_handed_on = |field: FieldId| usize::from(field.info().place.word) >= FRAME_WORDS;
    match action {
        Action::Output(_) | Action::InPort | Action::Local | Action::Normal | Action::Enqueue { .. } => None,
        Action::Note(_) | Action::SetQueue(_) | Action::PopQueue | Action::Exit | Action::GotoTable(_) => None,
        Action::ClearActions | Action::WriteActions(_) | Action::WriteMetadata { .. } | Action::SetTunnel(_) => None,
        Action::Resubmit { port: None | Some(port::IN_PORT), .. } => None,
        Action::Resubmit { .. } => Some("a resubmit as another port"),
        Action::SetField { field, .. } if is_handed_on(*field) => None,
        Action::Load { target, .. } if is_handed_on(target.field) => None,
        Action::Move { source, target } if is_handed_on(source.field) && is_handed_on(target.field) => None,
        Action::OutputField { source, .. } if is_handed_on(source.field) => None,
        Action::Flood | Action::All => Some("a flood"),
        Action::Meter(_) => Some("a meter"),
        Action::Group(_) => Some("a group"),
        Action::Controller(_) => Some("a packet-in"),
        Action::Learn(_) => Some("a rule that learns"),
        Action::Clone(_) => Some("a copy"),
        Action::OutputCut { .. } => Some("an output that cuts the frame"),
        Action::Move { .. } | Action::Push(_) | Action::Pop(_) | Action::OutputField { .. } => {
            Some("a rule that reads the frame")
        }
        Action::Multipath(_) | Action::Bundle(_) | Action::CheckPktLarger { .. } | Action::FinTimeout { .. } => {
            Some("a rule that reads the frame")
        }
        Action::Table | Action::Conjunction { .. } => Some("an action that is not a rule's"),
        _ => Some("a rewrite"),
    }
}
