//! Ports as controllers see and change them, and what becomes of a port whose link is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringswitch_dataplane::flow::Mac;
use ringswitch_dataplane::packet::{DropReason, PortTotals};
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::notice::{Event, Notice};
use super::state::PortSlot;
use super::{Dataplane, Engine};
use crate::openflow::OfError;
use crate::openflow::message::{PORT_ANY, PortMod, PortReason};
use crate::openflow::stats::{Port, PortStats};

/// What controllers can change about a port.
const CONFIG: u32 = Port::PORT_DOWN | Port::NO_RECV | Port::NO_FLOOD | Port::NO_FWD | Port::NO_PACKET_IN;

impl<D: Dataplane> Engine<D> {
    /// The bridge's ports, or the one with this number.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn ports(&self, bridge: usize, number: u32) -> Result<Vec<Port>, OfError> {
        Ok(self.slots(bridge, number, OfError::OFPBRC_BAD_PORT)?.into_iter().map(|port| self.describe(port)).collect())
    }

    /// Their counters.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn port_stats(&self, bridge: usize, number: u32) -> Result<Vec<PortStats>, OfError> {
        let slots = self.slots(bridge, number, OfError::OFPBRC_BAD_PORT)?;
        Ok(slots.into_iter().map(|port| stats(port, &self.dataplane.port_totals(port.id))).collect())
    }

    /// Fails with `unknown` when there is no such port.
    pub(super) fn slots(&self, bridge: usize, number: u32, unknown: OfError) -> Result<Vec<&PortSlot>, OfError> {
        let mut ports = self.state.ports_of(bridge);
        if number != PORT_ANY {
            ports.retain(|port| port.number == number);
            if ports.is_empty() {
                return Err(unknown);
            }
        }
        Ok(ports)
    }

    /// Changes what a port does; published with the next [`Engine::flush`].
    ///
    /// # Errors
    /// When there is no such port, or its address is another one.
    pub fn port_mod(&mut self, bridge: usize, request: &PortMod) -> Result<(), OfError> {
        let [slot] = self.slots(bridge, request.port, OfError::OFPPMFC_BAD_PORT)?[..] else {
            return Err(OfError::OFPPMFC_BAD_PORT);
        };
        if self.describe(slot).mac != request.mac {
            return Err(OfError::OFPPMFC_BAD_HW_ADDR);
        }
        let (id, mask) = (slot.id, request.mask & CONFIG);
        if let Some(slot) = self.state.port_mut(id) {
            slot.config = slot.config & !mask | request.config & mask;
        }
        self.unpublished = true;
        self.tell_ports();
        Ok(())
    }

    /// Tells controllers which ports came, went and changed since the last time, and fast failover which are down.
    pub(super) fn tell_ports(&mut self) {
        let mut now = BTreeMap::new();
        for port in self.state.ports() {
            now.insert((port.bridge, port.number), self.describe(port));
        }
        let before = std::mem::take(&mut self.told);
        let mut notice = |bridge, reason, port: &Port| {
            let event = Event::Port(reason, Box::new(port.clone()));
            self.notices.push(Notice { bridge, origin: None, event });
        };
        for (at, port) in &before {
            if !now.contains_key(at) {
                notice(at.0, PortReason::Delete, port);
            }
        }
        for (at, port) in &now {
            match before.get(at) {
                None => notice(at.0, PortReason::Add, port),
                Some(old) if old.name != port.name => {
                    notice(at.0, PortReason::Delete, old);
                    notice(at.0, PortReason::Add, port);
                }
                Some(old) if old != port => notice(at.0, PortReason::Modify, port),
                Some(_) => {}
            }
        }
        self.told = now;
        self.note_dead_ports();
    }

    fn note_dead_ports(&mut self) {
        let mut changed = false;
        for (index, slot) in self.state.bridges.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let of_bridge = self.told.range((index, 0)..=(index, u32::MAX));
            let dead = of_bridge.filter(|(_, port)| port.state & Port::LIVE == 0).map(|((_, number), _)| *number);
            let dead: Vec<u32> = dead.collect();
            if *slot.program.dead_ports != dead {
                slot.program.dead_ports = Arc::new(dead);
                changed = true;
            }
        }
        if changed {
            self.publish();
        }
    }

    fn describe(&self, port: &PortSlot) -> Port {
        let admin_down = if port.spec.admin_up() { 0 } else { Port::PORT_DOWN };
        let config = port.config | admin_down;
        let (up, _) = self.link(port);
        let live = if up && config & Port::PORT_DOWN == 0 { Port::LIVE } else { 0 };
        Port {
            number: port.number,
            mac: self.dataplane.port_mac(port.id, &port.name, &port.spec).unwrap_or_else(|| made_up(&port.name)),
            name: port.name.to_string(),
            config,
            state: live | if up { 0 } else { Port::LINK_DOWN },
            ..Port::default()
        }
    }
}

/// An address for a port that has none of its own: always the same one for the same name.
fn made_up(name: &str) -> Mac {
    let [_, _, _, a, b, c, d, e] = super::served::hash(name.as_bytes()).to_be_bytes();
    [0xaa, a, b, c, d, e]
}

fn stats(port: &PortSlot, totals: &PortTotals) -> PortStats {
    let dropped = |reasons: &[DropReason]| reasons.iter().map(|reason| totals.drops[*reason as usize]).sum();
    PortStats {
        number: port.number,
        rx_packets: totals.rx_packets,
        tx_packets: totals.tx_packets,
        rx_bytes: totals.rx_bytes,
        tx_bytes: totals.tx_bytes,
        // What rules drop is no fault of the port.
        rx_dropped: dropped(&[DropReason::LookupBudget]),
        tx_dropped: dropped(&[DropReason::TxFull, DropReason::TxDown, DropReason::TxTooLarge]),
        rx_errors: dropped(&[DropReason::Runt, DropReason::Giant, DropReason::RxMalformed]),
        tx_errors: dropped(&[DropReason::TxDevice]),
        duration: Some(Duration::from_millis(coarse_ms().saturating_sub(port.created_ms))),
        ..PortStats::default()
    }
}
