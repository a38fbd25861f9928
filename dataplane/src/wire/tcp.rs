//! TCP. RFC 9293.

use super::be16;

/// Bytes of the header without options.
pub const LEN: usize = 20;
/// Where the source port lies, as in UDP and SCTP.
pub const SRC: usize = 0;
/// Where the destination port lies, as in UDP and SCTP.
pub const DST: usize = 2;
/// Where the checksum lies.
pub const CHECKSUM: usize = 16;
const FLAGS: usize = 12;

/// TCP's number in IP headers.
pub const PROTOCOL: u8 = 6;

/// The header's fixed part.
#[derive(Clone, Copy)]
pub struct Tcp<'a>(&'a [u8; LEN]);

impl<'a> Tcp<'a> {
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
        super::be32(self.0, SRC)
    }

    /// The 12 bits between data offset and window.
    #[inline(always)]
    #[must_use]
    pub fn flags(self) -> u16 {
        be16(self.0, FLAGS) & 0x0fff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let header = [0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x51, 0x12, 0, 0, 0, 0, 0, 0];
        let view = Tcp::new(&header).expect("long enough");
        assert_eq!((view.ports(), view.flags()), (8080 << 16 | 80, 0x112));
        assert!(Tcp::new(&header[..19]).is_none());
    }
}
