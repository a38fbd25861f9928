//! Times to live: counted down, and copied between a header and the one inside it.

use super::slot::{self, Slot};
use super::{layout_of, locate};
use crate::flow::Change;
use crate::flow::FieldId;
use crate::packet::{DropReason, Packet};
use crate::wire::{ipv4, mpls};

const BITS: u128 = 0xff;

/// Counts the IP header's TTL down.
///
/// # Errors
/// When it is used up.
pub fn decrement_ip(packet: &mut Packet) -> Result<(), DropReason> {
    let slot = slot::ttl(&layout_of(packet));
    decrement(packet, slot)
}

/// Counts the outermost label's TTL down.
///
/// # Errors
/// When it is used up.
pub fn decrement_mpls(packet: &mut Packet) -> Result<(), DropReason> {
    let layout = layout_of(packet);
    let slot = slot::mpls_ttl(packet.head(), &layout);
    decrement(packet, slot)
}

#[inline]
fn decrement(packet: &mut Packet, slot: Option<Slot>) -> Result<(), DropReason> {
    let Some(slot) = slot else { return Ok(()) };
    let head = packet.head_mut();
    let ttl = slot.read(head) & BITS;
    if ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    slot.write(head, &Change { field: FieldId::NW_TTL, value: ttl - 1, mask: BITS });
    Ok(())
}

/// From the second header to the outermost one.
pub fn copy_out(packet: &mut Packet) {
    packet.pull_tail();
    if let Some((outer, inner)) = outermost_two(packet) {
        copy(packet.head_mut(), inner, outer);
    }
}

/// From the outermost header to the second one.
pub fn copy_in(packet: &mut Packet) {
    packet.pull_tail();
    if let Some((outer, inner)) = outermost_two(packet) {
        copy(packet.head_mut(), outer, inner);
    }
}

fn copy(head: &mut [u8], from: Slot, to: Slot) {
    let value = from.read(head) & BITS;
    to.write(head, &Change { field: FieldId::NW_TTL, value, mask: BITS });
}

/// MPLS in MPLS, IP in MPLS, IP in IP. What MPLS carries only its first bits tell.
fn outermost_two(packet: &Packet) -> Option<(Slot, Slot)> {
    let (head, layout) = (packet.head(), locate(packet.head(), packet.len()));
    if let Some(start) = slot::mpls_start(head, &layout) {
        let outer = Slot::mpls_ttl(head, start)?;
        let next = start + mpls::LEN;
        let is_last = mpls::entry(&head[start..])? & mpls::BOTTOM != 0;
        let inner = if is_last { Slot::ip_ttl(head, next, head.len() - next) } else { Slot::mpls_ttl(head, next) };
        return inner.map(|inner| (outer, inner));
    }
    let outer = slot::ttl(&layout)?;
    let inside = layout.transport.filter(|inside| matches!(inside.protocol, ipv4::IN_IP | ipv4::V6_IN_IP))?;
    Some((outer, Slot::ip_ttl(head, inside.start, inside.len)?))
}
