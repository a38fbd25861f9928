//! Changes one field of a frame as an action asks for, and keeps every checksum right.
//!
//! Checksums are updated from the change alone (RFC 1624), so a wrong one stays wrong and a receiver still notices. An
//! action on a frame without the header in question does nothing, as in Open vSwitch. Trust: the frame is the
//! sender's; headers are located anew for each change. Neighbours: `act` calls this before it hands the frame on.

mod keys;

pub use keys::{KeyEffect, apply_to_key};

use crate::flow::{Action, Mac};
use crate::packet::{DropReason, Packet};
use crate::wire::{checksum, ethernet, ipv4, ipv6, sctp, tcp, udp, vlan};

use super::parse::{Layout, Transport, locate, reach_headers};

/// The DSCP bits of a type of service.
const DSCP: u8 = 0xfc;

/// Applies one modifying action; actions that output change nothing here.
///
/// # Errors
/// When the frame has to be dropped instead: its TTL is used up, or there is no room for a tag.
pub fn apply(packet: &mut Packet, action: &Action) -> Result<(), DropReason> {
    match *action {
        Action::SetDlSrc(mac) => set_mac(packet, ethernet::SRC, mac),
        Action::SetDlDst(mac) => set_mac(packet, ethernet::DST, mac),
        Action::SetVlanVid(vid) => return set_vlan(packet, vlan::VID, vid),
        Action::SetVlanPcp(pcp) => {
            return set_vlan(packet, 0b111 << vlan::PCP_SHIFT, u16::from(pcp) << vlan::PCP_SHIFT);
        }
        Action::PushVlan(tag_type) => return push_vlan(packet, tag_type, 0),
        Action::PopVlan => pop_vlan(packet),
        Action::SetNwSrc(address) => set_ipv4_address(packet, ipv4::SRC, address.octets()),
        Action::SetNwDst(address) => set_ipv4_address(packet, ipv4::DST, address.octets()),
        Action::SetNwTos(tos) => change_tos(packet, |old| old & !DSCP | tos & DSCP),
        Action::SetNwTtl(ttl) => change_ttl(packet, |_| Some(ttl))?,
        Action::DecTtl(_) => change_ttl(packet, |old| old.checked_sub(1).filter(|&ttl| ttl > 0))?,
        Action::SetTpSrc(port) => set_port(packet, tcp::SRC, port),
        Action::SetTpDst(port) => set_port(packet, tcp::DST, port),
        _ => {}
    }
    Ok(())
}

fn set_mac(packet: &mut Packet, at: usize, mac: Mac) {
    if let Some(field) = packet.head_mut().get_mut(at..at + mac.len()) {
        field.copy_from_slice(&mac);
    }
}

/// Changes bits of the outermost tag; pushes one when there is none.
fn set_vlan(packet: &mut Packet, bits: u16, value: u16) -> Result<(), DropReason> {
    match tag_of(packet.head()) {
        Some(tci) => {
            let tci = tci & !bits | value & bits;
            packet.head_mut()[ethernet::LEN..][..2].copy_from_slice(&tci.to_be_bytes());
            Ok(())
        }
        None => push_vlan(packet, vlan::TYPE_CTAG, value & bits),
    }
}

/// The outermost tag's control information.
fn tag_of(head: &[u8]) -> Option<u16> {
    let frame = ethernet::Ethernet::new(head)?;
    let (tci, _) = vlan::split(&head[ethernet::LEN..])?;
    vlan::is_tag(frame.type_or_len()).then_some(tci)
}

fn push_vlan(packet: &mut Packet, tag_type: u16, tci: u16) -> Result<(), DropReason> {
    if packet.head().len() < ethernet::LEN {
        return Ok(());
    }
    if !packet.push_front(vlan::LEN) {
        return Err(DropReason::NoHeadroom);
    }
    let head = packet.head_mut();
    head.copy_within(vlan::LEN..vlan::LEN + ethernet::TYPE, 0);
    head[ethernet::TYPE..][..2].copy_from_slice(&tag_type.to_be_bytes());
    head[ethernet::LEN..][..2].copy_from_slice(&tci.to_be_bytes());
    Ok(())
}

fn pop_vlan(packet: &mut Packet) {
    if tag_of(packet.head()).is_some() {
        packet.head_mut().copy_within(..ethernet::TYPE, vlan::LEN);
        packet.pull_front(vlan::LEN);
    }
}

fn set_ipv4_address(packet: &mut Packet, at: usize, address: [u8; 4]) {
    let layout = locate(packet.head(), packet.len());
    let Some(start) = ipv4_of(&layout, packet) else { return };
    let head = packet.head_mut();
    let Ok(old) = <[u8; 4]>::try_from(&head[start + at..][..4]) else { return };
    head[start + at..][..4].copy_from_slice(&address);
    update(head, start + ipv4::CHECKSUM, &old, &address);
    if let Some(transport) = layout.transport {
        update_transport(head, transport, &old, &address);
    }
}

