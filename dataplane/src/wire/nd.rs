//! Neighbour solicitations and advertisements. RFC 4861, sections 4.3, 4.4 and 4.6.1.

use super::{be48, be64};

/// ICMPv6 type of a solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of an advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Where the target lies in the ICMPv6 message.
pub const TARGET: usize = 8;
/// Bytes of the message without options.
pub const LEN: usize = 24;
/// Where an option's link-layer address lies in it.
const ADDRESS: usize = 2;

const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;

/// A message: what it asks or tells, and where its link-layer addresses lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nd {
    /// The target's address, high and low half.
    pub target: [u64; 2],
    /// The source's link-layer address.
    pub source: Option<LinkAddress>,
    /// The target's link-layer address.
    pub target_link: Option<LinkAddress>,
}

/// A link-layer address in an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// Its value.
    pub mac: u64,
    /// Where it lies in the message.
    pub at: usize,
}

impl Nd {
    /// The message, as Open vSwitch takes it: `None` unless the code is 0; options end at the first whose length makes no
    /// sense; an option that comes twice makes the whole message senseless.
    #[must_use]
    pub fn new(message: &[u8]) -> Option<Self> {
        let fixed: &[u8; LEN] = message.first_chunk()?;
        if !matches!(fixed[0], SOLICITATION | ADVERTISEMENT) || fixed[1] != 0 {
            return None;
        }
        let mut found = Self { target: [be64(fixed, TARGET), be64(fixed, TARGET + 8)], ..Self::default() };
        let mut at = LEN;
        while let Some([kind, units, ..]) = message.get(at..) {
            let len = usize::from(*units) * 8;
            let Some(option) = message.get(at..at + len).filter(|_| len > 0) else { break };
            if let Some(option) = option.first_chunk::<8>().filter(|_| len == 8) {
                let place = match *kind {
                    SOURCE_OPTION => Some(&mut found.source),
                    TARGET_OPTION => Some(&mut found.target_link),
                    _ => None,
                };
                if let Some(place) = place {
                    if place.is_some_and(|earlier| earlier.mac != 0) {
                        return None;
                    }
                    *place = Some(LinkAddress { mac: be48(option, ADDRESS), at: at + ADDRESS });
                }
            }
            at += len;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solicitation(options: &[u8]) -> Vec<u8> {
        let mut message = vec![135, 0, 0xab, 0xcd, 0, 0, 0, 0, 0xfe, 0x80];
        message.resize(23, 0);
        message.push(9);
        message.extend(options);
        message
    }

    #[test]
    fn golden() {
        let nonce = [14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let message = solicitation(&[&nonce[..], &[1, 1, 2, 0, 0, 0, 0, 5], &[2, 1, 2, 0, 0, 0, 0, 6]].concat());
        let found = Nd::new(&message).expect("whole");
        assert_eq!(found.target, [0xfe80 << 48, 9]);
        assert_eq!(found.source, Some(LinkAddress { mac: 0x0200_0000_0005, at: 42 }));
        assert_eq!(found.target_link, Some(LinkAddress { mac: 0x0200_0000_0006, at: 50 }));
        assert_eq!(Nd::new(&message[..23]), None, "cut");
    }

    #[test]
    fn options_that_lie() {
        let sll = [1, 1, 2, 0, 0, 0, 0, 5];
        assert_eq!(Nd::new(&solicitation(&[sll, sll].concat())), None, "the same option twice");
        let zero = [1, 1, 0, 0, 0, 0, 0, 0];
        let second = Nd::new(&solicitation(&[zero, sll].concat())).expect("whole").source;
        assert_eq!(second, Some(LinkAddress { mac: 0x0200_0000_0005, at: 34 }), "zero is as good as none");
        let endless = Nd::new(&solicitation(&[[3, 0, 0, 0, 0, 0, 0, 0], sll].concat())).expect("whole");
        assert_eq!(endless.source, None, "an option of no length ends the options");
        let long = Nd::new(&solicitation(&[[1, 2, 2, 0, 0, 0, 0, 5], [0; 8]].concat())).expect("whole");
        assert_eq!(long.source, None, "a link-layer address that is no MAC");
        let mut coded = solicitation(&sll);
        coded[1] = 1;
        assert_eq!(Nd::new(&coded), None);
    }
}
