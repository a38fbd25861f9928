//! The XDP program on one netdev: loaded, attached, and pointed at the sockets of the queues.
//!
//! It hangs on a bpf_link, so the kernel takes it off when this is dropped and also when the process is killed.

use std::os::fd::AsRawFd;

use aya::maps::XskMap;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, xdp::XdpMode as AyaMode};
use aya::{EbpfError, EbpfLoader};

use super::{MAX_PASS_FILTERS, PassFilter, XdpError, XdpMode};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the stack, for any driver: slower, one more copy.
    Generic,
}

/// The attached program. Dropping it detaches.
pub(super) struct Program {
    pub mode: AttachMode,
    sockets: XskMap<aya::maps::MapData>,
    _link: FdLink,
}

impl Program {
    /// Loads the program for `queue_count` queues and attaches it as `mode` allows. Until sockets are added, all frames
    /// pass to the kernel.
    pub fn attach(index: u32, queue_count: u16, mode: XdpMode, pass: &[PassFilter]) -> Result<Self, XdpError> {
        debug_assert!(pass.len() <= MAX_PASS_FILTERS, "checked by open");
        let rules = PassFilter::encode(pass);
        let load = |source: EbpfError| XdpError::Load(Box::new(source));
        let mut object = EbpfLoader::new()
            .map_max_entries("sockets", u32::from(queue_count))
            .override_global("rule_count", &(pass.len() as u32), true)
            .override_global("rules", &rules, true)
            .load(OBJECT)
            .map_err(load)?;
        let missing = || XdpError::Load("the object lacks the program or its map".into());
        let map = object.take_map("sockets").ok_or_else(missing)?;
        let sockets = XskMap::try_from(map).map_err(|source| load(source.into()))?;
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
        Ok(Self { mode, sockets, _link: link })
    }

    /// From now on frames of this queue go to the socket.
    pub fn steer(&mut self, queue: u16, socket: &impl AsRawFd) -> Result<(), XdpError> {
        self.sockets.set(u32::from(queue), socket.as_raw_fd(), 0).map_err(|source| XdpError::Load(Box::new(source)))
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
