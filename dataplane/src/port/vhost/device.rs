//! The vhost-user device: what was negotiated, the rings, and whether the workers have them.
//!
//! Trust: state comes from the front-end through `requests`; a ring checks what it is given when it is opened, and tells
//! through [`RingFault`] when the guest breaks the rules later. Invariant: a ring that the workers have
//! (`Vring::live`) was opened with the memory, the features and the descriptors that stand here; whoever changes those
//! stops it first, and [`Device::settle`] opens it again.
//! Neighbours: `session` owns the device; workers get the rings through [`PortContext`].

use std::sync::{Arc, Mutex, PoisonError};

use super::memory::MemoryTable;
use super::vring::{Kick, Vring};
use super::{RingError, RingFault, RingFeatures, RingSetup, RingStatus, RxRing, TxRing, VhostOptions, VhostStatus};
use super::{open_rx, open_tx};
use crate::port::{PortContext, PortEvent};

pub(super) struct Device {
    context: PortContext,
    pub offered: u64,
    pub features: u64,
    pub protocol: u64,
    /// What SET_STATUS said, for GET_STATUS.
    pub status: u8,
    pub memory: MemoryTable,
    pub vrings: Vec<Vring>,
    pub fault: Arc<RingFault>,
    published: Arc<Mutex<VhostStatus>>,
    /// What control was told last, while the port is up.
    announced: Option<String>,
    /// What it is to be told instead, once the front-end is done.
    change: Option<String>,
    transitions: u32,
    restarts: u32,
}

impl Device {
    pub fn new(
        context: PortContext,
        options: &VhostOptions,
        fault: Arc<RingFault>,
        published: Arc<Mutex<VhostStatus>>,
    ) -> Self {
        let vrings = (0..2 * options.queue_pairs).map(|_| Vring::new(false)).collect();
        Self {
            context,
            offered: options.offered(),
            features: 0,
            protocol: 0,
            status: 0,
            memory: MemoryTable::default(),
            vrings,
            fault,
            published,
            announced: None,
            change: None,
            transitions: 0,
            restarts: 0,
        }
    }

    /// The port's name, for log lines.
    pub fn name(&self) -> &str {
        &self.context.name
    }

    /// How often control or the log was told something since the last call.
    pub fn take_transitions(&mut self) -> u32 {
        std::mem::take(&mut self.transitions)
    }

    /// How often a ring was taken from a worker since the last call.
    pub fn take_restarts(&mut self) -> u32 {
        std::mem::take(&mut self.restarts)
    }

    fn ring_features(&self) -> RingFeatures {
        RingFeatures::from_virtio(self.features)
    }

    /// Where the ring stands, as GET_VRING_BASE tells it.
    pub fn base(&self, index: usize) -> u32 {
        self.vrings[index].base(self.ring_features())
    }

    /// Takes the ring back from the workers; what the guest gave is returned to it, and the ring's place is kept.
    pub fn stop(&mut self, index: usize) {
        if !std::mem::take(&mut self.vrings[index].live) {
            return;
        }
        self.restarts += 1;
        let setup = if index.is_multiple_of(2) { self.take_tx(index / 2) } else { self.take_rx(index / 2) };
        match setup {
            Some(setup) => self.vrings[index].base = Some(setup.base),
            None => tracing::error!(port = %self.name(), ring = index, "no worker gave the ring back"),
        }
    }

    pub fn stop_all(&mut self) {
        (0..self.vrings.len()).for_each(|index| self.stop(index));
    }

    fn take_tx(&self, pair: usize) -> Option<RingSetup> {
        let queue = self.context.tx.replace(pair, None)?;
        queue.into_any().downcast::<TxRing>().ok().map(|ring| ring.close())
    }

    fn take_rx(&self, pair: usize) -> Option<RingSetup> {
        let queue = self.context.host.detach_rx(self.context.id, pair as u16)?;
        queue.into_any().downcast::<RxRing>().ok().map(|ring| ring.close())
    }

    /// Gives the workers every ring that can run, and tells control and operators what changed. Called after each
    /// request.
    pub fn settle(&mut self) {
        if !self.memory.regions().is_empty() {
            for index in 0..self.vrings.len() {
                if !self.vrings[index].live && self.vrings[index].is_complete() && !self.start(index) {
                    break;
                }
            }
        }
        self.announce();
    }

