//! A label stack entry of MPLS. RFC 3032, section 2.1.

/// Bytes of an entry.
pub const LEN: usize = 4;
/// How far the label lies up in an entry.
pub const LABEL_SHIFT: u32 = 12;
/// How far the traffic class lies up.
pub const TC_SHIFT: u32 = 9;
/// The bit that is set in the last entry of the stack.
pub const BOTTOM: u32 = 1 << 8;
/// The bits that are the time to live.
pub const TTL: u32 = 0xff;

/// The entry at the start of `bytes`.
#[inline]
#[must_use]
pub fn entry(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|&entry| u32::from_be_bytes(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let entry = entry(&[0x00, 0x06, 0x47, 0x40, 0xff]).expect("long enough");
        assert_eq!((entry >> LABEL_SHIFT, entry >> TC_SHIFT & 7, entry & BOTTOM != 0, entry & TTL), (100, 3, true, 64));
        assert_eq!(super::entry(&[0, 6, 0x47]), None);
    }
}
