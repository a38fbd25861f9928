//! The match of OpenFlow 1.0: fixed fields and a word of wildcards.
//!
//! Source: OpenFlow 1.0.0 section 5.2.3. Trust: a peer's; nothing of it can be wrong, but fields whose prerequisites are not
//! met do not count. ARP's opcode and addresses are in the fields of IP.

use ringswitch_dataplane::flow::{Field, Mac, Match, Needs};

use super::wire::{Layout, Reader, Result, port_of_16, port_to_16};

const IN_PORT: u32 = 1 << 0;
const DL_VLAN: u32 = 1 << 1;
const DL_SRC: u32 = 1 << 2;
const DL_DST: u32 = 1 << 3;
const DL_TYPE: u32 = 1 << 4;
const NW_PROTO: u32 = 1 << 5;
const TP_SRC: u32 = 1 << 6;
const TP_DST: u32 = 1 << 7;
const NW_SRC_SHIFT: u32 = 8;
const NW_DST_SHIFT: u32 = 14;
const DL_VLAN_PCP: u32 = 1 << 20;
const NW_TOS: u32 = 1 << 21;
/// All bits that there are.
const ALL: u32 = (1 << 22) - 1;
/// "No VLAN tag."
const VLAN_NONE: u16 = 0xffff;
/// "There is a tag" in a tag.
const PRESENT: u64 = 0x1000;

/// Its fields as they lie there.
#[derive(Default)]
struct Fixed {
    wildcards: u32,
    in_port: u16,
    dl_src: Mac,
    dl_dst: Mac,
    dl_vlan: u16,
    dl_vlan_pcp: u8,
    dl_type: u16,
    nw_tos: u8,
    nw_proto: u8,
    nw_src: u32,
    nw_dst: u32,
    tp_src: u16,
    tp_dst: u16,
}

impl Fixed {
    fn layout(&mut self, wire: &mut impl Layout) -> Result<()> {
        wire.b32(&mut self.wildcards)?;
        wire.b16(&mut self.in_port)?;
        wire.mac(&mut self.dl_src)?;
        wire.mac(&mut self.dl_dst)?;
        wire.b16(&mut self.dl_vlan)?;
        wire.b8(&mut self.dl_vlan_pcp)?;
        wire.gap::<1>()?;
        wire.b16(&mut self.dl_type)?;
        wire.b8(&mut self.nw_tos)?;
        wire.b8(&mut self.nw_proto)?;
        wire.gap::<2>()?;
        wire.b32(&mut self.nw_src)?;
        wire.b32(&mut self.nw_dst)?;
        wire.b16(&mut self.tp_src)?;
        wire.b16(&mut self.tp_dst)
    }
}

