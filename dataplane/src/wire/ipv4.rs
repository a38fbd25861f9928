//! IPv4. RFC 791.

use super::{be16, be32};

/// Bytes of the header without options.
pub const LEN: usize = 20;
/// Where the type of service lies.
pub const TOS: usize = 1;
/// Where the time to live lies.
pub const TTL: usize = 8;
/// Where the header checksum lies.
pub const CHECKSUM: usize = 10;
/// Where the source lies.
pub const SRC: usize = 12;
/// Where the destination lies.
pub const DST: usize = 16;
const TOTAL_LEN: usize = 2;
const FRAGMENT: usize = 6;
const PROTOCOL: usize = 9;

/// Protocol of IPv4 inside IP.
pub const IN_IP: u8 = 4;
/// Protocol of IPv6 inside IP.
pub const V6_IN_IP: u8 = 41;

const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The header's fixed part.
#[derive(Clone, Copy)]
pub struct Ipv4<'a>(&'a [u8; LEN]);

impl<'a> Ipv4<'a> {
    /// The header at the start of `bytes`, of a packet that is really `available` bytes long (`bytes` may be cut).
    /// `None` when its lengths make no sense.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8], available: usize) -> Option<Self> {
        let view = Self(bytes.first_chunk()?);
        let (header, total) = (view.header_len(), view.total_len());
        (header >= LEN && header <= total && total <= available).then_some(view)
    }

    /// The same of a header without options; `None` for any other.
    #[inline(always)]
    #[must_use]
    pub fn without_options(bytes: &'a [u8], available: usize) -> Option<Self> {
        let view = Self(bytes.first_chunk()?);
        let total = view.total_len();
        (view.header_len() == LEN && LEN <= total && total <= available).then_some(view)
    }

    /// Bytes of the header with options.
    #[inline(always)]
    #[must_use]
    pub fn header_len(self) -> usize {
        usize::from(self.0[0] & 0xf) * 4
    }

    /// Bytes of header and payload.
    #[inline(always)]
    #[must_use]
    pub fn total_len(self) -> usize {
        usize::from(be16(self.0, TOTAL_LEN))
    }

    /// Type of service: DSCP and ECN.
    #[inline(always)]
    #[must_use]
    pub fn tos(self) -> u8 {
        self.0[TOS]
    }

    /// Time to live.
    #[inline(always)]
    #[must_use]
    pub fn ttl(self) -> u8 {
        self.0[TTL]
    }

    /// Protocol.
    #[inline(always)]
    #[must_use]
    pub fn protocol(self) -> u8 {
        self.0[PROTOCOL]
    }

    /// True for any fragment.
    #[inline(always)]
    #[must_use]
    pub fn is_fragment(self) -> bool {
        be16(self.0, FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// True for a fragment that is not the first: it has no transport header.
    #[inline(always)]
    #[must_use]
    pub fn is_later_fragment(self) -> bool {
        be16(self.0, FRAGMENT) & FRAGMENT_OFFSET != 0
    }

    /// Source.
    #[inline(always)]
    #[must_use]
    pub fn src(self) -> u32 {
        be32(self.0, SRC)
    }

    /// Destination.
    #[inline(always)]
    #[must_use]
    pub fn dst(self) -> u32 {
        be32(self.0, DST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; LEN] = [0x45, 0xb8, 0, 0x1c, 0, 1, 0x20, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 168, 1, 255];

    #[test]
    fn golden() {
        let view = Ipv4::new(&HEADER, 28).expect("sound");
        assert_eq!((view.header_len(), view.total_len(), view.tos(), view.ttl()), (20, 28, 0xb8, 64));
        assert_eq!((view.protocol(), view.src(), view.dst()), (17, 0x0a00_0001, 0xc0a8_01ff));
        assert!(view.is_fragment() && !view.is_later_fragment());
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        assert!(Ipv4::new(&HEADER, 27).is_none(), "more payload than there is");
        assert!(Ipv4::new(&HEADER[..19], 28).is_none());
        for (at, value) in [(0, 0x44), (0, 0x4f), (3, 19)] {
            let mut bytes = HEADER;
            bytes[at] = value;
            assert!(Ipv4::new(&bytes, 28).is_none(), "byte {at} = {value}");
            assert!(Ipv4::without_options(&bytes, 28).is_none(), "byte {at} = {value}");
        }
        assert!(Ipv4::without_options(&HEADER, 28).is_some() && Ipv4::without_options(&HEADER, 27).is_none());
        let with_options = [&[0x46], &HEADER[1..]].concat();
        assert!(Ipv4::new(&with_options, 28).is_some() && Ipv4::without_options(&with_options, 28).is_none());
    }
}
