//! One ring as the front-end describes it, and whether it is complete.
//!
//! Trust: sizes and addresses are the front-end's; the ring checks them when it is opened.
//! Neighbours: `requests` fills it in, `device` opens and closes the ring.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{RingFault, RingFeatures, RingSetup};
use crate::mem::GuestMemory;
use crate::sys::event::EventFd;

/// Where the parts of a ring lie, in front-end addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub desc: u64,
    pub driver: u64,
    pub device: u64,
}

/// How the guest says that it put something into the ring. A ring runs only after this was said, and has to be told again
/// after it was stopped: this is what starts it.
#[derive(Debug, Default)]
pub(super) enum Kick {
    #[default]
    Stopped,
    Polled,
    Event(EventFd),
}

#[derive(Debug, Default)]
pub(super) struct Vring {
    pub size: u16,
    pub addresses: Option<Addresses>,
    /// Where it stands; `None`: at its beginning.
    pub base: Option<u32>,
    pub kick: Kick,
    pub call: Option<EventFd>,
    pub error: Option<EventFd>,
    pub enabled: bool,
    /// The workers have it.
    pub live: bool,
    /// Why it could not be opened, so that it is told once.
    pub problem: Option<String>,
}

/// A packed ring that nobody used: both positions at 0, both wrap counters at 1 (virtio 1.2, 2.8.1).
const PACKED_START: u32 = 0x8000_8000;

/// The used ring begins with flags and its index (virtio 1.2, 2.7.8).
const USED_HEADER: usize = 4;
const USED_INDEX: usize = 2;

impl Vring {
    pub fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    /// Everything is there that a ring needs to run.
    pub fn is_complete(&self) -> bool {
        self.enabled && self.size > 0 && self.addresses.is_some() && !matches!(self.kick, Kick::Stopped)
    }

    /// True once the front-end has said anything about it.
    pub fn is_known(&self) -> bool {
        self.size > 0 || self.addresses.is_some() || self.call.is_some() || !matches!(self.kick, Kick::Stopped)
    }

    /// Where it stands, as GET_VRING_BASE tells it.
    pub fn base(&self, features: RingFeatures) -> u32 {
        self.base.unwrap_or(if features.packed { PACKED_START } else { 0 })
    }

    /// Where it really stands: a split ring says so itself, since all buffers before the used index are given back and
    /// none behind it. A front-end that lost its switch may not know: DPDK's virtio-user says 0 then.
    fn start_base(&self, memory: &GuestMemory, features: RingFeatures) -> u32 {
        let used = self.addresses.filter(|_| !features.packed);
        let used = used.and_then(|addresses| memory.area(addresses.device, USED_HEADER, 4));
        used.map_or(self.base(features), |used| u32::from(used.load_u16(USED_INDEX, Ordering::Relaxed)))
    }

    /// What opens the ring; `None` when it is not complete. The descriptors stay here too, for the next time.
    pub fn setup(
        &self,
        memory: &Arc<GuestMemory>,
        features: RingFeatures,
        fault: &Arc<RingFault>,
    ) -> io::Result<Option<RingSetup>> {
        let (true, Some(Addresses { desc, driver, device })) = (self.is_complete(), self.addresses) else {
            return Ok(None);
        };
        let kick = if let Kick::Event(event) = &self.kick { Some(event.try_clone()?) } else { None };
        let call = self.call.as_ref().map(EventFd::try_clone).transpose()?;
        Ok(Some(RingSetup {
            size: self.size,
            desc,
            driver,
            device,
            base: self.start_base(memory, features),
            memory: Arc::clone(memory),
            features,
            kick,
            call,
            fault: Arc::clone(fault),
        }))
    }
}
