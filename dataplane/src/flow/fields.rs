//! Every field that rules match on and actions read or write: its names, its bits in a [`FlowKey`], its codes on the wire,
//! what else must hold for it to be there.
//!
//! Sources: OpenFlow 1.5.1 section 7.2.3.8 (OXM), `ovs-fields(7)` (NXM and Nicira extensions). Neighbours: the grammar's
//! names, the OpenFlow codec and the actions of the pipeline all look fields up here, so a field is added in one line.

use super::{Field, FlowKey, Mask, Match};
use crate::wire::{ethernet, icmp, sctp, tcp, udp};

/// Which field: an index into [`FieldId::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(u8);

/// What is known about a field.
#[derive(Debug)]
pub struct FieldInfo {
    /// Its name as Open vSwitch prints it in matches.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// Where its value lies. Of a field of 128 bits, the high word; the low one is the next.
    pub place: Field,
    /// Width in bits; up to 128.
    pub bits: u16,
    /// Bytes on the wire.
    pub bytes: u8,
    /// OXM class and field number, 0x8000 or 0x8001; `None` when OpenFlow has none.
    pub oxm: Option<(u16, u8)>,
    /// Number among the ONF's experimenter fields (OpenFlow 1.3 and 1.4).
    pub onf: Option<u8>,
    /// NXM class (0 or 1) and field number.
    pub nxm: Option<(u16, u8)>,
    /// May be matched under any mask.
    pub maskable: bool,
    /// Actions may set it.
    pub writable: bool,
    /// What must be matched on too.
    pub needs: Needs,
}

/// What must be matched on beside a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A VLAN tag.
    Tag,
    /// An MPLS label.
    Mpls,
    /// A provider backbone tag.
    Pbb,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 or IPv6.
    Ip,
    /// ARP or RARP.
    Arp,
    /// IPv4, ARP or RARP: `nw_src` and `nw_dst` in text.
    Ipv4OrArp,
    /// IP, ARP or RARP: `nw_proto` in text.
    IpOrArp,
    /// IPv4 or IPv6 with this protocol.
    Transport(u8),
    /// ICMP for IPv4.
    Icmp,
    /// ICMPv6.
    Icmp6,
    /// ICMP of either version: `icmp_type` in text.
    AnyIcmp,
    /// A neighbour solicitation or advertisement.
    Nd,
    /// A neighbour solicitation.
    NdSolicit,
    /// A neighbour advertisement.
    NdAdvert,
    /// TCP, UDP, SCTP; also ICMP, whose type and code lie in the same place.
    Ports,
}

