//! OpenFlow's server: every bridge's controllers, and the tools that come to its management socket.
//!
//! One bridge has `BRIDGE.mgmt` and `BRIDGE.snoop` in the runtime directory, where `ovs-ofctl BRIDGE` looks for them, listens
//! where it was told to, and connects to its controllers. All of it runs in the control thread's loop and waits for
//! nobody: a connection gets turns of bounded length, and nothing of its input is looked at while it does not read its
//! replies, or while a barrier of its own waits for workers. Flows that come in one turn are published once.
//!
//! Trust: peers send anything; what they do wrong costs their own connection. Neighbours: `daemon` polls and gives turns,
//! `openflow` is the codec, `engine` does what is asked.

mod bridge;
mod buffers;
mod bundle;
mod connection;
mod deliver;
mod dialer;
mod limit;
mod listener;
mod monitor;
mod multipart;
mod requests;
mod session;
mod stream;
mod tls;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mio::{Registry, Token};
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::{debug, info, warn};

use crate::engine::{Dataplane, Engine};
use crate::model::Settings;
use crate::openflow::message::Role;
use bridge::Bridge;
use connection::{Connection, Kind, State};
use dialer::CONNECT_MS;
use listener::Listener;
use stream::Stream;
use tls::Tls;

/// Our tokens begin here.
const FIRST: usize = 1 << 32;
/// Most connections to a bridge that others opened.
const CONNECTIONS_MAX: usize = 64;
/// How soon a barrier is looked at again.
const BARRIER: Duration = Duration::from_millis(1);

/// See the file's head.
pub struct Controllers {
    registry: Registry,
    /// Where the bridges' sockets are.
    directory: PathBuf,
    bridges: Vec<Bridge>,
    listeners: BTreeMap<usize, Listening>,
    connections: BTreeMap<usize, Connection>,
    next: usize,
    /// Connections that have something to do.
    again: BTreeSet<usize>,
    /// What the bridges were made from.
    generation: Option<u64>,
    tls: Option<Tls>,
    /// What `tls` was read from.
    ssl: Settings,
}

/// Who comes there.
struct Listening {
    listener: Listener,
    bridge: String,
    kind: Kind,
    tls: bool,
}

impl Controllers {
    /// Bridges' sockets will be in `directory`.
    ///
    /// # Errors
    /// When the loop has no room for another source.
    pub fn new(directory: PathBuf, registry: &Registry) -> io::Result<Self> {
        Ok(Self {
            registry: registry.try_clone()?,
            directory,
            bridges: Vec::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: FIRST,
            again: BTreeSet::new(),
            generation: None,
            tls: None,
            ssl: Settings::default(),
        })
    }

    /// True when this token is one of ours.
    #[must_use]
    pub fn owns(&self, token: Token) -> bool {
        token.0 >= FIRST
    }

