//! The Internet checksum, whole and incremental. RFC 1071, RFC 1624.

/// The ones' complement sum of the bytes as big-endian words, an odd last byte padded with zero; not complemented.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let total: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    fold(total + odd.first().map_or(0, |&byte| u64::from(byte) << 8))
}

/// A checksum after `old` words that it covers became `new`: RFC 1624, equation 3. Pieces that start at an odd offset must
/// be widened by the caller.
#[inline]
#[must_use]
pub fn update(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!sum(old)) + u64::from(sum(new)))
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
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0);
    }
}
