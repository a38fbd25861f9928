//! Where a field lies in a frame, and which checksums cover it.
//!
//! Trust: what is found here is inside the head; a frame that has not got the field whole has no slot for it, and neither
//! has one whose checksum could not be kept right. `keys::Headers::has` says the same from the key.

use super::checksums::{Covered, update, update_sctp, update_transport};
use super::tags;
use crate::flow::Change;
use crate::flow::FieldId;
use crate::pipeline::parse::{Layout, Transport};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::nd::{self, LinkAddress, Nd};
use crate::wire::{arp, checksum, ethernet, icmp, ipv4, mpls, pbb, sctp, tcp, udp, vlan};

/// A field's place: `len` bytes at `at`, of which it has the bits from `shift` up.
#[derive(Clone, Copy)]
pub struct Slot {
    at: usize,
    /// 1, 2, 4, 6 or 16; even where a checksum covers it, as the place is then.
    len: usize,
    shift: u32,
    /// Where the IPv4 header's checksum lies, when that covers it.
    ip_checksum: Option<usize>,
    transport: Option<(Transport, Covered)>,
}

impl Slot {
    /// Bytes that no checksum covers.
    pub fn bare(at: usize, len: usize, shift: u32) -> Self {
        Self { at, len, shift, ip_checksum: None, transport: None }
    }

    /// The TTL or hop limit of the IP header that starts here, of a packet of so many bytes, when it is one.
    pub fn ip_ttl(head: &[u8], start: usize, available: usize) -> Option<Self> {
        let bytes = head.get(start..)?;
        match bytes.first()? >> 4 {
            4 => ipv4::Ipv4::new(bytes, available).map(|_| ipv4_slot(start, ipv4::TTL, 2, 8)),
            6 => Ipv6::new(bytes, available).map(|_| Self::bare(start + ipv6::HOP_LIMIT, 1, 0)),
            _ => None,
        }
    }

    /// The TTL of the label stack entry that starts here.
    pub fn mpls_ttl(head: &[u8], start: usize) -> Option<Self> {
        mpls::entry(head.get(start..)?).map(|_| Self::bare(start, mpls::LEN, 0))
    }

    /// The field's bits, and those above it.
    pub fn read(&self, head: &[u8]) -> u128 {
        self.number(head) >> self.shift
    }

    /// Changes bits of the field, and what checksums cover it.
    #[inline]
    pub fn write(&self, head: &mut [u8], change: &Change) {
        let old = self.number(head);
        let new = old & !(change.mask << self.shift) | change.value << self.shift;
        if new == old {
            return;
        }
        self.put(head, new);
        if self.ip_checksum.is_none() && self.transport.is_none() {
            return;
        }
        let difference = checksum::difference(old, new);
        if let Some(at) = self.ip_checksum {
            update(head, at, difference);
        }
        match self.transport {
            Some((transport, Covered::Transport(at))) if transport.protocol == sctp::PROTOCOL => {
                update_sctp(head, transport, at, (old ^ new) as u16);
            }
            Some((transport, covered)) => update_transport(head, transport, covered, difference),
            None => {}
        }
    }

    // The lengths that there are, each with an access of its own: a loop over bytes takes several times as long.
    #[inline]
    fn number(&self, head: &[u8]) -> u128 {
        let bytes = &head[self.at..self.at + self.len];
        match *bytes {
            [a] => a.into(),
            [a, b] => u16::from_be_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f] => u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into(),
            _ => bytes.first_chunk().map_or(0, |&all| u128::from_be_bytes(all)),
        }
    }

    #[inline]
    fn put(&self, head: &mut [u8], number: u128) {
        let all = number.to_be_bytes();
        let place = &mut head[self.at..self.at + self.len];
        match self.len {
            1 => place.copy_from_slice(&all[15..]),
            2 => place.copy_from_slice(&all[14..]),
            4 => place.copy_from_slice(&all[12..]),
            6 => place.copy_from_slice(&all[10..]),
            _ => place.copy_from_slice(&all),
        }
    }
}

/// The place of [`FieldId::NW_TTL`].
#[inline]
pub fn ttl(layout: &Layout) -> Option<Slot> {
    match layout.dl_type {
        ethernet::TYPE_IPV4 if layout.is_sound => Some(ipv4_slot(layout.network, ipv4::TTL, 2, 8)),
        ethernet::TYPE_IPV6 if layout.is_sound => Some(Slot::bare(layout.network + ipv6::HOP_LIMIT, 1, 0)),
        _ => None,
    }
}

/// The place of [`FieldId::MPLS_TTL`].
pub fn mpls_ttl(head: &[u8], layout: &Layout) -> Option<Slot> {
    Slot::mpls_ttl(head, mpls_start(head, layout)?)
}

