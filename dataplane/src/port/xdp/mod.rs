//! AF_XDP ports: a netdev of the host (a NIC, a representor, a veth) with sockets on each of its queues.
//!
//! An XDP program of our own (`bpf/steer.bpf.c`) takes the frames for the switch and leaves to the kernel what the pass
//! filter names. The netdev may go down, vanish and come back: a watcher thread per port follows it. The port does not set
//! the netdev up or down, that is the administrator's word.
//!
//! Frames of a pool (a VM's addresses) are sorted into a ring of its own before the switch sees them, by the best sorter that
//! works: the NIC, the XDP program, or nobody, see [`XdpPort::sort`].
//!
//! What XDP does not see: VLAN tags that the NIC takes out (`ethtool -K IF rxvlan off`), and checksums that a sender on
//! this host left undone (on a veth's peer `ethtool -K PEER tx off`).
//!
//! Trust: frame bytes are the wire's. Spec: networking/af_xdp in the kernel's documentation. Neighbours: `mem::xsk` holds
//! rings and frames, workers get the queues, control opens and closes ports.

mod change;
mod filter;
mod nic;
mod plan;
mod program;
mod queue;
mod sockets;
mod sort;
mod sorting;
mod turns;

pub use filter::{MAX_PASS_FILTERS, ParsePassFilterError, PassFilter};
pub use program::{AttachMode, MAX_POOL_SOCKETS};
pub use sort::{PoolSorting, SortFilter, SortPool, Sorter, SorterChoice};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::PortContext;
use super::follow::{AGAIN_MS, Follow, Follower, Voice, WHEN_IT_RINGS, chain};
use crate::mem::{XskCounters, XskError};
use crate::sys::netdev::{self, LinkBell, Netdev};
use sockets::Sockets;

/// Frames per direction and queue unless told: 8 MiB each.
pub const DEFAULT_FRAMES: u32 = 2048;
/// How often a netdev may change while it is looked at.
const RESTLESS: usize = 8;
/// What the port says until its netdev was there for the first time.
const NO_SUCH_NETDEV: &str = "no such netdev";
/// Between two looks at a change of the sorting that is under way, in milliseconds: about what the kernel takes for its part.
const SORTING_MS: i32 = 10;
/// The most a ring may have; more is a slip of the operator's.
const MAX_FRAMES: u32 = 1 << 16;

/// Where the XDP program shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else in the stack.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the stack.
    Generic,
}

/// What an operator may say about an AF_XDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpOptions {
    /// The netdev's name.
    pub netdev: String,
    /// How many of its queues, from the first; all if not said. Frames on the others stay with the kernel.
    pub queues: Option<u16>,
    /// Where the program runs.
    pub mode: XdpMode,
    /// Zero-copy: only so, never, or if the driver can.
    pub zero_copy: Option<bool>,
    /// Drive the NIC from the worker, this many microseconds per call at most, instead of by interrupts.
    pub busy_poll_us: Option<u32>,
    /// What stays with the kernel; at most [`MAX_PASS_FILTERS`].
    pub pass: Vec<PassFilter>,
    /// Frames of 4 KiB and ring entries for receiving, per queue; a power of two.
    pub rx_frames: u32,
    /// The same for transmitting.
    pub tx_frames: u32,
    /// Which sorters pools may have.
    pub sorter: SorterChoice,
}

impl XdpOptions {
    /// All of a netdev's queues, everything for the switch.
    #[must_use]
    pub fn new(netdev: impl Into<String>) -> Self {
        Self {
            netdev: netdev.into(),
            queues: None,
            mode: XdpMode::Auto,
            zero_copy: None,
            busy_poll_us: None,
            pass: Vec::new(),
            rx_frames: DEFAULT_FRAMES,
            tx_frames: DEFAULT_FRAMES,
            sorter: SorterChoice::Auto,
        }
    }

