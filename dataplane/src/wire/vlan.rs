//! 802.1Q and 802.1ad tags. IEEE 802.1Q clause 9.

/// Bytes of a tag: its type and its control information.
pub const LEN: usize = 4;
/// Customer tag.
pub const TYPE_CTAG: u16 = 0x8100;
/// Service tag.
pub const TYPE_STAG: u16 = 0x88a8;
/// Bits of the control information that are the id.
pub const VID: u16 = 0x0fff;
/// Drop eligible; rules see a set bit for "there is a tag" in its place.
pub const DEI: u16 = 0x1000;
/// How far the priority lies up in the control information.
pub const PCP_SHIFT: u32 = 13;
/// Most tags that are looked behind.
pub const MAX_TAGS: usize = 2;

/// True when this Ethernet type starts a tag.
#[inline(always)]
#[must_use]
pub fn is_tag(ethernet_type: u16) -> bool {
    ethernet_type == TYPE_CTAG || ethernet_type == TYPE_STAG
}

/// The control information, and the type behind the tag, of a tag whose type ended just before `bytes`.
#[inline(always)]
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *bytes.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        assert_eq!(split(&[0x60, 0x05, 0x08, 0x00, 0x45]), Some((0x6005, 0x0800)));
        assert_eq!(split(&[0x60, 0x05, 0x08]), None);
        assert!(is_tag(0x8100) && is_tag(0x88a8) && !is_tag(0x0800));
    }
}