/// The field's place in the frame that starts with `head`. [`FieldId::IP_PROTO`] has none here, see [`set_protocol`];
/// [`FieldId::VLAN_TCI`] neither.
pub fn find(head: &[u8], layout: &Layout, field: FieldId) -> Option<Slot> {
    let ip = |v4: fn(usize) -> Slot, v6: fn(usize) -> Slot| match layout.dl_type {
        ethernet::TYPE_IPV4 if layout.is_sound => Some(v4(layout.network)),
        ethernet::TYPE_IPV6 if layout.is_sound => Some(v6(layout.network)),
        _ => None,
    };
    Some(match field {
        FieldId::ETH_DST => ethernet_slot(head, ethernet::DST, 6)?,
        FieldId::ETH_SRC => ethernet_slot(head, ethernet::SRC, 6)?,
        FieldId::ETH_TYPE => ethernet_slot(head, layout.network.checked_sub(2)?, 2)?,
        FieldId::VLAN_VID => tags::tag_of(head).map(|_| Slot::bare(ethernet::LEN, 2, 0))?,
        FieldId::VLAN_PCP => tags::tag_of(head).map(|_| Slot::bare(ethernet::LEN, 2, vlan::PCP_SHIFT))?,
        FieldId::IP_TOS | FieldId::IP_ECN => ip(|at| ipv4_slot(at, 0, 2, 0), |at| Slot::bare(at, 4, 20))?,
        FieldId::IP_DSCP => ip(|at| ipv4_slot(at, 0, 2, 2), |at| Slot::bare(at, 4, 22))?,
        FieldId::NW_TTL => ttl(layout)?,
        FieldId::IPV4_SRC => ipv4_address(layout, ipv4::SRC)?,
        FieldId::IPV4_DST => ipv4_address(layout, ipv4::DST)?,
        FieldId::IPV6_SRC => ipv6_address(layout, ipv6::SRC, true)?,
        FieldId::IPV6_DST => ipv6_address(layout, ipv6::DST, !has_stops(head, layout))?,
        FieldId::IPV6_LABEL => sound(layout, &[ethernet::TYPE_IPV6]).map(|at| Slot::bare(at, 4, 0))?,
        FieldId::ARP_OP => arp_slot(layout, arp::OPCODE, 2)?,
        FieldId::ARP_SPA => arp_slot(layout, arp::SPA, 4)?,
        FieldId::ARP_TPA => arp_slot(layout, arp::TPA, 4)?,
        FieldId::ARP_SHA => arp_slot(layout, arp::SHA, 6)?,
        FieldId::ARP_THA => arp_slot(layout, arp::THA, 6)?,
        FieldId::TCP_SRC => port(head, layout, tcp::PROTOCOL, tcp::SRC)?,
        FieldId::TCP_DST => port(head, layout, tcp::PROTOCOL, tcp::DST)?,
        FieldId::UDP_SRC => port(head, layout, udp::PROTOCOL, tcp::SRC)?,
        FieldId::UDP_DST => port(head, layout, udp::PROTOCOL, tcp::DST)?,
        FieldId::SCTP_SRC => port(head, layout, sctp::PROTOCOL, tcp::SRC)?,
        FieldId::SCTP_DST => port(head, layout, sctp::PROTOCOL, tcp::DST)?,
        FieldId::ICMP_TYPE => own(icmp(head, layout, false)?, 0, 2, 8),
        FieldId::ICMP_CODE => own(icmp(head, layout, false)?, 0, 2, 0),
        FieldId::ICMPV6_TYPE => own(icmp(head, layout, true)?, 0, 2, 8),
        FieldId::ICMPV6_CODE => own(icmp(head, layout, true)?, 0, 2, 0),
        FieldId::ND_TARGET => discovery(head, layout).map(|(_, transport, _)| own(transport, nd::TARGET, 16, 0))?,
        FieldId::ND_SLL => link_address(head, layout, nd::SOLICITATION, |nd| nd.source)?,
        FieldId::ND_TLL => link_address(head, layout, nd::ADVERTISEMENT, |nd| nd.target_link)?,
        FieldId::MPLS_LABEL => label(head, layout, mpls::LABEL_SHIFT)?,
        FieldId::MPLS_TC => label(head, layout, mpls::TC_SHIFT)?,
        FieldId::MPLS_BOS => label(head, layout, mpls::BOTTOM.trailing_zeros())?,
        FieldId::MPLS_TTL => mpls_ttl(head, layout)?,
        FieldId::PBB_ISID => backbone(head, layout, 0)?,
        FieldId::PBB_UCA => backbone(head, layout, pbb::UCA.trailing_zeros())?,
        _ => return None,
    })
}

/// Where the first label stack entry starts, when there is one.
pub fn mpls_start(head: &[u8], layout: &Layout) -> Option<usize> {
    let is_mpls = matches!(layout.dl_type, ethernet::TYPE_MPLS | ethernet::TYPE_MPLS_MULTICAST);
    (is_mpls && mpls::entry(&head[layout.network..]).is_some()).then_some(layout.network)
}

