//! Where packets enter and leave the switch: the contract of a queue, and what a port needs from its surroundings.
//!
//! Trust: what a queue reads may be hostile; a queue answers with a counted drop or by faulting its own port, never with a
//! panic. Neighbours: `worker` owns the receive queues and calls them; `pipeline` sends through [`TxQueues`];
//! control opens ports and gives each a [`PortContext`].

mod follow;
mod mtu;
mod queues;
pub mod tap;
pub mod vhost;
pub mod xdp;

pub use queues::TxQueues;

use std::os::fd::RawFd;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::packet::{PacketBatch, TxList};
use crate::sys::event::EventFd;

/// A port's place in the switch: dense, from 0, reused after the port is gone. Not the OpenFlow port number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// Most ports of one switch.
pub const MAX_PORTS: usize = 1024;

/// A receive queue: what the peer sent. Owned by one worker.
pub trait RxQueue: Send {
    /// Appends received frames to `batch`, up to its room; never blocks. Returns how many were appended. Frames that
    /// had to be dropped are noted in `batch.tally`.
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize;

    /// The burst is over, its packets are not used any more: completed descriptors go back to the peer, in order, and
    /// the peer is notified if it asked for that.
    fn finish(&mut self);

    /// The descriptor that is signalled when there is something to receive and the queue is armed. Only new signals count: it may
    /// stay readable.
    fn event_fd(&self) -> Option<RawFd>;

    /// The worker wants to sleep: asks the peer for notifications. False when something came meanwhile, or when only
    /// polling can tell.
    fn arm(&mut self) -> bool;

    /// The worker polls again: asks the peer to stop notifying.
    fn disarm(&mut self);

    /// Hands the queue back as what it is, to whoever opened it.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// A transmit queue: what the peer will receive. Several workers may take turns, see [`TxQueues`].
pub trait TxQueue: Send {
    /// Takes packets from the front of `list` until it is empty or the queue is full, and returns how many were sent.
    /// **What stays in the list is still the caller's.** A packet that can never be sent is taken and noted in
    /// `list.tally`; it does not hold up those behind it.
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize;

    /// Publishes what was sent and notifies the peer once.
    fn flush(&mut self);

    /// Frames that it takes now, for a queue for which senders are to wait when it is full (a NIC's). Not so a guest's: its
    /// senders have others to talk to.
    fn room(&mut self) -> usize {
        usize::MAX
    }

    /// Hands the queue back as what it is, to whoever opened it.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// Who places receive queues on workers (`worker::Workers`).
pub trait QueueHost: Send + Sync {
    /// Gives the queue to a worker, which polls it from its next pass on.
    fn attach_rx(&self, port: PortId, index: u16, queue: Box<dyn RxQueue>);

    /// Takes the queue back, between two bursts; waits for the worker's current pass to end (well under a millisecond).
    /// `None` when no worker has it.
    fn detach_rx(&self, port: PortId, index: u16) -> Option<Box<dyn RxQueue>>;
}

/// What a port tells control about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The peer is there (a front-end connected, the netdev exists, carrier is up). The text says how, for operators:
    /// `"vhost-user: packed, mrg_rxbuf, 2 queue pairs"`, `"native XDP, zero-copy"`.
    Up(String),
    /// The peer is gone; the text says why. The port waits for it to come back.
    Down(String),
    /// The peer broke the rules. The port is down until it reconnects or sets its rings up again.
    Faulted(String),
}

/// What every port is given when it is opened.
#[derive(Clone)]
pub struct PortContext {
    /// Its place in the switch.
    pub id: PortId,
    /// Its name, for log lines and thread names.
    pub name: Arc<str>,
    /// Where its receive queues go.
    pub host: Arc<dyn QueueHost>,
    /// Where its transmit queues go.
    pub tx: Arc<TxQueues>,
    /// Where its events go.
    pub events: PortEvents,
}

/// The way from a port (its session thread, its device code) to control.
#[derive(Clone)]
pub struct PortEvents {
    sender: Sender<(PortId, PortEvent)>,
    wake: Arc<EventFd>,
}

impl PortEvents {
    /// Events go to `sender`; `wake` is signalled after each.
    #[must_use]
    pub fn new(sender: Sender<(PortId, PortEvent)>, wake: Arc<EventFd>) -> Self {
        Self { sender, wake }
    }

    /// What is signalled after each event.
    #[must_use]
    pub fn waker(&self) -> Arc<EventFd> {
        Arc::clone(&self.wake)
    }

    /// Tells control. Nobody listening (the switch is stopping) is fine.
    pub fn send(&self, port: PortId, event: PortEvent) {
        let _ = self.sender.send((port, event));
        self.wake.signal();
    }
}
