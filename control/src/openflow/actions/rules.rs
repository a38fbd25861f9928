//! What actions may be: fields that exist and can be written, lists in the order of instructions, prerequisites.
//!
//! Neighbours: reading asks here; the engine checks flows and packet-outs with [`check`]. Error values are Open vSwitch's.

use ringswitch_dataplane::flow::{Action, Field, FieldId, LearnSource, METER_MAX, Match, Needs, Subfield, TABLES};

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

/// An action's place among instructions, in the order in which a rule's list has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Instruction {
    Meter,
    Apply,
    Clear,
    Write,
    Metadata,
    Goto,
}

impl Instruction {
    pub(super) fn of(action: &Action, version: Version) -> Self {
        match action {
            Action::Meter(_) if version < Version::V15 => Self::Meter,
            Action::ClearActions => Self::Clear,
            Action::WriteActions(_) => Self::Write,
            Action::WriteMetadata { .. } => Self::Metadata,
            Action::GotoTable(_) => Self::Goto,
            _ => Self::Apply,
        }
    }
}

/// A rule's list: instructions in order, each once; conjunctions only among themselves.
pub(super) fn in_order(actions: &[Action], version: Version) -> Result<()> {
    if actions.iter().any(|action| matches!(action, Action::Conjunction { .. })) {
        let alone = |action: &Action| matches!(action, Action::Conjunction { .. } | Action::Note(_));
        return if actions.iter().all(alone) { Ok(()) } else { Err(OfError::NXBAC_BAD_CONJUNCTION) };
    }
    for pair in actions.windows(2) {
        let (first, second) = (Instruction::of(&pair[0], version), Instruction::of(&pair[1], version));
        if second < first || (second == first && first != Instruction::Apply) {
            return Err(OfError::OFPBAC_UNSUPPORTED_ORDER);
        }
    }
    Ok(())
}

/// A list outside of a rule: what instructions say is not allowed in it, but for a meter.
pub(super) fn only_actions(actions: &[Action], version: Version) -> Result<()> {
    in_order(actions, version)?;
    let allowed = |action: &Action| Instruction::of(action, version) <= Instruction::Apply;
    if actions.iter().all(allowed) { Ok(()) } else { Err(OfError::OFPBIC_UNSUP_INST) }
}

/// A list in an action: not even a meter.
pub(super) fn only_applied(actions: &[Action], version: Version) -> Result<()> {
    only_actions(actions, version)?;
    if actions.iter().any(|action| matches!(action, Action::Meter(_))) {
        return Err(OfError::OFPBAC_BAD_ARGUMENT);
    }
    Ok(())
}

/// A list for the action set.
pub(super) fn only_set(actions: &[Action]) -> Result<()> {
    let allowed = |action: &Action| match action {
        Action::Controller(_) => super::output_port(action).is_some(),
        Action::Bundle(_)
        | Action::ClearActions
        | Action::Clone(_)
        | Action::Enqueue { .. }
        | Action::Exit
        | Action::FinTimeout { .. }
        | Action::GotoTable(_)
        | Action::Learn(_)
        | Action::Conjunction { .. }
        | Action::Meter(_)
        | Action::Multipath(_)
        | Action::Note(_)
        | Action::OutputField { .. }
        | Action::OutputCut { .. }
        | Action::PopQueue
        | Action::Push(_)
        | Action::Pop(_)
        | Action::WriteActions(_)
        | Action::WriteMetadata { .. }
        | Action::CheckPktLarger { .. } => false,
        _ => true,
    };
    if actions.iter().all(allowed) { Ok(()) } else { Err(OfError::OFPBAC_BAD_TYPE) }
}

/// Checks that packets which `matches` have what the actions look at and change; `table` is the rule's, none outside of one.
///
/// # Errors
/// What Open vSwitch answers: `OFPBAC_MATCH_INCONSISTENT`, `OFPBIC_BAD_TABLE_ID`, `OFPMMFC_INVALID_METER` and the like.
pub fn check(matches: &Match, actions: &[Action], version: Version, table: Option<u8>) -> Result<()> {
    let mut packet = *matches;
    actions.iter().try_for_each(|action| check_one(&mut packet, action, version, table))
}

