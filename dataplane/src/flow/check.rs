//! Whether actions are sound for what they are done to: fields are there and may be written, ports exist in principle,
//! instructions stand in their order.
//!
//! Trust: operators and controllers. Source: OpenFlow 1.5.1 sections 5.5 and 5.8, and what Open vSwitch makes of them.
//! Neighbours: the grammar and the OpenFlow server ask; whether groups and meters exist is for the engine to know.

use super::{
    Action, FieldId, GROUP_MAX, Learn, LearnSource, LearnTarget, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Match,
    Misuse, Needs, Subfield, TABLES,
};
use crate::wire::{ethernet, tcp, vlan};

/// Lists of actions in actions, at most.
pub const MAX_DEPTH: usize = 16;
/// The first reserved port.
const RESERVED_PORTS: u32 = 0xffff_fff8;
const IN_PORT: u32 = 0xffff_fff8;
const LOCAL: u32 = super::LOCAL_PORT;
const ANY: u32 = u32::MAX;
/// Bytes that are left of a packet that `output(max_len=..)` cuts.
const MIN_CUT: u32 = 14;

/// Where a list of actions stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a flow of this table, with instructions.
    Flow(u8),
    /// In a packet-out, or in another action.
    List,
    /// In an action set: write_actions and buckets.
    Set,
}

/// Follows a list of actions, and what the packets are at each of them.
#[derive(Clone, Debug)]
pub struct Checker {
    /// `None` when the packets may be any: in buckets and packet-outs.
    matches: Option<Match>,
    place: Place,
    depth: usize,
    /// Also headers that `mod_` actions pass over when they are not there must be sure to be there: OpenFlow 1.1 and later.
    strict: bool,
    stage: u8,
    conjunctions: bool,
    others: bool,
}

/// Checks a whole list. On failure, which action of it is at fault.
///
/// # Errors
/// See [`Misuse`].
pub fn check(actions: &[Action], matches: Option<Match>, place: Place, strict: bool) -> Result<(), (usize, Misuse)> {
    let mut checker = Checker::new(matches, place, strict);
    actions.iter().enumerate().try_for_each(|(at, action)| checker.take(action).map_err(|misuse| (at, misuse)))
}

impl Checker {
    /// At the start of a list.
    #[must_use]
    pub fn new(matches: Option<Match>, place: Place, strict: bool) -> Self {
        Self { matches, place, depth: 0, strict, stage: 0, conjunctions: false, others: false }
    }

    /// At the start of a list in the next action.
    ///
    /// # Errors
    /// [`Misuse::Depth`]
    pub fn inside(&self, place: Place) -> Result<Self, Misuse> {
        if self.depth == MAX_DEPTH {
            return Err(Misuse::Depth);
        }
        Ok(Self { depth: self.depth + 1, ..Self::new(self.matches, place, self.strict) })
    }

    /// The next action.
    ///
    /// # Errors
    /// See [`Misuse`].
    pub fn take(&mut self, action: &Action) -> Result<(), Misuse> {
        self.order(action)?;
        if self.place == Place::Set && !goes_in_a_set(action) {
            return Err(Misuse::NotInSet);
        }
        self.headers(action)?;
        self.arguments(action)?;
        self.fields(action)?;
        self.lists(action)?;
        self.change(action);
        Ok(())
    }

