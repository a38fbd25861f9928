//! A guest whose memory lies between pages that nobody may touch.
//!
//! Each region is the middle of a file: what stands before and behind it in the same mapping is filled with a pattern that
//! must neither change nor turn up anywhere.

use std::os::fd::AsFd;
use std::sync::Arc;

use ringswitch_dataplane::mem::{Area, GuestMemory, Mapping, Region, RegionSpec};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece, ring_bytes};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures};

use crate::Random;

/// Where the two rings lie, and how many bytes they have at most.
pub const RINGS: u64 = 0x10_0000;
/// Where buffers lie: two regions that touch each other.
pub const BUFFERS: u64 = 0x20_0000;
/// Bytes of each of the two: not whole pages.
const HALF: u64 = 0x8800;
/// Bytes for buffers.
pub const BUFFER_BYTES: u64 = 2 * HALF;
/// Most descriptors of a ring.
pub const LARGEST: u16 = 256;
/// Before each region.
const FRONT: u64 = 4096;
/// In the pages around a region.
const FENCE: [u8; 8] = *b"\xf3\x4c\xe5\x00fEn\xc9";

/// virtio feature bits that change rings.
const FEATURES: [u32; 6] = [15, 28, 29, 32, 34, 35];

/// Memory and two rings.
pub struct Guest {
    /// Negotiated.
    pub features: RingFeatures,
    /// The switch receives from it.
    pub sends: Driver,
    /// The switch sends to it.
    pub receives: Driver,
    /// Where its rings report what it did wrong.
    pub fault: Arc<RingFault>,
    /// As the switch sees it.
    pub memory: Arc<GuestMemory>,
    files: Vec<File>,
}

struct File {
    all: Area,
    region: std::ops::Range<usize>,
}

impl Guest {
    /// With rings of random kind and size; buffer memory is filled with `pattern`.
    ///
    /// # Panics
    /// When the system has no memory.
    #[must_use]
    pub fn new(random: &mut Random, pattern: [u8; 8]) -> Self {
        let bits = FEATURES.iter().filter(|_| random.once_in(2)).fold(0, |bits, bit| bits | 1u64 << bit);
        let features = RingFeatures::from_virtio(bits);
        let size = *random.pick(&[32, 64, 128, LARGEST]);
        let rings = 2 * ring_bytes(LARGEST) as u64;
        let starts = [(RINGS, rings, [0; 8]), (BUFFERS, HALF, pattern), (BUFFERS + HALF, HALF, pattern)];
        let (files, regions) = starts.map(|(start, len, fill)| file_and_region(start, len, fill)).into_iter().unzip();
        let memory = Arc::new(GuestMemory::new(regions).expect("no overlap"));
        let sends = Driver::new(&memory, RINGS, size, features);
        let receives = Driver::new(&memory, RINGS + rings / 2, size, features);
        let fault = Arc::new(RingFault::new().expect("eventfd"));
        Self { features, sends, receives, fault, memory, files }
    }

    /// All of the guest's own bytes, region by region.
    pub fn regions(&self) -> impl Iterator<Item = Vec<u8>> {
        self.files.iter().map(|file| {
            let mut bytes = vec![0; file.region.len()];
            file.all.read_bytes(file.region.start, &mut bytes);
            bytes
        })
    }

    /// The bytes of the rings, to be written behind the drivers' backs.
    ///
    /// # Panics
    /// Never: the rings lie in one region.
    #[must_use]
    pub fn ring_words(&self) -> Area {
        self.memory.area(RINGS, 2 * ring_bytes(LARGEST), 8).expect("one region")
    }

    /// # Panics
    /// When something around the memory changed.
    pub fn assert_fences(&self) {
        for File { all, region } in &self.files {
            for zone in [0..region.start, region.end..all.len()] {
                let mut bytes = vec![0; zone.len()];
                all.read_bytes(zone.start, &mut bytes);
                let whole = bytes.chunks_exact(8).all(|chunk| chunk == FENCE);
                assert!(whole, "bytes outside the guest's memory were written");
            }
        }
    }

    /// # Panics
    /// When a region holds `secret`, twice in a row so that it is no accident, or what lies around some guest's memory.
    pub fn assert_knows_nothing(&self, who: &str, secret: [u8; 8]) {
        for (secret, what) in [(secret, "another guest's memory"), (FENCE, "what lies around a guest's memory")] {
            let known = self.regions().any(|bytes| holds(&bytes, secret));
            assert!(!known, "{who} sees {what}");
        }
    }
}

/// True when the pattern stands there twice in a row.
fn holds(bytes: &[u8], pattern: [u8; 8]) -> bool {
    let twice = [pattern, pattern].concat();
    bytes.windows(16).any(|window| window[0] == twice[0] && window == twice)
}

fn file_and_region(start: u64, len: u64, fill: [u8; 8]) -> (File, Region) {
    let total = (FRONT + len + 1).next_multiple_of(4096);
    let mapping = Arc::new(Mapping::memfd(c"guest", total).expect("memfd"));
    let file = mapping.as_fd().try_clone_to_owned().expect("dup");
    let spec = RegionSpec { guest_start: start, user_start: start, len, file_offset: FRONT, file };
    let region = Region::map(spec).expect("inside the file");
    let view = GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region");
    let all = view.area(0, total as usize, 8).expect("all of it");
    let inside = FRONT as usize..(FRONT + len) as usize;
    for at in (0..all.len()).step_by(8) {
        all.write_bytes(at, if inside.contains(&at) { &fill } else { &FENCE });
    }
    (File { all, region: inside }, region)
}

/// Pieces of a buffer of `len` bytes at `address`, cut at random.
pub fn pieces(random: &mut Random, address: u64, len: u32, writable: bool) -> Vec<Piece> {
    let mut cuts: Vec<u32> = (0..random.below(4)).map(|_| random.below(u64::from(len) + 1) as u32).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    let piece = |pair: &[u32]| Piece { address: address + u64::from(pair[0]), len: pair[1] - pair[0], writable };
    cuts.windows(2).map(piece).collect()
}