impl Needs {
    /// What an operator has to write.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Tag => "dl_vlan, or push_vlan before it",
            Self::Mpls => "mpls or mplsm beside it, or push_mpls before it",
            Self::Pbb => "dl_type=0x88e7 beside it, or push_pbb before it",
            Self::Ipv4 => "ip (dl_type=0x0800) beside it",
            Self::Ipv6 => "ipv6 (dl_type=0x86dd) beside it",
            Self::Ip => "ip or ipv6 beside it",
            Self::Arp => "arp or rarp beside it",
            Self::Ipv4OrArp => "ip, arp or rarp beside it",
            Self::IpOrArp => "ip, ipv6, arp or rarp beside it",
            Self::Transport(tcp::PROTOCOL) => "tcp or tcp6 beside it",
            Self::Transport(udp::PROTOCOL) => "udp or udp6 beside it",
            Self::Transport(_) => "sctp or sctp6 beside it",
            Self::Icmp => "icmp beside it",
            Self::Icmp6 => "icmp6 beside it",
            Self::AnyIcmp => "icmp or icmp6 beside it",
            Self::Nd => "icmp6,icmp_type=135 or icmp_type=136 beside it",
            Self::NdSolicit => "icmp6,icmp_type=135 beside it",
            Self::NdAdvert => "icmp6,icmp_type=136 beside it",
            Self::Ports => "tcp, udp or sctp (or tcp6, udp6, sctp6) beside it",
        }
    }

    /// True when whatever matches has what is needed.
    #[must_use]
    pub fn are_met(self, matches: &Match) -> bool {
        let exactly = |field: Field| {
            let all = u64::MAX >> (64 - field.bits);
            (matches.mask.field(field) == all).then(|| matches.key.field(field))
        };
        let dl_type = exactly(Field::DL_TYPE).map_or(0, |value| value as u16);
        let ipv4 = dl_type == ethernet::TYPE_IPV4;
        let ipv6 = dl_type == ethernet::TYPE_IPV6;
        let arp = dl_type == ethernet::TYPE_ARP || dl_type == ethernet::TYPE_RARP;
        let protocol = exactly(Field::NW_PROTO).filter(|_| ipv4 || ipv6).map(|value| value as u8);
        let icmp4 = ipv4 && protocol == Some(icmp::PROTOCOL);
        let icmp6 = ipv6 && protocol == Some(icmp::PROTOCOL_V6);
        let nd = |kind: u64| icmp6 && exactly(Field::TP_SRC) == Some(kind);
        match self {
            Self::Nothing => true,
            Self::Tag => matches.key.field(Field::VLAN_TCI) & 0x1000 != 0,
            Self::Mpls => dl_type == ethernet::TYPE_MPLS || dl_type == ethernet::TYPE_MPLS_MULTICAST,
            Self::Pbb => dl_type == ethernet::TYPE_PBB,
            Self::Ipv4 => ipv4,
            Self::Ipv6 => ipv6,
            Self::Ip => ipv4 || ipv6,
            Self::Arp => arp,
            Self::Ipv4OrArp => ipv4 || arp,
            Self::IpOrArp => ipv4 || ipv6 || arp,
            Self::Transport(wanted) => protocol == Some(wanted),
            Self::Icmp => icmp4,
            Self::Icmp6 => icmp6,
            Self::AnyIcmp => icmp4 || icmp6,
            Self::Nd => nd(135) || nd(136),
            Self::NdSolicit => nd(135),
            Self::NdAdvert => nd(136),
            Self::Ports => icmp4 || icmp6 || matches!(protocol, Some(tcp::PROTOCOL | udp::PROTOCOL | sctp::PROTOCOL)),
        }
    }
}