    fn check(&self) -> Result<(), XdpError> {
        let wrong = |what: String| Err(XdpError::Options(what));
        for (name, frames) in [("rx_frames", self.rx_frames), ("tx_frames", self.tx_frames)] {
            if !frames.is_power_of_two() || !(64..=MAX_FRAMES).contains(&frames) {
                return wrong(format!("{name} = {frames}: expected a power of two from 64 to {MAX_FRAMES}"));
            }
        }
        if self.queues == Some(0) {
            return wrong("queues = 0: expected at least one".into());
        }
        if self.pass.len() > MAX_PASS_FILTERS {
            return wrong(format!("{} pass filters: at most {MAX_PASS_FILTERS}", self.pass.len()));
        }
        if self.mode == XdpMode::Generic && self.zero_copy == Some(true) {
            return wrong("zero-copy needs native XDP".into());
        }
        Ok(())
    }
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The options contradict each other or are out of range.
    #[error("{0}")]
    Options(String),
    /// More queues than there are.
    #[error("netdev {netdev} has {there} queues, {wanted} were asked for")]
    QueueCount {
        /// The netdev.
        netdev: String,
        /// What the options say.
        wanted: u16,
        /// What it has.
        there: u16,
    },
    /// The netdev cannot be looked at.
    #[error("looking at netdev {netdev}")]
    Look {
        /// The netdev.
        netdev: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Entering promiscuous mode failed.
    #[error("entering promiscuous mode")]
    Promiscuous(#[source] io::Error),
    /// Loading the program failed.
    #[error("loading the XDP program")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Attaching the program failed.
    #[error("attaching the XDP program ({mode:?}); is another one attached?")]
    Attach {
        /// In the driver or in the stack.
        mode: AttachMode,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A socket could not be opened.
    #[error("opening the AF_XDP socket")]
    Socket(#[from] XskError),
    /// The set of a queue's sockets could not be made.
    #[error("making a set of sockets to wait for")]
    Bell(#[source] io::Error),
    /// The handle for counters could not be made.
    #[error("duplicating a socket")]
    Statistics(#[source] io::Error),
    /// The watcher could not be started.
    #[error("starting to watch the netdev")]
    Watch(#[source] io::Error),
}

/// A port now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpStatus {
    /// The same text as in the last [`PortEvent`](super::PortEvent): how it runs, or why it does not.
    pub text: String,
    /// Frames flow.
    pub is_up: bool,
    /// Where the program runs; `None` while there are no sockets.
    pub mode: Option<AttachMode>,
    /// The NIC writes into our frames.
    pub zero_copy: bool,
    /// Queues with a socket.
    pub queue_count: u16,
    /// The netdev's MTU; 0 while it is gone.
    pub mtu: u32,
    /// The kernel's counters, since the port was opened.
    pub counters: XskCounters,
    /// How the pools are sorted, in the order in which they were named.
    pub pools: Vec<PoolSorting>,
    /// They are, and not only about to be.
    pub is_sorted: bool,
}

/// An open AF_XDP port. Dropping it closes it.
pub struct XdpPort(Follower<Link>);

impl XdpPort {
    /// Opens the port. A netdev that is missing or down is no error: the port waits for it, see [`XdpPort::status`].
    ///
    /// # Errors
    /// Options that cannot work, and a netdev that is there but refuses (see [`XdpError`]).
    pub fn open(options: XdpOptions, context: PortContext) -> Result<Self, XdpError> {
        options.check()?;
        let bell = LinkBell::new().map_err(XdpError::Watch)?;
        let thread = format!("xdp-{}", context.name);
        let mut link = Link::new(options, context);
        link.settle()?;
        Follower::start(&thread, bell, link, WHEN_IT_RINGS).map(Self).map_err(XdpError::Watch)
    }

    /// Sorts received frames to these pools and no others: what is unchanged keeps its ring, the rest follows within some
    /// 20 ms, under traffic, without a frame lost, doubled or overtaken by a later one of its flow. Returns at once. Pools
    /// that get no ring of their own are left to software, see [`XdpStatus::pools`].
    pub fn sort(&self, pools: &[SortPool]) {
        let is_sorted = self.0.lock().want(pools);
        if !is_sorted {
            self.0.look();
        }
    }

    /// The port now.
    #[must_use]
    pub fn status(&self) -> XdpStatus {
        self.0.lock().status()
    }

    /// Takes the queues back from the workers, closes the sockets and detaches the program.
    pub fn close(self) {}
}

/// What the watcher and [`XdpPort::status`] share.
struct Link {
    options: XdpOptions,
    context: PortContext,
    mtu: Arc<AtomicU32>,
    netdev: Option<Netdev>,
    sockets: Option<Sockets>,
    /// What is to be sorted, also when the netdev comes back.
    pools: Vec<SortPool>,
    /// Of sockets that are closed.
    past: XskCounters,
    voice: Voice,
}

impl Link {
    fn new(options: XdpOptions, context: PortContext) -> Self {
        let voice = Voice::new(&context);
        let past = XskCounters::default();
        Self { options, context, mtu: Arc::default(), netdev: None, sockets: None, pools: Vec::new(), past, voice }
    }

    /// Looks again when the netdev changed while it was being looked at: whatever failed then failed because of that.
    fn settle(&mut self) -> Result<(), XdpError> {
        let mut outcome = self.look();
        for _ in 0..RESTLESS {
            if outcome.is_ok() || netdev::find(&self.options.netdev).is_ok_and(|now| now == self.netdev) {
                break;
            }
            outcome = self.look();
        }
        outcome
    }

    /// Looks at the netdev and does what follows from it. Sockets stay open without a carrier: opening and closing them
    /// makes many NICs drop the carrier, so one would chase the other.
    fn look(&mut self) -> Result<(), XdpError> {
        let name = self.options.netdev.clone();
        let now = netdev::find(&name).map_err(|source| XdpError::Look { netdev: name.clone(), source })?;
        let before = std::mem::replace(&mut self.netdev, now);
        let is_other = now.map(|netdev| netdev.index) != before.map(|netdev| netdev.index);
        if is_other || !now.is_some_and(|netdev| netdev.is_up) || self.has_other_queues() {
            self.close();
        }
        self.mtu.store(now.map_or(0, |netdev| netdev.mtu), Ordering::Relaxed);
        let Some(netdev) = now else {
            let was_there = !matches!(self.voice.text(), "" | NO_SUCH_NETDEV);
            self.voice.say(false, if was_there { format!("netdev {name} is gone") } else { NO_SUCH_NETDEV.into() });
            return Ok(());
        };
        if !netdev.is_up {
            self.voice.say(false, format!("netdev {name} is down"));
            return Ok(());
        }
        let sockets = match &mut self.sockets {
            Some(sockets) => sockets,
            none => none.insert(Sockets::open(&self.options, &self.context, netdev, &self.mtu)?),
        };
        let text = sockets.describe();
        match netdev.has_carrier {
            true => self.voice.say(true, text),
            false => self.voice.say(false, format!("netdev {name} has no carrier ({text})")),
        }
        Ok(())
    }

    /// All queues are wanted and their number is another one (`ethtool -L`): frames on a new queue would pass us by.
    fn has_other_queues(&self) -> bool {
        let Some(sockets) = self.sockets.as_ref().filter(|_| self.options.queues.is_none()) else { return false };
        netdev::rx_queue_count(&self.options.netdev).is_ok_and(|there| there != sockets.queue_count())
    }

    /// True when they are sorted.
    fn want(&mut self, pools: &[SortPool]) -> bool {
        self.pools = pools.to_vec();
        self.sort()
    }

    fn sort(&mut self) -> bool {
        self.sockets.as_mut().is_none_or(|sockets| sockets.sort(&self.pools))
    }

    fn close(&mut self) {
        if let Some(sockets) = self.sockets.take() {
            self.past += sockets.counters();
        }
    }

    fn status(&self) -> XdpStatus {
        let mut counters = self.past;
        if let Some(sockets) = &self.sockets {
            counters += sockets.counters();
        }
        XdpStatus {
            text: self.voice.text().to_owned(),
            is_up: self.voice.is_up(),
            mode: self.sockets.as_ref().map(Sockets::mode),
            zero_copy: self.sockets.as_ref().is_some_and(Sockets::zero_copy),
            queue_count: self.sockets.as_ref().map_or(0, Sockets::queue_count),
            mtu: self.mtu.load(Ordering::Relaxed),
            counters,
            pools: self.sockets.as_ref().map_or_else(|| self.unsorted(), Sockets::pools),
            is_sorted: self.sockets.as_ref().is_some_and(|sockets| sockets.is_sorted(&self.pools)),
        }
    }

    /// The pools while there are no sockets.
    fn unsorted(&self) -> Vec<PoolSorting> {
        let why_not = || [Sorter::Nic, Sorter::Xdp].map(|sorter| (sorter, "the port is down".to_owned())).into();
        let unsorted = |pool: &SortPool| PoolSorting {
            name: Arc::clone(&pool.name),
            sorter: Sorter::Software,
            why_not: why_not(),
            queues: String::new(),
            frames: 0,
            dropped: 0,
        };
        self.pools.iter().map(unsorted).collect()
    }
}

impl Follow for Link {
    fn follow(&mut self) -> i32 {
        match self.settle() {
            Ok(()) if self.sort() => WHEN_IT_RINGS,
            Ok(()) => SORTING_MS,
            Err(error) => {
                self.voice.say(false, chain(&error));
                AGAIN_MS
            }
        }
    }
}
