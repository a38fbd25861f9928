//! ICMP and ICMPv6. RFC 792, RFC 4443.

/// Bytes of ICMP's header.
pub const LEN: usize = 8;
/// Bytes of ICMPv6's header.
pub const LEN_V6: usize = 4;
/// Where the checksum lies; ICMPv6's covers the addresses too.
pub const CHECKSUM: usize = 2;

/// ICMP's number in IP headers.
pub const PROTOCOL: u8 = 1;
/// ICMPv6's number in IP headers.
pub const PROTOCOL_V6: u8 = 58;

/// The first bytes, the same in both versions.
#[derive(Clone, Copy)]
pub struct Icmp<'a>(&'a [u8; LEN_V6]);

impl<'a> Icmp<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Type.
    #[inline(always)]
    #[must_use]
    pub fn kind(self) -> u8 {
        self.0[0]
    }

    /// Code.
    #[inline(always)]
    #[must_use]
    pub fn code(self) -> u8 {
        self.0[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let view = Icmp::new(&[3, 13, 0, 0]).expect("long enough");
        assert_eq!((view.kind(), view.code()), (3, 13));
        assert!(Icmp::new(&[3, 13, 0]).is_none());
    }
}
