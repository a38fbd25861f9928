//! What actions may be: bits that exist and can be written, and what [`flow::check`] says of whole lists, in OpenFlow's
//! error values.

use ringswitch_dataplane::flow::{self, Action, Match, Misuse, Place, Subfield};

use super::super::wire::Result;
use super::super::{OfError, Version};

/// Bits that are there.
pub(super) fn source(part: Subfield) -> Result<Subfield> {
    let width = part.field.info().bits;
    if part.bits == 0 || part.start >= width || part.bits > width - part.start {
        return Err(OfError::OFPBAC_BAD_SET_LEN);
    }
    Ok(part)
}

/// Bits that are there and can be written.
pub(super) fn target(part: Subfield) -> Result<Subfield> {
    if source(part)?.field.info().writable { Ok(part) } else { Err(OfError::OFPBAC_BAD_SET_ARGUMENT) }
}

/// True for an action among others; false for what is an instruction of its own in this version.
pub(super) fn is_applied(action: &Action, version: Version) -> bool {
    match action {
        Action::Meter(_) => version == Version::V15,
        Action::ClearActions | Action::WriteActions(_) | Action::WriteMetadata { .. } | Action::GotoTable(_) => false,
        _ => true,
    }
}

/// Checks a rule's list: packets which `matches` have what the actions look at and change, instructions stand in order.
///
/// # Errors
/// What Open vSwitch answers: `OFPBAC_MATCH_INCONSISTENT`, `OFPBIC_BAD_TABLE_ID`, `OFPMMFC_INVALID_METER` and the like.
pub fn check(matches: &Match, actions: &[Action], version: Version, table: u8) -> Result<()> {
    let strict = version != Version::V10;
    flow::check(actions, Some(*matches), Place::Flow(table), strict).map_err(|(_, misuse)| refusal(misuse))
}

/// A list in a packet-out, a bucket, another action: no instructions.
pub(super) fn list(actions: &[Action]) -> Result<()> {
    flow::check(actions, None, Place::List, false).map_err(|(_, misuse)| refusal(misuse))
}

/// A list for the action set.
pub(super) fn set(actions: &[Action]) -> Result<()> {
    flow::check(actions, None, Place::Set, false).map_err(|(_, misuse)| refusal(misuse))
}

/// How a misuse is told to a controller.
fn refusal(misuse: Misuse) -> OfError {
    match misuse {
        Misuse::Missing(..) | Misuse::MissingHeader(_) => OfError::OFPBAC_MATCH_INCONSISTENT,
        Misuse::ReadOnly(_) | Misuse::Value(_) => OfError::OFPBAC_BAD_SET_ARGUMENT,
        Misuse::Bits(_) => OfError::OFPBAC_BAD_SET_LEN,
        Misuse::Argument(_) => OfError::OFPBAC_BAD_ARGUMENT,
        Misuse::Port(_) => OfError::OFPBAC_BAD_OUT_PORT,
        Misuse::Group(_) => OfError::OFPBAC_BAD_OUT_GROUP,
        Misuse::Meter(_) => OfError::OFPMMFC_INVALID_METER,
        Misuse::Table(_) => OfError::OFPBIC_BAD_TABLE_ID,
        Misuse::Order(..) | Misuse::Twice(_) => OfError::OFPBAC_UNSUPPORTED_ORDER,
        Misuse::Instruction(_) => OfError::OFPBIC_UNSUP_INST,
        Misuse::NotInSet => OfError::OFPBAC_BAD_TYPE,
        Misuse::Conjunction => OfError::NXBAC_BAD_CONJUNCTION,
        Misuse::Depth => OfError::OFPBAC_TOO_MANY,
    }
}
