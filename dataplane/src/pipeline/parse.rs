//! From a frame to its key, no deeper than the rules look.
//!
//! Field values for odd frames (cut, fragmented, lengths that lie) are those of Open vSwitch's `flow_extract`: what cannot
//! be trusted is zero. Trust: every byte is the sender's. Only the head is read, which nobody else can change any more.
//! Neighbours: the classifier looks the key up; `rewrite` and the choice of a transmit queue use [`Layout`].

mod rare;

pub use rare::pbb_field;

use crate::flow::{FRAME_WORDS, Field, FlowKey, Mask};
use crate::packet::{Frame, Packet};
use crate::wire::arp::Arp;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::icmp::{self, Icmp};
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::sctp::{self, Sctp};
use crate::wire::tcp::{self, Tcp};
use crate::wire::udp::{self, Udp};
use crate::wire::vlan;

/// [`Field::NW_FRAG`]: any fragment.
const FRAG_ANY: u64 = 1;
/// [`Field::NW_FRAG`]: not the first one.
const FRAG_LATER: u64 = 2;

/// How far a frame has to be parsed. Deeper is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Not at all: only the port counts.
    Port,
    /// Addresses, tag and type.
    Ethernet,
    /// IP and ARP.
    Network,
    /// Ports, ICMP types, TCP flags.
    Transport,
    /// What few rules look at, see `parse::rare`, and which headers are whole.
    All,
}

impl Depth {
    /// Deep enough for rules that look at `mask`.
    #[must_use]
    pub fn of(mask: &Mask) -> Self {
        let counts = |fields: &[Field]| fields.iter().any(|&field| mask.field(field) != 0);
        let transport = [Field::TP_SRC, Field::TP_DST, Field::TCP_FLAGS];
        let network = [
            Field::NW_PROTO,
            Field::NW_TOS,
            Field::NW_TTL,
            Field::NW_FRAG,
            Field::NW_SRC,
            Field::NW_DST,
            Field::IPV6_SRC,
            Field::IPV6_SRC_LOW,
            Field::IPV6_DST,
            Field::IPV6_DST_LOW,
            Field::ARP_SHA,
            Field::ARP_THA,
        ];
        let rare = [
            Field::INNER_TCI,
            Field::MPLS_LSE,
            Field::PBB,
            Field::IPV6_LABEL,
            Field::IPV6_EXTHDR,
            Field::ND_TARGET,
            Field::ND_TARGET_LOW,
            Field::HEADERS,
        ];
        // Neighbour discovery has its link-layer addresses in ARP's places, and needs an ICMPv6 type.
        let nd_options = counts(&transport) && counts(&[Field::ARP_SHA, Field::ARP_THA]);
        if counts(&rare) || nd_options {
            Self::All
        } else if counts(&transport) {
            Self::Transport
        } else if counts(&network) {
            Self::Network
        } else if counts(&[Field::DL_SRC, Field::DL_DST, Field::DL_TYPE, Field::VLAN_TCI]) {
            Self::Ethernet
        } else {
            Self::Port
        }
    }
}

/// Where a frame's headers lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Ethernet type behind the tags, as [`Field::DL_TYPE`].
    pub dl_type: u16,
    /// Where the tags, or the Ethernet header without any, end.
    pub behind_tags: usize,
    /// Where the network header starts: there, or behind LLC and SNAP.
    pub network: usize,
    /// IPv4, IPv6 with its extension headers, or ARP is there, as `dl_type` says, and makes sense.
    pub is_sound: bool,
    /// The transport header, when there is one in this frame.
    pub transport: Option<Transport>,
}

impl Layout {
    /// The transport, when its header is all there and one that rules know.
    #[must_use]
    pub fn whole_transport(&self, head: &[u8]) -> Option<Transport> {
        let len = match self.transport?.protocol {
            tcp::PROTOCOL => tcp::LEN,
            udp::PROTOCOL => udp::LEN,
            sctp::PROTOCOL => sctp::LEN,
            icmp::PROTOCOL => icmp::LEN,
            icmp::PROTOCOL_V6 => icmp::LEN_V6,
            _ => return None,
        };
        self.transport.filter(|transport| transport.has(len, head))
    }
}

/// Where a transport header lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Its protocol's number.
    pub protocol: u8,
    /// Where it starts.
    pub start: usize,
    /// How many bytes the packet has from there on, trailing padding excluded; the head may have fewer.
    pub len: usize,
    /// Only the first part of the transport's payload follows.
    pub is_fragment: bool,
}