fn check_one(packet: &mut Match, action: &Action, version: Version, table: Option<u8>) -> Result<()> {
    let has = |packet: &Match, field: FieldId| {
        if field.info().needs.are_met(packet) { Ok(()) } else { Err(OfError::OFPBAC_MATCH_INCONSISTENT) }
    };
    match action {
        Action::SetField { field, .. } => {
            has(packet, *field)?;
            let tag = *field != FieldId::VLAN_VID || Needs::Tag.are_met(packet);
            if tag { Ok(()) } else { Err(OfError::OFPBAC_MATCH_INCONSISTENT) }
        }
        Action::Load { target, .. } | Action::Pop(target) | Action::CheckPktLarger { target, .. } => {
            has(packet, target.field)
        }
        Action::Push(source) | Action::OutputField { source, .. } => has(packet, source.field),
        Action::Move { source, target } => has(packet, source.field).and_then(|()| has(packet, target.field)),
        Action::Multipath(multipath) => has(packet, multipath.target.field),
        Action::Bundle(bundle) => bundle.target.map_or(Ok(()), |target| has(packet, target.field)),
        Action::Learn(learn) => learn.specs.iter().try_for_each(|spec| match spec.source {
            LearnSource::Field(source) => has(packet, source.field),
            LearnSource::Value(_) => Ok(()),
        }),
        Action::Clone(actions) | Action::WriteActions(actions) => check(packet, actions, version, table),
        Action::Meter(id) if *id == 0 || *id > METER_MAX => Err(OfError::OFPMMFC_INVALID_METER),
        Action::GotoTable(to) if *to >= TABLES || table.is_some_and(|table| *to <= table) => {
            Err(OfError::OFPBIC_BAD_TABLE_ID)
        }
        _ => check_header(packet, action, version),
    }
}

/// Actions of header fields that do not name them. 1.0 does not mind when a packet does not have them.
fn check_header(packet: &mut Match, action: &Action, version: Version) -> Result<()> {
    let needs = match action {
        Action::SetNwSrc(_) | Action::SetNwDst(_) => Needs::Ipv4,
        Action::SetNwTos(_) | Action::SetNwEcn(_) | Action::SetNwTtl(_) | Action::DecTtl(_) => Needs::Ip,
        Action::SetTpSrc(_) | Action::SetTpDst(_) => Needs::Ports,
        Action::SetMplsLabel(_)
        | Action::SetMplsTc(_)
        | Action::SetMplsTtl(_)
        | Action::DecMplsTtl
        | Action::PopMpls(_) => Needs::Mpls,
        Action::PopVlan => Needs::Tag,
        Action::PopPbb => Needs::Pbb,
        Action::FinTimeout { .. } => Needs::Transport(6),
        _ => Needs::Nothing,
    };
    if version != Version::V10 && !needs.are_met(packet) {
        return Err(OfError::OFPBAC_MATCH_INCONSISTENT);
    }
    after(packet, action);
    Ok(())
}

/// What the packet is after the action.
fn after(packet: &mut Match, action: &Action) {
    const PRESENT: u64 = 0x1000;
    let mut becomes = |kind: u16| {
        packet.want(Field::DL_TYPE, kind.into(), u64::MAX);
        packet.want(Field::NW_PROTO, 0, u64::MAX);
    };
    match action {
        Action::PushMpls(kind) | Action::PopMpls(kind) | Action::PushPbb(kind) => becomes(*kind),
        Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
            packet.want(Field::VLAN_TCI, PRESENT, PRESENT);
        }
        // What comes out may have a tag, or be anything.
        Action::PopVlan => packet.want(Field::VLAN_TCI, 0, PRESENT),
        _ => {}
    }
}
