//! Packets from controllers, and what packets ask control to do.

use ringswitch_dataplane::flow::{Field, LOCAL_PORT};
use ringswitch_dataplane::pipeline::{PacketOut, Upcall};
use tracing::debug;

use super::notice::{Event, Notice};
use super::state::NUMBER_MAX;
use super::verify::verify;
use super::{Dataplane, Engine};
use crate::openflow::OfError;
use crate::openflow::message::{self, PORT_ANY, PORT_CONTROLLER};

impl<D: Dataplane> Engine<D> {
    /// Sends a packet, through everything that was changed before.
    ///
    /// # Errors
    /// When its port or what its actions name is not there.
    pub fn packet_out(&mut self, bridge: usize, packet: message::PacketOut) -> Result<(), OfError> {
        self.flush();
        self.check_packet_out(bridge, &packet)?;
        let message::PacketOut { key, actions, frame, .. } = packet;
        self.dataplane.packet_out(bridge, PacketOut { frame, key, actions, resume: None });
        Ok(())
    }

    /// What [`Engine::packet_out`] would refuse.
    ///
    /// # Errors
    /// When its port or what its actions name is not there.
    pub fn check_packet_out(&self, bridge: usize, packet: &message::PacketOut) -> Result<(), OfError> {
        if packet.buffer_id.is_some() {
            return Err(OfError::OFPBRC_BUFFER_UNKNOWN);
        }
        let in_port = packet.key.field(Field::IN_PORT) as u32;
        if in_port > NUMBER_MAX && ![LOCAL_PORT, PORT_ANY, PORT_CONTROLLER].contains(&in_port) {
            return Err(OfError::OFPBRC_BAD_PORT);
        }
        let slot = self.state.bridges.get(bridge).and_then(Option::as_ref).ok_or(OfError::OFPBRC_EPERM)?;
        verify(&slot.program, &packet.actions, None)
    }

    /// A packet that stopped for a controller goes on.
    ///
    /// # Errors
    /// When it does not say where.
    pub fn resume(&mut self, bridge: usize, packet: message::PacketIn) -> Result<(), OfError> {
        self.flush();
        let message::PacketIn { key, frame, continuation, .. } = packet;
        let resume = Some(continuation.ok_or(OfError::NXR_STALE)?);
        self.dataplane.packet_out(bridge, PacketOut { frame, key, actions: Vec::new(), resume });
        Ok(())
    }

    /// Takes in what packets asked for: flows are learned at once, packets for controllers become notices.
    pub fn take_upcalls(&mut self) {
        self.origin = None;
        for upcall in self.dataplane.take_upcalls() {
            match upcall {
                Upcall::PacketIn(packet) => {
                    let bridge = packet.bridge;
                    self.notices.push(Notice { bridge, origin: None, event: Event::PacketIn(packet) });
                }
                Upcall::Learn(learned) => {
                    let (bridge, limit) = (learned.bridge, learned.limit);
                    if let Err(why) = self.edit(bridge, |editor| editor.learn_flow(learned.flow, limit)) {
                        debug!("a flow cannot be learned: {why}");
                    }
                }
            }
        }
        self.flush();
    }
}
