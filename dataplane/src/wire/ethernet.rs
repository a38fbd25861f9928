//! Ethernet II and 802.3 with SNAP. IEEE 802.3 clause 3, RFC 1042.

use super::{be16, be48};

/// Bytes of the header, without tags.
pub const LEN: usize = 14;
/// Bytes of the shortest frame that is legal on a wire, without its FCS.
pub const MIN_FRAME: usize = 60;
/// Where the destination lies.
pub const DST: usize = 0;
/// Where the source lies.
pub const SRC: usize = 6;
/// Where the type (or the first tag) lies.
pub const TYPE: usize = 12;

/// IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// Reverse ARP.
pub const TYPE_RARP: u16 = 0x8035;
/// IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// MPLS, unicast.
pub const TYPE_MPLS: u16 = 0x8847;
/// MPLS, multicast.
pub const TYPE_MPLS_MULTICAST: u16 = 0x8848;
/// Provider backbone bridging, the I-tag of IEEE 802.1ah.
pub const TYPE_PBB: u16 = 0x88e7;
/// What stands for "no Ethernet type": an 802.3 frame without SNAP. OpenFlow 1.0, section 3.4.
pub const TYPE_NONE: u16 = 0x05ff;
/// Smaller values of the type field are a length.
const TYPE_MIN: u16 = 0x0600;

/// The header's fixed part.
#[derive(Clone, Copy)]
pub struct Ethernet<'a>(&'a [u8; LEN]);

impl<'a> Ethernet<'a> {
    /// The header at the start of a frame.
    #[inline(always)]
    #[must_use]
    pub fn new(frame: &'a [u8]) -> Option<Self> {
        frame.first_chunk().map(Self)
    }

    /// Destination MAC.
    #[inline(always)]
    #[must_use]
    pub fn dst(self) -> u64 {
        be48(self.0, DST)
    }

    /// Source MAC.
    #[inline(always)]
    #[must_use]
    pub fn src(self) -> u64 {
        be48(self.0, SRC)
    }

    /// The two bytes behind the addresses: a type, a length, or a tag's type.
    #[inline(always)]
    #[must_use]
    pub fn type_or_len(self) -> u16 {
        be16(self.0, TYPE)
    }
}

/// What the type or length field says, with what follows it: the Ethernet type and how many bytes of LLC and SNAP
/// stand before the payload.
#[inline(always)]
#[must_use]
pub fn resolve(type_or_len: u16, payload: &[u8]) -> (u16, usize) {
    if type_or_len >= TYPE_MIN { (type_or_len, 0) } else { resolve_snap(payload) }
}

#[cold]
fn resolve_snap(payload: &[u8]) -> (u16, usize) {
    match payload {
        [0xaa, 0xaa, 0x03, 0, 0, 0, high, low, ..] if u16::from_be_bytes([*high, *low]) >= TYPE_MIN => {
            (u16::from_be_bytes([*high, *low]), 8)
        }
        _ => (TYPE_NONE, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let frame = [0x52, 0x54, 0, 0x12, 0x35, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0xff];
        let view = Ethernet::new(&frame).expect("long enough");
        assert_eq!((view.dst(), view.src(), view.type_or_len()), (0x5254_0012_3502, 0x0200_0000_0001, TYPE_IPV6));
        assert!(Ethernet::new(&frame[..13]).is_none());
    }

    #[test]
    fn lengths_are_not_types() {
        assert_eq!(resolve(0x0600, &[]), (0x0600, 0));
        assert_eq!(resolve(0x05dc, &[0x42, 0x42, 3]), (TYPE_NONE, 0));
        assert_eq!(resolve(8, &[0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x00]), (TYPE_IPV4, 8));
        assert_eq!(resolve(8, &[0xaa, 0xaa, 3, 0, 0, 0, 0x00, 0x26]), (TYPE_NONE, 0), "a SNAP type below 0x600");
        assert_eq!(resolve(8, &[0xaa, 0xaa, 3, 0, 0, 0, 0x08]), (TYPE_NONE, 0), "cut");
    }
}
