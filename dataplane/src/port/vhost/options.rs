//! What an operator may choose about a vhost-user port, and what the port tells about itself.

use std::path::PathBuf;

use virtio_bindings::virtio_config::{
    VIRTIO_F_ANY_LAYOUT, VIRTIO_F_IN_ORDER, VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_net::{VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::{RingFeatures, VhostError};

/// `VHOST_USER_F_PROTOCOL_FEATURES`: not a virtio bit, the two sides of the socket use it among themselves.
pub(super) const PROTOCOL_FEATURES: u64 = 1 << 30;
/// Vring indices are a byte in some requests.
const MAX_QUEUE_PAIRS: u16 = 128;

/// Who makes the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// We listen, the front-end connects.
    #[default]
    Server,
    /// The front-end listens, we connect, and try again until it is there.
    Client,
}

/// Ring features that may be offered to the guest; all are unless turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSwitches {
    /// Packed rings (`VIRTIO_F_RING_PACKED`).
    pub packed: bool,
    /// Frames over several receive buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    pub mrg_rxbuf: bool,
    /// Indirect descriptor tables (`VIRTIO_RING_F_INDIRECT_DESC`).
    pub indirect: bool,
    /// Notification by index (`VIRTIO_RING_F_EVENT_IDX`).
    pub event_idx: bool,
    /// Buffers used in the order they were made available (`VIRTIO_F_IN_ORDER`).
    pub in_order: bool,
}

impl Default for FeatureSwitches {
    fn default() -> Self {
        Self { packed: true, mrg_rxbuf: true, indirect: true, event_idx: true, in_order: true }
    }
}

/// Everything an operator says about a vhost-user port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostOptions {
    /// The socket.
    pub path: PathBuf,
    /// Who makes it.
    pub mode: Mode,
    /// Server mode: user id that owns the socket.
    pub owner: Option<u32>,
    /// Server mode: group id of the socket.
    pub group: Option<u32>,
    /// Server mode: permission bits of the socket.
    pub socket_mode: Option<u32>,
    /// Most queue pairs the guest may use, 1 to 128.
    pub queue_pairs: u16,
    /// What may be offered.
    pub features: FeatureSwitches,
}

impl VhostOptions {
    /// One queue pair, every feature, server mode, the process's own owner and umask.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: Mode::Server,
            owner: None,
            group: None,
            socket_mode: None,
            queue_pairs: 1,
            features: FeatureSwitches::default(),
        }
    }

    pub(super) fn check(&self, tx_slots: usize) -> Result<(), VhostError> {
        let refuse = |text: String| Err(VhostError::Option(text));
        if !(1..=MAX_QUEUE_PAIRS).contains(&self.queue_pairs) {
            return refuse(format!("{} queue pairs: expected 1 to {MAX_QUEUE_PAIRS}", self.queue_pairs));
        }
        if usize::from(self.queue_pairs) > tx_slots {
            return refuse(format!("{} queue pairs, but {tx_slots} transmit slots", self.queue_pairs));
        }
        match self.socket_mode {
            Some(mode) if mode > 0o777 => refuse(format!("socket mode {mode:o}: expected at most 777")),
            _ => Ok(()),
        }
    }

    /// The feature bits that a guest is offered.
    pub(super) fn offered(&self) -> u64 {
        let switches = &self.features;
        let choices = [
            (true, VIRTIO_F_VERSION_1),
            (true, VIRTIO_F_ANY_LAYOUT),
            (self.queue_pairs > 1, VIRTIO_NET_F_MQ),
            (switches.mrg_rxbuf, VIRTIO_NET_F_MRG_RXBUF),
            (switches.indirect, VIRTIO_RING_F_INDIRECT_DESC),
            (switches.event_idx, VIRTIO_RING_F_EVENT_IDX),
            (switches.in_order, VIRTIO_F_IN_ORDER),
            (switches.packed, VIRTIO_F_RING_PACKED),
        ];
        let bits = choices.iter().filter(|(offer, _)| *offer).map(|(_, bit)| 1u64 << bit).sum::<u64>();
        bits | PROTOCOL_FEATURES
    }
}

/// What the port is doing now, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostStatus {
    /// A front-end is connected.
    pub connected: bool,
    /// Connections since the port was opened.
    pub connections: u64,
    /// Requests served since the port was opened.
    pub requests: u64,
    /// Acknowledged virtio feature bits.
    pub features: u64,
    /// Acknowledged vhost-user protocol feature bits.
    pub protocol_features: u64,
    /// Regions of the guest's memory.
    pub memory_regions: usize,
    /// Their bytes.
    pub memory_bytes: u64,
    /// The rings that the front-end has said anything about, by vring index.
    pub rings: Vec<RingStatus>,
    /// What went wrong last: a fault, a ring that cannot run, why the front-end was sent away. Empty once it is up.
    pub problem: String,
}

/// One ring of [`VhostStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingStatus {
    /// Vring index: 2i is the guest's receive ring of pair i, 2i+1 its transmit ring.
    pub index: u16,
    /// Descriptors.
    pub size: u16,
    /// The front-end has enabled it.
    pub enabled: bool,
    /// Workers use it.
    pub live: bool,
    /// It has a kick descriptor: without, it is only polled.
    pub kick: bool,
    /// It has a call descriptor: without, the guest polls.
    pub call: bool,
}

impl VhostStatus {
    /// Queue pairs with both rings live.
    #[must_use]
    pub fn live_pairs(&self) -> usize {
        let live = |index: u16| self.rings.iter().any(|ring| ring.index == index && ring.live);
        self.rings.iter().filter(|ring| ring.index % 2 == 0 && ring.live && live(ring.index + 1)).count()
    }

    /// How the rings work, in one line: `"vhost-user: packed, mrg_rxbuf, 2 queue pairs"`.
    #[must_use]
    pub fn summary(&self) -> String {
        let rings = RingFeatures::from_virtio(self.features);
        let legacy = self.features >> VIRTIO_F_VERSION_1 & 1 == 0;
        let words = [
            (true, if rings.packed { "packed" } else { "split" }),
            (legacy, "legacy"),
            (rings.mergeable, "mrg_rxbuf"),
            (rings.in_order, "in_order"),
            (rings.event_idx, "event_idx"),
        ];
        let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        let pairs = self.live_pairs();
        format!("vhost-user: {}, {pairs} queue pair{}", words.join(", "), if pairs == 1 { "" } else { "s" })
    }
}