    fn order(&mut self, action: &Action) -> Result<(), Misuse> {
        const NAMES: [&str; 6] = ["meter", "actions", "clear_actions", "write_actions", "write_metadata", "goto_table"];
        let stage = match action {
            Action::Meter(_) => 0,
            Action::ClearActions => 2,
            Action::WriteActions(_) => 3,
            Action::WriteMetadata { .. } => 4,
            Action::GotoTable(_) => 5,
            _ => 1,
        };
        let name = NAMES[usize::from(stage)];
        if stage != 1 && !matches!(self.place, Place::Flow(_)) {
            return Err(Misuse::Instruction(name));
        }
        // One more than the last one's stage, but for applied actions, of which there may be many.
        if stage + 1 == self.stage && stage != 1 {
            return Err(Misuse::Twice(name));
        }
        if stage + 1 < self.stage {
            return Err(Misuse::Order(name, NAMES[usize::from(self.stage - 1)]));
        }
        self.stage = stage + 1;
        match action {
            Action::Conjunction { .. } => self.conjunctions = true,
            Action::Note(_) => {}
            _ => self.others = true,
        }
        if self.conjunctions && self.others { Err(Misuse::Conjunction) } else { Ok(()) }
    }

    fn headers(&self, action: &Action) -> Result<(), Misuse> {
        let needs = match action {
            Action::PopVlan => Needs::Tag,
            Action::SetNwSrc(_) | Action::SetNwDst(_) => Needs::Ipv4OrArp,
            Action::SetNwTos(_) | Action::SetNwEcn(_) | Action::SetNwTtl(_) | Action::DecTtl(_) => Needs::Ip,
            Action::SetTpSrc(_) | Action::SetTpDst(_) => Needs::Ports,
            Action::PopMpls(_)
            | Action::SetMplsLabel(_)
            | Action::SetMplsTc(_)
            | Action::SetMplsTtl(_)
            | Action::DecMplsTtl => Needs::Mpls,
            Action::PopPbb => Needs::Pbb,
            Action::FinTimeout { .. } => Needs::Transport(tcp::PROTOCOL),
            _ => Needs::Nothing,
        };
        if self.strict && !met(needs, self.matches.as_ref()) { Err(Misuse::MissingHeader(needs)) } else { Ok(()) }
    }

    fn arguments(&self, action: &Action) -> Result<(), Misuse> {
        let argument = |sound: bool, expected| if sound { Ok(()) } else { Err(Misuse::Argument(expected)) };
        let port = |sound: bool, port| if sound { Ok(()) } else { Err(Misuse::Port(port)) };
        match action {
            Action::Output(number) => port(*number < RESERVED_PORTS, *number),
            Action::OutputCut { port: number, max_len } => {
                port(*number < RESERVED_PORTS || matches!(*number, IN_PORT | LOCAL), *number)?;
                argument(*max_len >= MIN_CUT, "max_len of at least 14")
            }
            Action::Enqueue { port: number, .. } => {
                port(*number < RESERVED_PORTS || matches!(*number, IN_PORT | LOCAL), *number)
            }
            Action::Group(id) if *id > GROUP_MAX => Err(Misuse::Group(*id)),
            Action::Meter(id) if !matches!(*id, 1..=METER_MAX | METER_CONTROLLER | METER_SLOWPATH) => {
                Err(Misuse::Meter(*id))
            }
            Action::GotoTable(table) => {
                let later = matches!(self.place, Place::Flow(own) if own < *table);
                if later && *table < TABLES { Ok(()) } else { Err(Misuse::Table(*table)) }
            }
            Action::SetVlanVid(vid) => argument(*vid <= vlan::VID, "a VLAN id, 0 to 4095"),
            Action::SetVlanPcp(pcp) => argument(*pcp <= 7, "a VLAN priority, 0 to 7"),
            Action::SetNwTos(tos) => argument(tos & 3 == 0, "a multiple of 4, for ECN is not set"),
            Action::SetNwEcn(ecn) => argument(*ecn <= 3, "ECN bits, 0 to 3"),
            Action::SetMplsLabel(label) => argument(*label <= 0xf_ffff, "a label, 0 to 1048575"),
            Action::SetMplsTc(class) => argument(*class <= 7, "a traffic class, 0 to 7"),
            Action::PushVlan(kind) => argument(vlan::is_tag(*kind), "0x8100 or 0x88a8"),
            Action::PushMpls(kind) => argument(is_mpls(*kind), "0x8847 or 0x8848"),
            Action::PushPbb(kind) => argument(*kind == ethernet::TYPE_PBB, "0x88e7"),
            Action::Resubmit { port: None, table: None } => argument(false, "a port or a table"),
            Action::Conjunction { clause, clauses, .. } => {
                let expected = "dimension K of N as K/N, K from 1 to N and N from 2 to 64";
                argument((2..=64).contains(clauses) && clause < clauses, expected)
            }
            Action::Bundle(bundle) => {
                let usable = |number: u32| number < RESERVED_PORTS || matches!(number, LOCAL | ANY);
                bundle.members.iter().try_for_each(|number| port(usable(*number), *number))
            }
            _ => Ok(()),
        }
    }

