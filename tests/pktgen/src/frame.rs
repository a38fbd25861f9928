//! The frames that are sent: UDP over IPv4 with right checksums, addresses by flow, and a tag behind the headers that says
//! who sent it, in which flow, and as which one.
//!
//! Neighbours: `traffic::sender` writes them, `check` reads them back.

use std::str::FromStr;

/// Ethernet, IPv4 and UDP headers without VLAN tag.
pub const HEADERS: usize = 42;
/// Bytes of tag: magic, sender, seed (2), flow (4), sequence number (6), time stamp (8); all big-endian.
pub const TAG: usize = 22;
/// The shortest frame (without VLAN tag).
pub const MIN_FRAME: u32 = (HEADERS + TAG) as u32;
/// The longest one.
pub const MAX_FRAME: u32 = 9216;
/// Headers and tag with room for a VLAN tag.
pub const HEAD: usize = HEADERS + TAG + VLAN;
/// Bytes of VLAN tag.
pub const VLAN: usize = 4;
/// First byte of the tag.
pub const MAGIC: u8 = 0xa7;

/// Which fields differ from flow to flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vary {
    /// Source MAC, low 24 bits.
    pub src_mac: bool,
    /// Destination MAC, low 24 bits.
    pub dst_mac: bool,
    /// Source IP.
    pub src_ip: bool,
    /// Destination IP.
    pub dst_ip: bool,
    /// UDP source port.
    pub src_port: bool,
    /// UDP destination port.
    pub dst_port: bool,
}

impl FromStr for Vary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut vary = Self::default();
        for name in text.split(',') {
            *match name.trim() {
                "src-mac" => &mut vary.src_mac,
                "dst-mac" => &mut vary.dst_mac,
                "src-ip" => &mut vary.src_ip,
                "dst-ip" => &mut vary.dst_ip,
                "src-port" => &mut vary.src_port,
                "dst-port" => &mut vary.dst_port,
                other => {
                    return Err(format!("'{other}' is none of src-mac, dst-mac, src-ip, dst-ip, src-port, dst-port"));
                }
            } = true;
        }
        Ok(vary)
    }
}

/// The sum of big-endian 16-bit words, as for internet checksums, not yet folded.
#[must_use]
pub fn word_sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    sum + rest.first().map_or(0, |&last| u64::from(last) << 8)
}

/// Folds a sum to its ones' complement 16-bit value.
#[inline(always)]
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The four words of a 64-bit value, added up.
#[inline(always)]
fn words(value: u64) -> u64 {
    (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48)
}

/// Writes the bytes behind the tag: they depend on the seed only, so a buffer keeps them.
pub fn fill_pattern(seed: u16, payload: &mut [u8]) {
    for (number, chunk) in payload.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&pattern(seed, number).to_be_bytes()[..chunk.len()]);
    }
}

/// True when the bytes behind the tag are those of the seed.
#[must_use]
pub fn is_pattern(seed: u16, payload: &[u8]) -> bool {
    payload.chunks(8).enumerate().all(|(number, chunk)| chunk == &pattern(seed, number).to_be_bytes()[..chunk.len()])
}

#[inline(always)]
fn pattern(seed: u16, number: usize) -> u64 {
    (u64::from(seed) << 16 | number as u64 | 1 << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A sender's frames.
#[derive(Clone, Debug)]
pub struct Frames {
    /// The sender's number.
    pub sender: u8,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Number and MAC address of each receiver; flow `f` goes to number `f % count`.
    pub receivers: Vec<(u8, [u8; 6])>,
    /// What differs between flows.
    pub vary: Vary,
    /// VLAN id, when tagged.
    pub vlan: Option<u16>,
}

/// What differs between two frames of one buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// Flow.
    pub flow: u32,
    /// How many of this flow came before.
    pub sequence: u64,
    /// Cycle counter, or 0.
    pub time: u64,
}

/// What does not change in a buffer: its length and its payload.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Which payload.
    pub seed: u16,
    /// Frame length, VLAN tag included.
    pub len: u32,
    /// [`word_sum`] of the bytes behind the tag.
    pub sum: u64,
}

fn add_to_mac(mac: [u8; 6], number: u32) -> [u8; 6] {
    let low = u32::from_be_bytes([0, mac[3], mac[4], mac[5]]).wrapping_add(number).to_be_bytes();
    [mac[0], mac[1], mac[2], low[1], low[2], low[3]]
}

impl Frames {
    /// Bytes of VLAN tag in each frame.
    #[inline(always)]
    #[must_use]
    pub fn vlan_len(&self) -> usize {
        if self.vlan.is_some() { VLAN } else { 0 }
    }