/// Fields are listed in this order, which is that of `dump-flows`, more or less, and of OXM.
macro_rules! fields {
    ($($(#[$doc:meta])* $id:ident = $name:literal $aliases:expr, $place:expr, $bits:expr, $bytes:literal,
        $oxm:expr, $onf:expr, $nxm:expr, $maskable:literal, $writable:literal, $needs:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Order { $($id),* }

        impl FieldId {
            $($(#[$doc])* pub const $id: Self = Self(Order::$id as u8);)*
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];
        }

        static INFOS: &[FieldInfo] = &[$(FieldInfo {
            name: $name, aliases: &$aliases, place: $place, bits: $bits, bytes: $bytes,
            oxm: $oxm, onf: $onf, nxm: $nxm, maskable: $maskable, writable: $writable, needs: $needs,
        }),*];
    };
}

const fn part(of: Field, shift: u8, bits: u8) -> Field {
    Field { word: of.word, shift: of.shift + shift, bits }
}

const fn reg(number: u8) -> Field {
    Field { word: Field::REG0.word + number / 2, shift: 32 * (1 - number % 2), bits: 32 }
}

const fn xreg(number: u8) -> Field {
    Field { word: Field::REG0.word + number, shift: 0, bits: 64 }
}

const fn oxm(number: u8) -> Option<(u16, u8)> {
    Some((0x8000, number))
}

const fn nxm(number: u8) -> Option<(u16, u8)> {
    Some((0, number))
}

const fn nicira(number: u8) -> Option<(u16, u8)> {
    Some((1, number))
}

const TCP: Needs = Needs::Transport(tcp::PROTOCOL);
const UDP: Needs = Needs::Transport(udp::PROTOCOL);
const SCTP: Needs = Needs::Transport(sctp::PROTOCOL);

fields! {
    /// OpenFlow port number, 32 bits.
    IN_PORT = "in_port" ["in_port_oxm"], Field::IN_PORT, 32, 4, oxm(0), None, None, false, true, Needs::Nothing;
    /// The same as NXM has it, 16 bits: 0xfff8 and up are the reserved ports.
    NXM_IN_PORT = "NXM_OF_IN_PORT" [], Field::IN_PORT, 16, 2, None, None, nxm(0), false, true, Needs::Nothing;
    /// Metadata.
    METADATA = "metadata" [], Field::METADATA, 64, 8, oxm(2), None, None, true, true, Needs::Nothing;
    /// Ethernet destination.
    ETH_DST = "dl_dst" ["eth_dst"], Field::DL_DST, 48, 6, oxm(3), None, nxm(1), true, true, Needs::Nothing;
    /// Ethernet source.
    ETH_SRC = "dl_src" ["eth_src"], Field::DL_SRC, 48, 6, oxm(4), None, nxm(2), true, true, Needs::Nothing;
    /// Ethernet type behind the tags.
    ETH_TYPE = "dl_type" ["eth_type"], Field::DL_TYPE, 16, 2, oxm(5), None, nxm(3), false, true, Needs::Nothing;
    /// The whole VLAN tag with bit 0x1000 for "there is one".
    VLAN_TCI = "vlan_tci" [], Field::VLAN_TCI, 16, 2, None, None, nxm(4), true, true, Needs::Nothing;
    /// VLAN id with bit 0x1000 for "there is a tag".
    VLAN_VID = "vlan_vid" [], part(Field::VLAN_TCI, 0, 13), 13, 2, oxm(6), None, None, true, true, Needs::Nothing;
    /// VLAN priority.
    VLAN_PCP = "vlan_pcp" ["dl_vlan_pcp"], part(Field::VLAN_TCI, 13, 3), 3, 1, oxm(7), None, None, false, true, Needs::Tag;
    /// Type of service with its DSCP in place, as NXM has it (8 bits, the lowest two zero).
    IP_TOS = "nw_tos" [], Field::NW_TOS, 8, 1, None, None, nxm(5), false, true, Needs::Ip;
    /// DSCP.
    IP_DSCP = "ip_dscp" [], part(Field::NW_TOS, 2, 6), 6, 1, oxm(8), None, None, false, true, Needs::Ip;
    /// ECN.
    IP_ECN = "nw_ecn" ["ip_ecn"], part(Field::NW_TOS, 0, 2), 2, 1, oxm(9), None, nicira(28), false, true, Needs::Ip;
    /// IP protocol.
    IP_PROTO = "nw_proto" ["ip_proto"], Field::NW_PROTO, 8, 1, oxm(10), None, nxm(6), false, true, Needs::Ip;
    /// IPv4 source.
    IPV4_SRC = "nw_src" ["ip_src", "ipv4_src"], Field::NW_SRC, 32, 4, oxm(11), None, nxm(7), true, true, Needs::Ipv4;
    /// IPv4 destination.
    IPV4_DST = "nw_dst" ["ip_dst", "ipv4_dst"], Field::NW_DST, 32, 4, oxm(12), None, nxm(8), true, true, Needs::Ipv4;
    /// TCP source port.
    TCP_SRC = "tcp_src" [], Field::TP_SRC, 16, 2, oxm(13), None, nxm(9), true, true, TCP;
    /// TCP destination port.
    TCP_DST = "tcp_dst" [], Field::TP_DST, 16, 2, oxm(14), None, nxm(10), true, true, TCP;
    /// UDP source port.
    UDP_SRC = "udp_src" [], Field::TP_SRC, 16, 2, oxm(15), None, nxm(11), true, true, UDP;
    /// UDP destination port.
    UDP_DST = "udp_dst" [], Field::TP_DST, 16, 2, oxm(16), None, nxm(12), true, true, UDP;
    /// SCTP source port.
    SCTP_SRC = "sctp_src" [], Field::TP_SRC, 16, 2, oxm(17), None, None, true, true, SCTP;
    /// SCTP destination port.
    SCTP_DST = "sctp_dst" [], Field::TP_DST, 16, 2, oxm(18), None, None, true, true, SCTP;
    /// ICMP type.
    ICMP_TYPE = "icmp_type" ["icmpv4_type"], part(Field::TP_SRC, 0, 16), 8, 1, oxm(19), None, nxm(13), false, true, Needs::Icmp;
    /// ICMP code.
    ICMP_CODE = "icmp_code" ["icmpv4_code"], part(Field::TP_DST, 0, 16), 8, 1, oxm(20), None, nxm(14), false, true, Needs::Icmp;
    /// ARP opcode.
    ARP_OP = "arp_op" [], Field::NW_PROTO, 16, 2, oxm(21), None, nxm(15), false, true, Needs::Arp;
    /// ARP sender's IPv4 address.
    ARP_SPA = "arp_spa" [], Field::NW_SRC, 32, 4, oxm(22), None, nxm(16), true, true, Needs::Arp;
    /// ARP target's IPv4 address.
    ARP_TPA = "arp_tpa" [], Field::NW_DST, 32, 4, oxm(23), None, nxm(17), true, true, Needs::Arp;
    /// ARP sender's MAC address.
    ARP_SHA = "arp_sha" [], Field::ARP_SHA, 48, 6, oxm(24), None, nicira(17), true, true, Needs::Arp;
    /// ARP target's MAC address.
    ARP_THA = "arp_tha" [], Field::ARP_THA, 48, 6, oxm(25), None, nicira(18), true, true, Needs::Arp;
    /// IPv6 source.
    IPV6_SRC = "ipv6_src" [], Field::IPV6_SRC, 128, 16, oxm(26), None, nicira(19), true, true, Needs::Ipv6;
    /// IPv6 destination.
    IPV6_DST = "ipv6_dst" [], Field::IPV6_DST, 128, 16, oxm(27), None, nicira(20), true, true, Needs::Ipv6;
    /// IPv6 flow label.
    IPV6_LABEL = "ipv6_label" ["ipv6_flabel"], Field::IPV6_LABEL, 20, 4, oxm(28), None, nicira(27), true, true, Needs::Ipv6;
    /// ICMPv6 type.
    ICMPV6_TYPE = "icmpv6_type" [], part(Field::TP_SRC, 0, 16), 8, 1, oxm(29), None, nicira(21), false, true, Needs::Icmp6;
    /// ICMPv6 code.
    ICMPV6_CODE = "icmpv6_code" [], part(Field::TP_DST, 0, 16), 8, 1, oxm(30), None, nicira(22), false, true, Needs::Icmp6;
    /// Target of a neighbour solicitation or advertisement.
    ND_TARGET = "nd_target" ["ipv6_nd_target"], Field::ND_TARGET, 128, 16, oxm(31), None, nicira(23), true, true, Needs::Nd;
    /// Source link-layer address of a neighbour solicitation.
    ND_SLL = "nd_sll" ["ipv6_nd_sll"], Field::ARP_SHA, 48, 6, oxm(32), None, nicira(24), true, true, Needs::NdSolicit;
    /// Target link-layer address of a neighbour advertisement.
    ND_TLL = "nd_tll" ["ipv6_nd_tll"], Field::ARP_THA, 48, 6, oxm(33), None, nicira(25), true, true, Needs::NdAdvert;
    /// MPLS label of the outermost entry.
    MPLS_LABEL = "mpls_label" [], part(Field::MPLS_LSE, 12, 20), 20, 4, oxm(34), None, None, false, true, Needs::Mpls;
    /// Its traffic class.
    MPLS_TC = "mpls_tc" [], part(Field::MPLS_LSE, 9, 3), 3, 1, oxm(35), None, None, false, true, Needs::Mpls;
    /// Its bottom-of-stack bit.
    MPLS_BOS = "mpls_bos" [], part(Field::MPLS_LSE, 8, 1), 1, 1, oxm(36), None, None, false, true, Needs::Mpls;
    /// Its time to live.
    MPLS_TTL = "mpls_ttl" [], part(Field::MPLS_LSE, 0, 8), 8, 1, None, None, nicira(30), false, true, Needs::Mpls;
    /// I-SID of the provider backbone tag.
    PBB_ISID = "pbb_isid" [], part(Field::PBB, 0, 24), 24, 3, oxm(37), None, None, true, true, Needs::Pbb;
    /// Tunnel id.
    TUNNEL_ID = "tun_id" ["tunnel_id"], Field::TUN_ID, 64, 8, oxm(38), None, nicira(16), true, true, Needs::Nothing;
    /// Which IPv6 extension headers there are.
    IPV6_EXTHDR = "ipv6_exthdr" [], Field::IPV6_EXTHDR, 9, 2, oxm(39), None, None, true, false, Needs::Ipv6;
    /// UCA of the provider backbone tag.
    PBB_UCA = "pbb_uca" [], part(Field::PBB, 24, 1), 1, 1, oxm(41), None, None, false, true, Needs::Pbb;
    /// TCP flags.
    TCP_FLAGS = "tcp_flags" [], Field::TCP_FLAGS, 12, 2, oxm(42), Some(42), nicira(34), true, false, TCP;
    /// The output port in the action set.
    ACTSET_OUTPUT = "actset_output" [], Field::ACTSET_OUTPUT, 32, 4, oxm(43), Some(43), None, false, false, Needs::Nothing;
    /// Fragment bits, two of them.
    IP_FRAG = "ip_frag" ["nw_frag"], Field::NW_FRAG, 2, 1, None, None, nicira(26), true, false, Needs::Ip;
    /// IP TTL or hop limit.
    NW_TTL = "nw_ttl" [], Field::NW_TTL, 8, 1, None, None, nicira(29), false, true, Needs::Ip;
    /// Packet mark.
    PKT_MARK = "pkt_mark" [], Field::PKT_MARK, 32, 4, None, None, nicira(33), true, true, Needs::Nothing;
    /// The id of a conjunction that matched.
    CONJ_ID = "conj_id" [], Field::CONJ_ID, 32, 4, None, None, nicira(37), false, false, Needs::Nothing;
    /// Register 0.
    REG0 = "reg0" [], reg(0), 32, 4, None, None, nicira(0), true, true, Needs::Nothing;
    /// Register 1.
    REG1 = "reg1" [], reg(1), 32, 4, None, None, nicira(1), true, true, Needs::Nothing;
    /// Register 2.
    REG2 = "reg2" [], reg(2), 32, 4, None, None, nicira(2), true, true, Needs::Nothing;
    /// Register 3.
    REG3 = "reg3" [], reg(3), 32, 4, None, None, nicira(3), true, true, Needs::Nothing;
    /// Register 4.
    REG4 = "reg4" [], reg(4), 32, 4, None, None, nicira(4), true, true, Needs::Nothing;
    /// Register 5.
    REG5 = "reg5" [], reg(5), 32, 4, None, None, nicira(5), true, true, Needs::Nothing;
    /// Register 6.
    REG6 = "reg6" [], reg(6), 32, 4, None, None, nicira(6), true, true, Needs::Nothing;
    /// Register 7.
    REG7 = "reg7" [], reg(7), 32, 4, None, None, nicira(7), true, true, Needs::Nothing;
    /// Register 8.
    REG8 = "reg8" [], reg(8), 32, 4, None, None, nicira(8), true, true, Needs::Nothing;
    /// Register 9.
    REG9 = "reg9" [], reg(9), 32, 4, None, None, nicira(9), true, true, Needs::Nothing;
    /// Register 10.
    REG10 = "reg10" [], reg(10), 32, 4, None, None, nicira(10), true, true, Needs::Nothing;
    /// Register 11.
    REG11 = "reg11" [], reg(11), 32, 4, None, None, nicira(11), true, true, Needs::Nothing;
    /// Register 12.
    REG12 = "reg12" [], reg(12), 32, 4, None, None, nicira(12), true, true, Needs::Nothing;
    /// Register 13.
    REG13 = "reg13" [], reg(13), 32, 4, None, None, nicira(13), true, true, Needs::Nothing;
    /// Register 14.
    REG14 = "reg14" [], reg(14), 32, 4, None, None, nicira(14), true, true, Needs::Nothing;
    /// Register 15.
    REG15 = "reg15" [], reg(15), 32, 4, None, None, nicira(15), true, true, Needs::Nothing;
    /// Registers 0 and 1 as one.
    XREG0 = "xreg0" [], xreg(0), 64, 8, Some((0x8001, 0)), None, None, true, true, Needs::Nothing;
    /// Registers 2 and 3 as one.
    XREG1 = "xreg1" [], xreg(1), 64, 8, Some((0x8001, 1)), None, None, true, true, Needs::Nothing;
    /// Registers 4 and 5 as one.
    XREG2 = "xreg2" [], xreg(2), 64, 8, Some((0x8001, 2)), None, None, true, true, Needs::Nothing;
    /// Registers 6 and 7 as one.
    XREG3 = "xreg3" [], xreg(3), 64, 8, Some((0x8001, 3)), None, None, true, true, Needs::Nothing;
    /// Registers 8 and 9 as one.
    XREG4 = "xreg4" [], xreg(4), 64, 8, Some((0x8001, 4)), None, None, true, true, Needs::Nothing;
    /// Registers 10 and 11 as one.
    XREG5 = "xreg5" [], xreg(5), 64, 8, Some((0x8001, 5)), None, None, true, true, Needs::Nothing;
    /// Registers 12 and 13 as one.
    XREG6 = "xreg6" [], xreg(6), 64, 8, Some((0x8001, 6)), None, None, true, true, Needs::Nothing;
    /// Registers 14 and 15 as one.
    XREG7 = "xreg7" [], xreg(7), 64, 8, Some((0x8001, 7)), None, None, true, true, Needs::Nothing;
    /// Registers 0 to 3 as one.
    XXREG0 = "xxreg0" [], xreg(0), 128, 16, None, None, nicira(111), true, true, Needs::Nothing;
    /// Registers 4 to 7 as one.
    XXREG1 = "xxreg1" [], xreg(2), 128, 16, None, None, nicira(112), true, true, Needs::Nothing;
    /// Registers 8 to 11 as one.
    XXREG2 = "xxreg2" [], xreg(4), 128, 16, None, None, nicira(113), true, true, Needs::Nothing;
    /// Registers 12 to 15 as one.
    XXREG3 = "xxreg3" [], xreg(6), 128, 16, None, None, nicira(114), true, true, Needs::Nothing;
}

impl FieldId {
    /// What is known about it.
    #[inline(always)]
    #[must_use]
    pub fn info(self) -> &'static FieldInfo {
        &INFOS[usize::from(self.0)]
    }

    /// The field with this name or alias.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is_it = |id: &&Self| id.info().name == name || id.info().aliases.contains(&name);
        Self::ALL.iter().find(is_it).copied()
    }

    /// The field with this OXM or NXM class and number.
    #[must_use]
    pub fn on_wire(class: u16, number: u8) -> Option<Self> {
        let code = Some((class, number));
        Self::ALL.iter().find(|id| id.info().oxm == code || id.info().nxm == code).copied()
    }

    /// The field with this number among the ONF's experimenter fields.
    #[must_use]
    pub fn of_onf(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|id| id.info().onf == Some(number)).copied()
    }

    /// Every bit of it.
    #[must_use]
    pub fn ones(self) -> u128 {
        u128::MAX >> (128 - self.info().bits)
    }

    /// The low word of a field of 128 bits.
    fn low(self) -> Option<Field> {
        let FieldInfo { place, bits, .. } = self.info();
        (*bits > 64).then_some(Field { word: place.word + 1, ..*place })
    }

    /// The bits of its place; all of them when the whole field counts, also where it is narrower than its place.
    fn mask_words(self, bits: u128) -> (u64, u64) {
        if bits == self.ones() { (u64::MAX, u64::MAX) } else { self.split(bits) }
    }

    fn split(self, value: u128) -> (u64, u64) {
        if self.low().is_some() { ((value >> 64) as u64, value as u64) } else { (value as u64, 0) }
    }
}

