//! A guest without a VM: memory, rings and the vhost-user conversation of a virtio-net driver.
//!
//! Trust: the back-end may close, stall or misuse the rings; each is an error here. Neighbours: `traffic` drives the
//! queues of many guests, tests drive one by hand with [`Guest::send`] and [`Guest::receive`].

mod config;
mod layout;
mod session;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::Mapping;

pub use config::{GuestConfig, Mode, parse_mac};
pub(crate) use layout::whole as whole_area;
use session::Session;

use crate::queue::{Rx, Tx};
use crate::ring::RingError;

/// Guest address of the first byte of memory; not 0, so that a confused address is noticed.
pub const MEMORY_BASE: u64 = 0x1_0000_0000;

/// How often a client tries to connect.
const RETRY: Duration = Duration::from_millis(50);

/// Why a guest does not run.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Nobody was there in time.
    #[error("no back-end on {path} within {seconds} s")]
    Absent {
        /// Socket.
        path: PathBuf,
        /// Time waited.
        seconds: u64,
        /// What the last attempt said.
        #[source]
        source: io::Error,
    },
    /// The socket to listen on cannot be made.
    #[error("listening on {path}")]
    Listen {
        /// Socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Memory, event descriptors or timeouts cannot be had.
    #[error("setting up the guest")]
    Setup {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The back-end does not offer what was asked for.
    #[error("the back-end does not offer {features}")]
    Missing {
        /// Names, with commas.
        features: String,
    },
    /// The back-end has fewer queues.
    #[error("{wanted} queue pairs wanted, the back-end has {have}")]
    Queues {
        /// Asked for.
        wanted: u16,
        /// Offered.
        have: u64,
    },
    /// The back-end refused or did not answer a message.
    #[error("the back-end failed at {message}")]
    Message {
        /// Its name in the specification.
        message: &'static str,
        /// Why.
        #[source]
        source: vhost::Error,
    },
    /// A netdev cannot be opened.
    #[error("opening netdev {name}")]
    Netdev {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The back-end broke a ring.
    #[error("the back-end broke a ring")]
    Ring(#[from] RingError),
}

/// One queue pair.
pub struct Pair {
    /// What the guest sends through.
    pub tx: Tx,
    /// What it receives from.
    pub rx: Rx,
}

/// A running guest, or one that waits for its back-end to come back.
pub struct Guest {
    config: GuestConfig,
    listener: Option<UnixListener>,
    session: Option<Session>,
    memory: Arc<Mapping>,
    pairs: Vec<Pair>,
}

impl Guest {
    /// Connects or listens, and waits until all rings run.
    ///
    /// # Errors
    /// See [`GuestError`]; [`GuestError::Absent`] after the configured timeout.
    pub fn open(config: GuestConfig) -> Result<Self, GuestError> {
        let listener = match config.mode {
            Mode::Client => None,
            Mode::Server => {
                Some(listen(&config).map_err(|source| GuestError::Listen { path: config.path.clone(), source })?)
            }
        };
        Self::open_with(config, listener)
    }

    fn open_with(config: GuestConfig, listener: Option<UnixListener>) -> Result<Self, GuestError> {
        let memory = Arc::new(layout::memory(&config).map_err(|source| GuestError::Setup { source })?);
        let mut guest = Self { config, listener, session: None, memory, pairs: Vec::new() };
        let start = Instant::now();
        loop {
            match guest.stream() {
                Ok(stream) => {
                    guest.attach(stream)?;
                    return Ok(guest);
                }
                Err(source) if start.elapsed() >= guest.config.timeout => {
                    let (path, seconds) = (guest.config.path.clone(), guest.config.timeout.as_secs());
                    return Err(GuestError::Absent { path, seconds, source });
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    fn stream(&self) -> io::Result<UnixStream> {
        let Some(listener) = &self.listener else { return UnixStream::connect(&self.config.path) };
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Starts all rings anew in fresh memory: whoever held the old one can no longer disturb us.
    fn attach(&mut self, stream: UnixStream) -> Result<(), GuestError> {
        self.memory = Arc::new(layout::memory(&self.config).map_err(|source| GuestError::Setup { source })?);
        let rings = layout::rings(&self.config, &self.memory);
        let places: Vec<_> = rings.iter().map(crate::ring::Ring::place).collect();
        let session = Session::start(stream, &self.config, &self.memory, &places)?;
        self.pairs.clear();
        let mut rings = rings.into_iter().zip(&session.kicks);
        while let (Some((rx, rx_kick)), Some((tx, tx_kick))) = (rings.next(), rings.next()) {
            let clone =
                |kick: &vmm_sys_util::eventfd::EventFd| kick.try_clone().map_err(|source| GuestError::Setup { source });
            let (rx_kick, tx_kick) = (clone(rx_kick)?, clone(tx_kick)?);
            self.pairs.push(Pair { tx: Tx::ring(tx, tx_kick), rx: Rx::ring(rx, rx_kick, self.config.mrg) });
        }
        self.session = Some(session);
        Ok(())
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }

    /// Its queue pairs; replaced when the back-end comes back.
    pub fn pairs_mut(&mut self) -> &mut [Pair] {
        &mut self.pairs
    }

    /// True while the back-end is connected. Costs a system call.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_lost())
    }

    /// Forgets a lost or broken connection; frames in the rings are gone.
    pub fn disconnect(&mut self) {
        self.session = None;
    }

    /// Tries once to get a lost back-end back; true when all rings run again (in fresh memory, with new
    /// [`pairs_mut`](Self::pairs_mut)).
    ///
    /// # Errors
    /// The back-end is there but does not accept us.
    pub fn try_reconnect(&mut self) -> Result<bool, GuestError> {
        self.session = None;
        match self.stream() {
            Ok(stream) => self.attach(stream).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Sends one frame through queue pair `queue`; false when its ring is full.
    ///
    /// # Errors
    /// The back-end broke the ring.
    ///
    /// # Panics
    /// When there is no such queue, or the frame is longer than the configured `max_frame`.
    pub fn send(&mut self, queue: usize, frame: &[u8]) -> Result<bool, GuestError> {
        let tx = &mut self.pairs[queue].tx;
        assert!(frame.len() <= tx.room(), "frame longer than max_frame");
        let (area, buffers) = (tx.area().clone(), tx.frames());
        let sent = tx.send(1, false, |id| {
            area.write_bytes(buffers.offset(id), frame);
            frame.len() as u32
        });
        Ok(sent? == 1)
    }

    /// Takes one frame from queue pair `queue`, if there is one.
    ///
    /// # Errors
    /// The back-end broke the ring.
    ///
    /// # Panics
    /// When there is no such queue.
    pub fn receive(&mut self, queue: usize) -> Result<Option<Vec<u8>>, GuestError> {
        let mut received = None;
        // A frame in several buffers takes several turns.
        while self.pairs[queue].rx.receive_frames(1, |frame| received = Some(frame.to_vec()))? > 0 {
            if received.is_some() {
                break;
            }
        }
        Ok(received)
    }

    /// Waits up to `limit` for a frame on any queue.
    ///
    /// # Errors
    /// The back-end broke a ring.
    pub fn receive_within(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, GuestError> {
        let start = Instant::now();
        loop {
            for queue in 0..self.pairs.len() {
                if let Some(frame) = self.receive(queue)? {
                    return Ok(Some(frame));
                }
            }
            if start.elapsed() >= limit {
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }

    /// Cuts the memory file to nothing while the back-end has it mapped. The guest itself is not usable afterwards.
    ///
    /// # Errors
    /// What `ftruncate(2)` says.
    pub fn truncate_memory(&mut self) -> io::Result<()> {
        std::fs::File::from(self.memory.as_fd().try_clone_to_owned()?).set_len(0)
    }

    /// Stops the rings in an orderly way and disconnects.
    pub fn close(mut self) {
        if let Some(session) = self.session.take() {
            session.stop();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(&self.config.path);
        }
    }
}

/// Opens several guests at once: those that listen all listen before anyone waits, and they are waited for together, so
/// that the order in which a back-end takes them does not matter.
///
/// # Errors
/// The first guest's that fails.
pub fn open_all(configs: Vec<GuestConfig>) -> Result<Vec<Guest>, GuestError> {
    let handles: Vec<_> = configs.into_iter().map(|config| std::thread::spawn(move || Guest::open(config))).collect();
    let opened: Vec<_> = handles
        .into_iter()
        .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        .collect();
    opened.into_iter().collect()
}

/// Listens, after removing a socket file that nobody listens on any more.
fn listen(config: &GuestConfig) -> io::Result<UnixListener> {
    let bound = match UnixListener::bind(&config.path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(&config.path).is_err() => {
            std::fs::remove_file(&config.path)?;
            UnixListener::bind(&config.path)
        }
        result => result,
    }?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}
