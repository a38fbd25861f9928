//! A guest that breaks the rules: for tests of what a switch does about it.
//!
//! Each kind writes into rings of a running guest behind the back of the driver, so the guest is not usable for traffic
//! afterwards. A sound switch faults the port or drops a frame, and nobody else notices.

use std::str::FromStr;
use std::sync::atomic::Ordering::Release;

use ringswitch_dataplane::mem::Area;

use crate::guest::{Guest, MEMORY_BASE};
use crate::ring::{Place, Ring, flag};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// How the rules are broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// A descriptor chain that never ends.
    Loop = "loop",
    /// An address in no region.
    Outside = "outside",
    /// An address and length that overflow 64 bits.
    Wrap = "wrap",
    /// A descriptor of length 0.
    Zero = "zero",
    /// A length of 4 GiB - 1.
    Huge = "huge",
    /// A writable descriptor in the transmit ring, a read-only one in the receive ring.
    Direction = "direction",
    /// An available index (packed: an id) that jumps.
    Index = "index",
    /// Random descriptors and flags.
    Garbage = "garbage",
    /// An indirect table that refers to itself.
    Indirect = "indirect",
    /// A frame shorter than an Ethernet header.
    Runt = "runt",
    /// The memory file is cut to nothing while mapped.
    Truncate = "truncate",
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("'{text}' is none of {}", names.join(", "))
        })
    }
}

/// One descriptor as it is written, whatever it says.
#[derive(Clone, Copy)]
struct Bad {
    address: u64,
    len: u32,
    flags: u16,
}

impl Guest {
    /// Breaks the rules in queue pair `queue`, once.
    ///
    /// # Errors
    /// What `ftruncate(2)` says, for [`Kind::Truncate`].
    ///
    /// # Panics
    /// When there is no such queue.
    pub fn misbehave(&mut self, queue: usize, kind: Kind) -> std::io::Result<()> {
        let pair = &mut self.pairs_mut()[queue];
        let rings = [pair.tx.raw(), pair.rx.raw()];
        for (ring, kick) in rings.into_iter().flatten() {
            break_ring(ring, kind);
            // A full counter is as good as a kick.
            let _ = kick.write(1);
        }
        if kind == Kind::Truncate { self.truncate_memory() } else { Ok(()) }
    }
}

fn break_ring(ring: &Ring, kind: Kind) {
    let buffers = ring.buffers();
    let good = buffers.base + buffers.header_offset(0) as u64;
    let (write, wrong) = if buffers.writable { (flag::WRITE, 0) } else { (0, flag::WRITE) };
    let bad = |address, len, flags| Bad { address, len, flags };
    let len = buffers.header + 64;
    let table = buffers.table_offset(0);
    let descriptor = match kind {
        Kind::Loop => bad(good, len, write | flag::NEXT),
        Kind::Outside => bad(0x7fff_ffff_0000, len, write),
        Kind::Wrap => bad(u64::MAX - 16, len, write),
        Kind::Zero => bad(good, 0, write),
        Kind::Huge => bad(good, u32::MAX, write),
        Kind::Direction => bad(good, len, wrong),
        Kind::Runt => bad(good, buffers.header + 5, write),
        Kind::Indirect => {
            // Its only entry is again a table: itself.
            write_at(&buffers.area, table, bad(MEMORY_BASE + table as u64, 16, flag::INDIRECT), 0, 0);
            bad(MEMORY_BASE + table as u64, 16, flag::INDIRECT)
        }
        Kind::Index | Kind::Garbage | Kind::Truncate => bad(good, len, write),
    };
    match ring {
        Ring::Split(_) => break_split(&buffers.area, ring.place(), kind, descriptor),
        Ring::Packed(_) => break_packed(&buffers.area, ring.place(), kind, descriptor),
    }
}

fn write_at(area: &Area, offset: usize, bad: Bad, third: u16, fourth: u16) {
    area.store_u64(offset, bad.address, Release);
    area.store_u64(offset + 8, u64::from(bad.len) | u64::from(third) << 32 | u64::from(fourth) << 48, Release);
}

/// Numbers that look random; always the same, so that a failure comes back.
fn garbage(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Every descriptor becomes the bad one, and the whole table is offered again.
fn break_split(area: &Area, place: Place, kind: Kind, bad: Bad) {
    let mut state = 0x1234_5678_9abc_def1;
    for index in 0..place.size {
        let desc = place.desc + 16 * usize::from(index);
        if kind == Kind::Garbage {
            area.store_u64(desc, garbage(&mut state), Release);
            area.store_u64(desc + 8, garbage(&mut state), Release);
            area.store_u16(place.driver + 4 + 2 * usize::from(index), garbage(&mut state) as u16, Release);
        } else {
            // With NEXT each descriptor refers to itself.
            write_at(area, desc, bad, bad.flags, index);
        }
    }
    let used = area.load_u16(place.device + 2, std::sync::atomic::Ordering::Acquire);
    let step = match kind {
        Kind::Index => place.size.wrapping_mul(2).wrapping_add(17),
        Kind::Garbage => place.size,
        // The receive ring is full already; one frame is enough in the transmit ring.
        _ => 1,
    };
    let avail = area.load_u16(place.driver + 2, std::sync::atomic::Ordering::Acquire);
    let full = avail.wrapping_sub(used) >= place.size;
    if !full || kind == Kind::Index {
        area.store_u16(place.driver + 2, avail.wrapping_add(step), Release);
    }
}

/// Every descriptor becomes the bad one, available in whichever sense the device expects next: half of them each way is
/// garbage of its own.
fn break_packed(area: &Area, place: Place, kind: Kind, bad: Bad) {
    let mut state = 0x1234_5678_9abc_def1;
    for index in 0..place.size {
        let desc = place.desc + 16 * usize::from(index);
        if kind == Kind::Garbage {
            area.store_u64(desc, garbage(&mut state), Release);
            area.store_u64(desc + 8, garbage(&mut state), Release);
            continue;
        }
        let old = area.load_u16(desc + 14, std::sync::atomic::Ordering::Acquire) & (flag::AVAIL | flag::USED);
        // Used (or never offered) becomes available in the other sense; what is available stays so.
        let sense = match old {
            0 => flag::AVAIL,
            both if both == flag::AVAIL | flag::USED => flag::USED,
            available => available,
        };
        let id = if kind == Kind::Index { place.size.wrapping_add(index).wrapping_mul(7) } else { index };
        write_at(area, desc, bad, id, bad.flags | sense);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_named() {
        for &kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("nice".parse::<Kind>().is_err_and(|error| error.contains("truncate")));
    }
}