    fn fields(&self, action: &Action) -> Result<(), Misuse> {
        match action {
            Action::OutputField { source, .. } | Action::Push(source) => self.reads(*source),
            Action::Pop(target) => self.writes(*target),
            Action::SetField { field, value, mask } => {
                self.writes(Subfield::whole(*field))?;
                let tagless = *field == FieldId::VLAN_VID && *mask == field.ones() && value & 0x1000 == 0;
                let beyond = value & !mask != 0 || mask & !field.ones() != 0;
                let ecn = *field == FieldId::IP_TOS && value & 3 != 0;
                if beyond || tagless || ecn { Err(Misuse::Value(*field)) } else { Ok(()) }
            }
            Action::Load { value, target } => {
                self.writes(*target)?;
                let fits = u128::from(*value) <= target.mask() >> target.start;
                if fits { Ok(()) } else { Err(Misuse::Value(target.field)) }
            }
            Action::Move { source, target } => {
                self.reads(*source)?;
                self.writes(*target)?;
                same_width(*source, *target)
            }
            Action::Multipath(multipath) => {
                self.writes(multipath.target)?;
                let room = multipath.target.mask() >> multipath.target.start;
                let sound = multipath.links > 0 && u128::from(multipath.links) - 1 <= room;
                if sound { Ok(()) } else { Err(Misuse::Argument("links that the bits of the field can count")) }
            }
            Action::Bundle(bundle) => match bundle.target {
                Some(target) if target.bits < 16 => Err(Misuse::Argument("16 bits or more to load to")),
                Some(target) => self.writes(target),
                None => Ok(()),
            },
            Action::CheckPktLarger { target, .. } => {
                self.writes(*target)?;
                one_bit(*target)
            }
            Action::Learn(learn) => self.learn(learn),
            _ => Ok(()),
        }
    }

    fn reads(&self, part: Subfield) -> Result<(), Misuse> {
        is_there(part, self.matches.as_ref())
    }

    fn writes(&self, part: Subfield) -> Result<(), Misuse> {
        writes(part, self.matches.as_ref())
    }

    fn learn(&self, learn: &Learn) -> Result<(), Misuse> {
        if learn.table >= TABLES {
            return Err(Misuse::Argument("a table number, 0 to 253"));
        }
        if let Some(result) = learn.result {
            self.writes(result)?;
            one_bit(result)?;
        }
        // What the flow that is made matches on, as far as it is known.
        let mut made = Match::default();
        for spec in &learn.specs {
            let value = match spec.source {
                LearnSource::Field(source) => {
                    self.reads(source)?;
                    let wide = source.bits == spec.bits;
                    wide.then_some(None).ok_or(Misuse::Argument("as many bits on both sides"))?
                }
                LearnSource::Value(value) => Some(value),
            };
            let target = match spec.target {
                LearnTarget::Match(target) => {
                    is_there(target, Some(&made))?;
                    target
                }
                LearnTarget::Load(target) => {
                    writes(target, Some(&made))?;
                    target
                }
                LearnTarget::Output => continue,
            };
            let fits = value.is_none_or(|value| value <= target.mask() >> target.start);
            if target.bits != spec.bits || !fits {
                return Err(Misuse::Argument("as many bits on both sides"));
            }
            if let (LearnTarget::Match(_), Some(value)) = (spec.target, value) {
                made.want_bits(target.field, value << target.start, target.mask());
            }
        }
        Ok(())
    }

