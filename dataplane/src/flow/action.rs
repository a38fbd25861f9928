//! What a rule does with a packet, in OpenFlow's words.

use std::net::Ipv4Addr;

/// A MAC address.
pub type Mac = [u8; 6];

/// The number of the bridge's own port as an `in_port`, in OpenFlow 1.3's 32 bits.
pub const LOCAL_PORT: u32 = 0xffff_fffe;

/// One action. An empty list drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `output:N`: to the port with this OpenFlow number.
    Output(u32),
    /// `in_port`: back where it came from.
    InPort,
    /// `flood`: to every port but the one it came from.
    Flood,
    /// `all`: the same; kept apart because OpenFlow does.
    All,
    /// `local`: to the bridge's own port.
    Local,
    /// `normal`: as a learning switch would.
    Normal,
    /// `mod_dl_src:MAC`
    SetDlSrc(Mac),
    /// `mod_dl_dst:MAC`
    SetDlDst(Mac),
    /// `mod_vlan_vid:VID`: sets the id, pushes a tag when there is none.
    SetVlanVid(u16),
    /// `mod_vlan_pcp:PCP`: sets the priority, pushes a tag when there is none.
    SetVlanPcp(u8),
    /// `push_vlan:TYPE`: 0x8100 or 0x88a8.
    PushVlan(u16),
    /// `strip_vlan`, `pop_vlan`: removes the outermost tag, if any.
    PopVlan,
    /// `mod_nw_src:IP`
    SetNwSrc(Ipv4Addr),
    /// `mod_nw_dst:IP`
    SetNwDst(Ipv4Addr),
    /// `mod_nw_tos:TOS`: the DSCP bits, ECN stays.
    SetNwTos(u8),
    /// `mod_nw_ttl:TTL`
    SetNwTtl(u8),
    /// `dec_ttl`
    DecTtl,
    /// `mod_tp_src:PORT`
    SetTpSrc(u16),
    /// `mod_tp_dst:PORT`
    SetTpDst(u16),
}
