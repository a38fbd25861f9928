//! IPv6 and its extension headers. RFC 8200.

use super::{be16, be32, be64};

/// Bytes of the fixed header.
pub const LEN: usize = 40;
/// Where the hop limit lies.
pub const HOP_LIMIT: usize = 7;
const PAYLOAD_LEN: usize = 4;
/// Offset of the number of the header that follows.
pub const NEXT_HEADER: usize = 6;
/// Where the source lies.
pub const SRC: usize = 8;
/// Where the destination lies.
pub const DST: usize = 24;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// Fragment header; also the protocol of a later fragment, whose transport header is elsewhere.
pub const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// The fixed header.
#[derive(Clone, Copy)]
pub struct Ipv6<'a>(&'a [u8; LEN]);

impl<'a> Ipv6<'a> {
    /// The header at the start of `bytes`, of a packet that is really `available` bytes long (`bytes` may be cut).
    /// `None` when its length makes no sense.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8], available: usize) -> Option<Self> {
        let view = Self(bytes.first_chunk()?);
        (LEN + view.payload_len() <= available).then_some(view)
    }

    /// Bytes behind the fixed header.
    #[inline(always)]
    #[must_use]
    pub fn payload_len(self) -> usize {
        usize::from(be16(self.0, PAYLOAD_LEN))
    }

    /// Flow label.
    #[inline(always)]
    #[must_use]
    pub fn flow_label(self) -> u32 {
        be32(self.0, 0) & 0xf_ffff
    }

    /// Traffic class: DSCP and ECN.
    #[inline(always)]
    #[must_use]
    pub fn traffic_class(self) -> u8 {
        (be32(self.0, 0) >> 20) as u8
    }

    /// Hop limit.
    #[inline(always)]
    #[must_use]
    pub fn hop_limit(self) -> u8 {
        self.0[HOP_LIMIT]
    }

    /// What follows: an extension header or the transport.
    #[inline(always)]
    #[must_use]
    pub fn next_header(self) -> u8 {
        self.0[NEXT_HEADER]
    }

    /// Source, high and low half.
    #[inline(always)]
    #[must_use]
    pub fn src(self) -> [u64; 2] {
        [be64(self.0, SRC), be64(self.0, SRC + 8)]
    }

    /// Destination, high and low half.
    #[inline(always)]
    #[must_use]
    pub fn dst(self) -> [u64; 2] {
        [be64(self.0, DST), be64(self.0, DST + 8)]
    }
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Its protocol; [`FRAGMENT`] for a later fragment.
    pub protocol: u8,
    /// Bytes of extension headers before it.
    pub offset: usize,
    /// There is a fragment header that says more than "whole".
    pub is_fragment: bool,
    /// The transport header is in another fragment.
    pub is_later_fragment: bool,
}

/// Walks the extension headers. `next_header` is the fixed header's, `payload` what follows it, really `available`
/// bytes long (`payload` may be cut). `None` when they are cut or longer than the packet. However many
/// there are: receivers walk them all, so a rule about ports must not be escaped by one more. Each takes 8 bytes at least.
#[inline]
#[must_use]
pub fn walk(next_header: u8, payload: &[u8], available: usize) -> Option<Transport> {
    let mut found = Transport { protocol: next_header, offset: 0, is_fragment: false, is_later_fragment: false };
    loop {
        if !is_extension(found.protocol) {
            return Some(found);
        }
        let header: &[u8; 8] = payload.get(found.offset..)?.first_chunk()?;
        let len = len_of(found.protocol, header);
        if found.offset + len > available {
            return None;
        }
        if found.protocol == FRAGMENT {
            let offset_and_more = be16(header, 2);
            found.is_fragment |= offset_and_more & 0xfff9 != 0;
            if offset_and_more & 0xfff8 != 0 {
                return Some(Transport {
                    protocol: FRAGMENT,
                    offset: found.offset + len,
                    is_later_fragment: true,
                    ..found
                });
            }
        }
        found.protocol = header[0];
        found.offset += len;
    }
}

/// What the whole chain of headers says, beside where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Bits of [`seen`], as OpenFlow names them.
    pub seen: u16,
    /// Where the transport's number lies, counted from the fixed header.
    pub protocol_at: usize,
    /// The packet has stops to make (a routing header says so): the destination in the fixed header is not its last one,
    /// which is the one that checksums cover (RFC 8200, section 8.1).
    pub has_stops: bool,
}

/// Bits for the extension headers in a packet. OpenFlow 1.3, `OFPIEH_*`.
pub mod seen {
    /// "No next header".
    pub const NO_NEXT: u16 = 1;
    /// Encrypted payload.
    pub const ESP: u16 = 2;
    /// Authentication.
    pub const AUTHENTICATION: u16 = 4;
    /// Destination options, once or twice.
    pub const DESTINATION: u16 = 8;
    /// Fragment.
    pub const FRAGMENT: u16 = 16;
    /// Routing.
    pub const ROUTING: u16 = 32;
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u16 = 64;
    /// One more often than expected: destination options thrice, any other twice.
    pub const REPEATED: u16 = 128;
    /// Not in the order that RFC 8200, section 4.1 recommends.
    pub const OUT_OF_ORDER: u16 = 256;
}

