//! What actions do to fields: to the packet as steps, and to the walk's key so that later tables see it.
//!
//! Where the key cannot know what the frame is afterwards (what lies behind a label that goes), it is stale from then on.
//! Neighbours: `rewrite` does the same to the frame's bytes.

use super::{MAX_STACK, Outer, Request, Stop, Walk};
use crate::flow::{Action, Field, FieldId, Mask, Match, Subfield, is_of_frame};
use crate::pipeline::path::Step;
use crate::wire::{ethernet, vlan};

/// "There is a tag" in a [`Field::VLAN_TCI`].
const TAG: u64 = 0x1000;

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
        self.set(target.field, value << target.start & target.mask(), target.mask())
    }

    /// Sets some bits of a field, in the packet when it lies there.
    fn set(&mut self, field: FieldId, value: u128, mask: u128) -> Result<(), Stop> {
        if !is_of_frame(field) {
            self.put(field, value, mask);
            return Ok(());
        }
        // Where the key does not know, whoever changes the frame sees.
        if !self.stale && !self.is_there(field) {
            return Ok(());
        }
        self.step(Step::Change(Action::SetField { field, value, mask }))?;
        self.put(field, value, mask);
        // A tag that comes or goes, and headers that are others now.
        let is_tag = field.info().place.word == Field::VLAN_TCI.word && field.info().place.shift < Field::VLAN_TCI.bits;
        self.stale |= is_tag || field == FieldId::ETH_TYPE || field == FieldId::IP_PROTO;
        Ok(())
    }

    fn put(&mut self, field: FieldId, value: u128, mask: u128) {
        let old = self.state.key.get(field);
        self.state.key.put(field, old & !mask | value & mask);
    }

    /// True when the packet has this field; an absent one is not set.
    fn is_there(&self, field: FieldId) -> bool {
        let all = Match { key: self.state.key, mask: Mask { words: [u64::MAX; crate::flow::KEY_WORDS] } };
        let needs = field.info().needs;
        // A later fragment has no ports.
        let later = self.state.key.field(Field::NW_FRAG) & 2 != 0 && field.info().place.word == Field::TP_SRC.word;
        !later && (needs.are_met(&all) || needs == crate::flow::Needs::Tag)
    }

    /// An action that changes fields or headers.
    pub(super) fn change(&mut self, action: &'a Action, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        match *action {
            Action::SetField { field, value, mask } => return self.set(field, value, mask),
            Action::Load { value, target } => return self.write(target, u128::from(value)),
            Action::Move { source, target } => {
                let value = self.read(source)?;
                return self.write(target, value);
            }
            Action::Push(source) => return self.push(source),
            Action::Pop(target) => {
                let value = self.room.stack.pop().unwrap_or(0);
                return self.write(target, value);
            }
            Action::SetTunnel(id) => {
                self.state.key.set(Field::TUN_ID, id);
                return Ok(());
            }
            Action::DecTtl(ref controllers) => return self.dec_ttl(controllers, outer),
            Action::DecMplsTtl => return self.dec_mpls_ttl(outer),
            _ => {}
        }
        self.step(Step::Change(action.clone()))?;
        self.follow(action);
        Ok(())
    }

    fn push(&mut self, source: Subfield) -> Result<(), Stop> {
        let value = self.read(source)?;
        if self.room.stack.len() == MAX_STACK {
            return Err(Stop::TooComplex);
        }
        self.room.stack.push(value);
        Ok(())
    }

    fn dec_ttl(&mut self, controllers: &'a [u16], outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.request(Request::Expired(controllers, false), outer)?;
        let ttl = self.state.key.field(Field::NW_TTL);
        self.state.key.set(Field::NW_TTL, ttl.saturating_sub(1));
        Ok(())
    }

    fn dec_mpls_ttl(&mut self, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        self.request(Request::Expired(&[], true), outer)?;
        let ttl = self.state.key.get(FieldId::MPLS_TTL);
        self.state.key.put(FieldId::MPLS_TTL, ttl.saturating_sub(1));
        Ok(())
    }

    /// The key after a change of the frame.
    fn follow(&mut self, action: &Action) {
        let key = &mut self.state.key;
        let dl_type = key.field(Field::DL_TYPE) as u16;
        let is_ipv4 = dl_type == ethernet::TYPE_IPV4;
        let is_ip = is_ipv4 || dl_type == ethernet::TYPE_IPV6;
        let number = |mac: crate::flow::Mac| mac.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        match *action {
            Action::SetDlSrc(mac) => key.set(Field::DL_SRC, number(mac)),
            Action::SetDlDst(mac) => key.set(Field::DL_DST, number(mac)),
            Action::SetVlanVid(vid) => self.set_tag(u64::from(vlan::VID), u64::from(vid)),
            Action::SetVlanPcp(pcp) => self.set_tag(0b111 << vlan::PCP_SHIFT, u64::from(pcp) << vlan::PCP_SHIFT),
            Action::PopVlan => self.pop_tag(),
            Action::SetNwSrc(address) if is_ipv4 => key.set(Field::NW_SRC, u64::from(u32::from(address))),
            Action::SetNwDst(address) if is_ipv4 => key.set(Field::NW_DST, u64::from(u32::from(address))),
            Action::SetNwTos(tos) if is_ip => {
                let ecn = key.field(Field::NW_TOS) & 3;
                key.set(Field::NW_TOS, u64::from(tos & 0xfc) | ecn);
            }
            Action::SetNwEcn(ecn) if is_ip => {
                let dscp = key.field(Field::NW_TOS) & 0xfc;
                key.set(Field::NW_TOS, dscp | u64::from(ecn & 3));
            }
            Action::SetNwTtl(ttl) if is_ip => key.set(Field::NW_TTL, u64::from(ttl)),
            Action::SetNwSrc(_) | Action::SetNwDst(_) | Action::SetNwTos(_) | Action::SetNwEcn(_) => {}
            Action::SetNwTtl(_) => {}
            // Ports are there or not, labels come and go: whoever looks next reads the frame.
            _ => self.stale = true,
        }
    }

    fn set_tag(&mut self, bits: u64, value: u64) {
        let tci = self.state.key.field(Field::VLAN_TCI);
        self.state.key.set(Field::VLAN_TCI, tci & !bits | value & bits | TAG);
    }

    fn pop_tag(&mut self) {
        let inner = self.state.key.field(Field::INNER_TCI);
        self.state.key.set(Field::VLAN_TCI, inner);
        self.state.key.set(Field::INNER_TCI, 0);
        // There may be a third one.
        self.stale |= inner != 0;
    }
}
