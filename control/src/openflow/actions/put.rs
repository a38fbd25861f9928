//! Writing actions in OpenFlow's own words, or in Nicira's where a version has none.

use ringswitch_dataplane::flow::{Action, FieldId, Mac, Subfield};

use super::super::Version;
use super::super::oxm::{Dialect, put_header, put_value};
use super::super::wire::{Put, port_to_16};
use super::{Packet, nicira_put, output_port};

/// Writes a list of actions that no rule has.
pub(in super::super) fn put_actions(out: &mut Vec<u8>, actions: &[Action], version: Version) {
    put_list(out, actions, version, &mut Packet::default());
}

pub(super) fn put_list(out: &mut Vec<u8>, actions: &[Action], version: Version, packet: &mut Packet) {
    actions.iter().for_each(|action| put_one(out, action, version, packet));
}

/// Writes an action; what follows it is written for the packet as it is then.
pub(super) fn put_one(out: &mut Vec<u8>, action: &Action, version: Version, packet: &mut Packet) {
    if let Some((port, max_len)) = output_port(action) {
        put_output(out, port, max_len, version);
        return;
    }
    let written = match version {
        Version::V10 => put10(out, action),
        _ => put11(out, action, version, packet),
    };
    if !written {
        nicira_put::put(out, action, version, packet);
    }
    match action {
        Action::PushVlan(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => packet.tagged = true,
        Action::PopVlan => packet.tagged = false,
        Action::PushMpls(_) | Action::PushPbb(_) => packet.protocol = 0,
        _ => {}
    }
}

fn put_output(out: &mut Vec<u8>, port: u32, max_len: u16, version: Version) {
    if version == Version::V10 {
        head(out, 0, 8);
        out.put16(port_to_16(port));
        out.put16(max_len);
    } else {
        head(out, 0, 16);
        out.put32(port);
        out.put16(max_len);
        out.pad(6);
    }
}

fn head(out: &mut Vec<u8>, kind: u16, len: u16) {
    out.put16(kind);
    out.put16(len);
}

/// An action of eight bytes with an argument of eight bits, and the like for other widths.
fn short8(out: &mut Vec<u8>, kind: u16, value: u8) {
    head(out, kind, 8);
    out.put8(value);
    out.pad(3);
}

fn short16(out: &mut Vec<u8>, kind: u16, value: u16) {
    head(out, kind, 8);
    out.put16(value);
    out.pad(2);
}

fn short32(out: &mut Vec<u8>, kind: u16, value: u32) {
    head(out, kind, 8);
    out.put32(value);
}

fn short_mac(out: &mut Vec<u8>, kind: u16, mac: Mac) {
    head(out, kind, 16);
    out.extend_from_slice(&mac);
    out.pad(6);
}

/// True when 1.0 has the action.
fn put10(out: &mut Vec<u8>, action: &Action) -> bool {
    match action {
        Action::SetVlanVid(vid) => short16(out, 1, *vid),
        Action::SetVlanPcp(pcp) => short8(out, 2, *pcp),
        Action::PopVlan => short32(out, 3, 0),
        Action::SetDlSrc(mac) => short_mac(out, 4, *mac),
        Action::SetDlDst(mac) => short_mac(out, 5, *mac),
        Action::SetNwSrc(address) => short32(out, 6, (*address).into()),
        Action::SetNwDst(address) => short32(out, 7, (*address).into()),
        Action::SetNwTos(tos) => short8(out, 8, *tos),
        Action::SetTpSrc(port) => short16(out, 9, *port),
        Action::SetTpDst(port) => short16(out, 10, *port),
        Action::Enqueue { port, queue } => {
            head(out, 11, 16);
            out.put16(port_to_16(*port));
            out.pad(6);
            out.put32(*queue);
        }
        Action::SetField { field, value, mask } if *mask == field.ones() => return put10_field(out, *field, *value),
        _ => return false,
    }
    true
}

/// True when 1.0 has an action that sets the field.
fn put10_field(out: &mut Vec<u8>, field: FieldId, value: u128) -> bool {
    let mac = || {
        let bytes = value.to_be_bytes();
        std::array::from_fn(|at| bytes[10 + at])
    };
    match field {
        FieldId::VLAN_TCI if value & 0x1000 == 0 => short32(out, 3, 0),
        FieldId::VLAN_TCI => {
            short16(out, 1, value as u16 & 0xfff);
            short8(out, 2, (value >> 13) as u8);
        }
        FieldId::VLAN_VID => short16(out, 1, value as u16 & 0xfff),
        FieldId::VLAN_PCP => short8(out, 2, value as u8),
        FieldId::ETH_SRC => short_mac(out, 4, mac()),
        FieldId::ETH_DST => short_mac(out, 5, mac()),
        FieldId::IPV4_SRC => short32(out, 6, value as u32),
        FieldId::IPV4_DST => short32(out, 7, value as u32),
        FieldId::IP_TOS => short8(out, 8, value as u8),
        FieldId::IP_DSCP => short8(out, 8, (value << 2) as u8),
        FieldId::TCP_SRC | FieldId::UDP_SRC => short16(out, 9, value as u16),
        FieldId::TCP_DST | FieldId::UDP_DST => short16(out, 10, value as u16),
        _ => return false,
    }
    true
}

/// True when 1.1 and later have the action.
fn put11(out: &mut Vec<u8>, action: &Action, version: Version, packet: &Packet) -> bool {
    let number = |mac: &Mac| mac.iter().fold(0, |number, &byte| number << 8 | u128::from(byte));
    let dialect = Dialect::Oxm(version);
    match action {
        Action::SetVlanVid(vid) => {
            tag(out, packet);
            set(out, FieldId::VLAN_VID, u128::from(*vid) | 0x1000, dialect);
        }
        Action::SetVlanPcp(pcp) => {
            tag(out, packet);
            set(out, FieldId::VLAN_PCP, (*pcp).into(), dialect);
        }
        Action::SetDlSrc(mac) => set(out, FieldId::ETH_SRC, number(mac), dialect),
        Action::SetDlDst(mac) => set(out, FieldId::ETH_DST, number(mac), dialect),
        Action::SetNwSrc(address) => set(out, FieldId::IPV4_SRC, u32::from(*address).into(), dialect),
        Action::SetNwDst(address) => set(out, FieldId::IPV4_DST, u32::from(*address).into(), dialect),
        Action::SetNwTos(tos) => set(out, FieldId::IP_DSCP, (*tos >> 2).into(), dialect),
        Action::SetNwEcn(ecn) => set(out, FieldId::IP_ECN, (*ecn).into(), dialect),
        Action::SetMplsLabel(label) => set(out, FieldId::MPLS_LABEL, (*label).into(), dialect),
        Action::SetMplsTc(tc) => set(out, FieldId::MPLS_TC, (*tc).into(), dialect),
        Action::SetTunnel(id) => set(out, FieldId::TUNNEL_ID, (*id).into(), dialect),
        Action::SetTpSrc(port) => match port_field(packet.protocol) {
            Some((source, _)) => set(out, source, (*port).into(), dialect),
            None => short16(out, 9, *port),
        },
        Action::SetTpDst(port) => match port_field(packet.protocol) {
            Some((_, destination)) => set(out, destination, (*port).into(), dialect),
            None => short16(out, 10, *port),
        },
        Action::Enqueue { port, queue } => {
            short32(out, 21, *queue);
            put_output(out, *port, u16::MAX, version);
            nicira_put::put(out, &Action::PopQueue, version, &mut Packet::default());
        }
        Action::CopyTtlOut => short32(out, 11, 0),
        Action::CopyTtlIn => short32(out, 12, 0),
        Action::SetMplsTtl(ttl) => short8(out, 15, *ttl),
        Action::DecMplsTtl => short32(out, 16, 0),
        Action::PushVlan(kind) => short16(out, 17, *kind),
        Action::PopVlan => short32(out, 18, 0),
        Action::PushMpls(kind) => short16(out, 19, *kind),
        Action::PopMpls(kind) => short16(out, 20, *kind),
        Action::SetQueue(queue) => short32(out, 21, *queue),
        Action::Group(id) => short32(out, 22, *id),
        Action::SetNwTtl(ttl) => short8(out, 23, *ttl),
        Action::DecTtl(ids) if ids.is_empty() => short32(out, 24, 0),
        Action::PushPbb(kind) => short16(out, 26, *kind),
        Action::PopPbb => short32(out, 27, 0),
        Action::SetField { field, value, mask } if version == Version::V15 || *mask == field.ones() => {
            set_masked(out, *field, *value, *mask, dialect);
        }
        _ if version == Version::V15 => return put15(out, action),
        _ => return false,
    }
    true
}

/// True when only 1.5 has the action.
fn put15(out: &mut Vec<u8>, action: &Action) -> bool {
    let dialect = Dialect::Oxm(Version::V15);
    match action {
        Action::Load { value, target } => {
            set_masked(out, target.field, u128::from(*value) << target.start, target.mask(), dialect);
        }
        Action::Move { source, target } => {
            let start = out.len();
            head(out, 28, 0);
            put_move(out, *source, *target);
            out.put16(0);
            put_header(out, source.field, dialect, false);
            put_header(out, target.field, dialect, false);
            out.align(start);
            out.set16(start + 2, out.len() - start);
        }
        Action::Meter(id) => short32(out, 29, *id),
        _ => return false,
    }
    true
}

/// The numbers of a move, however its fields follow.
pub(super) fn put_move(out: &mut Vec<u8>, source: Subfield, target: Subfield) {
    out.put16(source.bits);
    out.put16(source.start);
    out.put16(target.start);
}

/// 1.0's actions push a tag where there is none; later ones do not.
fn tag(out: &mut Vec<u8>, packet: &Packet) {
    if !packet.tagged {
        short16(out, 17, 0x8100);
    }
}

/// The fields of a protocol's ports.
fn port_field(protocol: u8) -> Option<(FieldId, FieldId)> {
    match protocol {
        6 => Some((FieldId::TCP_SRC, FieldId::TCP_DST)),
        17 => Some((FieldId::UDP_SRC, FieldId::UDP_DST)),
        132 => Some((FieldId::SCTP_SRC, FieldId::SCTP_DST)),
        _ => None,
    }
}

fn set(out: &mut Vec<u8>, field: FieldId, value: u128, dialect: Dialect) {
    set_masked(out, field, value, field.ones(), dialect);
}

fn set_masked(out: &mut Vec<u8>, field: FieldId, value: u128, mask: u128, dialect: Dialect) {
    let start = out.len();
    head(out, 25, 0);
    let masked = mask != field.ones();
    put_header(out, field, dialect, masked);
    put_value(out, field, value);
    if masked {
        put_value(out, field, mask);
    }
    out.align(start);
    out.set16(start + 2, out.len() - start);
}
