//! Writing actions in Nicira's words. What they cannot say either is left out, as in Open vSwitch.

use ringswitch_dataplane::flow::{Action, Bundle, Controller, FieldId, HashFields, LinkAlgorithm, Multipath, Subfield};

use super::super::Version;
use super::super::error::NICIRA;
use super::super::oxm::{self, Dialect};
use super::super::prop;
use super::super::wire::{Put, port_to_16};
use super::put::{put_list, put_move};
use super::{EXPERIMENTER, IN_PORT, Packet, learn};

/// Writes an action: its head, what `body` puts behind its subtype, and zeros to a multiple of eight bytes.
fn action(out: &mut Vec<u8>, subtype: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put16(EXPERIMENTER);
    out.put16(0);
    out.put32(NICIRA);
    out.put16(subtype);
    body(out);
    out.align(start);
    out.set16(start + 2, out.len() - start);
}

/// An action with a 32-bit argument, which stands at a multiple of four bytes.
fn action32(out: &mut Vec<u8>, subtype: u16, value: u32) {
    action(out, subtype, |out| {
        out.pad(2);
        out.put32(value);
    });
}

/// Writes the action, if there are words for it in this version.
pub(super) fn put(out: &mut Vec<u8>, it: &Action, version: Version, packet: &mut Packet) {
    match it {
        Action::Resubmit { port, table: None } => action(out, 1, |out| out.put16(port.map_or(IN_PORT, port_to_16))),
        Action::Resubmit { port, table: Some(table) } => resubmit(out, *port, *table),
        Action::PopQueue => action(out, 5, |_| ()),
        Action::Move { source, target } => action(out, 6, |out| {
            put_move(out, *source, *target);
            oxm::put_header(out, source.field, Dialect::Nxm, false);
            oxm::put_header(out, target.field, Dialect::Nxm, false);
        }),
        Action::Load { value, target } => load(out, *target, *value),
        Action::SetField { field, value, mask } => loads(out, *field, *value, *mask),
        Action::Note(bytes) => action(out, 8, |out| out.extend_from_slice(bytes)),
        Action::Multipath(it) => multipath(out, it),
        Action::Bundle(it) => bundle(out, it),
        Action::OutputField { source, max_len } => output_field(out, *source, *max_len),
        Action::Learn(it) => action(out, if learn::needs_second(it) { 45 } else { 16 }, |out| learn::put(out, it)),
        Action::Exit => action(out, 17, |_| ()),
        Action::FinTimeout { idle, hard } => action(out, 19, |out| {
            out.put16(*idle);
            out.put16(*hard);
        }),
        Action::Controller(it) => controller(out, it),
        Action::DecTtl(ids) if !ids.is_empty() => action(out, 21, |out| {
            out.put16(ids.len() as u16);
            out.pad(4);
            ids.iter().for_each(|&id| out.put16(id));
        }),
        Action::Push(part) => stack(out, 27, *part),
        Action::Pop(part) => stack(out, 28, *part),
        Action::Conjunction { id, clause, clauses } => action(out, 34, |out| {
            out.put8(*clause);
            out.put8(*clauses);
            out.put32(*id);
        }),
        Action::OutputCut { port, max_len } => action(out, 39, |out| {
            out.put16(port_to_16(*port));
            out.put32(*max_len);
        }),
        Action::Clone(actions) => action(out, 42, |out| {
            out.pad(6);
            put_list(out, actions, version, &mut packet.clone());
        }),
        Action::CheckPktLarger { len, target } => action(out, 49, |out| {
            out.put16(*len);
            out.put16(target.start);
            let start = out.len();
            oxm::put_header(out, target.field, Dialect::Nxm, false);
            out.pad(10 - (out.len() - start));
        }),
        _ if version == Version::V10 => put10(out, it),
        _ => {}
    }
}

/// What later versions have words of their own for.
fn put10(out: &mut Vec<u8>, it: &Action) {
    match it {
        Action::SetTunnel(id) => match u32::try_from(*id) {
            Ok(id) => action32(out, 2, id),
            Err(_) => action(out, 9, |out| {
                out.pad(6);
                out.put64(*id);
            }),
        },
        Action::SetQueue(queue) => action32(out, 4, *queue),
        Action::SetNwEcn(ecn) => load(out, Subfield::whole(FieldId::IP_ECN), (*ecn).into()),
        Action::SetNwTtl(ttl) => load(out, Subfield::whole(FieldId::NW_TTL), (*ttl).into()),
        Action::DecTtl(_) => action(out, 18, |_| ()),
        Action::WriteMetadata { value, mask } => action(out, 22, |out| {
            out.pad(6);
            out.put64(*value);
            out.put64(*mask);
        }),
        Action::PushMpls(kind) => action(out, 23, |out| out.put16(*kind)),
        Action::PopMpls(kind) => action(out, 24, |out| out.put16(*kind)),
        Action::SetMplsTtl(ttl) => action(out, 25, |out| out.put8(*ttl)),
        Action::DecMplsTtl => action(out, 26, |_| ()),
        Action::SetMplsLabel(label) => action32(out, 30, *label),
        Action::SetMplsTc(tc) => action(out, 31, |out| out.put8(*tc)),
        Action::Group(id) => action32(out, 40, *id),
        // Nothing comes behind it, so going on there and coming back is the same.
        Action::GotoTable(table) => resubmit(out, None, *table),
        _ => {}
    }
}