impl FlowKey {
    /// The value of any field.
    #[must_use]
    pub fn get(&self, id: FieldId) -> u128 {
        let high = u128::from(self.field(id.info().place));
        id.low().map_or(high, |low| high << 64 | u128::from(self.field(low)))
    }

    /// Sets any field; bits beyond its place are cut off.
    pub fn put(&mut self, id: FieldId, value: u128) {
        let (high, low) = id.split(value);
        self.set(id.info().place, high);
        if let Some(place) = id.low() {
            self.set(place, low);
        }
    }
}

impl Mask {
    /// The bits of any field that count.
    #[must_use]
    pub fn get(&self, id: FieldId) -> u128 {
        let high = u128::from(self.field(id.info().place));
        id.low().map_or(high, |low| high << 64 | u128::from(self.field(low)))
    }

    /// Makes the given bits of any field count.
    pub fn add_bits(&mut self, id: FieldId, bits: u128) {
        let (high, low) = id.mask_words(bits);
        self.add(id.info().place, high);
        if let Some(place) = id.low() {
            self.add(place, low);
        }
    }
}

impl Match {
    /// Wants the given bits of any field to have this value.
    pub fn want_bits(&mut self, id: FieldId, value: u128, bits: u128) {
        let ((value, value_low), (bits, bits_low)) = (id.split(value), id.mask_words(bits));
        self.want(id.info().place, value, bits);
        if let Some(place) = id.low() {
            self.want(place, value_low, bits_low);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_names_and_codes() {
        for &id in FieldId::ALL {
            let info = id.info();
            assert_eq!(FieldId::named(info.name), Some(id), "{}", info.name);
            for (class, number) in [info.oxm, info.nxm].into_iter().flatten() {
                assert_eq!(FieldId::on_wire(class, number), Some(id), "{}", info.name);
            }
            assert!(info.bits <= u16::from(info.bytes) * 8, "{}", info.name);
        }
    }

    #[test]
    fn wide_fields_and_registers_lie_over_each_other_as_ovs_has_them() {
        let mut key = FlowKey::default();
        key.put(FieldId::XXREG0, 0x0001_0002_0003_0004_0005_0006_0007_0008);
        assert_eq!(key.get(FieldId::REG0), 0x0001_0002);
        assert_eq!(key.get(FieldId::REG3), 0x0007_0008);
        assert_eq!(key.get(FieldId::XREG1), 0x0005_0006_0007_0008);
        key.put(FieldId::REG15, 7);
        assert_eq!(key.get(FieldId::XXREG3), 7);
        key.put(FieldId::IPV6_DST, u128::MAX - 1);
        assert_eq!(key.get(FieldId::IPV6_DST), u128::MAX - 1);
        assert_eq!(key.get(FieldId::IPV6_SRC), 0);
    }
}
