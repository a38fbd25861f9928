//! Tap ports: a netdev whose other end is the switch. Type `tap` for emulated NICs and containers, and each bridge's local
//! port, through which the host's own stack takes part.
//!
//! One system call per frame is the nature of a tap; who wants speed uses vhost-user or AF_XDP. No virtio-net header:
//! the kernel hands over complete frames with checksums done.
//!
//! The netdev may be set down, renamed, moved into another network namespace (a container's), given another MTU, and
//! deleted: then it is made again, as the operator wants it to be there.
//!
//! Trust: frames are the local stack's, every byte may be anything. Neighbours: `sys::tap` holds the descriptor.

mod queue;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::PortContext;
use super::follow::{AGAIN_MS, Follow, Follower, Voice, WHEN_IT_RINGS, chain};
use crate::packet::MAX_FRAME;
use crate::sys::netdev::{self, LinkBell};
use crate::sys::tap::TapFile;
use queue::{TapRx, TapTx};

/// The largest MTU: every frame, tagged twice, stays below [`MAX_FRAME`], so that a cut one can be told.
pub const MAX_TAP_MTU: u32 = MAX_FRAME as u32 - 26;

/// What an operator may say about a tap port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapOptions {
    /// The netdev's name.
    pub netdev: String,
    /// Its MTU, 68 to [`MAX_TAP_MTU`].
    pub mtu: u32,
    /// Its address; the kernel makes one up if not said.
    pub mac: Option<[u8; 6]>,
    /// Keep the netdev when the port is closed.
    pub persist: bool,
}

impl TapOptions {
    /// An ordinary tap: MTU 1500, any address, gone when closed.
    #[must_use]
    pub fn new(netdev: impl Into<String>) -> Self {
        Self { netdev: netdev.into(), mtu: 1500, mac: None, persist: false }
    }
}

/// Why a tap port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// An MTU that no tap can have.
    #[error("mtu = {0}: expected 68 to {MAX_TAP_MTU}")]
    Mtu(u32),
    /// The netdev cannot be made or attached to.
    #[error("opening tap netdev {netdev}")]
    Open {
        /// Its name.
        netdev: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The netdev is there, but will not take a setting.
    #[error("setting the {what} of tap netdev {netdev}")]
    Set {
        /// Its name.
        netdev: String,
        /// What.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The netdev cannot be followed.
    #[error("starting to watch the netdev")]
    Watch(#[source] io::Error),
}

/// A port now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapStatus {
    /// The netdev's name, which may have been changed since it was made.
    pub netdev: String,
    /// Its MTU; the last one known while it is in another network namespace.
    pub mtu: u32,
}

/// An open tap port. Dropping it closes it: the netdev goes away unless it is persistent.
pub struct TapPort(Follower<Link>);

impl TapPort {
    /// Makes the netdev (or attaches to a persistent one), sets it up, and hands its queue to a worker. A netdev that
    /// somebody deletes later is made again.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn open(options: TapOptions, context: PortContext) -> Result<Self, TapError> {
        if !(68..=MAX_TAP_MTU).contains(&options.mtu) {
            return Err(TapError::Mtu(options.mtu));
        }
        let bell = LinkBell::new().map_err(TapError::Watch)?;
        let thread = format!("tap-{}", context.name);
        let voice = Voice::new(&context);
        let mut link = Link { options, context, voice, mtu: Arc::default(), tap: None };
        link.open()?;
        let again_ms = link.look();
        Follower::start(&thread, bell, link, again_ms).map(Self).map_err(TapError::Watch)
    }

    /// The port now.
    #[must_use]
    pub fn status(&self) -> TapStatus {
        let link = self.0.lock();
        TapStatus { netdev: link.name(), mtu: link.mtu.load(Ordering::Relaxed) }
    }

    /// Takes the queue back and closes the device.
    pub fn close(self) {}
}

/// What is followed.
struct Link {
    options: TapOptions,
    context: PortContext,
    voice: Voice,
    mtu: Arc<AtomicU32>,
    tap: Option<Tap>,
}

/// A netdev that is ours.
struct Tap {
    file: TapFile,
    /// Its number when it was made, to tell it from another one of its name.
    index: u32,
}

impl Link {
    fn open(&mut self) -> Result<(), TapError> {
        let TapOptions { netdev, mtu, mac, persist } = self.options.clone();
        let open = |source| TapError::Open { netdev: netdev.clone(), source };
        let set = |what| {
            let netdev = netdev.clone();
            move |source| TapError::Set { netdev, what, source }
        };
        let file = TapFile::open(&netdev, persist).map_err(open)?;
        let (receiver, sender) = (file.try_clone().map_err(open)?, file.try_clone().map_err(open)?);
        if let Some(mac) = mac {
            netdev::set_mac(&netdev, mac).map_err(set("address"))?;
        }
        netdev::set_mtu(&netdev, mtu).map_err(set("mtu"))?;
        netdev::set_up(&netdev, true).map_err(set("state"))?;
        let found = netdev::find(&netdev).map_err(open)?;
        let index = found.ok_or_else(|| open(io::ErrorKind::NotFound.into()))?.index;
        self.mtu.store(mtu, Ordering::Relaxed);
        self.context.host.attach_rx(self.context.id, 0, Box::new(TapRx::new(receiver)));
        self.context.tx.replace(0, Some(Box::new(TapTx::new(sender, Arc::clone(&self.mtu)))));
        self.tap = Some(Tap { file, index });
        Ok(())
    }

    /// Tells how the netdev is, and takes over its MTU.
    fn look(&mut self) -> i32 {
        let name = self.name();
        let index = self.tap.as_ref().map(|tap| tap.index);
        match netdev::find(&name).ok().flatten().filter(|netdev| Some(netdev.index) == index) {
            Some(netdev) => {
                self.mtu.store(netdev.mtu, Ordering::Relaxed);
                let how = format!("tap {name}, mtu {}", netdev.mtu);
                self.voice.say(netdev.is_up, if netdev.is_up { how } else { format!("netdev {name} is down") });
                WHEN_IT_RINGS
            }
            // It lives, so it was moved: what happens to it there rings no bell here.
            None => {
                self.voice.say(true, format!("tap {name}, in another network namespace"));
                AGAIN_MS
            }
        }
    }

    /// The netdev's name now; the one it should have while there is none.
    fn name(&self) -> String {
        let name = self.tap.as_ref().and_then(|tap| tap.file.name().ok());
        name.unwrap_or_else(|| self.options.netdev.clone())
    }

    fn close(&mut self) {
        if self.tap.take().is_some() {
            self.context.host.detach_rx(self.context.id, 0);
            self.context.tx.replace(0, None);
        }
    }
}

impl Follow for Link {
    fn follow(&mut self) -> i32 {
        if self.tap.as_ref().is_some_and(|tap| tap.file.name().is_err()) {
            self.close();
            self.voice.say(false, format!("netdev {} is gone", self.options.netdev));
        }
        if self.tap.is_none()
            && let Err(error) = self.open()
        {
            self.voice.say(false, chain(&error));
            return AGAIN_MS;
        }
        self.look()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
