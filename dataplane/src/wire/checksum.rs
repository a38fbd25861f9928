//! The Internet checksum, whole and incremental. RFC 1071, RFC 1624.

/// The ones' complement sum of the bytes as big-endian words, an odd last byte padded with zero; not complemented.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let total: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    fold(total + odd.first().map_or(0, |&byte| u64::from(byte) << 8))
}

/// By how much a sum changes when the words of `old` become those of `new`: numbers of so many 16-bit words as they have in
/// the packet, or of more.
#[inline]
#[must_use]
pub fn difference(old: u128, new: u128) -> u16 {
    fold(words(!old) + words(new))
}

/// A checksum after words that it covers changed by `difference`: RFC 1624, equation 3.
#[inline]
#[must_use]
pub fn update(checksum: u16, difference: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(difference))
}

/// The sum of a number's 16-bit words, not yet folded to 16 bits.
#[inline]
fn words(number: u128) -> u64 {
    [number as u32, (number >> 32) as u32, (number >> 64) as u32, (number >> 96) as u32].map(u64::from).iter().sum()
}

#[inline]
fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0x00, 0x01, 0xf2]), 0xf201);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: the checksum is 0xdd2f, 0x5555 becomes 0x3285.
        assert_eq!(update(0xdd2f, difference(0x5555, 0x3285)), 0);
    }
}
