//! Frames of every protocol that is parsed, whole and damaged.

use crate::Random;

/// Protocols behind IP: ICMP, TCP, UDP, ICMPv6, SCTP, something else.
const PROTOCOLS: [u8; 6] = [1, 6, 17, 58, 132, 253];

/// A frame of any kind; its checksums are right.
pub fn good(random: &mut Random) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1 + random.below(4) as u8, 2, 0, 0, 0, 0, 1 + random.below(4) as u8];
    for _ in 0..random.below(4).saturating_sub(1) {
        frame.extend(*random.pick(&[[0x81, 0], [0x88, 0xa8]]));
        frame.extend([random.below(8) as u8 * 32, *random.pick(&[0, 5, 7])]);
    }
    let (dl_type, payload) = match random.below(10) {
        0 => (0x0806, arp(random)),
        8 => (0x8847, [&[0, *random.pick(&[0, 1]), *random.pick(&[1, 7]), 64], &ipv4(random)[..]].concat()),
        9 => (0x88e7, [&[*random.pick(&[0, 8]), 0, 0, *random.pick(&[5, 7])], &random.bytes(30)[..]].concat()),
        1 => (*random.pick(&[0x8035, 0x8847, 0x88a8, 0x0600, 0x05ff, 3]), random.bytes(random.clone().index(80))),
        2..=4 => (0x86dd, ipv6(random)),
        _ => (0x0800, ipv4(random)),
    };
    if random.once_in(8) {
        frame.extend((payload.len() as u16 + 8).to_be_bytes());
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0]);
    }
    frame.extend(u16::to_be_bytes(dl_type));
    frame.extend(payload);
    // Short frames are padded.
    frame.resize(frame.len().max(*random.pick(&[14, 60, 64])), 0);
    frame
}

/// The same with a few bytes changed, cut, or more behind it.
pub fn any(random: &mut Random) -> Vec<u8> {
    let mut frame = good(random);
    for _ in 0..random.below(4) {
        let at = random.index(frame.len().min(80));
        match random.below(5) {
            0 => frame[at] ^= 1 << random.below(8),
            1 => frame[at] = random.edge() as u8,
            2 => frame.truncate(14.max(at)),
            3 => frame.extend(random.bytes(random.clone().index(600))),
            _ => frame[at] = *random.pick(&[0, 0x45, 0x60, 6, 17, 44, 60, 0xff]),
        }
    }
    frame
}

fn arp(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1 + random.below(2) as u8];
    bytes.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1 + random.below(3) as u8, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    bytes
}

fn ipv4(random: &mut Random) -> Vec<u8> {
    let options = 4 * random.below(4).saturating_sub(1) as usize;
    let protocol = *random.pick(&PROTOCOLS);
    let fragment = if random.once_in(6) { *random.pick(&[0x2000u16, 0x2005, 0x0005, 0x4000]) } else { 0x4000 };
    let mut header = vec![0x45 + options as u8 / 4, *random.pick(&[0, 4, 184, 3]), 0, 0, 0, 7];
    header.extend(fragment.to_be_bytes());
    header.extend([*random.pick(&[0, 1, 2, 64]), protocol, 0, 0, 10, 0, 0, 1 + random.below(3) as u8, 192, 0, 2, 1]);
    header.extend(vec![1; options]);
    let pseudo: Vec<u8> = header[12..20].to_vec();
    let body = transport(random, protocol, &pseudo);
    let total = (header.len() + body.len()) as u16;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = !sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, body].concat()
}

fn ipv6(random: &mut Random) -> Vec<u8> {
    let mut header =
        vec![0x60 + random.below(2) as u8, *random.pick(&[0, 0x40, 0xb0]), 0, 0, 0, 0, 0, 1 + random.below(64) as u8];
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    src[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    (src[15], dst[15]) = (1, 1 + random.below(2) as u8);
    header.extend(src);
    header.extend(dst);
    let protocol = *random.pick(&PROTOCOLS);
    let mut body = transport(random, protocol, &header[8..40]);
    let mut next = protocol;
    for _ in 0..random.below(5).saturating_sub(1) {
        let kind = *random.pick(&[0u8, 43, 44, 51, 60]);
        let longer = if kind == 44 { 0 } else { random.below(3) as usize };
        let mut extension = vec![0; if kind == 51 { 8 + 4 * longer } else { 8 + 8 * longer }];
        (extension[0], extension[1]) = (next, longer as u8);
        if kind == 44 && random.once_in(2) {
            extension[3] = *random.pick(&[1, 8, 9]);
        }
        body = [extension, body].concat();
        next = kind;
    }
    header[6] = next;
    header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    [header, body].concat()
}

/// A header and some payload, over this pair of addresses.
fn transport(random: &mut Random, protocol: u8, addresses: &[u8]) -> Vec<u8> {
    let payload = random.bytes(random.clone().index(*random.clone().pick(&[8, 64, 1300])));
    let ports = [*random.pick(&[0, 1]), 80, 0x12, *random.pick(&[0x34, 0x35])];
    let (mut bytes, at) = match protocol {
        6 => ([&ports[..], &[0; 8], &[0x50, *random.pick(&[2, 0x12, 0x10]), 1, 0, 0, 0, 0, 0]].concat(), 16),
        17 => {
            let len = (8 + payload.len() as u16).to_be_bytes();
            ([&ports[..], &len, &[0, 0]].concat(), 6)
        }
        132 => ([&ports[..], &[0; 8]].concat(), 8),
        58 if random.once_in(2) => {
            let mut message = vec![*random.pick(&[135, 136]), 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8];
            message.resize(24, 1);
            for _ in 0..random.below(3) {
                message.extend([*random.pick(&[1, 2, 14]), *random.pick(&[1, 1, 1, 0, 2]), 2, 0, 0, 0, 0, 1]);
            }
            (message, 2)
        }
        1 | 58 => (vec![*random.pick(&[8, 128, 135]), 0, 0, 0, 0, 1, 0, 2], 2),
        _ => return payload,
    };
    bytes.extend(payload);
    if protocol == 132 {
        let crc = crc(&bytes).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&crc);
    } else if protocol != 17 || !random.once_in(4) {
        let mut sum = !transport_sum(&bytes, protocol, addresses);
        if protocol == 17 && sum == 0 {
            sum = 0xffff;
        }
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// The Internet checksum's sum over a transport packet and its pseudo header: all ones when its checksum is right.
#[must_use]
pub fn transport_sum(bytes: &[u8], protocol: u8, addresses: &[u8]) -> u16 {
    let pseudo = if protocol == 1 {
        Vec::new()
    } else {
        [addresses, &(bytes.len() as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
    };
    sum(&[&pseudo, bytes].concat())
}

/// Sum in ones' complement.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut total: u64 = bytes.chunks(2).map(word).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// CRC-32c, bit by bit.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}
