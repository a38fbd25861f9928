//! Flows: the key of a packet, which bits of it count, what to do, and the tables that find the rule.

mod action;
mod filter;
pub mod grammar;
mod key;
mod rule;
mod shape;
mod slab;
mod suggest;
mod table;

pub use action::{Action, LOCAL_PORT, Mac};
pub use filter::Filter;
pub use key::{Field, FlowKey, KEY_WORDS, Mask};
pub use rule::{DEFAULT_PRIORITY, Flow, Match, Rule, RuleId, RuleLane, RuleTotals};
pub use shape::{KeyShape, PackedKey};
pub use suggest::near_miss;
pub use table::{FlowTable, Inserted, OutOfBudget};
