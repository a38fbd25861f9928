//! Checksums after bytes that they cover have changed: IPv4, TCP, UDP, ICMP, ICMPv6, and SCTP's CRC.
//!
//! Every frame here has its checksums complete: no port takes unfinished ones. Guests are not offered `VIRTIO_NET_F_CSUM`, and
//! what their headers say of `NEEDS_CSUM` is ignored; the kernel finishes what it gives to a tap; behind XDP the operator sees
//! to it (`ethtool -K PEER tx off`). If a port ever does, this file must know: an unfinished checksum holds the sum over the
//! pseudo header only, not complemented, so what [`Covered::Pseudo`] covers has to be added to it the other way round, and
//! what [`Covered::Transport`] covers not at all.

use crate::pipeline::parse::Transport;
use crate::wire::{checksum, icmp, sctp, tcp, udp};

/// What of a transport's checksum covers some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// They are in the pseudo header: addresses, protocol.
    Pseudo,
    /// They are in the pseudo header that ICMPv6 has too.
    PseudoV6,
    /// They are in the transport's own header, so many bytes from its start.
    Transport(usize),
}

/// Updates the Internet checksum at `at` after words that it covers changed by `difference` ([`checksum::difference`]).
#[inline]
pub fn update(head: &mut [u8], at: usize, difference: u16) {
    let field = &mut head[at..at + 2];
    let checksum = checksum::update(u16::from_be_bytes([field[0], field[1]]), difference);
    field.copy_from_slice(&checksum.to_be_bytes());
}

/// The same for the transport's checksum, when it has one of this kind and its header is all there.
#[inline]
pub fn update_transport(head: &mut [u8], transport: Transport, covered: Covered, difference: u16) {
    let is_own = matches!(covered, Covered::Transport(_));
    let (at, len) = match transport.protocol {
        tcp::PROTOCOL => (tcp::CHECKSUM, tcp::LEN),
        udp::PROTOCOL => (udp::CHECKSUM, udp::LEN),
        icmp::PROTOCOL if is_own => (icmp::CHECKSUM, icmp::LEN),
        icmp::PROTOCOL_V6 if covered != Covered::Pseudo => (icmp::CHECKSUM, icmp::LEN_V6),
        _ => return,
    };
    if !transport.has(len, head) {
        return;
    }
    let at = transport.start + at;
    let is_udp = transport.protocol == udp::PROTOCOL;
    // 0 says that the sender computed none; a computed 0 is sent as its other form (RFC 768).
    if is_udp && head[at..at + 2] == [0, 0] {
        return;
    }
    update(head, at, difference);
    if is_udp && head[at..at + 2] == [0, 0] {
        head[at..at + 2].fill(0xff);
    }
}

/// SCTP's CRC after two bytes, `at` from the start of its header, were xored with `difference`.
pub fn update_sctp(head: &mut [u8], transport: Transport, at: usize, difference: u16) {
    let crc = &mut head[transport.start + sctp::CHECKSUM..][..4];
    let delta = sctp::crc_change(difference.to_be_bytes(), transport.len - at);
    crc.iter_mut().zip(delta).for_each(|(byte, delta)| *byte ^= delta);
}
