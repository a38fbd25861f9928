//! What may be wrong with an action, for a person and as an error of OpenFlow.
//!
//! Neighbours: `check` finds it, the grammar prints it, the OpenFlow server sends it.

use super::{FieldId, GROUP_MAX, MAX_DEPTH, METER_MAX, Needs, Subfield, TABLES};

/// What is wrong with an action. In brackets, the error of OpenFlow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A field that the packets need not have (OFPBAC_MATCH_INCONSISTENT).
    Missing(FieldId, Needs),
    /// What an action changes, which the packets need not have (OFPBAC_MATCH_INCONSISTENT).
    MissingHeader(Needs),
    /// A field that no action may write (OFPBAC_BAD_SET_TYPE).
    ReadOnly(FieldId),
    /// A value that the field cannot have (OFPBAC_BAD_SET_ARGUMENT).
    Value(FieldId),
    /// Bits that the field does not have (OFPBAC_BAD_ARGUMENT; OFPBAC_BAD_SET_LEN where it is written).
    Bits(Subfield),
    /// An argument; what it may be (OFPBAC_BAD_ARGUMENT).
    Argument(&'static str),
    /// A port that nothing is sent to (OFPBAC_BAD_OUT_PORT).
    Port(u32),
    /// A reserved group (OFPBAC_BAD_OUT_GROUP).
    Group(u32),
    /// Meter 0 or a reserved one (OFPMMFC_INVALID_METER).
    Meter(u32),
    /// A table that is not a later one (OFPBIC_BAD_TABLE_ID).
    Table(u8),
    /// Instructions out of order: the first must stand before the second (OFPBAC_UNSUPPORTED_ORDER).
    Order(&'static str, &'static str),
    /// An instruction that is there already (OFPBAC_UNSUPPORTED_ORDER; OFPBIC_DUP_INST).
    Twice(&'static str),
    /// An instruction among the actions of a bucket, a packet-out, or another action (OFPBAC_BAD_TYPE).
    Instruction(&'static str),
    /// An action that an action set does not take (OFPBAC_BAD_TYPE).
    NotInSet,
    /// conjunction beside something else than notes (OFPBAC_UNSUPPORTED_ORDER).
    Conjunction,
    /// Lists in lists, deeper than [`MAX_DEPTH`] (OFPBAC_TOO_MANY).
    Depth,
}

impl Misuse {
    /// What is wrong, for a person.
    #[must_use]
    pub fn problem(self) -> String {
        match self {
            Self::Missing(field, _) => format!("{}, which the matched packets need not have", field.info().name),
            Self::MissingHeader(_) => "a header that the matched packets need not have".to_owned(),
            Self::ReadOnly(field) => format!("{}, which is read-only", field.info().name),
            Self::Value(field) => format!("a value that {} cannot have", field.info().name),
            Self::Bits(part) => format!("bits {} and up, {} of them", part.start, part.bits),
            Self::Argument(_) => "an argument out of its range".to_owned(),
            Self::Port(port) => format!("port {port}"),
            Self::Group(group) => format!("group {group}"),
            Self::Meter(meter) => format!("meter {meter}"),
            Self::Table(table) => format!("table {table}"),
            Self::Order(first, second) => format!("{first} behind {second}"),
            Self::Twice(name) => format!("{name} for the second time"),
            Self::Instruction(name) => format!("{name} among actions"),
            Self::NotInSet => "an action that cannot be in an action set".to_owned(),
            Self::Conjunction => "conjunction beside other actions".to_owned(),
            Self::Depth => format!("more than {MAX_DEPTH} lists of actions in each other"),
        }
    }

    /// What would have been right.
    #[must_use]
    pub fn expected(self) -> String {
        let fixed = match self {
            Self::Missing(_, needs) | Self::MissingHeader(needs) => {
                return format!("{} in the match", needs.expected());
            }
            Self::ReadOnly(_) => "a field that actions may write",
            Self::Value(field) => return format!("a value of its {} bits, within the mask", field.info().bits),
            Self::Bits(part) => {
                return format!("bits of {}, which has {}", part.field.info().name, part.field.info().bits);
            }
            Self::Argument(expected) => expected,
            Self::Port(_) => "an ordinary port, or a reserved one that this action can send to",
            Self::Group(_) => return format!("a group's number, 0 to {GROUP_MAX}"),
            Self::Meter(_) => return format!("a meter's number, 1 to {METER_MAX}"),
            Self::Table(_) => return format!("a later table than the flow's, at most {}", TABLES - 1),
            Self::Order(..) => "meter, actions, clear_actions, write_actions, write_metadata, goto_table in this order",
            Self::Twice(_) => "it once",
            Self::Instruction(_) => "it in a flow, outside of other actions",
            Self::NotInSet => "output, group, push, pop, set, TTL and queue actions",
            Self::Conjunction => "nothing but conjunction and note in this flow",
            Self::Depth => "fewer",
        };
        fixed.to_owned()
    }
}
