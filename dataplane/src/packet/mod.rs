//! A frame inside the switch: [`Packet`], up to 32 of them in a [`PacketBatch`], the reasons why one is dropped, and the
//! counters that account for each.
//!
//! Trust: the head is private, so what was parsed is what is sent; the tail is foreign and never looked at. Where no rule looks
//! at anything, nothing needs to be private: frames stay in the sender's memory until they are sent ([`Frame`] is what senders see).
//! Neighbours: `port` fills and empties batches, `pipeline` parses and rewrites heads.

mod backup;
mod batch;
mod counters;
mod drop;
mod frame;
mod list;

pub use backup::Backup;
pub use batch::{BATCH, PacketBatch};
pub use counters::{PortCounters, PortTotals, Tally};
pub use drop::DropReason;
pub use frame::{Frame, Packet};
pub use list::TxList;

/// Bytes kept free before a frame, for tags and tunnels pushed in front.
pub const HEADROOM: usize = 128;
/// The largest frame accepted: 9000 bytes of payload behind an Ethernet header with two VLAN tags, rounded up.
pub const MAX_FRAME: usize = 9216;
/// The shortest frame accepted: an Ethernet header.
pub const MIN_FRAME: usize = 14;
/// Frames up to this length are copied whole into the head: two copies of a small frame cost less than keeping a tail
/// (measured: the lines cross near 512 bytes).
pub const WHOLE_FRAME: usize = 512;
/// How much of a longer frame goes into the head: enough for every header that is parsed (Ethernet, two tags, IPv6, TCP).
pub const SPLIT_HEAD: usize = 128;
/// Most pieces a tail can have; a frame in more pieces is copied whole.
pub const TAIL_PIECES: usize = 4;
