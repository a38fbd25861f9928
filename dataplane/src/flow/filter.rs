//! Which installed rules an operator means: what `del-flows`, `mod-flows` and `dump-flows` select by.

use super::{Action, Flow, LOCAL_PORT, Match, Rule};

/// Selects rules, in OpenFlow's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Loose: rules that match no packet outside this. Strict: rules with exactly this match.
    pub matches: Match,
    /// `Some` makes the selection strict: this priority and exactly this match.
    pub strict_priority: Option<u16>,
    /// Only this table.
    pub table: Option<u8>,
    /// Wanted cookie, in the bits of `cookie_mask`.
    pub cookie: u64,
    /// Bits of the cookie that count.
    pub cookie_mask: u64,
    /// Only rules that output there ([`Action::Output`], [`Action::Local`], [`Action::Controller`] and the like).
    pub out_port: Option<Action>,
    /// Only rules that use this group.
    pub out_group: Option<u32>,
}

impl Filter {
    /// Selects what has exactly this flow's match and priority.
    #[must_use]
    pub fn strict(flow: &Flow) -> Self {
        Self { matches: flow.matches, strict_priority: Some(flow.priority), table: Some(flow.table), ..Self::default() }
    }

    /// True when the rule is meant.
    #[must_use]
    pub fn selects(&self, rule: &Rule) -> bool {
        let flow = &rule.flow;
        let position = match self.strict_priority {
            Some(priority) => flow.priority == priority && flow.matches == self.matches,
            None => flow.matches.is_within(&self.matches),
        };
        position
            && self.table.is_none_or(|table| table == flow.table)
            && (flow.cookie ^ self.cookie) & self.cookie_mask == 0
            && self.out_port.as_ref().is_none_or(|port| Action::any(&flow.actions, &mut |action| outputs(action, port)))
            && self
                .out_group
                .is_none_or(|group| Action::any(&flow.actions, &mut |action| *action == Action::Group(group)))
    }
}

fn outputs(action: &Action, to: &Action) -> bool {
    match action {
        Action::Enqueue { port, .. } | Action::OutputCut { port, .. } if *port == LOCAL_PORT => *to == Action::Local,
        Action::Enqueue { port, .. } | Action::OutputCut { port, .. } => *to == Action::Output(*port),
        Action::Controller(_) => matches!(to, Action::Controller(_)),
        _ => action == to,
    }
}
