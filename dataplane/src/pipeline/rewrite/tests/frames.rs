//! Frames of random contents with right checksums, and what the checksums of any frame ought to be: computed from scratch,
//! by a parser that shares nothing with the switch's.

use crate::wire::checksum;

/// A generator of numbers that are the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    pub fn below(&mut self, limit: u64) -> usize {
        (self.next() % limit) as usize
    }

    pub fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// 0 to 3 tags, any network header, any transport, labels, frames in backbone frames; padded at times.
pub fn generate(random: &mut Random) -> Vec<u8> {
    let mut frame = ethernet(random, 2);
    set_checksums(&mut frame);
    let padding = random.below(8);
    frame.resize(frame.len() + padding, 0xee);
    frame
}

fn ethernet(random: &mut Random, depth: u32) -> Vec<u8> {
    let mut frame = random.bytes(12);
    for _ in 0..[0, 0, 1, 1, 2, 2, 3][random.below(7)] {
        frame.extend([[0x81, 0x00], [0x88, 0xa8]][random.below(2)]);
        frame.extend(random.bytes(2));
    }
    let (kind, payload) = match random.below(if depth > 0 { 12 } else { 9 }) {
        0..4 => ([0x08, 0x00], ipv4(random, depth)),
        4..8 => ([0x86, 0xdd], ipv6(random, depth)),
        8 => ([0x08, 0x06], arp(random)),
        9..11 => ([0x88, 0x47], labels(random, depth)),
        _ => ([0x88, 0xe7], [random.bytes(4), ethernet(random, depth - 1)].concat()),
    };
    frame.extend(kind);
    frame.extend(payload);
    frame
}

fn labels(random: &mut Random, depth: u32) -> Vec<u8> {
    let count = 1 + random.below(3);
    let mut stack = random.bytes(4 * count);
    for (nth, entry) in stack.chunks_mut(4).enumerate() {
        entry[2] = entry[2] & 0xfe | u8::from(nth + 1 == count);
    }
    stack.extend(if random.one_in(2) { ipv4(random, depth - 1) } else { ipv6(random, depth - 1) });
    stack
}

fn arp(random: &mut Random) -> Vec<u8> {
    let kind = if random.one_in(9) { random.bytes(2) } else { vec![0, 1 + random.below(2) as u8] };
    [vec![0, 1, 8, 0, 6, 4], kind, random.bytes(20)].concat()
}

fn ipv4(random: &mut Random, depth: u32) -> Vec<u8> {
    let (protocol, payload) = transport(random, depth, false);
    let header_len = 20 + 4 * random.below(11);
    let mut header = random.bytes(header_len);
    header[0] = 0x40 | (header_len / 4) as u8;
    header[2..4].copy_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
    header[6..8].fill(0);
    header[9] = protocol;
    [header, payload].concat()
}

fn ipv6(random: &mut Random, depth: u32) -> Vec<u8> {
    let (mut protocol, mut payload) = transport(random, depth, true);
    for _ in 0..random.below(8).saturating_sub(4) {
        let kind = [0, 43, 44, 51, 60][random.below(5)];
        let mut header = match kind {
            // A whole packet with a fragment header all the same (RFC 6946).
            44 => [vec![0; 4], random.bytes(4)].concat(),
            51 => vec![0; 12],
            _ => vec![0; 8 * (1 + 2 * random.below(2))],
        };
        (header[0], header[1]) = match kind {
            44 => (protocol, 0),
            51 => (protocol, 1),
            _ => (protocol, (header.len() / 8 - 1) as u8),
        };
        if kind == 43 && header.len() == 24 && random.one_in(2) {
            header[3] = 1;
            header[8..].copy_from_slice(&random.bytes(16));
        }
        payload = [header, payload].concat();
        protocol = kind;
    }
    let mut header = random.bytes(40);
    header[0] = 0x60 | header[0] & 0xf;
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = protocol;
    [header, payload].concat()
}

fn transport(random: &mut Random, depth: u32, is_v6: bool) -> (u8, Vec<u8>) {
    let rest = random.below(60);
    match random.below(if depth > 0 { 8 } else { 7 }) {
        0 | 1 => (6, random.bytes(20 + rest)),
        2 | 3 => {
            let mut datagram = random.bytes(8 + rest);
            if random.one_in(8) {
                datagram[6..8].fill(0); // no checksum
            }
            (17, datagram)
        }
        4 => (132, random.bytes(12 + rest)),
        5 if is_v6 => (58, discovery(random)),
        5 | 6 if is_v6 => (58, random.bytes(8 + rest)),
        5 | 6 => (1, random.bytes(8 + rest)),
        _ if random.one_in(2) => (4, ipv4(random, depth - 1)),
        _ => (41, ipv6(random, depth - 1)),
    }
}

