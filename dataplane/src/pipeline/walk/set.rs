//! The action set: what is done to the packet when its trip is over, in the order of the specification.
//!
//! Source: OpenFlow 1.5.1 section 5.6: one action of each kind, a later one replaces an earlier one, except that of set_field
//! there may be one for each field. Groups' buckets are sets too.

use super::{Outer, Stop, Walk};
use crate::flow::Action;

/// Most actions: one of each kind, and set_field for many fields.
const ROOM: usize = 40;

/// See the file's head.
#[derive(Clone)]
pub(in crate::pipeline) struct ActionSet<'a> {
    list: [Option<&'a Action>; ROOM],
    len: usize,
}

impl Default for ActionSet<'_> {
    fn default() -> Self {
        Self { list: [None; ROOM], len: 0 }
    }
}

/// When an action of this kind is done; those of a kind that may come more than once are told by what they set.
fn order(action: &Action) -> u8 {
    match action {
        Action::CopyTtlIn => 0,
        Action::PopVlan | Action::PopMpls(_) | Action::PopPbb => 1,
        Action::PushMpls(_) => 2,
        Action::PushPbb(_) => 3,
        Action::PushVlan(_) => 4,
        Action::CopyTtlOut => 5,
        Action::DecTtl(_) | Action::DecMplsTtl => 6,
        Action::SetQueue(_) | Action::PopQueue => 8,
        Action::Meter(_) => 9,
        Action::Group(_) => 10,
        _ if is_output(action) => 11,
        _ => 7,
    }
}

fn is_output(action: &Action) -> bool {
    matches!(
        action,
        Action::Output(_)
            | Action::OutputCut { .. }
            | Action::OutputField { .. }
            | Action::InPort
            | Action::Table
            | Action::Flood
            | Action::All
            | Action::Local
            | Action::Normal
            | Action::Controller(_)
            | Action::Enqueue { .. }
    )
}

/// True when `new` takes the place of `old` in a set.
fn replaces(new: &Action, old: &Action) -> bool {
    match (new, old) {
        (
            Action::SetField { field: new_field, mask: new_mask, .. },
            Action::SetField { field: old_field, mask: old_mask, .. },
        ) => new_field == old_field && new_mask & old_mask == *old_mask,
        _ if order(new) == 11 => order(old) == 11,
        _ => std::mem::discriminant(new) == std::mem::discriminant(old),
    }
}

impl<'a> ActionSet<'a> {
    /// Puts an action in.
    fn write(&mut self, action: &'a Action) -> Result<(), Stop> {
        let place = self.iter().position(|old| replaces(action, old));
        if let Some(place) = place {
            self.list[place..self.len].rotate_left(1);
            self.len -= 1;
        }
        let place = self.list.get_mut(self.len).ok_or(Stop::TooComplex)?;
        *place = Some(action);
        self.len += 1;
        Ok(())
    }

    /// `write_actions`.
    pub fn write_all(&mut self, actions: &'a [Action]) -> Result<(), Stop> {
        actions.iter().try_for_each(|action| self.write(action))
    }

    /// The set that a bucket is.
    pub fn of(actions: &'a [Action]) -> Result<Self, Stop> {
        let mut set = Self::default();
        set.write_all(actions)?;
        Ok(set)
    }

    /// What is in it, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &'a Action> + '_ {
        self.list[..self.len].iter().flatten().copied()
    }

    /// Where it sends the packet, as `actset_output` tells: to this port.
    pub fn output(&self) -> Option<u32> {
        if self.iter().any(|action| matches!(action, Action::Group(_))) {
            return None;
        }
        self.iter().find_map(|action| match action {
            Action::Output(port) | Action::OutputCut { port, .. } | Action::Enqueue { port, .. } => Some(*port),
            Action::InPort => Some(super::port::IN_PORT),
            Action::Flood => Some(super::port::FLOOD),
            Action::All => Some(super::port::ALL),
            Action::Local => Some(super::port::LOCAL),
            Action::Normal => Some(super::port::NORMAL),
            Action::Controller(_) => Some(super::port::CONTROLLER),
            _ => None,
        })
    }
}

impl<'a> Walk<'a, '_> {
    /// Does what is in a set, in order.
    pub(super) fn run_set(&mut self, set: &ActionSet<'a>, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let has_group = set.iter().any(|action| matches!(action, Action::Group(_)));
        for turn in 0..=11 {
            if turn == 11 && has_group {
                break;
            }
            for action in set.iter().filter(|action| order(action) == turn) {
                if self.exit {
                    return Ok(());
                }
                self.action(action, outer)?;
            }
        }
        Ok(())
    }
}
