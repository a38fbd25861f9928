//! Pushes and pops: VLAN tags, MPLS labels, provider backbone tags. OpenFlow 1.3.5, sections 5.12 and 5.12.1.
//!
//! VLAN and backbone tags go immediately behind the addresses. A label goes behind the VLAN tags, as in Open vSwitch and
//! on every wire: in front of them, where OpenFlow's text would have it, the tags could be neither matched nor popped.

use super::{layout_of, slot};
use crate::packet::{DropReason, Packet};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::{mpls, pbb, vlan};

/// Where the addresses end.
const ADDRESSES: usize = ethernet::TYPE;

/// The outermost VLAN tag's control information.
#[must_use]
pub fn tag_of(head: &[u8]) -> Option<u16> {
    let frame = Ethernet::new(head)?;
    let (tci, _) = vlan::split(&head[ethernet::LEN..])?;
    vlan::is_tag(frame.type_or_len()).then_some(tci)
}

/// Pushes a tag of this type, with id and priority of the one that was outermost.
pub fn push_vlan(packet: &mut Packet, kind: u16) -> Result<(), DropReason> {
    let tci = tag_of(packet.head()).unwrap_or(0) & !vlan::DEI;
    insert_tag(packet, kind, tci)
}

/// Pushes a customer tag; [`vlan::DEI`] in `tci` does not count.
pub fn push_tag(packet: &mut Packet, tci: u16) -> Result<(), DropReason> {
    insert_tag(packet, vlan::TYPE_CTAG, tci & !vlan::DEI)
}

/// Gives the outermost tag, which is `old`, another id and priority.
pub fn change_tag(packet: &mut Packet, old: u16, tci: u16) {
    let tci = tci & !vlan::DEI | old & vlan::DEI;
    packet.head_mut()[ethernet::LEN..][..2].copy_from_slice(&tci.to_be_bytes());
}

/// Removes the outermost tag, if any; the frame becomes shorter by [`vlan::LEN`] whatever its length.
pub fn pop_tag(packet: &mut Packet) {
    if tag_of(packet.head()).is_some() {
        remove(packet, ADDRESSES, vlan::LEN);
    }
}

/// Pushes a label stack entry: a copy of the outermost one or, when this is the first, label 0 with the packet's TTL. LLC and
/// SNAP go: the type that they carry is not the frame's any more.
pub fn push_mpls(packet: &mut Packet, kind: u16) -> Result<(), DropReason> {
    let layout = layout_of(packet);
    let (head, at) = (packet.head(), layout.behind_tags);
    if at == 0 {
        return Ok(());
    }
    let existing = slot::mpls_start(head, &layout).and_then(|start| mpls::entry(&head[start..]));
    let ttl = slot::ttl(&layout).map_or(0, |slot| slot.read(head) as u8);
    let entry = existing.map_or(mpls::BOTTOM | u32::from(ttl), |entry| entry & !mpls::BOTTOM);
    remove(packet, at, layout.network - at);
    insert(packet, at, mpls::LEN)?;
    let head = packet.head_mut();
    head[at - 2..at].copy_from_slice(&kind.to_be_bytes());
    head[at..at + mpls::LEN].copy_from_slice(&entry.to_be_bytes());
    Ok(())
}

/// Removes the outermost label stack entry, if any; what is behind it is of this type.
pub fn pop_mpls(packet: &mut Packet, kind: u16) {
    let layout = layout_of(packet);
    let Some(at) = slot::mpls_start(packet.head(), &layout) else { return };
    packet.head_mut()[at - 2..at].copy_from_slice(&kind.to_be_bytes());
    remove(packet, at, mpls::LEN);
}

/// Puts the frame into a provider backbone frame with the same addresses; the service is that of the tag which was
/// outermost, the priority that of the VLAN tag.
pub fn push_pbb(packet: &mut Packet, kind: u16) -> Result<(), DropReason> {
    let layout = layout_of(packet);
    let head = packet.head();
    let Some(&addresses) = head.first_chunk::<ADDRESSES>().filter(|_| head.len() >= ethernet::LEN) else {
        return Ok(());
    };
    let existing = (layout.dl_type == ethernet::TYPE_PBB).then(|| pbb::split(&head[layout.network..])).flatten();
    let priority = u32::from(tag_of(head).unwrap_or(0) >> vlan::PCP_SHIFT);
    let tci = existing.unwrap_or(0) & pbb::ISID | priority << pbb::PCP_SHIFT;
    insert(packet, 0, 2 + pbb::LEN)?;
    let head = packet.head_mut();
    head[..ADDRESSES].copy_from_slice(&addresses);
    head[ADDRESSES..ethernet::LEN].copy_from_slice(&kind.to_be_bytes());
    head[ethernet::LEN..][..pbb::TCI].copy_from_slice(&tci.to_be_bytes());
    Ok(())
}

/// Removes the outermost backbone tag, if any, and with it the backbone's addresses. VLAN tags before it stay: each has
/// its own pop.
pub fn pop_pbb(packet: &mut Packet) {
    let layout = layout_of(packet);
    let head = packet.head_mut();
    if layout.dl_type != ethernet::TYPE_PBB || pbb::split(&head[layout.network..]).is_none() {
        return;
    }
    // addresses | tags | type of the backbone tag | TCI | the customer's addresses | ...
    head.copy_within(layout.network + pbb::TCI..layout.network + pbb::LEN, 0);
    remove(packet, layout.network - 2, 2 + pbb::LEN);
}

fn insert_tag(packet: &mut Packet, kind: u16, tci: u16) -> Result<(), DropReason> {
    if packet.head().len() < ethernet::LEN {
        return Ok(());
    }
    insert(packet, ADDRESSES, vlan::LEN)?;
    let head = packet.head_mut();
    head[ethernet::TYPE..][..2].copy_from_slice(&kind.to_be_bytes());
    head[ethernet::LEN..][..2].copy_from_slice(&tci.to_be_bytes());
    Ok(())
}

/// Opens a gap of `count` bytes at `at`.
fn insert(packet: &mut Packet, at: usize, count: usize) -> Result<(), DropReason> {
    if !packet.push_front(count) {
        return Err(DropReason::NoHeadroom);
    }
    packet.head_mut().copy_within(count..count + at, 0);
    Ok(())
}

/// Takes `count` bytes at `at` out; they are in the head.
fn remove(packet: &mut Packet, at: usize, count: usize) {
    if count == 0 {
        return;
    }
    packet.head_mut().copy_within(..at, count);
    packet.pull_front(count);
}
