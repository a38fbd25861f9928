//! The vhost-user conversation, front-end side: features, memory, rings.
//!
//! Spec: vhost-user, "Starting and stopping rings" and "Multiple queue support". Neighbours: `guest` owns the memory.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use ringswitch_dataplane::mem::Mapping;
use ringswitch_dataplane::sys::poll;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{GuestConfig, GuestError, MEMORY_BASE};
use crate::ring::{Place, Shape};

const MRG_RXBUF: u64 = 1 << 15;
const MQ: u64 = 1 << 22;
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;

/// Names for error messages.
const NAMES: [(u64, &str); 8] = [
    (MRG_RXBUF, "MRG_RXBUF"),
    (MQ, "MQ"),
    (INDIRECT_DESC, "INDIRECT_DESC"),
    (EVENT_IDX, "EVENT_IDX"),
    (PROTOCOL_FEATURES, "PROTOCOL_FEATURES"),
    (VERSION_1, "VERSION_1"),
    (RING_PACKED, "RING_PACKED"),
    (IN_ORDER, "IN_ORDER"),
];

/// A connection on which all rings run.
pub struct Session {
    frontend: Frontend,
    stream: UnixStream,
    /// One per ring: wakes the back-end.
    pub kicks: Vec<EventFd>,
    /// One per ring: nobody listens, the generator polls.
    _calls: Vec<EventFd>,
}

fn wanted(config: &GuestConfig) -> u64 {
    let mut features = 0;
    for (asked, bit) in [
        (config.mrg, MRG_RXBUF),
        (config.queues > 1, MQ | PROTOCOL_FEATURES),
        (config.shape == Shape::Indirect, INDIRECT_DESC),
        (config.event_idx, EVENT_IDX),
        (!config.legacy, VERSION_1),
        (config.packed, RING_PACKED),
        (config.in_order, IN_ORDER),
    ] {
        features |= if asked { bit } else { 0 };
    }
    features
}

impl Session {
    /// Negotiates, hands over the memory and starts the rings (`places`, receive before transmit in each pair).
    pub fn start(
        stream: UnixStream,
        config: &GuestConfig,
        memory: &Mapping,
        places: &[Place],
    ) -> Result<Self, GuestError> {
        let setup = |source| GuestError::Setup { source };
        stream.set_read_timeout(Some(config.timeout)).map_err(setup)?;
        stream.set_write_timeout(Some(config.timeout)).map_err(setup)?;
        let copy = stream.try_clone().map_err(setup)?;
        let mut frontend = Frontend::from_stream(copy, places.len() as u64);
        negotiate(&mut frontend, config)?;
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: MEMORY_BASE,
            memory_size: memory.len() as u64,
            userspace_addr: MEMORY_BASE,
            mmap_offset: 0,
            mmap_handle: memory.as_fd().as_raw_fd(),
        };
        said("SET_MEM_TABLE", frontend.set_mem_table(&[region]))?;
        let mut session = Self { frontend, stream, kicks: Vec::new(), _calls: Vec::new() };
        for (index, place) in places.iter().enumerate() {
            session.start_ring(index, place, config.packed)?;
        }
        for index in 0..places.len() {
            // Without PROTOCOL_FEATURES rings start enabled.
            match session.frontend.set_vring_enable(index, true) {
                Err(vhost::Error::VhostUserProtocol(vhost::vhost_user::Error::InactiveFeature(_))) => break,
                result => said("SET_VRING_ENABLE", result)?,
            }
        }
        Ok(session)
    }

    fn start_ring(&mut self, index: usize, place: &Place, packed: bool) -> Result<(), GuestError> {
        let setup = |source| GuestError::Setup { source };
        let (kick, call) = (EventFd::new(EFD_NONBLOCK).map_err(setup)?, EventFd::new(EFD_NONBLOCK).map_err(setup)?);
        said("SET_VRING_NUM", self.frontend.set_vring_num(index, place.size))?;
        // Packed rings start with both wrap counters at 1; bit 15 carries the driver's.
        said("SET_VRING_BASE", self.frontend.set_vring_base(index, if packed { 0x8000 } else { 0 }))?;
        let address = |offset: usize| MEMORY_BASE + offset as u64;
        let addresses = VringConfigData {
            queue_max_size: place.size,
            queue_size: place.size,
            flags: 0,
            desc_table_addr: address(place.desc),
            used_ring_addr: address(place.device),
            avail_ring_addr: address(place.driver),
            log_addr: None,
        };
        said("SET_VRING_ADDR", self.frontend.set_vring_addr(index, &addresses))?;
        said("SET_VRING_CALL", self.frontend.set_vring_call(index, &call))?;
        said("SET_VRING_KICK", self.frontend.set_vring_kick(index, &kick))?;
        self.kicks.push(kick);
        self._calls.push(call);
        Ok(())
    }

    /// True when the back-end closed the connection.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        poll::hung_up(self.stream.as_fd())
    }

    /// Stops all rings: afterwards the back-end touches no memory. Errors are ignored: the connection is closed anyway.
    pub fn stop(self) {
        for index in 0..self.kicks.len() {
            if self.frontend.get_vring_base(index).is_err() {
                return;
            }
        }
    }
}

fn said<T>(message: &'static str, result: vhost::Result<T>) -> Result<T, GuestError> {
    result.map_err(|source| GuestError::Message { message, source })
}

fn negotiate(frontend: &mut Frontend, config: &GuestConfig) -> Result<(), GuestError> {
    said("SET_OWNER", frontend.set_owner())?;
    let offered = said("GET_FEATURES", frontend.get_features())?;
    let wanted = wanted(config);
    let missing: Vec<_> = NAMES.iter().filter(|(bit, _)| wanted & !offered & bit != 0).map(|&(_, name)| name).collect();
    if !missing.is_empty() {
        return Err(GuestError::Missing { features: missing.join(", ") });
    }
    let features = wanted | offered & PROTOCOL_FEATURES;
    if features & PROTOCOL_FEATURES != 0 {
        let offered = said("GET_PROTOCOL_FEATURES", frontend.get_protocol_features())?;
        let chosen = offered & (VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK);
        said("SET_PROTOCOL_FEATURES", frontend.set_protocol_features(chosen))?;
        if chosen.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        if config.queues > 1 {
            let have = said("GET_QUEUE_NUM", frontend.get_queue_num())?;
            // Pairs with some back-ends, rings with others, says practice; the crate checks indices against the answer.
            if have < u64::from(config.queues) {
                return Err(GuestError::Queues { wanted: config.queues, have });
            }
        }
    }
    said("SET_FEATURES", frontend.set_features(features))
}
