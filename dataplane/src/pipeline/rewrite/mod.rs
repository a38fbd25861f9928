//! Changes a frame as an action asks for, and keeps every checksum right.
//!
//! Checksums are updated from the change alone (RFC 1624), so a wrong one stays wrong and a receiver still notices. An
//! action on a frame without the header in question does nothing, as in Open vSwitch. Trust: the frame is the
//! sender's; headers are located anew for each change.
//!
//! | file | what |
//! |---|---|
//! | `slot` | where a field lies in a frame, and which checksums cover it |
//! | `checksums` | those, updated |
//! | `tags` | pushes and pops: VLAN, MPLS, PBB |
//! | `ttl` | decrement and copy |
//! | `keys` | the same actions on a packet's key |
//!
//! Neighbours: `act` and NORMAL call [`apply`] before they hand a frame on, the walk through the tables [`apply_to_key`].

mod checksums;
mod keys;
mod slot;
mod tags;
mod ttl;

pub use keys::{KeyEffect, apply_to_key};
pub use tags::pop_tag;

use super::parse::{Layout, locate, reach_headers};
use crate::flow::{Action, Change, FRAME_WORDS, FieldId, Mac, TAGGED};
use crate::packet::{DropReason, Packet};
use crate::wire::ethernet;

/// Applies one modifying action; others change nothing here.
///
/// # Errors
/// When the frame has to be dropped instead: its TTL is used up, or there is no room for a tag.
pub fn apply(packet: &mut Packet, action: &Action) -> Result<(), DropReason> {
    match *action {
        Action::PushVlan(kind) => tags::push_vlan(packet, kind),
        Action::PopVlan => pop(packet, tags::pop_tag),
        Action::PushMpls(kind) => tags::push_mpls(packet, kind),
        Action::PopMpls(kind) => pop(packet, |packet| tags::pop_mpls(packet, kind)),
        Action::PushPbb(kind) => tags::push_pbb(packet, kind),
        Action::PopPbb => pop(packet, tags::pop_pbb),
        Action::DecTtl(_) => ttl::decrement_ip(packet),
        Action::DecMplsTtl => ttl::decrement_mpls(packet),
        Action::CopyTtlOut => {
            ttl::copy_out(packet);
            Ok(())
        }
        Action::CopyTtlIn => {
            ttl::copy_in(packet);
            Ok(())
        }
        Action::SetDlSrc(mac) => {
            set_mac(packet, ethernet::SRC, mac);
            Ok(())
        }
        Action::SetDlDst(mac) => {
            set_mac(packet, ethernet::DST, mac);
            Ok(())
        }
        Action::SetTpSrc(_) | Action::SetTpDst(_) => {
            let layout = layout_of(packet);
            let protocol = layout.transport.map_or(0, |transport| transport.protocol);
            if let Some(change) = Change::of(action, || protocol) {
                write(packet, &layout, &change);
            }
            Ok(())
        }
        ref setter => Change::of(setter, || 0).map_or(Ok(()), |change| set(packet, &change)),
    }
}

/// Changes a field of the frame, when the frame has it; fields that are no frame's are not here.
///
/// # Errors
/// When the frame has to be dropped instead: there is no room for a tag.
pub fn set(packet: &mut Packet, change: &Change) -> Result<(), DropReason> {
    if usize::from(change.field.info().place.word) >= FRAME_WORDS {
        return Ok(());
    }
    let layout = match change.field {
        FieldId::VLAN_TCI => return set_tag(packet, change),
        // These lie where they lie.
        FieldId::ETH_DST | FieldId::ETH_SRC => Layout::default(),
        _ => layout_of(packet),
    };
    write(packet, &layout, change);
    Ok(())
}

fn write(packet: &mut Packet, layout: &Layout, change: &Change) {
    let head = packet.head_mut();
    if change.field == FieldId::IP_PROTO {
        slot::set_protocol(head, layout, change);
    } else if let Some(slot) = slot::find(head, layout, change.field) {
        slot.write(head, change);
    }
}

fn set_mac(packet: &mut Packet, at: usize, mac: Mac) {
    if let Some(field) = packet.head_mut().get_mut(at..at + mac.len()) {
        field.copy_from_slice(&mac);
    }
}

/// Changes, pushes or pops the outermost tag, as the bit for "there is one" says.
fn set_tag(packet: &mut Packet, change: &Change) -> Result<(), DropReason> {
    let old = tags::tag_of(packet.head());
    let tci = change.to(old.map_or(0, |tci| u128::from(tci) | TAGGED)) as u16;
    match (old, u128::from(tci) & TAGGED != 0) {
        (Some(old), true) => tags::change_tag(packet, old, tci),
        (None, true) => return tags::push_tag(packet, tci),
        (Some(_), false) => return pop(packet, tags::pop_tag),
        (None, false) => {}
    }
    Ok(())
}

/// A frame of legal length that a pop makes shorter than any may be is padded, as a bridge does (IEEE 802.3, clause 4.2.3.3).
fn pop(packet: &mut Packet, pop: impl Fn(&mut Packet)) -> Result<(), DropReason> {
    let len = packet.len();
    pop(packet);
    if len >= ethernet::MIN_FRAME {
        packet.pad_to(ethernet::MIN_FRAME);
    }
    Ok(())
}

/// Where the headers lie, all of them in the head.
fn layout_of(packet: &mut Packet) -> Layout {
    reach_headers(packet);
    locate(packet.head(), packet.len())
}

#[cfg(test)]
mod tests;