impl Transport {
    /// True when the first `count` bytes are there, in the packet and in its head.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, count: usize, head: &[u8]) -> bool {
        count <= self.len && self.start + count <= head.len()
    }
}

/// Fills `key` with what `depth` asks for, the other fields of frames with zero; what is no frame's stays.
#[inline]
pub fn parse(packet: &Packet, in_port: u32, depth: Depth, key: &mut FlowKey) {
    key.words[..FRAME_WORDS].fill(0);
    key.set(Field::IN_PORT, u64::from(in_port));
    fill(packet, depth, key);
}

#[inline(always)]
fn fill(packet: &Packet, depth: Depth, key: &mut FlowKey) {
    let (head, len) = (packet.head(), packet.len());
    match depth {
        Depth::Port => {}
        Depth::Transport if fill_common(head, len, key).is_some() => {}
        Depth::All => rare::extract_all(head, len, key),
        _ => {
            extract(head, len, depth, key);
        }
    }
}

/// Where the transport begins in the frames that [`fill_common`] knows, and what has to be there of them.
const COMMON_TRANSPORT: usize = ethernet::LEN + ipv4::LEN;
const COMMON_LEN: usize = COMMON_TRANSPORT + tcp::LEN;

/// What [`extract`] would find in a frame of the shape that most have: no tag, IPv4 without options, no fragment, TCP or UDP.
/// `None`, and nothing done, for any other.
#[inline(always)]
fn fill_common(head: &[u8], len: usize, key: &mut FlowKey) -> Option<()> {
    let head = head.first_chunk::<COMMON_LEN>()?;
    let frame = Ethernet::new(head)?;
    let ip = Ipv4::without_options(&head[ethernet::LEN..], len - ethernet::LEN)?;
    if frame.type_or_len() != ethernet::TYPE_IPV4 || ip.is_fragment() {
        return None;
    }
    let transport = &head[COMMON_TRANSPORT..];
    let flags = match (ip.protocol(), ip.total_len() - ipv4::LEN) {
        (tcp::PROTOCOL, tcp::LEN..) => Tcp::new(transport)?.flags(),
        (udp::PROTOCOL, udp::LEN..) => 0,
        _ => return None,
    };
    let ports = Udp::new(transport)?.ports();
    key.set(Field::DL_TYPE, u64::from(ethernet::TYPE_IPV4));
    key.set(Field::DL_DST, frame.dst());
    key.set(Field::DL_SRC, frame.src());
    key.set(Field::NW_PROTO, u64::from(ip.protocol()));
    key.set(Field::NW_TOS, u64::from(ip.tos()));
    key.set(Field::NW_TTL, u64::from(ip.ttl()));
    key.set(Field::NW_SRC, u64::from(ip.src()));
    key.set(Field::NW_DST, u64::from(ip.dst()));
    key.set(Field::TP_SRC, u64::from(ports >> 16));
    key.set(Field::TP_DST, u64::from(ports & 0xffff));
    key.set(Field::TCP_FLAGS, u64::from(flags));
    Some(())
}

/// Reads a frame again that was changed in a way that its key cannot follow: the frame's fields as `depth` asks for them. The
/// port it came in on and all that is no frame's field stay.
pub fn parse_again(packet: &mut Packet, depth: Depth, key: &mut FlowKey) {
    let in_port = key.field(Field::IN_PORT);
    key.words[..FRAME_WORDS].fill(0);
    key.set(Field::IN_PORT, in_port);
    reach_headers(packet);
    fill(packet, depth, key);
}

/// Bytes that hold every header of a frame but IPv6's extension headers and what follows in ICMPv6: Ethernet, two tags, the
/// longest IPv4 header, TCP.
const HEADERS_LEN: usize = ethernet::LEN + 2 * vlan::LEN + 60 + tcp::LEN;

/// Every field of a frame that came in at `in_port`; for those who show frames.
#[must_use]
pub fn fields_of_frame(frame: &[u8], in_port: u32) -> FlowKey {
    let mut key = FlowKey::default();
    key.set(Field::IN_PORT, u64::from(in_port));
    extract(frame, frame.len(), Depth::All, &mut key);
    key
}

/// Brings headers into the head that lie behind it: IPv6 extension headers and the options of ICMPv6 can be of any length, and
/// pops shorten the head; all others fit. Called before what looks at the transport: a sender must not escape a rule about
/// ports by long options.
#[inline(always)]
pub fn reach_headers(packet: &mut Packet) {
    if !packet.tail().is_empty() && goes_beyond(packet.head()) {
        packet.pull_tail();
    }
}

