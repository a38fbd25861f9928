//! Headers as views over bytes: pure, no state, nothing but what the switch uses.
//!
//! Trust: every byte is hostile. A view is made by a checked constructor (`new`) from the bytes at which its header
//! starts, and holds exactly the fixed part of that header, so that no getter can fail. One file per header, each in the
//! same order: offsets, view, constructor, getters, tests. Neighbours: `pipeline::parse` reads through the views,
//! `pipeline::rewrite` writes at the offsets.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod mpls;
pub mod nd;
pub mod pbb;
pub mod sctp;
pub mod tcp;
pub mod udp;
pub mod vlan;

/// The big-endian 16 bits at `at`.
#[inline(always)]
fn be16<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian 32 bits at `at`.
#[inline(always)]
fn be32<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 48 bits at `at` as a number whose most significant byte comes first.
#[inline(always)]
fn be48<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u64 {
    // One load, where two more bytes are there.
    if at + 8 <= LEN {
        return be64(bytes, at) >> 16;
    }
    u64::from(be16(bytes, at)) << 32 | u64::from(be32(bytes, at + 2))
}

/// The big-endian 64 bits at `at`.
#[inline(always)]
fn be64<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u64 {
    // A copy, so that it is one load also where not all of it is used.
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}
