//! The session thread of one port: finds a front-end, serves its requests until it goes, finds the next one.
//!
//! Trust: the front-end may send anything at any pace. The thread waits in one place only ([`wait_readable`]) and always
//! for its own end too, so a port can be closed whatever its front-end does; and since every port has a thread of its
//! own, a front-end delays nobody but itself.
//! Neighbours: `port` starts and stops it, `message` reads, `requests` serves, `device` holds the state.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::Device;
use super::message::Reader;
use super::port::Stop;
use super::requests::serve;
use super::socket::{Listener, connect};
use super::{VhostError, VhostStatus};
use crate::port::PortEvent;
use crate::sys::poll::wait_readable;

/// Client mode: the first wait for a front-end that is not there, doubled up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// A front-end that says nothing for so long is done setting up its rings.
const QUIET: Duration = Duration::from_millis(100);
/// News per [`PACE_WINDOW`] that control hears at once; a front-end that flaps faster is slowed down.
const PACE_BURST: u32 = 20;
const PACE_WINDOW: Duration = Duration::from_secs(1);

/// Where front-ends come from.
pub(super) enum Source {
    Listener(Listener),
    Caller(PathBuf),
}

pub(super) struct Session {
    source: Source,
    device: Device,
    stop: Arc<Stop>,
    status: Arc<Mutex<VhostStatus>>,
    pace: Pace,
}

/// What the thread was woken by.
struct Woken {
    peer: bool,
    fault: bool,
}

impl Session {
    pub fn new(source: Source, device: Device, stop: Arc<Stop>, status: Arc<Mutex<VhostStatus>>) -> Self {
        Self { source, device, stop, status, pace: Pace::default() }
    }

    /// Until the port is closed.
    pub fn run(mut self) {
        while let Some(stream) = self.find_front_end() {
            self.update(|status| {
                status.connected = true;
                status.connections += 1;
            });
            tracing::debug!(port = %self.device.name(), "a front-end connected");
            let end = self.converse(&stream);
            self.update(|status| status.connected = false);
            match end {
                Ok(()) => break,
                Err(error) => self.part(&error),
            }
        }
        self.device.stop_all();
    }

    /// The front-end is gone, or is sent away when `stream` is dropped after this.
    fn part(&mut self, error: &VhostError) {
        let why = error.chain();
        self.device.reset(
            &why,
            match error {
                VhostError::Disconnected | VhostError::Connection(_) => PortEvent::Down(why.clone()),
                _ => PortEvent::Faulted(format!("front-end sent away: {why}")),
            },
        );
        self.slow_down();
    }

    /// Waits for a front-end; `None` when the port is closed.
    fn find_front_end(&self) -> Option<UnixStream> {
        let mut pause = RETRY.0;
        while !self.stop.is_asked() {
            let stream = match &self.source {
                Source::Listener(listener) => {
                    let _ = wait_readable([listener.socket.as_fd(), self.stop.wake.as_fd()], None);
                    listener.socket.accept().map(|(stream, _)| stream)
                }
                Source::Caller(path) => connect(path),
            };
            match stream.and_then(|stream| stream.set_nonblocking(true).map(|()| stream)) {
                Ok(stream) => return Some(stream),
                // Nobody there yet; or (accept) out of descriptors, which must not spin.
                Err(_) if !self.stop.is_asked() => self.sleep(pause),
                Err(_) => {}
            }
            pause = (pause * 2).min(RETRY.1);
        }
        None
    }

    /// Serves one front-end. `Ok` when the port is closed.
    fn converse(&mut self, stream: &UnixStream) -> Result<(), VhostError> {
        let mut reader = Reader::default();
        loop {
            let quiet = self.device.has_change().then_some(QUIET);
            let timeout = reader.patience().or(quiet);
            let Some(woken) = self.wait(stream, timeout)? else { return Ok(()) };
            if quiet.is_some() && !woken.peer && !woken.fault {
                self.device.announce_change();
            }
            if woken.fault {
                self.device.on_ring_fault();
            }
            // A message that stays incomplete is noticed by reading again, so not only when there is something.
            if (woken.peer || reader.patience().is_some())
                && let Some(request) = reader.read(stream)?
            {
                let served = serve(&mut self.device, stream, request);
                self.update(|status| status.requests += 1);
                served?;
                self.device.settle();
            }
            self.slow_down();
        }
    }

    /// Waits for the front-end, a fault or `timeout`; `None` when the port is closed.
    fn wait(&self, stream: &UnixStream, timeout: Option<Duration>) -> Result<Option<Woken>, VhostError> {
        let fds = [stream.as_fd(), self.device.fault.as_fd(), self.stop.wake.as_fd()];
        let [peer, fault, _] = wait_readable(fds, timeout).map_err(VhostError::Connection)?;
        Ok((!self.stop.is_asked()).then_some(Woken { peer, fault }))
    }

    /// A front-end that makes control and the log busy waits for them.
    fn slow_down(&mut self) {
        let pause = self.pace.pause(self.device.take_transitions());
        if !pause.is_zero() {
            self.sleep(pause);
        }
    }

    /// Sleeps, or until the port is closed.
    fn sleep(&self, time: Duration) {
        let _ = wait_readable([self.stop.wake.as_fd()], Some(time));
    }

    fn update(&self, change: impl FnOnce(&mut VhostStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Counts news in a window of time.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    count: u32,
}

impl Pace {
    /// How long to pause after `news` more.
    fn pause(&mut self, news: u32) -> Duration {
        if news == 0 {
            return Duration::ZERO;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let elapsed = since.elapsed();
        if elapsed >= PACE_WINDOW {
            *self = Self { since: Some(Instant::now()), count: news };
            return Duration::ZERO;
        }
        self.count += news;
        if self.count > PACE_BURST { PACE_WINDOW - elapsed } else { Duration::ZERO }
    }
}