fn number(mac: Mac) -> u64 {
    mac.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn mac(number: u64) -> Mac {
    let bytes = number.to_be_bytes();
    std::array::from_fn(|at| bytes[at + 2])
}

/// The bits of an address that count, out of how many low ones do not.
fn prefix(wildcards: u32, shift: u32) -> u64 {
    let ignored = wildcards >> shift & 0x3f;
    u64::from(u32::MAX.checked_shl(ignored).unwrap_or(0))
}

/// Reads a match. The second result is true when nothing was a wildcard: such flows have the highest priority.
pub(super) fn read(bytes: &mut Reader<'_>) -> Result<(Match, bool)> {
    let mut fixed = Fixed::default();
    fixed.layout(bytes)?;
    let mut matches = Match::default();
    let exact = |bit: u32| fixed.wildcards & bit == 0;
    let mut want = |counts: bool, field: Field, value: u64| {
        if counts {
            matches.want(field, value, u64::MAX);
        }
    };
    want(exact(IN_PORT), Field::IN_PORT, port_of_16(fixed.in_port).into());
    want(exact(DL_SRC), Field::DL_SRC, number(fixed.dl_src));
    want(exact(DL_DST), Field::DL_DST, number(fixed.dl_dst));
    want(exact(DL_TYPE), Field::DL_TYPE, fixed.dl_type.into());
    want(exact(NW_PROTO), Field::NW_PROTO, fixed.nw_proto.into());
    want(exact(TP_SRC), Field::TP_SRC, fixed.tp_src.into());
    want(exact(TP_DST), Field::TP_DST, fixed.tp_dst.into());
    if exact(NW_TOS) {
        matches.want(Field::NW_TOS, (fixed.nw_tos & 0xfc).into(), 0xfc);
    }
    matches.want(Field::NW_SRC, fixed.nw_src.into(), prefix(fixed.wildcards, NW_SRC_SHIFT));
    matches.want(Field::NW_DST, fixed.nw_dst.into(), prefix(fixed.wildcards, NW_DST_SHIFT));
    let (vid, pcp) = (exact(DL_VLAN), exact(DL_VLAN_PCP));
    if vid && fixed.dl_vlan == VLAN_NONE {
        matches.want(Field::VLAN_TCI, 0, 0xffff);
    } else if vid || pcp {
        let value = PRESENT | u64::from(fixed.dl_vlan & 0xfff) | u64::from(fixed.dl_vlan_pcp & 7) << 13;
        let bits = PRESENT | if vid { 0xfff } else { 0 } | if pcp { 0xe000 } else { 0 };
        matches.want(Field::VLAN_TCI, value & bits, bits);
    }
    drop_unmet(&mut matches);
    Ok((matches, fixed.wildcards & ALL == 0))
}

/// Takes out what the matched packets do not have.
fn drop_unmet(matches: &mut Match) {
    let has = |matches: &Match, needs: Needs| needs.are_met(matches);
    let tos = if has(matches, Needs::Ip) { 0xff } else { 0 };
    let ports = if has(matches, Needs::Ports) { u64::MAX } else { 0 };
    let addresses = if has(matches, Needs::Ipv4OrArp) { u64::MAX } else { 0 };
    let protocol = if has(matches, Needs::IpOrArp) { u64::MAX } else { 0 };
    // Ports first: what they need is looked up in the protocol.
    for (field, keep) in [
        (Field::TP_SRC, ports),
        (Field::TP_DST, ports),
        (Field::NW_TOS, tos),
        (Field::NW_SRC, addresses),
        (Field::NW_DST, addresses),
        (Field::NW_PROTO, protocol),
    ] {
        if keep == 0 {
            matches.mask.words[usize::from(field.word)] &= !field.mask();
        }
    }
    // ICMP's type and code have eight bits in the frame and sixteen here.
    let icmp = has(matches, Needs::Icmp);
    for field in [Field::TP_SRC, Field::TP_DST] {
        if icmp && matches.mask.field(field) != 0 {
            matches.key.set(field, matches.key.field(field) & 0xff);
        }
    }
    *matches = matches.normalized();
}

/// Writes a match; what 1.0 cannot say is left out.
pub(super) fn put(out: &mut Vec<u8>, matches: &Match) {
    let (key, mask) = (&matches.key, &matches.mask);
    let mut fixed = Fixed::default();
    let mut wildcard = |bit: u32, bits: u64| fixed.wildcards |= if bits == 0 { bit } else { 0 };
    wildcard(IN_PORT, mask.field(Field::IN_PORT));
    wildcard(DL_SRC, mask.field(Field::DL_SRC));
    wildcard(DL_DST, mask.field(Field::DL_DST));
    wildcard(DL_TYPE, mask.field(Field::DL_TYPE));
    wildcard(NW_PROTO, mask.field(Field::NW_PROTO));
    wildcard(NW_TOS, mask.field(Field::NW_TOS) & 0xfc);
    wildcard(TP_SRC, mask.field(Field::TP_SRC));
    wildcard(TP_DST, mask.field(Field::TP_DST));
    let (tci, bits) = (key.field(Field::VLAN_TCI), mask.field(Field::VLAN_TCI));
    let untagged = bits & PRESENT != 0 && tci & PRESENT == 0;
    if untagged {
        fixed.dl_vlan = VLAN_NONE;
    } else {
        wildcard(DL_VLAN, bits & 0xfff);
        wildcard(DL_VLAN_PCP, bits & 0xe000);
        fixed.dl_vlan = (tci & 0xfff) as u16;
        fixed.dl_vlan_pcp = (tci >> 13) as u8;
    }
    // Masks that are no prefix cannot be said; the longest prefix in them can.
    let ignored = |field: Field| 32 - (mask.field(field) as u32).leading_ones();
    fixed.wildcards |= ignored(Field::NW_SRC) << NW_SRC_SHIFT | ignored(Field::NW_DST) << NW_DST_SHIFT;
    fixed.in_port = port_to_16(key.field(Field::IN_PORT) as u32);
    fixed.dl_src = mac(key.field(Field::DL_SRC));
    fixed.dl_dst = mac(key.field(Field::DL_DST));
    fixed.dl_type = key.field(Field::DL_TYPE) as u16;
    fixed.nw_tos = (key.field(Field::NW_TOS) & 0xfc) as u8;
    fixed.nw_proto = key.field(Field::NW_PROTO) as u8;
    fixed.nw_src = key.field(Field::NW_SRC) as u32;
    fixed.nw_dst = key.field(Field::NW_DST) as u32;
    fixed.tp_src = key.field(Field::TP_SRC) as u16;
    fixed.tp_dst = key.field(Field::TP_DST) as u16;
    fixed.layout(out).expect("writing does not fail");
}
