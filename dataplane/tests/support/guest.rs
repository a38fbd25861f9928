//! A guest for tests: its memory, its drivers, and its front-end (that of the `vhost` crate).

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures};
use vhost::vhost_user::message::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

pub const VERSION_1: u64 = 1 << 32;
pub const PACKED: u64 = 1 << 34;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

const SIZE: u16 = 64;
const BASE: u64 = 0x10_0000;
const LEN: u64 = 1 << 20;
/// Frames are written here, one after the other.
const BUFFERS: u64 = BASE + LEN / 2;
const HEADER: usize = 12;

pub struct Guest {
    pub front_end: Frontend,
    pub features: u64,
    mapping: Arc<Mapping>,
    memory: Arc<GuestMemory>,
    /// Per vring; even: it receives, odd: it sends.
    pub rings: Vec<Driver>,
    pub kicks: Vec<EventFd>,
    sent: u32,
}

impl Guest {
    /// Connects and negotiates, says nothing about rings.
    pub fn connect(path: &Path, pairs: usize, features: u64) -> Self {
        let deadline = Instant::now() + Duration::from_secs(5);
        let front_end = loop {
            match Frontend::connect(path, 2 * pairs as u64) {
                Ok(front_end) => break front_end,
                Err(error) => assert!(Instant::now() < deadline, "connecting: {error}"),
            }
        };
        Self::over(front_end, pairs, features)
    }

    /// Negotiates over a connection.
    pub fn over(mut front_end: Frontend, pairs: usize, features: u64) -> Self {
        let mapping = Arc::new(Mapping::memfd(c"guest", LEN).expect("memfd"));
        let memory = GuestMemory::new(vec![Region::of_own(Arc::clone(&mapping), BASE)]).expect("one region");
        let memory = Arc::new(memory);
        let ring = RingFeatures::from_virtio(features);
        let at = |index: usize| BASE + (index * ring_bytes(SIZE)) as u64;
        let rings = (0..2 * pairs).map(|index| Driver::new(&memory, at(index), SIZE, ring)).collect();
        front_end.set_owner().expect("set_owner");
        let offered = front_end.get_features().expect("get_features");
        assert_eq!(features & !offered, 0, "features that are not offered");
        if features & PROTOCOL_FEATURES != 0 {
            let protocol = front_end.get_protocol_features().expect("get_protocol_features");
            assert_eq!(protocol, Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIGURE_MEM_SLOTS);
            front_end.set_protocol_features(protocol).expect("set_protocol_features");
        }
        front_end.set_features(features).expect("set_features");
        let kicks = (0..2 * pairs).map(|_| EventFd::new(0).expect("eventfd")).collect();
        Self { front_end, features, mapping, memory, rings, kicks, sent: 0 }
    }

    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: BASE,
            memory_size: LEN,
            userspace_addr: BASE,
            mmap_offset: 0,
            mmap_handle: self.mapping.as_fd().as_raw_fd(),
        }
    }

    /// Tells the memory, sets up every ring and starts it.
    pub fn start(&mut self) {
        self.front_end.set_mem_table(&[self.region()]).expect("set_mem_table");
        for index in 0..self.rings.len() {
            let base = if self.features & PACKED != 0 { 0x8000 } else { 0 };
            self.start_ring(index, base);
        }
    }

    pub fn start_ring(&mut self, index: usize, base: u16) {
        let fault = Arc::new(RingFault::new().expect("eventfd"));
        let setup = self.rings[index].setup(&fault);
        let config = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: setup.desc,
            used_ring_addr: setup.device,
            avail_ring_addr: setup.driver,
            log_addr: None,
        };
        self.front_end.set_vring_num(index, SIZE).expect("set_vring_num");
        self.front_end.set_vring_base(index, base).expect("set_vring_base");
        self.front_end.set_vring_addr(index, &config).expect("set_vring_addr");
        self.front_end.set_vring_call(index, &EventFd::new(0).expect("eventfd")).expect("set_vring_call");
        self.front_end.set_vring_kick(index, &self.kicks[index]).expect("set_vring_kick");
        if self.features & PROTOCOL_FEATURES != 0 {
            self.front_end.set_vring_enable(index, true).expect("set_vring_enable");
        }
    }

    /// Sends a frame that carries its number, on the transmit ring of this pair; waits for room.
    pub fn send(&mut self, pair: usize) {
        let ring = &mut self.rings[2 * pair + 1];
        let address = BUFFERS + u64::from(self.sent % 512) * 128;
        let mut frame = [0u8; HEADER + 60];
        frame[HEADER..HEADER + 4].copy_from_slice(&self.sent.to_be_bytes());
        ring.write(address, &frame);
        let piece = Piece { address, len: frame.len() as u32, writable: false };
        let deadline = Instant::now() + Duration::from_secs(5);
        while ring.add(&[piece]).is_none() {
            ring.collect();
            assert!(Instant::now() < deadline, "nobody takes frames from the ring");
            std::thread::yield_now();
        }
        self.sent += 1;
    }

    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }
}