    /// How long the loop may sleep at most; none for as long as it likes.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let barriers = self.connections.values().filter_map(|connection| connection.barrier);
        // A worker may have to be woken, or to finish a batch; one that takes longer than that does not run at all now.
        barriers.map(|barrier| if barrier.since.elapsed() < BARRIER { Duration::ZERO } else { BARRIER }).min()
    }

    /// Something happened on this token.
    pub fn ready<D: Dataplane>(&mut self, token: Token, engine: &mut Engine<D>) {
        if let Some(connection) = self.connections.get_mut(&token.0) {
            connection.readable = true;
            self.turn(token.0, engine);
        } else if self.listeners.contains_key(&token.0) {
            self.accept(token.0);
        }
    }

    /// A turn for everybody who has something to do; then whatever happened is told.
    pub fn go_on<D: Dataplane>(&mut self, engine: &mut Engine<D>) {
        if self.generation != Some(engine.generation()) {
            self.generation = Some(engine.generation());
            self.follow(engine);
        }
        let waiting = self.connections.iter().filter(|(_, connection)| connection.barrier.is_some());
        let before = self.again.len();
        self.again.extend(waiting.map(|(id, _)| *id));
        if self.again.len() > before {
            // The worker that is waited for may need this CPU.
            std::thread::yield_now();
        }
        for id in std::mem::take(&mut self.again) {
            self.turn(id, engine);
        }
        self.tell(engine, None);
    }

    /// Now and then: who is silent is probed, who stays silent is left, controllers are tried again.
    pub fn tend<D: Dataplane>(&mut self, engine: &mut Engine<D>) {
        let now = coarse_ms();
        self.probe(engine, now);
        for place in 0..self.bridges.len() {
            self.listen(place);
            self.dial(place, now);
            let bridge = &mut self.bridges[place];
            let standalone = bridge.is_left_alone(now);
            engine.set_standalone(bridge.served.index, standalone);
        }
    }

    /// Makes bridges, listeners and controllers those of the engine. What stays is not disturbed.
    fn follow<D: Dataplane>(&mut self, engine: &mut Engine<D>) {
        let now = coarse_ms();
        self.read_keys(engine.ssl());
        let served = engine.served();
        let stays = |bridge: &Bridge| served.iter().any(|other| bridge.is_same(other));
        let (stay, gone): (Vec<_>, Vec<_>) = self.bridges.drain(..).partition(stays);
        self.bridges = stay;
        for bridge in gone {
            for token in bridge.listening.into_values().flatten() {
                self.listeners.remove(&token);
            }
            let name = &bridge.served.name;
            self.connections.retain(|_, connection| connection.bridge != *name);
        }
        for served in served {
            let place = match self.bridges.iter().position(|bridge| bridge.served.name == served.name) {
                Some(place) => place,
                None => {
                    self.bridges.push(Bridge::new(&served, &self.directory, now));
                    self.bridges.len() - 1
                }
            };
            let closed = self.bridges[place].follow(served, &self.directory, now);
            for token in closed {
                self.listeners.remove(&token);
                self.connections.remove(&token);
            }
            self.listen(place);
            self.dial(place, now);
        }
        self.wants_changed(engine);
    }

    /// Reads keys and certificates, when other ones are named. Connections that are there keep theirs.
    fn read_keys(&mut self, settings: &Settings) {
        if self.ssl == *settings {
            return;
        }
        self.ssl = settings.clone();
        match Tls::load(settings) {
            Ok(tls) => self.tls = tls,
            Err(why) => {
                warn!("no TLS: {why}");
                self.tls = None;
            }
        }
    }

    /// Opens what is to listen and does not yet.
    fn listen(&mut self, place: usize) {
        let bridge = &mut self.bridges[place];
        for ((target, kind), token) in bridge.listening.iter_mut().filter(|(_, token)| token.is_none()) {
            match Listener::open(&target.address, &self.registry, Token(self.next)) {
                Ok(listener) => {
                    let (bridge, kind) = (bridge.served.name.clone(), *kind);
                    let listening = Listening { listener, bridge, kind, tls: target.tls };
                    self.listeners.insert(self.next, listening);
                    *token = Some(self.next);
                    self.next += 1;
                    debug!("listening on {target}");
                }
                Err(error) => {
                    if bridge.complained.insert(target.clone()) {
                        warn!(bridge = %bridge.served.name, "cannot listen on {target}, will try again: {error}");
                    }
                }
            }
        }
    }

    /// Connects to the controllers whose time it is.
    fn dial(&mut self, place: usize, now: u64) {
        let bridge = &mut self.bridges[place];
        for dialer in bridge.dialers.iter_mut().filter(|dialer| dialer.is_due(now)) {
            let mut opened = Stream::connect(&dialer.target, self.tls.as_ref());
            let token = Token(self.next);
            let registered = opened.as_mut().map(|stream| stream.register(&self.registry, token));
            match (registered.map_err(|error| error.to_string()), opened) {
                (Ok(Ok(())), Ok(stream)) => {
                    let (name, bridge) = (dialer.target.to_string(), bridge.served.name.clone());
                    self.connections.insert(token.0, Connection::new(stream, name, bridge, Kind::Primary, now));
                    dialer.connection = Some(token.0);
                    self.again.insert(token.0);
                    self.next += 1;
                }
                (why, _) => {
                    debug!(controller = %dialer.target, "cannot connect: {why:?}");
                    dialer.lost(now, bridge.served.max_backoff_ms);
                }
            }
        }
    }

    fn accept(&mut self, token: usize) {
        let Some(Listening { listener, bridge, kind, tls }) = self.listeners.get(&token) else { return };
        loop {
            let (mut stream, name) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return warn!("cannot accept a connection: {error}"),
            };
            let there = self.connections.values().filter(|connection| connection.bridge == *bridge).count();
            if there >= CONNECTIONS_MAX {
                debug!(%bridge, "too many connections");
                continue;
            }
            if *tls {
                stream = match stream.secured(self.tls.as_ref()) {
                    Ok(stream) => stream,
                    Err(error) => {
                        warn!(%bridge, peer = %name, "sent away: {error}");
                        continue;
                    }
                };
            }
            if stream.register(&self.registry, Token(self.next)).is_ok() {
                let connection = Connection::new(stream, name, bridge.clone(), *kind, coarse_ms());
                self.connections.insert(self.next, connection);
                self.again.insert(self.next);
                self.next += 1;
            }
        }
    }

    /// Asks silent peers whether they are there, and leaves those that do not answer.
    fn probe<D: Dataplane>(&mut self, engine: &mut Engine<D>, now: u64) {
        let mut lost = Vec::new();
        for (id, connection) in &mut self.connections {
            let Some(bridge) = self.bridges.iter().find(|bridge| bridge.served.name == connection.bridge) else {
                continue;
            };
            let (silent, probe) = (now.saturating_sub(connection.heard_ms), bridge.served.probe_ms);
            match &connection.state {
                State::Connecting | State::Hello if now.saturating_sub(connection.since_ms) > CONNECT_MS => {
                    lost.push((*id, "it does not say hello"));
                }
                State::Open(_) if connection.kind != Kind::Primary || probe == 0 => {}
                State::Open(_) if silent >= 2 * probe => lost.push((*id, "it does not answer")),
                State::Open(session) if silent >= probe && !connection.probed => {
                    let echo = crate::openflow::Message::EchoRequest(Vec::new());
                    session.write(0, &echo, connection.buffers.output());
                    connection.probed = true;
                    self.again.insert(*id);
                }
                _ => {}
            }
        }
        for (id, why) in lost {
            if let Some(connection) = self.connections.remove(&id) {
                self.ended(id, &connection, &io::Error::other(why), engine);
            }
        }
    }

    /// A connection is over.
    fn ended<D: Dataplane>(&mut self, id: usize, connection: &Connection, why: &io::Error, engine: &mut Engine<D>) {
        let now = coarse_ms();
        let was_open = matches!(connection.state, State::Open(_));
        match connection.kind {
            Kind::Primary if was_open => {
                info!(bridge = %connection.bridge, controller = %connection.name, "controller is gone: {why}");
            }
            _ => debug!(bridge = %connection.bridge, peer = %connection.name, "connection ended: {why}"),
        }
        if let Some(bridge) = self.bridges.iter_mut().find(|bridge| bridge.served.name == connection.bridge) {
            bridge.lost(id, now);
        }
        self.again.remove(&id);
        self.wants_changed(engine);
    }

    /// Somebody came, went, or wants other things: the engine notices and sends only what somebody wants.
    fn wants_changed<D: Dataplane>(&mut self, engine: &mut Engine<D>) {
        for bridge in &self.bridges {
            let of_bridge = || {
                let mine = self.connections.values().filter(|connection| connection.bridge == bridge.served.name);
                mine.filter_map(Connection::talking)
            };
            let index = bridge.served.index;
            engine.watch_flows(index, of_bridge().any(|session| !session.monitors.is_empty()));
            let misses = of_bridge().any(|session| session.role != Role::Slave && deliver::wants_misses(session));
            engine.set_miss_to_controller(index, misses);
        }
    }
}