    /// The address that flow `flow` comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, flow: u32) -> [u8; 6] {
        if self.vary.src_mac { add_to_mac(self.mac, flow) } else { self.mac }
    }

    /// The address that flow `flow` goes to.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self, flow: u32) -> [u8; 6] {
        let count = self.receivers.len() as u32;
        let (_, mac) = self.receivers[if count == 1 { 0 } else { (flow % count) as usize }];
        if self.vary.dst_mac { add_to_mac(mac, flow) } else { mac }
    }

    /// Headers and tag of one frame; the first 64 bytes, or 68 with a VLAN tag, count.
    #[inline(always)]
    #[must_use]
    pub fn head(&self, body: Body, stamp: Stamp) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..6].copy_from_slice(&self.destination(stamp.flow));
        head[6..12].copy_from_slice(&self.source(stamp.flow));
        match self.vlan {
            None => self.write_ip(&mut head[12..], body, stamp),
            Some(id) => {
                head[12..14].copy_from_slice(&0x8100u16.to_be_bytes());
                head[14..16].copy_from_slice(&id.to_be_bytes());
                self.write_ip(&mut head[16..], body, stamp);
            }
        }
        head
    }

    /// From the Ethernet type on.
    #[inline(always)]
    fn write_ip(&self, to: &mut [u8], body: Body, stamp: Stamp) {
        let vary = |yes: bool| if yes { stamp.flow } else { 0 };
        let total = body.len as u16 - (14 + self.vlan_len()) as u16;
        let udp_len = total - 20;
        let source = (0x0a00_0001 | u32::from(self.sender) << 16).wrapping_add(vary(self.vary.src_ip));
        let destination = 0xc612_0001u32.wrapping_add(vary(self.vary.dst_ip));
        let ports =
            [1024 + (vary(self.vary.src_port) % 64512) as u16, 2048 + (vary(self.vary.dst_port) % 63488) as u16];
        let addresses = words(u64::from(source)) + words(u64::from(destination));
        let ip_sum = 0x4500 + u64::from(total) + 0x4000 + 0x4011 + addresses;
        let to: &mut [u8; 52] = (&mut to[..52]).try_into().expect("headers and tag are 52 bytes from the type on");
        to[0..10].copy_from_slice(&[8, 0, 0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0x40, 0]);
        to[10..12].copy_from_slice(&[64, 17]);
        to[12..14].copy_from_slice(&(!fold(ip_sum)).to_be_bytes());
        to[14..18].copy_from_slice(&source.to_be_bytes());
        to[18..22].copy_from_slice(&destination.to_be_bytes());
        to[22..24].copy_from_slice(&ports[0].to_be_bytes());
        to[24..26].copy_from_slice(&ports[1].to_be_bytes());
        to[26..28].copy_from_slice(&udp_len.to_be_bytes());
        let first =
            u64::from(MAGIC) << 56 | u64::from(self.sender) << 48 | u64::from(body.seed) << 32 | u64::from(stamp.flow);
        let sequence = stamp.sequence & 0xffff_ffff_ffff;
        let sum = addresses
            + 17
            + 2 * u64::from(udp_len)
            + u64::from(ports[0])
            + u64::from(ports[1])
            + words(first)
            + words(sequence)
            + words(stamp.time)
            + body.sum;
        // A computed 0 is sent as 0xffff: 0 means that there is no checksum.
        let checksum = match !fold(sum) {
            0 => 0xffff,
            other => other,
        };
        to[28..30].copy_from_slice(&checksum.to_be_bytes());
        to[30..38].copy_from_slice(&first.to_be_bytes());
        to[38..46].copy_from_slice(&(sequence << 16).to_be_bytes());
        to[44..52].copy_from_slice(&stamp.time.to_be_bytes());
    }

    /// A whole frame.
    #[must_use]
    pub fn build(&self, len: u32, seed: u16, stamp: Stamp) -> Vec<u8> {
        let mut frame = vec![0; len as usize];
        let head_len = HEADERS + TAG + self.vlan_len();
        fill_pattern(seed, &mut frame[head_len..]);
        let body = Body { seed, len, sum: word_sum(&frame[head_len..]) };
        frame[..head_len].copy_from_slice(&self.head(body, stamp)[..head_len]);
        frame
    }

    /// A gratuitous ARP request from the address of `flow`: tells a learning switch where it lives.
    #[must_use]
    pub fn announcement(&self, mac: [u8; 6]) -> Vec<u8> {
        let address = (0x0a00_0001 | u32::from(self.sender) << 16).to_be_bytes();
        let mut frame = vec![0xff; 6];
        frame.extend(mac);
        if let Some(id) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(id.to_be_bytes());
        }
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend(address);
        frame.extend([0; 6]);
        frame.extend(address);
        frame.resize(60 + self.vlan_len(), 0);
        frame
    }
}
