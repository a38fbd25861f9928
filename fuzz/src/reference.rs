//! What the switch should do, said again in the plainest way: every header is parsed for every rule.
//!
//! Written from `ovs-fields(7)` and the RFCs, and apart from the pipeline's parser on purpose.

use ringswitch_dataplane::flow::{Field, Flow, FlowKey};

use crate::frame::{crc, sum, transport_sum};

/// Where the parts of a frame are.
#[derive(Default)]
pub struct Parsed {
    /// Every field.
    pub key: FlowKey,
    network: usize,
    /// Protocol, first byte and end of a transport packet that is here from its beginning.
    transport: Option<(u8, usize, usize)>,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// All fields of a frame.
#[must_use]
pub fn parse(frame: &[u8], in_port: u32) -> Parsed {
    let mut parsed = Parsed::default();
    let key = &mut parsed.key;
    key.set(Field::IN_PORT, u64::from(in_port));
    if frame.len() < 14 {
        return parsed;
    }
    key.set(Field::DL_DST, number(&frame[..6]));
    key.set(Field::DL_SRC, number(&frame[6..12]));
    let (mut at, mut tags) = (12, 0);
    while tags < 2 && matches!(number(&frame[at..at + 2]), 0x8100 | 0x88a8) && frame.len() >= at + 6 {
        if tags == 0 {
            key.set(Field::VLAN_TCI, number(&frame[at + 2..at + 4]) | 0x1000);
        }
        (at, tags) = (at + 4, tags + 1);
    }
    let mut dl_type = number(&frame[at..at + 2]);
    at += 2;
    if dl_type < 0x600 {
        let snap = frame.get(at..at + 8).filter(|snap| snap[..6] == [0xaa, 0xaa, 3, 0, 0, 0]);
        match snap.map(|snap| number(&snap[6..])).filter(|&inner| inner >= 0x600) {
            Some(inner) => (dl_type, at) = (inner, at + 8),
            None => dl_type = 0x5ff,
        }
    }
    key.set(Field::DL_TYPE, dl_type);
    parsed.network = at;
    let rest = &frame[at..];
    match dl_type {
        0x0800 => ipv4(&mut parsed, rest),
        0x86dd => ipv6(&mut parsed, rest),
        0x0806 | 0x8035 if rest.len() >= 28 && rest[..6] == [0, 1, 8, 0, 6, 4] => {
            let opcode = number(&rest[6..8]);
            key.set(Field::NW_PROTO, if opcode < 256 { opcode } else { 0 });
            key.set(Field::ARP_SHA, number(&rest[8..14]));
            key.set(Field::NW_SRC, number(&rest[14..18]));
            key.set(Field::ARP_THA, number(&rest[18..24]));
            key.set(Field::NW_DST, number(&rest[24..28]));
        }
        0x8847 | 0x8848 if rest.len() >= 4 => key.set(Field::MPLS_LSE, number(&rest[..4])),
        0x88e7 if rest.len() >= 18 => {
            let uca = u64::from(rest[0] & 8 != 0);
            key.set(Field::PBB, number(&rest[1..4]) | uca << 24 | 1 << 25);
        }
        _ => {}
    }
    if let Some((protocol, start, end)) = parsed.transport {
        ports(&mut parsed.key, protocol, &frame[start..end]);
        if protocol == 58 && dl_type == 0x86dd {
            neighbour_discovery(&mut parsed.key, &frame[start..end]);
        }
    }
    parsed
}

fn ipv4(parsed: &mut Parsed, ip: &[u8]) {
    if ip.len() < 20 {
        return;
    }
    let (header, total) = (usize::from(ip[0] % 16) * 4, number(&ip[2..4]) as usize);
    if header < 20 || header > total || total > ip.len() {
        return;
    }
    let key = &mut parsed.key;
    key.set(Field::NW_SRC, number(&ip[12..16]));
    key.set(Field::NW_DST, number(&ip[16..20]));
    key.set(Field::NW_PROTO, u64::from(ip[9]));
    key.set(Field::NW_TOS, u64::from(ip[1]));
    key.set(Field::NW_TTL, u64::from(ip[8]));
    let fragment = number(&ip[6..8]);
    let later = fragment & 0x1fff != 0;
    key.set(Field::NW_FRAG, if later { 3 } else { u64::from(fragment & 0x2000 != 0) });
    if !later {
        parsed.transport = Some((ip[9], parsed.network + header, parsed.network + total));
    }
}

fn ipv6(parsed: &mut Parsed, ip: &[u8]) {
    if ip.len() < 40 || number(&ip[4..6]) as usize > ip.len() - 40 {
        return;
    }
    let end = 40 + number(&ip[4..6]) as usize;
    let key = &mut parsed.key;
    for (field, at) in
        [(Field::IPV6_SRC, 8), (Field::IPV6_SRC_LOW, 16), (Field::IPV6_DST, 24), (Field::IPV6_DST_LOW, 32)]
    {
        key.set(field, number(&ip[at..at + 8]));
    }
    let (mut next, mut at, mut frag) = (ip[6], 40, 0);
    let mut seen = vec![next];
    while matches!(next, 0 | 43 | 44 | 51 | 60) {
        let Some(header) = ip.get(at..at + 8) else { return };
        let len = match next {
            44 => 8,
            51 => 4 * (usize::from(header[1]) + 2),
            _ => 8 * (usize::from(header[1]) + 1),
        };
        if at + len > end {
            return;
        }
        let place = number(&header[2..4]);
        if next == 44 && place & 0xfff8 != 0 {
            (frag, at) = (3, at + len);
            break;
        }
        if next == 44 && place & 1 != 0 {
            frag = 1;
        }
        (next, at) = (header[0], at + len);
        seen.push(next);
    }
    key.set(Field::IPV6_LABEL, number(&ip[1..4]) & 0xf_ffff);
    key.set(Field::IPV6_EXTHDR, extension_headers(&seen));
    key.set(Field::NW_PROTO, u64::from(next));
    key.set(Field::NW_TOS, number(&ip[..2]) >> 4 & 0xff);
    key.set(Field::NW_TTL, u64::from(ip[7]));
    key.set(Field::NW_FRAG, frag);
    if frag != 3 {
        parsed.transport = Some((next, parsed.network + at, parsed.network + end));
    }
}

/// OpenFlow's bits for these extension headers; the last number may be a transport's.
fn extension_headers(seen: &[u8]) -> u64 {
    /// As RFC 8200 recommends, and "no next header".
    const ORDER: [u8; 8] = [0, 60, 43, 44, 51, 50, 60, 59];
    const BITS: [(u8, u64); 7] = [(59, 1), (50, 2), (51, 4), (60, 8), (44, 16), (43, 32), (0, 64)];
    let (mut bits, mut place) = (0, 0);
    for (nth, kind) in seen.iter().enumerate() {
        let Some((_, bit)) = BITS.iter().find(|(known, _)| known == kind) else { continue };
        let before = seen[..nth].iter().filter(|earlier| *earlier == kind).count();
        if before > usize::from(*kind == 60) {
            bits |= 128;
        }
        let from = if *kind == 60 && place == 1 { 2 } else { place };
        match (from..8).find(|&at| ORDER[at] == *kind) {
            Some(at) => place = at,
            None => bits |= 256,
        }
        bits |= bit;
    }
    bits
}

fn neighbour_discovery(key: &mut FlowKey, message: &[u8]) {
    if message.len() < 24 || !matches!(message[..2], [135 | 136, 0]) {
        return;
    }
    let (mut at, mut macs) = (24, [0; 2]);
    while message.len() >= at + 8 {
        let len = usize::from(message[at + 1]) * 8;
        if len == 0 || at + len > message.len() {
            break;
        }
        if len == 8 && matches!(message[at], 1 | 2) {
            let mac = &mut macs[usize::from(message[at]) - 1];
            if *mac != 0 {
                return;
            }
            *mac = number(&message[at + 2..at + 8]);
        }
        at += len;
    }
    key.set(Field::ND_TARGET, number(&message[8..16]));
    key.set(Field::ND_TARGET_LOW, number(&message[16..24]));
    key.set(Field::ARP_SHA, macs[0]);
    key.set(Field::ARP_THA, macs[1]);
}

fn ports(key: &mut FlowKey, protocol: u8, bytes: &[u8]) {
    let (len, width) = match protocol {
        6 => (20, 2),
        17 => (8, 2),
        132 => (12, 2),
        1 => (8, 1),
        58 => (4, 1),
        _ => return,
    };
    if bytes.len() >= len {
        key.set(Field::TP_SRC, number(&bytes[..width]));
        key.set(Field::TP_DST, number(&bytes[width..2 * width]));
        if protocol == 6 {
            key.set(Field::TCP_FLAGS, number(&bytes[12..14]) & 0xfff);
        }
    }
}

/// The flow that decides: of those that match the one of highest priority. No two may match with the same.
#[must_use]
pub fn decide<'a>(flows: &'a [Flow], key: &FlowKey) -> Option<&'a Flow> {
    flows.iter().filter(|flow| flow.matches.normalized().covers(key)).max_by_key(|flow| flow.priority)
}