    /// Opens a ring; false when that faulted the port.
    fn start(&mut self, index: usize) -> bool {
        let setup = match self.vrings[index].setup(&self.memory.memory, self.ring_features(), &self.fault) {
            Ok(Some(setup)) => setup,
            Ok(None) => return true,
            Err(error) => {
                self.declare_fault(&format!("ring {index}: duplicating its descriptors: {error}"));
                return false;
            }
        };
        match self.open(index, setup) {
            Ok(()) => {
                self.vrings[index].live = true;
                self.vrings[index].problem = None;
                true
            }
            // A region that is replaced is taken away first and comes back with the next request.
            Err(error @ RingError::Outside { .. }) => {
                let problem = format!("ring {index}: {error}");
                if self.vrings[index].problem.as_ref() != Some(&problem) {
                    tracing::warn!(port = %self.name(), "{problem}: it waits for memory");
                    self.transitions += 1;
                    self.vrings[index].problem = Some(problem);
                }
                true
            }
            Err(error) => {
                self.declare_fault(&format!("ring {index}: {error}"));
                false
            }
        }
    }

    fn open(&self, index: usize, setup: RingSetup) -> Result<(), RingError> {
        let pair = index / 2;
        if index.is_multiple_of(2) {
            let ring = open_tx(setup)?;
            self.context.tx.replace(pair, Some(Box::new(ring)));
        } else {
            let ring = open_rx(setup)?;
            self.context.host.attach_rx(self.context.id, pair as u16, Box::new(ring));
        }
        Ok(())
    }

    /// A ring said that the guest broke the rules.
    pub fn on_ring_fault(&mut self) {
        if let Some(kind) = self.fault.take() {
            self.declare_fault(kind.text());
            self.announce();
        }
    }

    /// No ring of the port runs until the front-end starts it again.
    fn declare_fault(&mut self, why: &str) {
        self.stop_all();
        for vring in &mut self.vrings {
            vring.kick = Kick::Stopped;
            if let Some(error) = &vring.error {
                error.signal();
            }
        }
        self.fault.take();
        (self.announced, self.change) = (None, None);
        self.tell(PortEvent::Faulted(why.to_owned()));
        self.note_problem(why);
    }

    /// A request was refused and the front-end may go on; it is told so in the log, which it must not flood.
    pub fn note_refusal(&mut self, why: &str) {
        tracing::warn!(port = %self.name(), "refused: {why}");
        self.transitions += 1;
    }

    /// The front-end is gone: nothing of it stays. Control is told so with `event`.
    pub fn reset(&mut self, why: &str, event: PortEvent) {
        self.stop_all();
        for vring in &mut self.vrings {
            *vring = Vring::new(false);
        }
        (self.features, self.protocol, self.status) = (0, 0, 0);
        self.memory = MemoryTable::default();
        self.fault.take();
        (self.announced, self.change) = (None, None);
        self.publish();
        self.note_problem(why);
        self.tell(event);
    }

    fn tell(&mut self, event: PortEvent) {
        self.transitions += 1;
        self.context.events.send(self.context.id, event);
    }

    /// Tells control when the port came up or went down. That it runs in another way than before (one more queue pair)
    /// waits for [`Device::announce_change`]: a guest that starts 128 pairs is not 128 news.
    fn announce(&mut self) {
        let status = self.publish();
        let now = (status.live_pairs() > 0).then(|| status.summary());
        match (&self.announced, now) {
            (None, None) => self.change = None,
            (Some(_), None) => {
                self.change = None;
                self.announced = None;
                self.tell(PortEvent::Down("the guest stopped its rings".to_owned()));
            }
            (None, Some(text)) => self.tell_up(text),
            (Some(old), Some(text)) => self.change = (*old != text).then_some(text),
        }
    }

    /// True when control does not know yet how the port runs.
    pub fn has_change(&self) -> bool {
        self.change.is_some()
    }

    /// Tells control how the port runs now.
    pub fn announce_change(&mut self) {
        if let Some(text) = self.change.take() {
            self.tell_up(text);
        }
    }

    fn tell_up(&mut self, text: String) {
        self.note_problem("");
        self.tell(PortEvent::Up(text.clone()));
        self.announced = Some(text);
    }

    fn note_problem(&self, text: &str) {
        text.clone_into(&mut self.published.lock().unwrap_or_else(PoisonError::into_inner).problem);
    }

    /// Shows operators where the device stands.
    fn publish(&self) -> VhostStatus {
        let ring = |(index, vring): (usize, &Vring)| RingStatus {
            index: index as u16,
            size: vring.size,
            enabled: vring.enabled,
            live: vring.live,
            kick: matches!(vring.kick, Kick::Event(_)),
            call: vring.call.is_some(),
        };
        let rings = self.vrings.iter().enumerate().filter(|(_, vring)| vring.is_known()).map(ring).collect();
        let mut status = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        status.features = self.features;
        status.protocol_features = self.protocol;
        status.memory_regions = self.memory.regions().len();
        status.memory_bytes = self.memory.regions().iter().map(|region| region.len()).sum();
        status.rings = rings;
        status.clone()
    }
}
