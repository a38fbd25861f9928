//! Changing what OpenFlow says about a bridge: the same for text commands, controllers and flows that packets make.
//!
//! An [`Editor`] works on the bridge's program in place: the snapshot in force shares what did not change and is never
//! touched. Every request is checked before it changes anything, so a refused one leaves nothing behind; several that must
//! happen together are [`Engine::commit`]ted. Nothing of it reaches workers before [`Engine::flush`], so that thousands of
//! flows that come at once are published once. Trust: controllers ask for anything; what is wrong is an [`OfError`].

use std::sync::Arc;

use ringswitch_dataplane::flow::Rule;
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::notice::{Event, FlowChange, Notice, Origin, flow_removed};
use super::state::BridgeSlot;
use super::{Dataplane, Engine};
use crate::openflow::OfError;
use crate::openflow::message::{FlowMod, GroupMod, Message, MeterMod, RemovedReason, TableMod};

/// A bridge's program, being changed.
pub(super) struct Editor<'a> {
    pub index: usize,
    pub bridge: &'a mut BridgeSlot,
    pub now_ms: u64,
    /// Workers that count.
    pub lanes: usize,
    /// Somebody monitors the flows.
    watched: bool,
    origin: Option<Origin>,
    notices: &'a mut Vec<Notice>,
}

impl Editor<'_> {
    fn notice(&mut self, event: Event) {
        self.notices.push(Notice { bridge: self.index, origin: self.origin, event });
    }

    /// Tells whoever wants to know that a flow came or changed.
    pub fn changed(&mut self, change: FlowChange, rule: &Arc<Rule>) {
        if self.watched {
            self.notice(Event::FlowChanged(change, Arc::clone(rule)));
        }
    }

    /// The same for a flow that went.
    pub fn removed(&mut self, rule: &Arc<Rule>, reason: RemovedReason) {
        if rule.flow.flags.send_flow_rem {
            self.notice(Event::FlowRemoved(Box::new(flow_removed(rule, reason, self.now_ms))));
        }
        self.changed(FlowChange::Removed(reason), rule);
    }
}

impl<D: Dataplane> Engine<D> {
    /// Changes a bridge's program; published with the next [`Engine::flush`].
    pub(super) fn edit<T>(
        &mut self,
        bridge: usize,
        change: impl FnOnce(&mut Editor<'_>) -> Result<T, OfError>,
    ) -> Result<T, OfError> {
        let mut slot = self.state.bridges.get_mut(bridge).and_then(Option::take).ok_or(OfError::OFPBRC_EPERM)?;
        let outcome = change(&mut self.editor_of(bridge, &mut slot));
        self.state.bridges[bridge] = Some(slot);
        self.unpublished |= outcome.is_ok();
        outcome
    }

    /// For a bridge that is not a part of the state yet, or not now.
    pub(super) fn editor_of<'a>(&'a mut self, index: usize, bridge: &'a mut BridgeSlot) -> Editor<'a> {
        Editor {
            index,
            bridge,
            now_ms: coarse_ms(),
            lanes: self.dataplane.lanes(),
            watched: self.watched.contains(&index),
            origin: self.origin,
            notices: &mut self.notices,
        }
    }

    /// Publishes what changed since the last time. Returns the epoch that has all of it.
    pub fn flush(&mut self) -> u64 {
        if std::mem::take(&mut self.unpublished) {
            self.publish();
        }
        self.epoch
    }

    /// True when no packet will meet anything older than this epoch.
    pub fn is_in_effect(&self, epoch: u64) -> bool {
        self.dataplane.is_in_effect(epoch)
    }

    /// Until told otherwise, changes are this request's.
    pub fn set_origin(&mut self, origin: Option<Origin>) {
        self.origin = origin;
    }

    /// Whether changes of the bridge's flows are noticed at all.
    pub fn watch_flows(&mut self, bridge: usize, watched: bool) {
        if watched {
            self.watched.insert(bridge);
        } else {
            self.watched.remove(&bridge);
        }
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Adds, modifies or deletes flows; returns how many.
    ///
    /// # Errors
    /// As OpenFlow has it; nothing is changed then.
    pub fn flow_mod(&mut self, bridge: usize, request: FlowMod) -> Result<usize, OfError> {
        self.edit(bridge, |editor| editor.flow_mod(request))
    }

    /// Adds, modifies or deletes groups, or their buckets.
    ///
    /// # Errors
    /// As OpenFlow has it; nothing is changed then.
    pub fn group_mod(&mut self, bridge: usize, request: GroupMod) -> Result<(), OfError> {
        self.edit(bridge, |editor| editor.group_mod(request))
    }

    /// Adds, modifies or deletes meters.
    ///
    /// # Errors
    /// As OpenFlow has it; nothing is changed then.
    pub fn meter_mod(&mut self, bridge: usize, request: MeterMod) -> Result<(), OfError> {
        self.edit(bridge, |editor| editor.meter_mod(request))
    }

    /// Changes how tables behave.
    ///
    /// # Errors
    /// As OpenFlow has it; nothing is changed then.
    pub fn table_mod(&mut self, bridge: usize, request: TableMod) -> Result<(), OfError> {
        self.edit(bridge, |editor| editor.table_mod(request))
    }

    /// Carries out the requests of a bundle, in order: all of them or none.
    ///
    /// # Errors
    /// Which one was refused, and why. Nothing is changed then.
    pub fn commit(&mut self, bridge: usize, requests: Vec<(Option<Origin>, Message)>) -> Result<(), (usize, OfError)> {
        let (before, told, unpublished) = (self.state.clone(), self.notices.len(), self.unpublished);
        let mut packets = Vec::new();
        for (place, (origin, request)) in requests.into_iter().enumerate() {
            self.origin = origin;
            let done = match request {
                Message::FlowMod(request) => self.flow_mod(bridge, *request).map(drop),
                Message::GroupMod(request) => self.group_mod(bridge, *request),
                Message::MeterMod(request) => self.meter_mod(bridge, request),
                Message::PortMod(request) => self.port_mod(bridge, &request),
                Message::PacketOut(packet) => {
                    let checked = self.check_packet_out(bridge, &packet);
                    packets.push(packet);
                    checked
                }
                _ => Err(OfError::OFPBFC_MSG_UNSUP),
            };
            if let Err(why) = done {
                self.state = before;
                self.notices.truncate(told);
                self.unpublished = unpublished;
                return Err((place, why));
            }
        }
        // They were checked in their places; what they meet is all of the bundle.
        for packet in packets {
            let _ = self.packet_out(bridge, *packet);
        }
        Ok(())
    }
}
