//! Checksums after bytes that they cover have changed: IPv4, TCP, UDP, ICMP, ICMPv6, and SCTP's CRC.
//!
//! Every frame here has its checksums complete: ports do not offer to take unfinished ones from guests (virtio's
//! `VIRTIO_NET_F_CSUM`, a header with `NEEDS_CSUM`). If they ever do, this file must know: an unfinished checksum holds the sum
//! over the pseudo header only, not complemented, so what [`Covered::Pseudo`] covers has to be added to it the other way
//! round, and what [`Covered::Transport`] covers not at all.

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

/// Updates the Internet checksum at `at` after `old` bytes that it covers became `new`.
pub fn update(head: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let field = &mut head[at..at + 2];
    let checksum = checksum::update(u16::from_be_bytes([field[0], field[1]]), old, new);
    field.copy_from_slice(&checksum.to_be_bytes());
}

/// The same for the transport's checksum, when it has one and its header is all there.
pub fn update_transport(head: &mut [u8], transport: Transport, covered: Covered, old: &[u8], new: &[u8]) {
    let Transport { protocol, start, .. } = transport;
    let is_own = matches!(covered, Covered::Transport(_));
    match protocol {
        tcp::PROTOCOL if transport.has(tcp::LEN, head) => update(head, start + tcp::CHECKSUM, old, new),
        udp::PROTOCOL if transport.has(udp::LEN, head) => update_udp(head, start + udp::CHECKSUM, old, new),
        icmp::PROTOCOL if is_own && transport.has(icmp::LEN, head) => update(head, start + icmp::CHECKSUM, old, new),
        icmp::PROTOCOL_V6 if covered != Covered::Pseudo && transport.has(icmp::LEN_V6, head) => {
            update(head, start + icmp::CHECKSUM, old, new);
        }
        sctp::PROTOCOL if transport.has(sctp::LEN, head) => {
            if let Covered::Transport(at) = covered {
                update_sctp(head, transport, at, old, new);
            }
        }
        _ => {}
    }
}

/// 0 says that the sender computed none; a computed 0 is sent as its other form (RFC 768).
fn update_udp(head: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    if head[at..at + 2] == [0, 0] {
        return;
    }
    update(head, at, old, new);
    if head[at..at + 2] == [0, 0] {
        head[at..at + 2].fill(0xff);
    }
}

/// For two bytes, `at` from the start of the header.
fn update_sctp(head: &mut [u8], transport: Transport, at: usize, old: &[u8], new: &[u8]) {
    let (&[a, b], &[c, d]) = (old, new) else { return };
    let crc = &mut head[transport.start + sctp::CHECKSUM..][..4];
    let delta = sctp::crc_change([a ^ c, b ^ d], transport.len - at);
    crc.iter_mut().zip(delta).for_each(|(byte, delta)| *byte ^= delta);
}