/// Walks the headers that [`walk`] found sound, with the same arguments, for what few rules and actions want to know.
#[must_use]
pub fn chain(next_header: u8, payload: &[u8]) -> Chain {
    let mut chain = Chain { seen: 0, protocol_at: NEXT_HEADER, has_stops: false };
    // Places in the recommended order; destination options have two, before the routing header and at the end.
    let (mut protocol, mut offset, mut last_place, mut destinations) = (next_header, 0, 0, 0);
    loop {
        let (bit, place) = match protocol {
            HOP_BY_HOP => (seen::HOP_BY_HOP, 0),
            DESTINATION => (seen::DESTINATION, if last_place < 1 { 1 } else { 6 }),
            ROUTING => (seen::ROUTING, 2),
            FRAGMENT => (seen::FRAGMENT, 3),
            AUTHENTICATION => (seen::AUTHENTICATION, 4),
            ESP => (seen::ESP, 5),
            NO_NEXT => (seen::NO_NEXT, 7),
            _ => return chain,
        };
        destinations += u8::from(protocol == DESTINATION);
        if chain.seen & bit != 0 && (protocol != DESTINATION || destinations > 2) {
            chain.seen |= seen::REPEATED;
        }
        if place < last_place {
            chain.seen |= seen::OUT_OF_ORDER;
        }
        last_place = last_place.max(place);
        chain.seen |= bit;
        // What these two are followed by nobody knows; a later fragment's number is its first header's, elsewhere.
        let header = payload.get(offset..).and_then(|rest| rest.first_chunk::<8>());
        let Some(header) = header.filter(|_| is_extension(protocol)) else { return chain };
        if protocol == FRAGMENT && be16(header, 2) & 0xfff8 != 0 {
            return chain;
        }
        chain.has_stops |= protocol == ROUTING && header[3] != 0;
        chain.protocol_at = LEN + offset;
        offset += len_of(protocol, header);
        protocol = header[0];
    }
}

#[inline(always)]
fn len_of(protocol: u8, header: &[u8; 8]) -> usize {
    match protocol {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
        _ => (usize::from(header[1]) + 1) * 8,
    }
}

/// True for the number of an extension header, behind which there is another header.
#[inline]
#[must_use]
pub fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&[0x6b, 0x81, 0x23, 0x45, 0, 8, 17, 63]);
        bytes[8] = 0xfe;
        bytes[23] = 1;
        bytes[24] = 0xff;
        bytes[39] = 2;
        let view = Ipv6::new(&bytes, 48).expect("sound");
        assert_eq!((view.traffic_class(), view.payload_len(), view.next_header(), view.hop_limit()), (0xb8, 8, 17, 63));
        assert_eq!((view.src(), view.dst()), ([0xfe << 56, 1], [0xff << 56, 2]));
        assert!(Ipv6::new(&bytes, 47).is_none(), "more payload than there is");
    }

    #[test]
    fn extension_headers_are_walked() {
        let mut payload = vec![60, 1];
        payload.resize(16, 0); // hop-by-hop, 16 bytes, then destination options
        payload.extend([51, 0, 0, 0, 0, 0, 0, 0]); // 8 bytes, then authentication
        payload.extend([44, 4, 0, 0, 0, 0, 0, 0]);
        payload.resize(48, 0); // 24 bytes, then a fragment header
        let first = [6, 0, 0, 1, 0, 0, 0, 9];
        payload.extend(first);
        let found = walk(HOP_BY_HOP, &payload, 100);
        let wanted = Transport { protocol: 6, offset: 56, is_fragment: true, is_later_fragment: false };
        assert_eq!(found, Some(wanted));
        payload[50..52].copy_from_slice(&[0x05, 0xa8]);
        let later = Transport { protocol: FRAGMENT, is_later_fragment: true, ..wanted };
        assert_eq!(walk(HOP_BY_HOP, &payload, 100), Some(later));
        assert_eq!(walk(HOP_BY_HOP, &payload[..55], 55), None, "cut");
        assert_eq!(walk(HOP_BY_HOP, &payload, 55), None, "longer than the packet");
        assert_eq!(walk(6, &[], 0).map(|found| found.protocol), Some(6));
    }

    #[test]
    fn endless_chains_end() {
        let mut chain = [60, 0, 0, 0, 0, 0, 0, 0].repeat(100);
        assert_eq!(walk(DESTINATION, &chain, 800), None);
        chain[792] = 6;
        assert_eq!(walk(DESTINATION, &chain, 800).map(|found| (found.protocol, found.offset)), Some((6, 800)));
    }
}
