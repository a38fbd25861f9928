//! Memory that somebody else can write: guest memory, rings, AF_XDP frames. Nothing else dereferences it.
//!
//! Trust: every byte may change at any time and whole pages may vanish. Foreign memory is never a Rust reference: it is
//! read and written through [`Span`] copies and shared words. Neighbours: `port` drives rings built on these;
//! `packet` keeps a frame's tail as spans.

mod area;
mod copy;
mod lookup;
mod mapping;
mod memory;
mod slots;
mod span;
mod xsk;

pub use area::Area;
pub use lookup::Lookup;
pub use mapping::Mapping;
pub use memory::{GuestMemory, MemoryError, Region, RegionSpec};
pub use slots::Slots;
pub use span::Span;
pub use xsk::{
    FRAME_ROOM, RxFrame, Xsk, XskConfig, XskCounters, XskError, XskOpener, XskRx, XskSocket, XskStatistics, XskTx,
    XskWay,
};