fn goes_beyond(head: &[u8]) -> bool {
    let Some(frame) = Ethernet::new(head) else { return true };
    let (_, type_or_len, start) = untag(head, frame.type_or_len());
    let (dl_type, snap) = ethernet::resolve(type_or_len, &head[start..]);
    let next_header = head.get(start + snap + ipv6::NEXT_HEADER);
    let is_long = |&protocol: &u8| ipv6::is_extension(protocol) || protocol == icmp::PROTOCOL_V6;
    head.len() < HEADERS_LEN || dl_type == ethernet::TYPE_IPV6 && next_header.is_some_and(is_long)
}

/// Where the headers of a frame lie that starts with `head` and is `len` bytes long.
#[must_use]
pub fn locate(head: &[u8], len: usize) -> Layout {
    extract(head, len, Depth::Network, &mut FlowKey::default())
}

#[inline(always)]
fn extract(head: &[u8], len: usize, depth: Depth, key: &mut FlowKey) -> Layout {
    let mut layout = Layout::default();
    let Some(frame) = Ethernet::new(head) else { return layout };
    key.set(Field::DL_DST, frame.dst());
    key.set(Field::DL_SRC, frame.src());
    let (tci, type_or_len, start) = untag(head, frame.type_or_len());
    key.set(Field::VLAN_TCI, u64::from(tci));
    let (dl_type, snap) = ethernet::resolve(type_or_len, &head[start..]);
    key.set(Field::DL_TYPE, u64::from(dl_type));
    layout.dl_type = dl_type;
    layout.behind_tags = start;
    layout.network = start + snap;
    if depth < Depth::Network {
        return layout;
    }
    let bytes = &head[layout.network..];
    let available = len - layout.network;
    let found = match dl_type {
        ethernet::TYPE_IPV4 => extract_ipv4(bytes, available, key),
        ethernet::TYPE_IPV6 => extract_ipv6(bytes, available, key),
        ethernet::TYPE_ARP | ethernet::TYPE_RARP => extract_arp(bytes, key),
        _ => None,
    };
    layout.is_sound = found.is_some();
    layout.transport = found.flatten().map(|found| Transport { start: layout.network + found.start, ..found });
    if depth >= Depth::Transport
        && let Some(transport) = layout.transport
    {
        extract_transport(transport, &head[transport.start..], key);
    }
    layout
}

/// The outermost tag (0 for none), and the type behind the tags with where it ends.
#[inline(always)]
fn untag(head: &[u8], mut type_or_len: u16) -> (u16, u16, usize) {
    let (mut outermost, mut start) = (0, ethernet::LEN);
    for depth in 0..vlan::MAX_TAGS {
        if !vlan::is_tag(type_or_len) {
            break;
        }
        let Some((tci, next)) = vlan::split(&head[start..]) else { break };
        if depth == 0 {
            outermost = tci | vlan::DEI;
        }
        type_or_len = next;
        start += vlan::LEN;
    }
    (outermost, type_or_len, start)
}

/// `None` when the header is not sound, here and below. `start` of the result counts from the network header; it is inside
/// `bytes`.
#[inline(always)]
fn extract_ipv4(bytes: &[u8], available: usize, key: &mut FlowKey) -> Option<Option<Transport>> {
    let ip = Ipv4::new(bytes, available)?;
    key.set(Field::NW_SRC, u64::from(ip.src()));
    key.set(Field::NW_DST, u64::from(ip.dst()));
    key.set(Field::NW_PROTO, u64::from(ip.protocol()));
    key.set(Field::NW_TOS, u64::from(ip.tos()));
    key.set(Field::NW_TTL, u64::from(ip.ttl()));
    if ip.is_fragment() {
        key.set(Field::NW_FRAG, if ip.is_later_fragment() { FRAG_ANY | FRAG_LATER } else { FRAG_ANY });
    }
    let start = ip.header_len();
    let there = !ip.is_later_fragment() && start <= bytes.len();
    Some(there.then(|| Transport {
        protocol: ip.protocol(),
        start,
        len: ip.total_len() - start,
        is_fragment: ip.is_fragment(),
    }))
}

