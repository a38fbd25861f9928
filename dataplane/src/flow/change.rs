//! Actions that set a field, in one form: which field, its bits, and which of them count.

use super::{Action, FieldId, Mac, Subfield};
use crate::wire::{sctp, tcp, udp, vlan};

/// New bits of one field.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Of which field.
    pub field: FieldId,
    /// The bits; none outside the mask.
    pub value: u128,
    /// Those that change.
    pub mask: u128,
}

/// The DSCP bits of a type of service.
const DSCP: u128 = 0xfc;
/// "There is a tag" in [`FieldId::VLAN_TCI`].
pub const TAGGED: u128 = vlan::DEI as u128;

impl Change {
    /// Bits of a field. Those that the field has not are left out.
    #[must_use]
    pub fn new(field: FieldId, value: u128, mask: u128) -> Self {
        let mask = match field {
            // The ECN bits lie in this field's place, but are not its own. A tag neither appears nor goes by its id.
            FieldId::IP_TOS => mask & DSCP,
            FieldId::VLAN_VID => mask & u128::from(vlan::VID),
            _ => mask & field.ones(),
        };
        Self { field, value: value & mask, mask }
    }

    fn whole(field: FieldId, value: impl Into<u128>) -> Self {
        Self::new(field, value.into(), u128::MAX)
    }

    /// `load` goes by the bits of the tag, so that it can make one and remove it, as in Open vSwitch.
    fn load(value: u64, target: Subfield) -> Self {
        let (value, mask) = (u128::from(value) << target.start, target.mask());
        match target.field {
            FieldId::VLAN_VID => Self::new(FieldId::VLAN_TCI, value, mask & 0x1fff),
            FieldId::VLAN_PCP => Self::pcp(value, mask),
            field => Self::new(field, value, mask),
        }
    }

    /// Of the outermost tag, which is pushed when there is none.
    fn pcp(value: u128, mask: u128) -> Self {
        Self::new(FieldId::VLAN_TCI, value << vlan::PCP_SHIFT | TAGGED, (mask & 7) << vlan::PCP_SHIFT | TAGGED)
    }

    /// What an action changes, when it is one that sets a field. `protocol` is the packet's, for those that mean any
    /// protocol with ports.
    pub fn of(action: &Action, protocol: impl FnOnce() -> u8) -> Option<Self> {
        let port = |[tcp, udp, sctp]: [FieldId; 3], port: u16| {
            let field = match protocol() {
                tcp::PROTOCOL => tcp,
                udp::PROTOCOL => udp,
                sctp::PROTOCOL => sctp,
                _ => return None,
            };
            Some(Self::whole(field, port))
        };
        Some(match *action {
            Action::SetField { field, value, mask } => Self::new(field, value, mask),
            Action::Load { value, target } => Self::load(value, target),
            Action::SetDlSrc(mac) => Self::whole(FieldId::ETH_SRC, number(mac)),
            Action::SetDlDst(mac) => Self::whole(FieldId::ETH_DST, number(mac)),
            Action::SetVlanVid(vid) => {
                let bits = u128::from(vid & vlan::VID);
                Self::new(FieldId::VLAN_TCI, bits | TAGGED, u128::from(vlan::VID) | TAGGED)
            }
            Action::SetVlanPcp(pcp) => Self::pcp(pcp.into(), 7),
            Action::SetNwSrc(address) => Self::whole(FieldId::IPV4_SRC, u32::from(address)),
            Action::SetNwDst(address) => Self::whole(FieldId::IPV4_DST, u32::from(address)),
            Action::SetNwTos(tos) => Self::whole(FieldId::IP_TOS, tos),
            Action::SetNwEcn(ecn) => Self::whole(FieldId::IP_ECN, ecn),
            Action::SetNwTtl(ttl) => Self::whole(FieldId::NW_TTL, ttl),
            Action::SetTpSrc(number) => port([FieldId::TCP_SRC, FieldId::UDP_SRC, FieldId::SCTP_SRC], number)?,
            Action::SetTpDst(number) => port([FieldId::TCP_DST, FieldId::UDP_DST, FieldId::SCTP_DST], number)?,
            Action::SetMplsLabel(label) => Self::whole(FieldId::MPLS_LABEL, label),
            Action::SetMplsTc(class) => Self::whole(FieldId::MPLS_TC, class),
            Action::SetMplsTtl(ttl) => Self::whole(FieldId::MPLS_TTL, ttl),
            Action::SetTunnel(id) => Self::whole(FieldId::TUNNEL_ID, id),
            Action::WriteMetadata { value, mask } => Self::new(FieldId::METADATA, value.into(), mask.into()),
            _ => return None,
        })
    }

    /// The field's bits after the change.
    #[must_use]
    pub fn to(&self, old: u128) -> u128 {
        old & !self.mask | self.value
    }
}

fn number(mac: Mac) -> u128 {
    mac.iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}
