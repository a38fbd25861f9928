//! The XDP program on one netdev: loaded, attached, and pointed at the sockets of the queues.
//!
//! It hangs on a bpf_link, so the kernel takes it off when this is dropped and also when the process is killed.
//! What it sorts by is a table that is replaced as a whole, see [`Tables::publish`].

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{ArrayOfMaps, HashMap, MapData, MapError, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, xdp::XdpMode as AyaMode};
use aya::{EbpfError, EbpfLoader};

use super::{MAX_PASS_FILTERS, PassFilter, SortFilter, XdpError, XdpMode};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the stack, for any driver: slower, one more copy.
    Generic,
}

/// Pools with a socket of their own on each queue. Twice what the largest NICs with VMDq have: a socket costs a look per
/// pass, a page or more of ring and a descriptor per queue, and a host with more VMs has more than one port.
pub const MAX_POOL_SOCKETS: u16 = 128;
/// Of each queue: the anchor's, which is 0, and one per pool.
const SLOTS: u32 = MAX_POOL_SOCKETS as u32 + 1;

/// A destination and the slot of its pool, which the program looks up.
type Table = HashMap<MapData, [u8; 8], u32>;

/// The attached program. Dropping it detaches.
pub(super) struct Program {
    pub mode: AttachMode,
    sockets: XskMap<MapData>,
    tables: Tables,
    _link: FdLink,
}

/// Where the program finds its table.
#[derive(Clone)]
pub(super) struct Tables(Arc<Mutex<ArrayOfMaps<MapData, Table>>>);

/// A table that the program does not know yet.
pub(super) struct NewTable(Table);

impl NewTable {
    /// Frames to these destinations belong to these slots.
    pub fn new(entries: &[(SortFilter, u16)]) -> Result<Self, MapError> {
        let mut table = Table::create(entries.len().max(1) as u32, 0)?;
        for (filter, slot) in entries {
            table.insert(filter.encode(), u32::from(*slot), 0)?;
        }
        Ok(Self(table))
    }
}

impl Tables {
    /// From now on frames are sorted by this table. Returns when none is in flight that was sorted by the old one: the kernel
    /// promises that of a map in a map (`maybe_wait_bpf_programs`: it waits out an RCU grace period), and a driver runs the
    /// program and delivers to the sockets' rings within one read side of it. Takes some 10 ms.
    pub fn publish(&self, table: &NewTable) -> Result<(), MapError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).set(0, &table.0, 0)
    }
}

impl Program {
    /// Loads the program for `queue_count` queues and attaches it as `mode` allows. Until sockets are added, all frames
    /// pass to the kernel.
    pub fn attach(index: u32, queue_count: u16, mode: XdpMode, pass: &[PassFilter]) -> Result<Self, XdpError> {
        debug_assert!(pass.len() <= MAX_PASS_FILTERS, "checked by open");
        let rules = PassFilter::encode(pass);
        let load = |source: EbpfError| XdpError::Load(Box::new(source));
        let mut object = EbpfLoader::new()
            .map_max_entries("sockets", u32::from(queue_count) * SLOTS)
            .override_global("slots", &SLOTS, true)
            .override_global("rule_count", &(pass.len() as u32), true)
            .override_global("rules", &rules, true)
            .load(OBJECT)
            .map_err(load)?;
        let missing = || XdpError::Load("the object lacks the program or its maps".into());
        let map = object.take_map("sockets").ok_or_else(missing)?;
        let sockets = XskMap::try_from(map).map_err(|source| load(source.into()))?;
        let map = object.take_map("tables").ok_or_else(missing)?;
        let tables = ArrayOfMaps::try_from(map).map_err(|source| load(source.into()))?;
        let program: &mut Xdp = object
            .program_mut("steer")
            .ok_or_else(missing)?
            .try_into()
            .map_err(|source: ProgramError| load(source.into()))?;
        program.load().map_err(|source| load(source.into()))?;
        let (link, mode) = match mode {
            XdpMode::Native => (link(program, index, AttachMode::Native)?, AttachMode::Native),
            XdpMode::Generic => (link(program, index, AttachMode::Generic)?, AttachMode::Generic),
            XdpMode::Auto => match link(program, index, AttachMode::Native) {
                Ok(link) => (link, AttachMode::Native),
                Err(_) => (link(program, index, AttachMode::Generic)?, AttachMode::Generic),
            },
        };
        Ok(Self { mode, sockets, tables: Tables(Arc::new(Mutex::new(tables))), _link: link })
    }

    /// From now on frames of this queue that belong to this slot go to the socket; slot 0 is the anchor's.
    pub fn steer(&mut self, queue: u16, slot: u16, socket: &impl AsRawFd) -> Result<(), XdpError> {
        let index = u32::from(queue) * SLOTS + u32::from(slot);
        self.sockets.set(index, socket.as_raw_fd(), 0).map_err(|source| XdpError::Load(Box::new(source)))
    }

    /// Where to publish.
    pub fn tables(&self) -> Tables {
        self.tables.clone()
    }
}

fn link(program: &mut Xdp, index: u32, mode: AttachMode) -> Result<FdLink, XdpError> {
    let attach = |source: ProgramError| XdpError::Attach { mode, source: Box::new(source) };
    let flags = match mode {
        AttachMode::Native => AyaMode::Driver,
        AttachMode::Generic => AyaMode::Skb,
    };
    let id = program.attach_to_if_index(index, flags).map_err(attach)?;
    // The loader falls back to netlink when the kernel refuses a link. That would outlive a crash, so it is not accepted.
    let link = program.take_link(id).map_err(attach)?;
    link.try_into().map_err(|source| XdpError::Attach { mode, source: Box::new(source) })
}
