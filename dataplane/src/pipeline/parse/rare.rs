//! The fields that few rules look at, and which headers are whole.
//!
//! MPLS labels, provider backbone tags, the second VLAN tag, IPv6's flow label and extension headers, neighbour discovery.
//! Nothing of this costs anything unless a rule or an action needs it: see [`Depth::All`]. Trust: as in `parse`. Neighbours:
//! `parse` calls it at that depth; the keys of `rewrite` rely on [`Field::HEADERS`].

use super::Depth;
use crate::flow::{Field, FlowKey, headers};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::nd::Nd;
use crate::wire::{ethernet, icmp, mpls, pbb, vlan};

/// The tag's presence bit in [`Field::PBB`].
const PBB_PRESENT: u64 = 1 << 25;
const PBB_UCA: u64 = 1 << 24;

/// Fills every field. A function of its own, so that the others are not parsed any slower for it.
#[inline(never)]
pub(super) fn extract_all(head: &[u8], len: usize, key: &mut FlowKey) {
    let layout = super::extract(head, len, Depth::Transport, key);
    let mut whole = if layout.is_sound { headers::NETWORK } else { 0 };
    key.set(Field::INNER_TCI, u64::from(inner_tag(head)));
    let bytes = &head[layout.network..];
    match layout.dl_type {
        ethernet::TYPE_MPLS | ethernet::TYPE_MPLS_MULTICAST => {
            if let Some(entry) = mpls::entry(bytes) {
                key.set(Field::MPLS_LSE, u64::from(entry));
                whole |= headers::NETWORK;
            }
        }
        ethernet::TYPE_PBB => {
            if let Some(tci) = pbb::split(bytes) {
                key.set(Field::PBB, pbb_field(tci));
                whole |= headers::NETWORK;
            }
        }
        ethernet::TYPE_IPV6 if layout.is_sound => {
            if let Some(ip) = Ipv6::new(bytes, usize::MAX) {
                let chain = ipv6::chain(ip.next_header(), &bytes[ipv6::LEN..]);
                key.set(Field::IPV6_LABEL, u64::from(ip.flow_label()));
                key.set(Field::IPV6_EXTHDR, u64::from(chain.seen));
            }
        }
        _ => {}
    }
    if let Some(transport) = layout.whole_transport(head) {
        whole |= headers::TRANSPORT;
        if layout.dl_type == ethernet::TYPE_IPV6 && transport.protocol == icmp::PROTOCOL_V6 {
            let message = &head[transport.start..head.len().min(transport.start + transport.len)];
            whole |= neighbour_discovery(message, key);
        }
    }
    key.set(Field::HEADERS, whole);
}

/// The I-SID, UCA and "there is one", as the key has them.
#[must_use]
pub fn pbb_field(tci: u32) -> u64 {
    let uca = if tci & pbb::UCA != 0 { PBB_UCA } else { 0 };
    u64::from(tci & pbb::ISID) | uca | PBB_PRESENT
}

/// The second tag, as the key has it.
fn inner_tag(head: &[u8]) -> u16 {
    let mut types = [ethernet::TYPE, ethernet::TYPE + vlan::LEN].into_iter();
    let is_tag =
        |at: usize| head.get(at..at + 2).is_some_and(|bytes| vlan::is_tag(u16::from_be_bytes([bytes[0], bytes[1]])));
    if !types.all(is_tag) {
        return 0;
    }
    let inner = head.get(ethernet::LEN + vlan::LEN..).and_then(vlan::split);
    inner.map_or(0, |(tci, _)| tci | vlan::DEI)
}

/// Fills the fields of a solicitation or advertisement; returns which of them are there.
fn neighbour_discovery(message: &[u8], key: &mut FlowKey) -> u64 {
    let Some(nd) = Nd::new(message) else { return 0 };
    let mut whole = headers::ND;
    key.set(Field::ND_TARGET, nd.target[0]);
    key.set(Field::ND_TARGET_LOW, nd.target[1]);
    if let Some(address) = nd.source {
        key.set(Field::ARP_SHA, address.mac);
        whole |= headers::ND_SLL;
    }
    if let Some(address) = nd.target_link {
        key.set(Field::ARP_THA, address.mac);
        whole |= headers::ND_TLL;
    }
    whole
}
