//! SCTP's common header and its CRC-32c. RFC 9260, section 3.1 and appendix A.

use super::be32;

/// Bytes of the header.
pub const LEN: usize = 12;
/// Where the CRC lies.
pub const CHECKSUM: usize = 8;

/// SCTP's number in IP headers.
pub const PROTOCOL: u8 = 132;

/// CRC-32c's polynomial without its highest term, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The header.
#[derive(Clone, Copy)]
pub struct Sctp<'a>(&'a [u8; LEN]);

impl<'a> Sctp<'a> {
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

/// What the CRC's bytes must be xored with after two bytes of the packet were xored with `difference`; `remaining` bytes of
/// the packet start with those two. A CRC is linear, so neither the packet nor its length in time is needed.
#[must_use]
pub fn crc_change(difference: [u8; 2], remaining: usize) -> [u8; 4] {
    multiply(u32::from(u16::from_le_bytes(difference)), power_of_x(remaining * 8)).to_le_bytes()
}

/// x to the `exponent`, modulo the polynomial.
fn power_of_x(mut exponent: usize) -> u32 {
    let (mut result, mut square) = (1 << 31, 1 << 30);
    while exponent != 0 {
        if exponent & 1 != 0 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    result
}

/// The product modulo the polynomial.
fn multiply(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if left >> bit & 1 != 0 {
            product ^= right;
        }
        right = right >> 1 ^ if right & 1 != 0 { POLYNOMIAL } else { 0 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The CRC of a whole packet, bit by bit.
    fn crc(packet: &[u8]) -> u32 {
        !packet.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 })
        })
    }

    #[test]
    fn golden() {
        let header = [0x0b, 0x59, 0x0e, 0x0c, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(Sctp::new(&header).expect("long enough").ports(), 2905 << 16 | 3596);
        assert!(Sctp::new(&header[..11]).is_none());
        assert_eq!(crc(b"123456789"), 0xe306_9283, "CRC-32c's check value");
    }

    #[test]
    fn the_change_of_two_bytes_is_the_change_of_the_crc() {
        let mut packet: Vec<u8> = (0..=255).cycle().take(1001).collect();
        for at in [0, 2, 500, 999] {
            let before = crc(&packet);
            packet[at] ^= 0x5a;
            packet[at + 1] ^= 0xc3;
            let change = u32::from_le_bytes(crc_change([0x5a, 0xc3], packet.len() - at));
            assert_eq!(before ^ change, crc(&packet), "bytes at {at}");
        }
    }
}
