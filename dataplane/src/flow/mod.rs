//! Flows: the key of a packet, which bits of it count, what to do, and the tables that find the rule.

mod action;
mod change;
mod check;
mod conjunction;
mod fields;
mod filter;
mod follow;
pub mod grammar;
mod group;
mod history;
mod key;
mod meter;
mod misuse;
mod reads;
mod rule;
mod shape;
mod slab;
mod suggest;
mod table;
mod tables;
mod uniform;

pub use action::{
    Action, Bundle, Controller, HashFields, LOCAL_PORT, Learn, LearnSource, LearnSpec, LearnTarget, LinkAlgorithm, Mac,
    Multipath, Subfield, reason,
};
pub use change::{Change, TAGGED};
pub use check::{Checker, MAX_DEPTH, Place, check};
pub use conjunction::Dimension;
pub use fields::{FieldId, FieldInfo, Needs};
pub use filter::Filter;
pub use follow::Follower;
pub use group::{Bucket, CountLane, GROUP_MAX, Group, GroupEntry, GroupKind, GroupLane, Groups, Selection, WATCH_ANY};
pub use key::{FRAME_WORDS, Field, FlowKey, KEY_WORDS, Mask, headers};
pub use meter::{Band, BandKind, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Meter, MeterEntry, MeterTotals, Meters};
pub use misuse::Misuse;
pub use reads::{change_reads, hash_fields, is_of_frame, is_plain, reads};
pub use rule::{DEFAULT_PRIORITY, Flow, FlowFlags, Match, Rule, RuleId, RuleLane, RuleTotals};
pub use shape::{KeyShape, PackedKey};
pub use suggest::near_miss;
pub use table::{FlowTable, Inserted, OutOfBudget};
pub use tables::{TABLES, Tables};
pub use uniform::OpenRules;
