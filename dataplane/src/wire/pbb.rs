//! Provider backbone bridging: the I-tag, with the customer's frame behind it. IEEE 802.1ah, clause 9.7.

use super::ethernet;

/// Bytes of the tag's control information, behind its type.
pub const TCI: usize = 4;
/// Bytes from behind the tag's type up to the customer's Ethernet type: control information and addresses.
pub const LEN: usize = TCI + ethernet::TYPE;
/// Bits of the control information that are the service's id (I-SID).
pub const ISID: u32 = 0x00ff_ffff;
/// "Use customer addresses".
pub const UCA: u32 = 1 << 27;
/// How far the priority lies up.
pub const PCP_SHIFT: u32 = 29;

/// The control information of a tag whose type ended just before `bytes`; `None` as well when the customer's Ethernet header is
/// not all there.
#[inline]
#[must_use]
pub fn split(bytes: &[u8]) -> Option<u32> {
    let whole: &[u8; TCI + ethernet::LEN] = bytes.first_chunk()?;
    Some(super::be32(whole, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let mut bytes = vec![0x68, 0x00, 0x00, 0x64];
        bytes.extend([2; 14]);
        let tci = split(&bytes).expect("long enough");
        assert_eq!((tci & ISID, tci & UCA != 0, tci >> PCP_SHIFT), (100, true, 3));
        assert_eq!(split(&bytes[..17]), None);
    }
}