fn change_tos(packet: &mut Packet, change: impl Fn(u8) -> u8) {
    let layout = locate(packet.head(), packet.len());
    if let Some(start) = ipv4_of(&layout, packet) {
        let head = packet.head_mut();
        let at = start + ipv4::TOS;
        let old = [head[at - 1], head[at]];
        head[at] = change(head[at]);
        let new = [head[at - 1], head[at]];
        update(head, start + ipv4::CHECKSUM, &old, &new);
    } else if let Some(start) = ipv6_of(&layout, packet) {
        let head = packet.head_mut();
        let class = change(head[start] << 4 | head[start + 1] >> 4);
        head[start] = head[start] & 0xf0 | class >> 4;
        head[start + 1] = head[start + 1] & 0x0f | class << 4;
    }
}

/// `change` says `None` when the packet has lived long enough.
fn change_ttl(packet: &mut Packet, change: impl Fn(u8) -> Option<u8>) -> Result<(), DropReason> {
    let layout = locate(packet.head(), packet.len());
    if let Some(start) = ipv4_of(&layout, packet) {
        let head = packet.head_mut();
        let at = start + ipv4::TTL;
        let old = [head[at], head[at + 1]];
        head[at] = change(head[at]).ok_or(DropReason::TtlExpired)?;
        let new = [head[at], head[at + 1]];
        update(head, start + ipv4::CHECKSUM, &old, &new);
    } else if let Some(start) = ipv6_of(&layout, packet) {
        let limit = &mut packet.head_mut()[start + ipv6::HOP_LIMIT];
        *limit = change(*limit).ok_or(DropReason::TtlExpired)?;
    }
    Ok(())
}

fn set_port(packet: &mut Packet, at: usize, port: u16) {
    reach_headers(packet);
    let Some(transport) = locate(packet.head(), packet.len()).transport else { return };
    let head = packet.head_mut();
    // A header that is not all there, or whose checksum covers what other fragments carry, is left alone.
    let complete = match transport.protocol {
        tcp::PROTOCOL => transport.has(tcp::LEN, head),
        udp::PROTOCOL => transport.has(udp::LEN, head),
        sctp::PROTOCOL => transport.has(sctp::LEN, head) && !transport.is_fragment,
        _ => false,
    };
    if !complete {
        return;
    }
    let field = &mut head[transport.start + at..][..2];
    let (old, new) = ([field[0], field[1]], port.to_be_bytes());
    field.copy_from_slice(&new);
    if transport.protocol == sctp::PROTOCOL {
        let crc = &mut head[transport.start + sctp::CHECKSUM..][..4];
        let delta = sctp::crc_change([old[0] ^ new[0], old[1] ^ new[1]], transport.len - at);
        crc.iter_mut().zip(delta).for_each(|(byte, delta)| *byte ^= delta);
    } else {
        update_transport(head, transport, &old, &new);
    }
}

/// Updates the checksum at `at` after `old` bytes that it covers became `new`.
fn update(head: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let field = &mut head[at..at + 2];
    let checksum = checksum::update(u16::from_be_bytes([field[0], field[1]]), old, new);
    field.copy_from_slice(&checksum.to_be_bytes());
}

/// The same for the transport's checksum, which also covers the addresses, where there is one.
fn update_transport(head: &mut [u8], transport: Transport, old: &[u8], new: &[u8]) {
    match transport.protocol {
        tcp::PROTOCOL if transport.has(tcp::LEN, head) => update(head, transport.start + tcp::CHECKSUM, old, new),
        udp::PROTOCOL if transport.has(udp::LEN, head) => {
            let at = transport.start + udp::CHECKSUM;
            // 0 says that the sender computed none; a computed 0 is sent as its other form (RFC 768).
            if head[at..at + 2] != [0, 0] {
                update(head, at, old, new);
                if head[at..at + 2] == [0, 0] {
                    head[at..at + 2].fill(0xff);
                }
            }
        }
        _ => {}
    }
}

/// Where the IPv4 header starts, when there is a sound one.
fn ipv4_of(layout: &Layout, packet: &Packet) -> Option<usize> {
    let start = layout.network;
    let sound = layout.dl_type == ethernet::TYPE_IPV4
        && ipv4::Ipv4::new(&packet.head()[start..], packet.len() - start).is_some();
    sound.then_some(start)
}

/// Where the IPv6 header starts, when there is a sound one.
fn ipv6_of(layout: &Layout, packet: &Packet) -> Option<usize> {
    let start = layout.network;
    let sound = layout.dl_type == ethernet::TYPE_IPV6
        && ipv6::Ipv6::new(&packet.head()[start..], packet.len() - start).is_some();
    sound.then_some(start)
}

#[cfg(test)]
mod tests;
