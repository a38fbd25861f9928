//! What is sorted where: words that control and the port share. A sorter puts a received frame into a ring of its pool before
//! the switch sees it; it is a hint, whoever uses it looks at the frame again.

use std::fmt;
use std::sync::Arc;

use crate::mem::RxFrame;

const ETH_P_8021Q: [u8; 2] = [0x81, 0x00];
const ETH_P_8021AD: [u8; 2] = [0x88, 0xa8];
/// Destination, source, EtherType, tag.
const LOOKED_AT: usize = 16;

/// A pool as an AF_XDP port knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortPool {
    /// Its name, by which it is known from one [`XdpPort::sort`](super::XdpPort::sort) to the next.
    pub name: Arc<str>,
    /// Its part of the port's time when several have frames; at least 1.
    pub weight: u32,
    /// Its destinations. Of pools that name the same, the first has it.
    pub filters: Vec<SortFilter>,
}

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SortFilter {
    /// The address; one of a group is never sorted.
    pub mac: [u8; 6],
    /// The VLAN of the outermost tag; 0 is without a tag, or with one that only has a priority.
    pub vlan: u16,
}

impl SortFilter {
    /// As the program's table has it (`struct destination` in `bpf/steer.bpf.c`).
    pub(super) fn encode(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.mac;
        let [low, high] = self.vlan.to_ne_bytes();
        [a, b, c, d, e, f, low, high]
    }

    pub(super) fn is_group(self) -> bool {
        self.mac[0] & 1 != 0
    }

    /// A frame's destination, as the program finds it; `None` when the frame is too short.
    pub(super) fn of(frame: &RxFrame<'_>) -> Option<Self> {
        let mut bytes = [0; LOOKED_AT];
        let len = frame.pieces().next()?.read(&mut bytes);
        let mac = *bytes.first_chunk()?;
        let is_tagged = [ETH_P_8021Q, ETH_P_8021AD].contains(&[bytes[12], bytes[13]]);
        let vlan = if is_tagged { u16::from_be_bytes([bytes[14], bytes[15]]) & 0x0fff } else { 0 };
        (len >= if is_tagged { LOOKED_AT } else { 14 }).then_some(Self { mac, vlan })
    }
}

/// What sorts the frames of a pool, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sorter {
    /// The NIC: a hardware queue is the pool's.
    Nic,
    /// The XDP program: the pool has a socket on each queue.
    Xdp,
    /// Nobody before the switch: its frames come with all others.
    Software,
}

impl fmt::Display for Sorter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nic => "nic",
            Self::Xdp => "xdp",
            Self::Software => "software",
        })
    }
}

/// Which sorters may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SorterChoice {
    /// For each pool the best that works.
    #[default]
    Auto,
    /// The NIC, else software.
    Nic,
    /// The XDP program, else software.
    Xdp,
    /// Software only.
    Software,
}

impl SorterChoice {
    /// Why not this one, if it is not allowed.
    pub(super) fn refusal(self, sorter: Sorter) -> Option<String> {
        let only = match self {
            Self::Auto => return None,
            Self::Nic => Sorter::Nic,
            Self::Xdp => Sorter::Xdp,
            Self::Software => Sorter::Software,
        };
        (sorter != only).then(|| format!("the port's option says sorter={only}"))
    }
}

/// How a pool's frames are sorted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSorting {
    /// The pool.
    pub name: Arc<str>,
    /// What sorts them.
    pub sorter: Sorter,
    /// The better ones, and why they do not; for operators.
    pub why_not: Vec<(Sorter, String)>,
    /// Which queue is the pool's own; for operators. Empty in software.
    pub queues: String,
    /// Frames received through it; 0 in software.
    pub frames: u64,
    /// Frames that the kernel dropped because that was full.
    pub dropped: u64,
}
