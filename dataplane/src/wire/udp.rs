//! UDP. RFC 768.

use super::be32;

/// Bytes of the header.
pub const LEN: usize = 8;
/// Where the checksum lies; 0 means that there is none.
pub const CHECKSUM: usize = 6;

/// UDP's number in IP headers.
pub const PROTOCOL: u8 = 17;

/// The header.
#[derive(Clone, Copy)]
pub struct Udp<'a>(&'a [u8; LEN]);

impl<'a> Udp<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Source and destination port, one behind the other.
    #[inline(always)]
    #[must_use]
    pub fn ports(self) -> u32 {
        be32(self.0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let header = [0x30, 0x39, 0, 53, 0, 8, 0, 0];
        assert_eq!(Udp::new(&header).expect("long enough").ports(), 12345 << 16 | 53);
        assert!(Udp::new(&header[..7]).is_none());
    }
}
