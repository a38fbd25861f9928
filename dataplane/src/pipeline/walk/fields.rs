//! What actions do to fields: to the packet as steps, and to the walk's key so that later tables see it.
//!
//! Where the key cannot tell what the frame is afterwards (what lies behind a label that goes), it is stale from then on.
//! Neighbours: `rewrite` knows what becomes of keys and of frames.

use super::hash::port_of;
use super::{MAX_STACK, Outer, Request, Stop, Walk};
use crate::flow::{Action, Field, FieldId, Subfield, is_of_frame};
use crate::pipeline::path::Step;
use crate::pipeline::rewrite::{KeyEffect, apply_to_key};

impl<'a> Walk<'a, '_> {
    /// The bits of a field now.
    pub(super) fn read(&mut self, source: Subfield) -> Result<u128, Stop> {
        if is_of_frame(source.field) {
            self.fresh()?;
        }
        Ok((self.state.key.get(source.field) & source.mask()) >> source.start)
    }

    /// Sets the bits of a field.
    pub(super) fn write(&mut self, target: Subfield, value: u128) -> Result<(), Stop> {
        let (field, mask) = (target.field, target.mask());
        self.set(&Action::SetField { field, value: value << target.start & mask, mask }, field)
    }

    /// Does what an action says that sets this field.
    fn set(&mut self, action: &Action, field: FieldId) -> Result<(), Stop> {
        if is_of_frame(field) {
            return self.change_frame(action);
        }
        apply_to_key(&mut self.state.key, action);
        if field == FieldId::NXM_IN_PORT {
            // Its 16 bits stand for all 32.
            let port = port_of(self.state.key.field(Field::IN_PORT));
            self.state.key.set(Field::IN_PORT, u64::from(port));
        }
        Ok(())
    }

    /// A change of the frame, and the key after it.
    fn change_frame(&mut self, action: &Action) -> Result<(), Stop> {
        self.step(Step::Change(action.clone()))?;
        self.follow(action);
        Ok(())
    }

    fn follow(&mut self, action: &Action) {
        // A stale key is read again before anybody looks at it.
        self.stale = self.stale || apply_to_key(&mut self.state.key, action) == KeyEffect::Stale;
    }

    /// An action that changes fields or headers.
    pub(super) fn change(&mut self, action: &'a Action, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        match *action {
            Action::SetField { field, .. } | Action::Load { target: Subfield { field, .. }, .. } => {
                self.set(action, field)
            }
            Action::SetTunnel(_) | Action::WriteMetadata { .. } => {
                apply_to_key(&mut self.state.key, action);
                Ok(())
            }
            Action::Move { source, target } => {
                let value = self.read(source)?;
                self.write(target, value)
            }
            Action::Push(source) => self.push(source),
            Action::Pop(target) => {
                let value = self.room.stack.pop().unwrap_or(0);
                self.write(target, value)
            }
            Action::DecTtl(ref controllers) => {
                self.request(Request::Expired(controllers, false), outer)?;
                self.follow(action);
                Ok(())
            }
            Action::DecMplsTtl => {
                self.request(Request::Expired(&[], true), outer)?;
                self.follow(action);
                Ok(())
            }
            _ => self.change_frame(action),
        }
    }

    fn push(&mut self, source: Subfield) -> Result<(), Stop> {
        let value = self.read(source)?;
        if self.room.stack.len() == MAX_STACK {
            return Err(Stop::TooComplex);
        }
        self.room.stack.push(value);
        Ok(())
    }
}