/// # Panics
/// When a checksum in the frame is wrong. Fragments say nothing about their transport's.
pub fn assert_checksums(frame: &[u8]) {
    let parsed = parse(frame, 0);
    let (ip, dl_type) = (&frame[parsed.network..], parsed.key.field(Field::DL_TYPE));
    if dl_type == 0x0800 && parsed.key.field(Field::NW_DST) != 0 {
        assert_eq!(sum(&ip[..usize::from(ip[0] % 16) * 4]), 0xffff, "IPv4 header checksum");
    }
    let Some((protocol, start, end)) = parsed.transport else { return };
    if parsed.key.field(Field::NW_FRAG) != 0 {
        return;
    }
    let bytes = &frame[start..end];
    let addresses = if dl_type == 0x0800 { &ip[12..20] } else { &ip[8..40] };
    match protocol {
        17 if bytes[6..8] == [0, 0] => {}
        132 => {
            let whole = [&bytes[..8], &[0; 4], &bytes[12..]].concat();
            assert_eq!(crc(&whole).to_le_bytes(), bytes[8..12], "SCTP checksum");
        }
        // ICMP of the other IP version is no ICMP.
        1 if dl_type != 0x0800 => {}
        58 if dl_type != 0x86dd => {}
        1 | 6 | 17 | 58 => {
            assert_eq!(transport_sum(bytes, protocol, addresses), 0xffff, "checksum of protocol {protocol}");
        }
        _ => {}
    }
}