fn discovery(random: &mut Random) -> Vec<u8> {
    let mut message = random.bytes(24);
    (message[0], message[1]) = (135 + random.below(2) as u8, 0);
    for _ in 0..random.below(3) {
        message.extend([1 + random.below(3) as u8, 1]);
        message.extend(random.bytes(6));
    }
    message
}

/// Where the checksums lie, with what they ought to be, of all headers that can be told.
pub fn right_checksums(frame: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut right = Vec::new();
    sum_ethernet(frame, 0, &mut right);
    right
}

type Sums = Vec<(usize, Vec<u8>)>;

fn be(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn sum_ethernet(frame: &[u8], start: usize, right: &mut Sums) {
    let mut at = start + 12;
    while matches!(be(frame, at), 0x8100 | 0x88a8) {
        at += 4;
    }
    let behind = at + 2;
    match be(frame, at) {
        0x0800 | 0x86dd => sum_ip(frame, behind, right),
        0x88e7 => sum_ethernet(frame, behind + 4, right),
        0x8847 | 0x8848 => {
            let mut at = behind;
            while frame[at + 2] & 1 == 0 {
                at += 4;
            }
            sum_ip(frame, at + 4, right);
        }
        _ => {}
    }
}

fn sum_ip(frame: &[u8], start: usize, right: &mut Sums) {
    if frame[start] >> 4 == 4 {
        let header = usize::from(frame[start] & 0xf) * 4;
        let mut bytes = frame[start..start + header].to_vec();
        bytes[10..12].fill(0);
        right.push((start + 10, (!checksum::sum(&bytes)).to_be_bytes().to_vec()));
        let end = start + usize::from(be(frame, start + 2));
        let addresses = frame[start + 12..start + 20].to_vec();
        sum_transport(frame, frame[start + 9], start + header..end, &addresses, right);
    } else if frame[start] >> 4 == 6 {
        let end = start + 40 + usize::from(be(frame, start + 4));
        let mut addresses = frame[start + 8..start + 40].to_vec();
        let (mut protocol, mut at) = (frame[start + 6], start + 40);
        while matches!(protocol, 0 | 43 | 44 | 51 | 60) {
            let len = match protocol {
                44 => 8,
                51 => (usize::from(frame[at + 1]) + 2) * 4,
                _ => (usize::from(frame[at + 1]) + 1) * 8,
            };
            if protocol == 43 && frame[at + 3] > 0 {
                addresses[16..].copy_from_slice(&frame[at + len - 16..at + len]);
            }
            protocol = frame[at];
            at += len;
        }
        sum_transport(frame, protocol, at..end, &addresses, right);
    }
}

fn sum_transport(frame: &[u8], protocol: u8, place: std::ops::Range<usize>, addresses: &[u8], right: &mut Sums) {
    let start = place.start;
    let mut segment = frame[place].to_vec();
    let at = match protocol {
        4 | 41 => return sum_ip(frame, start, right),
        6 => 16,
        17 if segment[6..8] == [0, 0] => return right.push((start + 6, vec![0, 0])),
        17 => 6,
        1 | 58 => 2,
        132 => {
            segment[8..12].fill(0);
            return right.push((start + 8, crc32c(&segment).to_le_bytes().to_vec()));
        }
        _ => return,
    };
    segment[at..at + 2].fill(0);
    let mut total = u32::from(checksum::sum(&segment));
    // ICMP for IPv4 is the one that does not cover the addresses.
    if protocol != 1 {
        total += u32::from(checksum::sum(addresses)) + u32::from(protocol) + segment.len() as u32;
    }
    let value = !checksum::sum(&total.to_be_bytes());
    let value = if protocol == 17 && value == 0 { 0xffff } else { value };
    right.push((start + at, value.to_be_bytes().to_vec()));
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 })
    })
}

pub fn set_checksums(frame: &mut [u8]) {
    // The inner ones come last, and outer ones cover them.
    for (at, value) in right_checksums(frame).into_iter().rev() {
        frame[at..at + value.len()].copy_from_slice(&value);
    }
}

/// Fails when a checksum of the frame is wrong.
pub fn assert_checksums(frame: &[u8], after: &dyn std::fmt::Debug) {
    for (at, right) in right_checksums(frame) {
        let found = &frame[at..at + right.len()];
        // Ones' complement has two zeros; receivers take both.
        let zero = |bytes: &[u8]| bytes.len() == 2 && (bytes == [0, 0] || bytes == [0xff, 0xff]);
        let same = found == right || zero(found) && zero(&right);
        assert!(same, "{after:?}: {found:x?} at {at}, not {right:x?}, in {frame:02x?}");
    }
}
