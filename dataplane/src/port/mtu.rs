//! Does a frame fit through a netdev?

use crate::packet::Frame;

/// Ethernet header.
const ETH_HLEN: usize = 14;
/// One VLAN tag.
const VLAN_HLEN: usize = 4;

/// The MTU counts what is behind the Ethernet header and up to two VLAN tags.
#[inline(always)]
pub(super) fn fits(frame: Frame, mtu: usize) -> bool {
    frame.len() <= mtu + ETH_HLEN || fits_with_tags(frame, mtu)
}

#[cold]
fn fits_with_tags(frame: Frame, mtu: usize) -> bool {
    let is_tag = |at: usize| frame.peek(|head| matches!(head.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])));
    let tags = match (is_tag(12), is_tag(12 + VLAN_HLEN)) {
        (true, true) => 2,
        (true, false) => 1,
        (false, _) => 0,
    };
    frame.len() <= mtu + ETH_HLEN + tags * VLAN_HLEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketBatch;

    #[test]
    fn tags_are_not_part_of_the_mtu() {
        let mut batch = PacketBatch::new();
        let packet = batch.next_slot().expect("an empty batch has room");
        packet.reset(1518).fill(0);
        assert!(!fits((&*packet).into(), 1500));
        packet.head_mut()[12..14].copy_from_slice(&[0x81, 0]);
        assert!(fits((&*packet).into(), 1500));
        assert!(!fits((&*packet).into(), 1499));
        packet.head_mut()[16..18].copy_from_slice(&[0x81, 0]);
        assert!(fits((&*packet).into(), 1496));
    }
}
