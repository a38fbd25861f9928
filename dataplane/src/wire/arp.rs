//! ARP and reverse ARP for IPv4 over Ethernet. RFC 826, RFC 903.

use super::{be16, be32, be48};

/// Bytes of the packet.
pub const LEN: usize = 28;
/// Where the opcode lies.
pub const OPCODE: usize = 6;
/// Where the sender's MAC lies.
pub const SHA: usize = 8;
/// Where the sender's address lies.
pub const SPA: usize = 14;
/// Where the target's MAC lies.
pub const THA: usize = 18;
/// Where the target's address lies.
pub const TPA: usize = 24;

/// The packet.
#[derive(Clone, Copy)]
pub struct Arp<'a>(&'a [u8; LEN]);

impl<'a> Arp<'a> {
    /// `None` as well for other hardware and protocols than Ethernet and IPv4.
    #[inline(always)]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let packet: &[u8; LEN] = bytes.first_chunk()?;
        (packet[..6] == [0, 1, 8, 0, 6, 4]).then_some(Self(packet))
    }

    /// Operation.
    #[inline(always)]
    #[must_use]
    pub fn opcode(self) -> u16 {
        be16(self.0, OPCODE)
    }

    /// Sender's MAC.
    #[inline(always)]
    #[must_use]
    pub fn sha(self) -> u64 {
        be48(self.0, SHA)
    }

    /// Sender's address.
    #[inline(always)]
    #[must_use]
    pub fn spa(self) -> u32 {
        be32(self.0, SPA)
    }

    /// Target's MAC.
    #[inline(always)]
    #[must_use]
    pub fn tha(self) -> u64 {
        be48(self.0, THA)
    }

    /// Target's address.
    #[inline(always)]
    #[must_use]
    pub fn tpa(self) -> u32 {
        be32(self.0, TPA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; LEN] = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1, 0, 0, 0, 0, 0, 7, 10, 0, 0, 2];

    #[test]
    fn golden() {
        let view = Arp::new(&REQUEST).expect("a request");
        assert_eq!((view.opcode(), view.spa(), view.tpa()), (1, 0x0a00_0001, 0x0a00_0002));
        assert_eq!((view.sha(), view.tha()), (0x0200_0000_0009, 7));
        assert!(Arp::new(&REQUEST[..27]).is_none());
        let mut other = REQUEST;
        other[1] = 6;
        assert!(Arp::new(&other).is_none(), "not Ethernet");
    }
}
