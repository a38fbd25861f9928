//! A connection's turn: what waits for the peer goes out, what the peer sent is answered.

use std::io;
use std::time::Instant;

use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::{debug, info};

use super::connection::{Barrier, Connection, Kind, State, agree, hello};
use super::requests::{Asked, Effect};
use super::session::Session;
use super::{Controllers, deliver};
use crate::engine::{Dataplane, Engine};
use crate::openflow::message::{ErrorMessage, Role};
use crate::openflow::{Code, Message, OfError, Version};

/// Looks at a barrier's workers before others have their turn: some microseconds.
const SPINS: u32 = 500;
/// Messages of a turn.
const MESSAGES: usize = 2048;

impl Controllers {
    pub(super) fn turn<D: Dataplane>(&mut self, id: usize, engine: &mut Engine<D>) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let served = self.serve(id, &mut connection, engine);
        engine.flush();
        self.tell(engine, Some((id, &mut connection)));
        match served.and_then(|()| connection.drain()) {
            Ok(()) => {
                if connection.is_busy() {
                    self.again.insert(id);
                }
                self.connections.insert(id, connection);
            }
            Err(why) => self.ended(id, &connection, &why, engine),
        }
    }

    fn serve<D: Dataplane>(
        &mut self,
        id: usize,
        connection: &mut Connection,
        engine: &mut Engine<D>,
    ) -> io::Result<()> {
        if matches!(connection.state, State::Connecting) && !self.connected(connection)? {
            return Ok(());
        }
        connection.drain()?;
        if let Some(Barrier { epoch, xid, .. }) = connection.barrier {
            if !engine.is_in_effect(epoch) {
                return Ok(());
            }
            connection.barrier = None;
            if let Some((session, buffers)) = connection.session() {
                session.write(xid, &Message::BarrierReply, buffers.output());
            }
        }
        if connection.readable && !connection.buffers.has_message() && !connection.buffers.is_full() {
            connection.readable = {
                let plain = connection.stream.is_plain();
                connection.buffers.fill(&mut connection.stream, plain)?
            };
        }
        for _ in 0..MESSAGES {
            if connection.barrier.is_some() || connection.buffers.is_full() {
                break;
            }
            let Some(bytes) = connection.buffers.message()? else { break };
            self.message(id, connection, &bytes, engine)?;
        }
        Ok(())
    }

    /// True when the peer is there; it is greeted then.
    fn connected(&mut self, connection: &mut Connection) -> io::Result<bool> {
        if !connection.stream.connected()? {
            return Ok(false);
        }
        let bridge = self.bridges.iter().find(|bridge| bridge.served.name == connection.bridge);
        let versions = bridge.map_or(Version::BITMAP, |bridge| bridge.served.versions);
        connection.buffers.output().extend(hello(versions));
        connection.state = State::Hello;
        connection.heard_ms = coarse_ms();
        Ok(true)
    }

    fn message<D: Dataplane>(
        &mut self,
        id: usize,
        connection: &mut Connection,
        bytes: &[u8],
        engine: &mut Engine<D>,
    ) -> io::Result<()> {
        connection.heard_ms = coarse_ms();
        connection.probed = false;
        let place = self.bridges.iter().position(|bridge| bridge.served.name == connection.bridge);
        let place = place.ok_or_else(|| io::Error::other("the bridge is gone"))?;
        if matches!(connection.state, State::Hello) {
            return self.hello(id, connection, bytes, place, engine);
        }
        self.snoop(connection, bytes);
        let (name, kind) = (&connection.name, connection.kind);
        let State::Open(session) = &mut connection.state else { return Ok(()) };
        if kind == Kind::Snoop {
            return Ok(());
        }
        let before = connection.buffers.output().len();
        let output = connection.buffers.output();
        let bridge = &mut self.bridges[place];
        let xid = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (served, generation_id) = (&bridge.served, &mut bridge.generation_id);
        let decoded = decode(session, bytes);
        let mut asked = Asked { engine, served, generation_id, session, output, connection: id, xid, bytes };
        let effect = decoded.and_then(|message| asked.answer(message)).unwrap_or_else(|why| {
            debug!(peer = %name, "refused: {why}");
            let error = Message::error(asked.session.version, why, bytes);
            asked.reply(&error);
            Effect::None
        });
        if kind == Kind::Primary {
            let said = connection.buffers.output()[before..].to_vec();
            self.snoop(connection, &said);
        }
        self.tell(engine, Some((id, connection)));
        self.take_effect(effect, id, connection, xid, place, engine);
        Ok(())
    }

    fn hello<D: Dataplane>(
        &mut self,
        id: usize,
        connection: &mut Connection,
        bytes: &[u8],
        place: usize,
        engine: &mut Engine<D>,
    ) -> io::Result<()> {
        let bridge = &mut self.bridges[place];
        let Some(version) = agree(bridge.served.versions, bytes) else {
            // In the peer's own version, if we know it; incompatible.
            let version = Version::of_wire(bytes[0]).unwrap_or(Version::V10);
            let data = b"no common version of OpenFlow".to_vec();
            let error = Message::Error(ErrorMessage { code: Code::Standard(0, 0), data });
            crate::openflow::encode(version, 0, &error, connection.buffers.output());
            let _ = connection.drain();
            return Err(io::Error::other("no common version of OpenFlow"));
        };
        let service = connection.kind != Kind::Primary;
        connection.state = State::Open(Box::new(Session::new(version, service, &bridge.served)));
        if !service {
            info!(bridge = %connection.bridge, controller = %connection.name, ?version, "controller connected");
            bridge.reached(id);
            engine.set_standalone(bridge.served.index, false);
        }
        self.connections_wants(connection, engine, place);
        Ok(())
    }

    /// As [`Controllers::wants_changed`], while this connection has its turn.
    fn connections_wants<D: Dataplane>(&mut self, connection: &Connection, engine: &mut Engine<D>, place: usize) {
        let name = &self.bridges[place].served.name;
        let others = self.connections.values().filter(|other| other.bridge == *name);
        let sessions: Vec<&Session> = others.chain([connection]).filter_map(Connection::talking).collect();
        let index = self.bridges[place].served.index;
        engine.watch_flows(index, sessions.iter().any(|session| !session.monitors.is_empty()));
        let misses = |session: &&Session| session.role != Role::Slave && deliver::wants_misses(session);
        engine.set_miss_to_controller(index, sessions.iter().any(misses));
    }

    /// What a request means for others.
    fn take_effect<D: Dataplane>(
        &mut self,
        effect: Effect,
        id: usize,
        connection: &mut Connection,
        xid: u32,
        place: usize,
        engine: &mut Engine<D>,
    ) {
        match effect {
            Effect::None => {}
            Effect::Wants => self.connections_wants(connection, engine, place),
            Effect::Barrier(epoch) if !soon(|| engine.is_in_effect(epoch)) => {
                connection.barrier = Some(Barrier { epoch, xid, since: Instant::now() });
            }
            Effect::Barrier(_) => {
                if let Some((session, buffers)) = connection.session() {
                    session.write(xid, &Message::BarrierReply, buffers.output());
                }
            }
            Effect::Master => {
                let generation_id = self.bridges[place].generation_id;
                self.others(&connection.bridge.clone(), &mut |session, output| {
                    if session.role == Role::Master {
                        session.role = Role::Slave;
                        if let Some(message) = deliver::demoted(session, generation_id) {
                            session.write(0, &message, output);
                        }
                    }
                });
                self.connections_wants(connection, engine, place);
            }
            Effect::Forward(request) => self.others(&connection.bridge.clone(), &mut |session, output| {
                if let Some(message) = deliver::forwarded(session, xid, &request) {
                    session.write(0, &message, output);
                }
            }),
        }
        debug_assert!(!self.connections.contains_key(&id), "whoever has his turn is not among the others");
    }

    /// Every other talking connection of a bridge.
    fn others(&mut self, bridge: &str, tell: &mut dyn FnMut(&mut Session, &mut Vec<u8>)) {
        for (id, other) in self.connections.iter_mut().filter(|(_, other)| other.bridge == bridge) {
            if other.kind == Kind::Snoop {
                continue;
            }
            if let Some((session, buffers)) = other.session() {
                tell(session, buffers.output());
                if buffers.waiting() > 0 {
                    self.again.insert(*id);
                }
            }
        }
    }

    /// Tells everybody what happened; `turn` is the connection that has its turn.
    pub(super) fn tell<D: Dataplane>(&mut self, engine: &mut Engine<D>, turn: Option<(usize, &mut Connection)>) {
        let notices = engine.take_notices();
        if notices.is_empty() {
            return;
        }
        let own = turn;
        let mut own = own;
        for notice in &notices {
            let Some(bridge) = self.bridges.iter().find(|bridge| bridge.served.index == notice.bridge) else {
                continue;
            };
            let others = self.connections.iter_mut().map(|(id, connection)| (*id, connection));
            let own = own.as_mut().map(|(id, connection)| (*id, &mut **connection));
            for (id, connection) in others.chain(own) {
                if connection.bridge != bridge.served.name || connection.kind == Kind::Snoop {
                    continue;
                }
                let Some((session, buffers)) = connection.session() else { continue };
                // Packets can be lost; whoever does not read loses them first.
                let is_packet = matches!(notice.event, crate::engine::Event::PacketIn(_));
                if is_packet && buffers.is_full() {
                    continue;
                }
                if let Some((xid, message)) = deliver::message_of(notice, session, id) {
                    session.write(xid, &message, buffers.output());
                    self.again.insert(id);
                }
            }
        }
    }

    /// What goes between us and a controller, for those who listen.
    fn snoop(&mut self, connection: &Connection, bytes: &[u8]) {
        if connection.kind != Kind::Primary || bytes.is_empty() {
            return;
        }
        for (id, other) in &mut self.connections {
            let listens = other.kind == Kind::Snoop && other.bridge == connection.bridge;
            if listens && matches!(other.state, State::Open(_)) && !other.buffers.is_full() {
                other.buffers.output().extend_from_slice(bytes);
                self.again.insert(*id);
            }
        }
    }
}

/// True when it holds, or will in a moment: a worker that is awake takes a snapshot within microseconds, and tools wait for a
/// barrier after every single flow.
fn soon(holds: impl Fn() -> bool) -> bool {
    (0..SPINS).any(|_| {
        std::hint::spin_loop();
        holds()
    })
}

/// A message, as this peer writes it.
fn decode(session: &Session, bytes: &[u8]) -> Result<Message, OfError> {
    if bytes[0] != session.version as u8 {
        return Err(OfError::OFPBRC_BAD_VERSION);
    }
    crate::openflow::decode(bytes, session.flow_mod_table_id)
}
