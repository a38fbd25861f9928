//! The control thread: one loop over signals, clients, ports' events and time.
//!
//! Trust: nothing here reads foreign data; it calls those who do. Neighbours: `ringswitchd` builds the [`Engine`] and
//! starts it.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use ringswitch_dataplane::sys::clock::coarse_ms;
use ringswitch_dataplane::sys::event::EventFd;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use thiserror::Error;
use tracing::{error, info};

use crate::controllers::Controllers;
use crate::engine::{Dataplane, Engine};
use crate::rpc::{Server, ServerError, dispatch};

const SIGNALS: Token = Token(0);
const PORTS: Token = Token(1);
const CLIENTS: Token = Token(2);
/// How often time-outs are looked at.
const TEND: Duration = Duration::from_millis(250);
/// How long everything else has the thread between two turns of what takes long.
const REST: Duration = Duration::from_millis(5);

/// Why the control thread cannot run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Its own descriptors.
    #[error("cannot set up the event loop: {0}")]
    Loop(#[from] io::Error),
    /// The socket.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// What the daemon tells its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It serves.
    Ready,
    /// It reads its file again.
    Reloading,
    /// It stops.
    Stopping,
}

/// The sources of the loop, set up before anything is opened: a second daemon fails here and disturbs nothing.
pub struct Daemon {
    poll: Poll,
    signals: Signals,
    server: Server,
    controllers: Controllers,
    wake: Arc<EventFd>,
}

impl Daemon {
    /// Takes the socket and the signals. `wake` is what ports signal after an event. Bridges' OpenFlow sockets will be in
    /// `directory`.
    ///
    /// # Errors
    /// When the socket is in use, mostly.
    pub fn new(socket: &Path, directory: PathBuf, wake: Arc<EventFd>) -> Result<Self, DaemonError> {
        let poll = Poll::new()?;
        let server = Server::listen(socket, poll.registry(), CLIENTS)?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), PORTS, Interest::READABLE)?;
        let controllers = Controllers::new(directory, poll.registry())?;
        Ok(Self { poll, signals, server, controllers, wake })
    }

    /// Serves until a signal says stop; every port is closed then.
    ///
    /// # Errors
    /// When polling itself fails.
    pub fn run<D: Dataplane>(mut self, engine: &mut Engine<D>, notify: &dyn Fn(Notice)) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(64);
        let (mut tended, mut worked) = (Instant::now(), Instant::now());
        notify(Notice::Ready);
        loop {
            let mut wait = if self.server.is_busy() { Duration::ZERO } else { TEND.saturating_sub(tended.elapsed()) };
            if engine.is_busy() {
                wait = wait.min(REST.saturating_sub(worked.elapsed()));
            }
            wait = self.controllers.patience().map_or(wait, |patience| patience.min(wait));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        if self.signalled(engine, notify) {
                            notify(Notice::Stopping);
                            engine.stop();
                            return Ok(());
                        }
                    }
                    PORTS => {
                        self.wake.drain();
                        engine.drain_events();
                        engine.take_upcalls();
                    }
                    token if self.controllers.owns(token) => self.controllers.ready(token, engine),
                    token => self.server.ready(token, self.poll.registry(), &mut |call| dispatch(engine, call)),
                }
            }
            self.server.go_on(&mut |call| dispatch(engine, call));
            self.controllers.go_on(engine);
            if tended.elapsed() >= TEND {
                tended = Instant::now();
                engine.tend(coarse_ms());
                self.controllers.tend(engine);
                worked = Instant::now();
            } else if engine.is_busy() && worked.elapsed() >= REST {
                engine.go_on(coarse_ms());
                worked = Instant::now();
            }
        }
    }

    /// True when it is to stop.
    fn signalled<D: Dataplane>(&mut self, engine: &mut Engine<D>, notify: &dyn Fn(Notice)) -> bool {
        let mut stop = false;
        for signal in self.signals.pending() {
            match signal {
                SIGHUP => {
                    notify(Notice::Reloading);
                    if let Err(why) = engine.reload(None) {
                        error!("reload refused, nothing changed: {why}");
                    }
                    notify(Notice::Ready);
                }
                _ => {
                    info!(signal, "stopping");
                    stop = true;
                }
            }
        }
        stop
    }
}
