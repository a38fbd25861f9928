//! A vhost-user port: what control holds of it. The work is done by its session thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::device::Device;
use super::session::{Session, Source};
use super::socket::Listener;
use super::{Mode, RingFault, VhostError, VhostOptions, VhostStatus};
use crate::port::PortContext;
use crate::sys::event::EventFd;

/// How the session thread is told to end.
#[derive(Debug)]
pub(super) struct Stop {
    asked: AtomicBool,
    pub wake: EventFd,
}

impl Stop {
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

/// An open vhost-user port. Closed when dropped.
#[derive(Debug)]
pub struct VhostPort {
    stop: Arc<Stop>,
    status: Arc<Mutex<VhostStatus>>,
    thread: Option<JoinHandle<()>>,
}

impl VhostPort {
    /// Opens the port and starts its session thread. In server mode the socket exists when this returns; in client mode
    /// the front-end need not be there yet.
    ///
    /// # Errors
    /// Options out of range, a socket path that cannot be used, and too few descriptors or threads.
    pub fn open(options: VhostOptions, context: PortContext) -> Result<Self, VhostError> {
        options.check(context.tx.capacity())?;
        let stop = Stop { asked: AtomicBool::new(false), wake: EventFd::new().map_err(VhostError::Start)? };
        let stop = Arc::new(stop);
        let fault = Arc::new(RingFault::new().map_err(VhostError::Start)?);
        let status = Arc::new(Mutex::new(VhostStatus::default()));
        let source = match options.mode {
            Mode::Server => Source::Listener(Listener::bind(&options)?),
            Mode::Client => Source::Caller(options.path.clone()),
        };
        let thread = std::thread::Builder::new().name(format!("vhost-{}", context.name));
        let device = Device::new(context, &options, fault, Arc::clone(&status));
        let session = Session::new(source, device, Arc::clone(&stop), Arc::clone(&status));
        let thread = thread.spawn(move || session.run()).map_err(VhostError::Start)?;
        Ok(Self { stop, status, thread: Some(thread) })
    }

    /// What the port is doing now.
    #[must_use]
    pub fn status(&self) -> VhostStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the rings back from the workers, gives the guest its buffers back, closes the connection and removes the
    /// socket.
    pub fn close(self) {}
}

impl Drop for VhostPort {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Release);
        self.stop.wake.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
