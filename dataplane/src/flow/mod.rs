//! Flows: the key of a packet, which bits of it count, what to do, and the tables that find the rule.

mod action;
mod key;
mod rule;

pub use action::{Action, Mac};
pub use key::{Field, FlowKey, KEY_WORDS, Mask};
pub use rule::{DEFAULT_PRIORITY, Flow, Match, Rule, RuleId, RuleLane, RuleTotals};
