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
/// What a front-end may cause per [`PACE_WINDOW`] before it is slowed down. News: control and the log hear each.
const NEWS_BURST: u32 = 20;
/// Rings taken from a worker and given back: each is a message to it and some system calls of its. 128 queue pairs change
/// their memory table a few times.
const RESTART_BURST: u32 = 1024;
/// Requests: they cost this thread's time, on a CPU that a worker may want. 128 queue pairs take 2000 to start, 509 memory
/// regions as many requests.
const REQUEST_BURST: u32 = 8192;
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
    news: Pace,
    restarts: Pace,
    requests: Pace,
}

/// What the thread was woken by.
struct Woken {
    peer: bool,
    fault: bool,
}

impl Session {
    pub fn new(source: Source, device: Device, stop: Arc<Stop>, status: Arc<Mutex<VhostStatus>>) -> Self {
        let [news, restarts, requests] = [NEWS_BURST, RESTART_BURST, REQUEST_BURST].map(Pace::new);
        Self { source, device, stop, status, news, restarts, requests }
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
        self.slow_down(0);
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
            let mut served = 0;
            if (woken.peer || reader.patience().is_some())
                && let Some(request) = reader.read(stream)?
            {
                let outcome = serve(&mut self.device, stream, request);
                self.update(|status| status.requests += 1);
                outcome?;
                served = 1;
                self.device.settle();
            }
            self.slow_down(served);
        }
    }

    /// Waits for the front-end, a fault or `timeout`; `None` when the port is closed.
    fn wait(&self, stream: &UnixStream, timeout: Option<Duration>) -> Result<Option<Woken>, VhostError> {
        let fds = [stream.as_fd(), self.device.fault.as_fd(), self.stop.wake.as_fd()];
        let [peer, fault, _] = wait_readable(fds, timeout).map_err(VhostError::Connection)?;
        Ok((!self.stop.is_asked()).then_some(Woken { peer, fault }))
    }

    /// A front-end that keeps control, the log, workers or this thread busy waits, so that others do not have to.
    fn slow_down(&mut self, requests: u32) {
        let pauses = [
            self.news.pause(self.device.take_transitions()),
            self.restarts.pause(self.device.take_restarts()),
            self.requests.pause(requests),
        ];
        let pause = pauses.into_iter().max().unwrap_or_default();
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

/// Counts something in a window of time.
struct Pace {
    burst: u32,
    since: Option<Instant>,
    count: u32,
}

impl Pace {
    fn new(burst: u32) -> Self {
        Self { burst, since: None, count: 0 }
    }

    /// How long to pause after `more` of it.
    fn pause(&mut self, more: u32) -> Duration {
        if more == 0 {
            return Duration::ZERO;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let elapsed = since.elapsed();
        if elapsed >= PACE_WINDOW {
            (self.since, self.count) = (Some(Instant::now()), more);
            return Duration::ZERO;
        }
        self.count += more;
        if self.count > self.burst { PACE_WINDOW - elapsed } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_burst_pauses_until_the_window_is_over() {
        let mut pace = Pace::new(2);
        assert_eq!(pace.pause(0), Duration::ZERO);
        assert_eq!(pace.pause(2), Duration::ZERO);
        let mut pace = Pace::new(2);
        let pause = pace.pause(3);
        assert!(pause > Duration::ZERO && pause <= PACE_WINDOW, "{pause:?}");
    }
}