/// Changes the number of the transport. Its checksum goes on being that of the old protocol, whose header is still there.
pub fn set_protocol(head: &mut [u8], layout: &Layout, change: &Change) {
    let Some(start) = sound(layout, &[ethernet::TYPE_IPV4, ethernet::TYPE_IPV6]) else { return };
    let (slot, covered) = if layout.dl_type == ethernet::TYPE_IPV4 {
        (ipv4_slot(start, ipv4::TTL, 2, 0), Covered::Pseudo)
    } else if layout.transport.is_some() {
        (Slot::bare(start + chain(head, start).protocol_at, 1, 0), Covered::PseudoV6)
    } else {
        // A later fragment: the number is in the first one.
        return;
    };
    let old = slot.read(head) & 0xff;
    slot.write(head, change);
    let new = slot.read(head) & 0xff;
    if let Some(transport) = layout.transport {
        update_transport(head, transport, covered, checksum::difference(old, new));
    }
}

fn ethernet_slot(head: &[u8], at: usize, len: usize) -> Option<Slot> {
    (head.len() >= ethernet::LEN).then(|| Slot::bare(at, len, 0))
}

/// Where the network header starts, when it is a sound one of these types.
fn sound(layout: &Layout, types: &[u16]) -> Option<usize> {
    (layout.is_sound && types.contains(&layout.dl_type)).then_some(layout.network)
}

fn ipv4_slot(start: usize, at: usize, len: usize, shift: u32) -> Slot {
    Slot { ip_checksum: Some(start + ipv4::CHECKSUM), ..Slot::bare(start + at, len, shift) }
}

fn ipv4_address(layout: &Layout, at: usize) -> Option<Slot> {
    let start = sound(layout, &[ethernet::TYPE_IPV4])?;
    let transport = layout.transport.map(|transport| (transport, Covered::Pseudo));
    Some(Slot { transport, ..ipv4_slot(start, at, 4, 0) })
}

fn ipv6_address(layout: &Layout, at: usize, is_covered: bool) -> Option<Slot> {
    let start = sound(layout, &[ethernet::TYPE_IPV6])?;
    let transport = layout.transport.filter(|_| is_covered).map(|transport| (transport, Covered::PseudoV6));
    Some(Slot { transport, ..Slot::bare(start + at, 16, 0) })
}

fn has_stops(head: &[u8], layout: &Layout) -> bool {
    sound(layout, &[ethernet::TYPE_IPV6]).is_some_and(|start| chain(head, start).has_stops)
}

fn chain(head: &[u8], start: usize) -> ipv6::Chain {
    ipv6::chain(head[start + ipv6::NEXT_HEADER], &head[start + ipv6::LEN..])
}

fn arp_slot(layout: &Layout, at: usize, len: usize) -> Option<Slot> {
    let start = sound(layout, &[ethernet::TYPE_ARP, ethernet::TYPE_RARP])?;
    Some(Slot::bare(start + at, len, 0))
}

/// Bytes of the transport's own header.
fn own(transport: Transport, at: usize, len: usize, shift: u32) -> Slot {
    let transport_sum = Some((transport, Covered::Transport(at)));
    Slot { transport: transport_sum, ..Slot::bare(transport.start + at, len, shift) }
}

fn port(head: &[u8], layout: &Layout, protocol: u8, at: usize) -> Option<Slot> {
    let transport = layout.whole_transport(head).filter(|transport| transport.protocol == protocol)?;
    // SCTP's CRC covers what other fragments carry, and how much that is nobody knows here.
    (protocol != sctp::PROTOCOL || !transport.is_fragment).then(|| own(transport, at, 2, 0))
}

/// The message, ICMPv6 in IPv6 or ICMP in IPv4.
fn icmp(head: &[u8], layout: &Layout, is_v6: bool) -> Option<Transport> {
    let wanted = match is_v6 {
        true => (ethernet::TYPE_IPV6, icmp::PROTOCOL_V6),
        false => (ethernet::TYPE_IPV4, icmp::PROTOCOL),
    };
    layout.whole_transport(head).filter(|transport| (layout.dl_type, transport.protocol) == wanted)
}

/// A neighbour solicitation or advertisement: its type, and where it is.
fn discovery(head: &[u8], layout: &Layout) -> Option<(u8, Transport, Nd)> {
    let transport = icmp(head, layout, true)?;
    let message = &head[transport.start..head.len().min(transport.start + transport.len)];
    Nd::new(message).map(|nd| (message[0], transport, nd))
}

fn link_address(head: &[u8], layout: &Layout, kind: u8, which: impl Fn(&Nd) -> Option<LinkAddress>) -> Option<Slot> {
    let (_, transport, nd) = discovery(head, layout).filter(|&(found, ..)| found == kind)?;
    Some(own(transport, which(&nd)?.at, 6, 0))
}

fn label(head: &[u8], layout: &Layout, shift: u32) -> Option<Slot> {
    mpls_start(head, layout).map(|start| Slot::bare(start, mpls::LEN, shift))
}

fn backbone(head: &[u8], layout: &Layout, shift: u32) -> Option<Slot> {
    let is_there = layout.dl_type == ethernet::TYPE_PBB && pbb::split(&head[layout.network..]).is_some();
    is_there.then(|| Slot::bare(layout.network, pbb::TCI, shift))
}