#[inline(always)]
fn extract_ipv6(bytes: &[u8], available: usize, key: &mut FlowKey) -> Option<Option<Transport>> {
    let ip = Ipv6::new(bytes, available)?;
    let ([src, src_low], [dst, dst_low]) = (ip.src(), ip.dst());
    key.set(Field::IPV6_SRC, src);
    key.set(Field::IPV6_SRC_LOW, src_low);
    key.set(Field::IPV6_DST, dst);
    key.set(Field::IPV6_DST_LOW, dst_low);
    let found = ipv6::walk(ip.next_header(), &bytes[ipv6::LEN..], ip.payload_len())?;
    key.set(Field::NW_PROTO, u64::from(found.protocol));
    key.set(Field::NW_TOS, u64::from(ip.traffic_class()));
    key.set(Field::NW_TTL, u64::from(ip.hop_limit()));
    if found.is_fragment {
        key.set(Field::NW_FRAG, if found.is_later_fragment { FRAG_ANY | FRAG_LATER } else { FRAG_ANY });
    }
    let start = ipv6::LEN + found.offset;
    let there = !found.is_later_fragment && start <= bytes.len();
    Some(there.then(|| Transport {
        protocol: found.protocol,
        start,
        len: ip.payload_len() - found.offset,
        is_fragment: found.is_fragment,
    }))
}

#[inline(always)]
fn extract_arp(bytes: &[u8], key: &mut FlowKey) -> Option<Option<Transport>> {
    let arp = Arp::new(bytes)?;
    key.set(Field::NW_SRC, u64::from(arp.spa()));
    key.set(Field::NW_DST, u64::from(arp.tpa()));
    // Rules see 8 bits of the opcode; a larger one is none that they know.
    key.set(Field::NW_PROTO, u64::from(u8::try_from(arp.opcode()).unwrap_or(0)));
    key.set(Field::ARP_SHA, arp.sha());
    key.set(Field::ARP_THA, arp.tha());
    Some(None)
}

#[inline(always)]
fn extract_transport(transport: Transport, bytes: &[u8], key: &mut FlowKey) {
    let ports = match transport.protocol {
        tcp::PROTOCOL if transport.len >= tcp::LEN => Tcp::new(bytes).map_or(0, |header| {
            key.set(Field::TCP_FLAGS, u64::from(header.flags()));
            header.ports()
        }),
        udp::PROTOCOL if transport.len >= udp::LEN => Udp::new(bytes).map_or(0, Udp::ports),
        sctp::PROTOCOL if transport.len >= sctp::LEN => Sctp::new(bytes).map_or(0, Sctp::ports),
        icmp::PROTOCOL if transport.len >= icmp::LEN => kind_and_code(bytes),
        icmp::PROTOCOL_V6 if transport.len >= icmp::LEN_V6 => kind_and_code(bytes),
        _ => return,
    };
    key.set(Field::TP_SRC, u64::from(ports >> 16));
    key.set(Field::TP_DST, u64::from(ports & 0xffff));
}

#[inline(always)]
fn kind_and_code(bytes: &[u8]) -> u32 {
    Icmp::new(bytes).map_or(0, |header| u32::from(header.kind()) << 16 | u32::from(header.code()))
}

/// A cheap hash of the flow that a frame belongs to (addresses, protocol, ports), to choose a transmit queue by: packets of
/// one flow get the same. Fragments of one datagram get the same too, for they are told by addresses only.
#[must_use]
pub fn rss_hash(frame: Frame) -> u32 {
    frame.peek(|head| hash_of_frame(head, frame.len()))
}

fn hash_of_frame(head: &[u8], len: usize) -> u32 {
    let mut key = FlowKey::default();
    let layout = extract(head, len, Depth::Network, &mut key);
    let mut words = [key.field(Field::DL_SRC), key.field(Field::DL_DST), u64::from(layout.dl_type)];
    if matches!(layout.dl_type, ethernet::TYPE_IPV4 | ethernet::TYPE_IPV6) {
        let low = key.field(Field::IPV6_SRC_LOW) ^ key.field(Field::IPV6_DST_LOW).rotate_left(17);
        words[0] = key.field(Field::NW_SRC) << 32 | key.field(Field::NW_DST);
        words[0] ^= low ^ key.field(Field::IPV6_SRC) ^ key.field(Field::IPV6_DST).rotate_left(29);
        words[1] = key.field(Field::NW_PROTO);
        if key.field(Field::NW_FRAG) == 0
            && let Some(transport) = layout.transport
        {
            extract_transport(transport, &head[transport.start..], &mut key);
            words[2] = key.field(Field::TP_SRC) << 16 | key.field(Field::TP_DST);
        }
    }
    let mixed = words.iter().fold(0, |hash: u64, &word| {
        let product = u128::from(hash ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        (product >> 64) as u64 ^ product as u64
    });
    (mixed >> 32) as u32
}

#[cfg(test)]
mod tests;
