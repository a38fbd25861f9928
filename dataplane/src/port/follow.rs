//! How a port follows a netdev that others change: a thread that looks again whenever something about any netdev changes,
//! and that tells control what is news.
//!
//! Trust: the administrator may set netdevs up and down, move, rename and delete them at any time. Neighbours:
//! `port::xdp` and `port::tap` follow theirs with this.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{PortContext, PortEvent};
use crate::sys::event::EventFd;
use crate::sys::netdev::LinkBell;

/// Between two tries to come back up when something refuses, and between two looks at what rings no bell.
pub(super) const AGAIN_MS: i32 = 1000;
/// Nothing to look at until the bell rings.
pub(super) const WHEN_IT_RINGS: i32 = -1;

/// What follows a netdev.
pub(super) trait Follow: Send + 'static {
    /// Looks at the netdev and does what follows from it. Returns after how many milliseconds to look again though nothing
    /// rang: [`AGAIN_MS`], [`WHEN_IT_RINGS`], or sooner while something is under way.
    fn follow(&mut self) -> i32;
}

/// The thread, and what it works on. Dropping it ends the thread.
pub(super) struct Follower<F> {
    followed: Arc<Mutex<F>>,
    /// Signalled to have it look again, or to end.
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Follow> Follower<F> {
    /// Starts to follow. `bell` is older than the first look that made `followed`, so that no change is missed between;
    /// `again_ms` is what that look returned.
    pub fn start(thread: &str, bell: LinkBell, followed: F, mut again_ms: i32) -> io::Result<Self> {
        let (followed, wake) = (Arc::new(Mutex::new(followed)), Arc::new(EventFd::new()?));
        let stop = Arc::new(AtomicBool::new(false));
        let body = {
            let (followed, wake, stop) = (Arc::clone(&followed), Arc::clone(&wake), Arc::clone(&stop));
            move || {
                loop {
                    bell.wait(&wake, again_ms);
                    wake.drain();
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    again_ms = lock(&followed).follow();
                }
            }
        };
        let thread = std::thread::Builder::new().name(thread.to_owned()).spawn(body)?;
        Ok(Self { followed, wake, stop, thread: Some(thread) })
    }

    /// Has the thread look again.
    pub fn look(&self) {
        self.wake.signal();
    }

    /// What is followed, between two looks.
    pub fn lock(&self) -> MutexGuard<'_, F> {
        lock(&self.followed)
    }
}

impl<F> Drop for Follower<F> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A poisoned lock still holds what it held; the panic itself ends the process elsewhere.
fn lock<F>(followed: &Mutex<F>) -> MutexGuard<'_, F> {
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a port told control last.
pub(super) struct Voice {
    context: PortContext,
    is_up: bool,
    text: String,
}

impl Voice {
    /// Nothing told yet.
    pub fn new(context: &PortContext) -> Self {
        Self { context: context.clone(), is_up: false, text: String::new() }
    }

    /// Tells control, if it is news.
    pub fn say(&mut self, is_up: bool, text: String) {
        if (is_up, &text) == (self.is_up, &self.text) {
            return;
        }
        (self.is_up, self.text) = (is_up, text.clone());
        let event = if is_up { PortEvent::Up(text) } else { PortEvent::Down(text) };
        self.context.events.send(self.context.id, event);
    }

    /// Was it up?
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// The words; empty when nothing was told.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
