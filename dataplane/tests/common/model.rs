//! UDP packets as plain data: what rules see of them, what actions do to them, how they look as frames. Shares no code with
//! the switch.

use ringswitch_dataplane::flow::{FieldId, Match};

/// Ports of the switch, from 1.
pub const PORTS: u32 = 4;
/// Tags that rules can see through.
const SEEN_TAGS: usize = 2;

/// One packet.
#[derive(Clone, Debug)]
pub struct Model {
    pub in_port: u32,
    pub dst: u64,
    pub src: u64,
    /// Their ids, outermost first.
    pub tags: Vec<u16>,
    pub ip: [u32; 2],
    pub ttl: u8,
    pub ports: [u16; 2],
    pub metadata: u64,
    pub regs: [u32; 2],
    pub payload: usize,
}

impl Model {
    fn has_ip(&self) -> bool {
        self.tags.len() <= SEEN_TAGS
    }

    pub fn ttl(&self) -> Option<u8> {
        self.has_ip().then_some(self.ttl)
    }

    pub fn get(&self, field: FieldId) -> u128 {
        let ip = |value: u64| if self.has_ip() { value } else { 0 };
        u128::from(match field {
            FieldId::IN_PORT => u64::from(self.in_port),
            FieldId::ETH_DST => self.dst,
            FieldId::ETH_SRC => self.src,
            FieldId::VLAN_TCI => self.tags.first().map_or(0, |vid| 0x1000 | u64::from(*vid)),
            FieldId::IPV4_SRC => ip(self.ip[0].into()),
            FieldId::IPV4_DST => ip(self.ip[1].into()),
            FieldId::UDP_SRC => ip(self.ports[0].into()),
            FieldId::UDP_DST => ip(self.ports[1].into()),
            FieldId::NW_TTL => ip(self.ttl.into()),
            FieldId::METADATA => self.metadata,
            FieldId::REG0 => self.regs[0].into(),
            FieldId::REG1 => self.regs[1].into(),
            other => panic!("{} is not modelled", other.info().name),
        })
    }

    pub fn set(&mut self, field: FieldId, value: u128, mask: u128) {
        let value = self.get(field) & !mask | value & mask;
        let is_ip = [FieldId::IPV4_SRC, FieldId::IPV4_DST, FieldId::UDP_SRC, FieldId::UDP_DST, FieldId::NW_TTL];
        if is_ip.contains(&field) && !self.has_ip() {
            return;
        }
        match field {
            FieldId::ETH_DST => self.dst = value as u64,
            FieldId::ETH_SRC => self.src = value as u64,
            FieldId::IPV4_SRC => self.ip[0] = value as u32,
            FieldId::IPV4_DST => self.ip[1] = value as u32,
            FieldId::UDP_SRC => self.ports[0] = value as u16,
            FieldId::UDP_DST => self.ports[1] = value as u16,
            FieldId::NW_TTL => self.ttl = value as u8,
            FieldId::METADATA => self.metadata = value as u64,
            FieldId::REG0 => self.regs[0] = value as u32,
            FieldId::REG1 => self.regs[1] = value as u32,
            other => panic!("{} is not modelled", other.info().name),
        }
    }

    pub fn matches(&self, wanted: &Match) -> bool {
        let fields = [
            FieldId::IN_PORT,
            FieldId::ETH_DST,
            FieldId::ETH_SRC,
            FieldId::VLAN_TCI,
            FieldId::IPV4_SRC,
            FieldId::IPV4_DST,
            FieldId::UDP_DST,
            FieldId::NW_TTL,
            FieldId::METADATA,
            FieldId::REG0,
            FieldId::REG1,
        ];
        fields.iter().all(|&field| (self.get(field) ^ wanted.key.get(field)) & wanted.mask.get(field) == 0)
    }

    pub fn set_vid(&mut self, vid: u16) {
        match self.tags.first_mut() {
            Some(tag) => *tag = vid,
            None => self.tags.push(vid),
        }
    }

    pub fn push_tag(&mut self) {
        self.tags.insert(0, self.tags.first().copied().unwrap_or(0));
    }

    pub fn pop_tag(&mut self) {
        if !self.tags.is_empty() {
            self.tags.remove(0);
        }
    }

    pub fn to_frame(&self) -> Vec<u8> {
        let mut frame = self.dst.to_be_bytes()[2..].to_vec();
        frame.extend(&self.src.to_be_bytes()[2..]);
        for tag in &self.tags {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([0x08, 0x00]);
        let start = frame.len();
        frame.extend([0x45, 0]);
        frame.extend((28 + self.payload as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, self.ttl, 17, 0, 0]);
        self.ip.iter().for_each(|address| frame.extend(address.to_be_bytes()));
        let sum: u32 = frame[start..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = !(((sum >> 16) + (sum & 0xffff)) as u16);
        frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        self.ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
        frame.extend((8 + self.payload as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend((0..self.payload).map(|byte| byte as u8));
        frame
    }
}