fn resubmit(out: &mut Vec<u8>, port: Option<u32>, table: u8) {
    action(out, 14, |out| {
        out.put16(port.map_or(IN_PORT, port_to_16));
        out.put8(table);
    });
}

/// First bit and number of bits in one number; a number of bits that it has no room for is told as the most it has.
fn bits_of(part: Subfield) -> u16 {
    part.start << 6 | (part.bits.clamp(1, 64) - 1)
}

fn load(out: &mut Vec<u8>, target: Subfield, value: u64) {
    action(out, 7, |out| {
        out.put16(bits_of(target));
        oxm::put_header(out, target.field, Dialect::Short, false);
        out.put64(value);
    });
}

/// One load for each run of up to 64 bits in the mask.
fn loads(out: &mut Vec<u8>, field: FieldId, value: u128, mut mask: u128) {
    while mask != 0 {
        let start = mask.trailing_zeros();
        let bits = (mask >> start).trailing_ones().min(64);
        let run = u128::MAX >> (128 - bits);
        load(out, Subfield { field, start: start as u16, bits: bits as u16 }, (value >> start & run) as u64);
        mask &= !(run << start);
    }
}

fn stack(out: &mut Vec<u8>, subtype: u16, part: Subfield) {
    action(out, subtype, |out| {
        out.put16(part.start);
        let start = out.len();
        oxm::put_header(out, part.field, Dialect::Nxm, false);
        out.put16(part.bits);
        out.pad(12 - (out.len() - start));
    });
}

fn output_field(out: &mut Vec<u8>, source: Subfield, max_len: u16) {
    action(out, 15, |out| {
        out.put16(bits_of(source));
        oxm::put_header(out, source.field, Dialect::Short, false);
        out.put16(max_len);
        out.pad(6);
    });
}

fn hash_fields(fields: HashFields) -> u16 {
    match fields {
        HashFields::EthSrc => 0,
        HashFields::SymmetricL4 => 1,
        HashFields::SymmetricL3L4 => 2,
        HashFields::SymmetricL3L4Udp => 3,
        HashFields::NwSrc => 4,
        HashFields::NwDst => 5,
        HashFields::SymmetricL3 => 6,
    }
}

fn multipath(out: &mut Vec<u8>, it: &Multipath) {
    action(out, 10, |out| {
        out.put16(hash_fields(it.fields));
        out.put16(it.basis);
        out.pad(2);
        out.put16(match it.algorithm {
            LinkAlgorithm::ModuloN => 0,
            LinkAlgorithm::HashThreshold => 1,
            LinkAlgorithm::Hrw => 2,
            LinkAlgorithm::IterHash => 3,
        });
        out.put16(it.links.saturating_sub(1));
        out.put32(it.argument);
        out.pad(2);
        out.put16(bits_of(it.target));
        oxm::put_header(out, it.target.field, Dialect::Short, false);
    });
}

fn bundle(out: &mut Vec<u8>, it: &Bundle) {
    action(out, if it.target.is_some() { 13 } else { 12 }, |out| {
        out.put16(u16::from(!it.active_backup));
        out.put16(hash_fields(it.fields));
        out.put16(it.basis);
        oxm::put_header(out, FieldId::NXM_IN_PORT, Dialect::Short, false);
        out.put16(it.members.len() as u16);
        match it.target {
            Some(target) => {
                out.put16(bits_of(target));
                oxm::put_header(out, target.field, Dialect::Short, false);
            }
            None => out.pad(6),
        }
        out.pad(4);
        it.members.iter().for_each(|&port| out.put16(port_to_16(port)));
    });
}

fn controller(out: &mut Vec<u8>, it: &Controller) {
    let usual = Controller::default();
    if it.userdata.is_empty() && !it.pause && it.meter.is_none() {
        action(out, 20, |out| {
            out.put16(it.max_len);
            out.put16(it.id);
            out.put8(it.reason);
        });
        return;
    }
    action(out, 37, |out| {
        out.pad(6);
        if it.max_len != usual.max_len {
            prop::put16(out, 0, it.max_len);
        }
        if it.id != usual.id {
            prop::put16(out, 1, it.id);
        }
        if it.reason != usual.reason {
            prop::put8(out, 2, it.reason);
        }
        if !it.userdata.is_empty() {
            prop::put(out, 3, |out| out.extend_from_slice(&it.userdata));
        }
        if it.pause {
            prop::put(out, 4, |_| ());
        }
        if let Some(meter) = it.meter {
            prop::put32(out, 5, meter);
        }
    });
}