    fn lists(&self, action: &Action) -> Result<(), Misuse> {
        let (list, place) = match action {
            Action::Clone(list) => (list, Place::List),
            Action::WriteActions(list) => (list, Place::Set),
            _ => return Ok(()),
        };
        let mut inside = self.inside(place)?;
        list.iter().try_for_each(|action| inside.take(action))
    }

    /// What the packets are behind the action.
    fn change(&mut self, action: &Action) {
        let Some(matches) = &mut self.matches else { return };
        let mut whole = |field: FieldId, value: u128| matches.want_bits(field, value, field.ones());
        match action {
            Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
                matches.want_bits(FieldId::VLAN_TCI, 0x1000, 0x1000);
            }
            Action::PopVlan => whole(FieldId::VLAN_TCI, 0),
            Action::PushMpls(kind) | Action::PopMpls(kind) | Action::PushPbb(kind) => {
                whole(FieldId::ETH_TYPE, (*kind).into());
            }
            // The type behind it may be any.
            Action::PopPbb => whole(FieldId::ETH_TYPE, 0),
            Action::SetField { field, value, mask } => matches.want_bits(*field, *value, *mask),
            Action::Load { value, target } => {
                matches.want_bits(target.field, u128::from(*value) << target.start, target.mask());
            }
            _ => {}
        }
    }
}

fn is_mpls(kind: u16) -> bool {
    matches!(kind, ethernet::TYPE_MPLS | ethernet::TYPE_MPLS_MULTICAST)
}

/// What an action on the field needs. A VLAN id needs a tag, though a match on it says itself that there is one.
fn needs(field: FieldId) -> Needs {
    if field == FieldId::VLAN_VID { Needs::Tag } else { field.info().needs }
}

fn met(needs: Needs, matches: Option<&Match>) -> bool {
    matches.is_none_or(|matches| needs.are_met(matches))
}

fn is_there(part: Subfield, matches: Option<&Match>) -> Result<(), Misuse> {
    if part.bits == 0 || u32::from(part.start) + u32::from(part.bits) > u32::from(part.field.info().bits) {
        return Err(Misuse::Bits(part));
    }
    let needs = part.field.info().needs;
    if met(needs, matches) { Ok(()) } else { Err(Misuse::Missing(part.field, needs)) }
}

fn writes(part: Subfield, matches: Option<&Match>) -> Result<(), Misuse> {
    if !part.field.info().writable {
        return Err(Misuse::ReadOnly(part.field));
    }
    is_there(part, matches)?;
    let needs = needs(part.field);
    if met(needs, matches) { Ok(()) } else { Err(Misuse::Missing(part.field, needs)) }
}

fn same_width(one: Subfield, other: Subfield) -> Result<(), Misuse> {
    if one.bits == other.bits { Ok(()) } else { Err(Misuse::Argument("as many bits on both sides")) }
}

fn one_bit(part: Subfield) -> Result<(), Misuse> {
    if part.bits == 1 { Ok(()) } else { Err(Misuse::Argument("a single bit, as reg0[0]")) }
}

/// What OpenFlow's action sets hold, and Open vSwitch's.
fn goes_in_a_set(action: &Action) -> bool {
    !matches!(
        action,
        Action::Enqueue { .. }
            | Action::OutputCut { .. }
            | Action::OutputField { .. }
            | Action::PopQueue
            | Action::Push(_)
            | Action::Pop(_)
            | Action::Clone(_)
            | Action::Learn(_)
            | Action::Conjunction { .. }
            | Action::Multipath(_)
            | Action::Bundle(_)
            | Action::CheckPktLarger { .. }
            | Action::Note(_)
            | Action::FinTimeout { .. }
            | Action::Exit
    )
}
