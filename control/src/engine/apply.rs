//! The one door: carries out a plan, all of it or nothing.
//!
//! Devices are opened and closed step by step and each step notes how it is undone; numbers and flow tables change in a
//! clone of the state, which replaces the state when every step succeeded. Workers see the result as one snapshot.

use std::sync::Arc;

use ringswitch_dataplane::flow::{Filter, grammar};
use ringswitch_dataplane::port::{PortEvent, PortId};
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::{debug, info, warn};

use super::edit::Editor;
use super::state::State;
use super::{Dataplane, Engine, Learning, Name};
use crate::flows;
use crate::model::{self, Bridge, Port, Record, Settings, Switch, Value, port_column};
use crate::plan::{Change, plan};
use crate::report::LOCAL;

/// How often ports that could not be opened are tried again.
const RETRY_MS: u64 = 2000;

/// How a step is taken back.
enum Undo {
    Close(PortId),
    Forget(PortId),
    Reopen(PortId),
    RemoveBridge(usize),
}

/// What is done when every step succeeded and workers were told.
enum Finally {
    Forget(PortId),
    RemoveBridge(usize),
}

struct Steps {
    next: State,
    undo: Vec<Undo>,
    /// Bridges' other limits, set when every step succeeded.
    learning: Vec<(usize, Learning)>,
    finally: Vec<Finally>,
    on_failure: OnFailure,
}

/// What it means when a port cannot be opened because of what it found on the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// Somebody waits for the answer: refuse everything.
    Refuse,
    /// Nobody does: the others work, and this one is tried again.
    Retry,
}

impl<D: Dataplane> Engine<D> {
    /// Makes the running switch the wanted one.
    ///
    /// # Errors
    /// Everything that does not fit together, or the first change that failed. Nothing is changed then.
    pub(super) fn apply(&mut self, wanted: Switch, on_failure: OnFailure) -> Result<(), String> {
        let problems = model::check(&wanted, &self.allowed_cpus);
        if !problems.is_empty() {
            return Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
        let changes = plan(&self.model, &wanted);
        if changes.is_empty() {
            return Ok(());
        }
        if on_failure == OnFailure::Refuse {
            // Before a guest notices anything: what is taken back later was gone in between.
            self.check(&changes)?;
        }
        let (next, undo, learning, finally) = (self.state.clone(), Vec::new(), Vec::new(), Vec::new());
        let told = self.notices.len();
        let mut steps = Steps { next, undo, learning, finally, on_failure };
        for change in &changes {
            debug!(?change, "applying");
            if let Err(why) = self.step(change, &mut steps) {
                self.notices.truncate(told);
                self.undo(steps.undo);
                return Err(why);
            }
        }
        steps.next.place_ports();
        self.state = steps.next;
        self.model = wanted;
        self.generation += 1;
        self.read_addresses();
        self.show_pools();
        // Before workers see what is new: no packet of it is served in the wrong place.
        self.dataplane.place(&self.model.workers, &self.state.affinity());
        for (bridge, learning) in steps.learning {
            self.dataplane.set_bridge(bridge, learning);
        }
        self.publish();
        for last in steps.finally {
            match last {
                Finally::Forget(id) => {
                    self.retiring.push((self.epoch, id));
                    self.forget(id);
                }
                Finally::RemoveBridge(bridge) => self.dataplane.remove_bridge(bridge),
            }
        }
        self.tell_sorters();
        self.drain_events();
        self.tell_ports();
        Ok(())
    }

    fn check(&self, changes: &[Change]) -> Result<(), String> {
        changes.iter().try_for_each(|change| match change {
            Change::AddPort { port, spec, .. } | Change::OpenPort { port, spec, .. } => {
                self.dataplane.check_port(port, spec).map_err(|why| format!("port {port}: {why}"))
            }
            Change::SetWorkers { settings } => check_workers(&self.model.workers, settings),
            _ => Ok(()),
        })
    }

    fn step(&mut self, change: &Change, steps: &mut Steps) -> Result<(), String> {
        match change {
            // What is left to do is done when everything else succeeded.
            Change::SetWorkers { settings } => check_workers(&self.model.workers, settings),
            // Whoever connects next finds the other files.
            Change::SetSsl { .. } => Ok(()),
            Change::SetShaping { shaping } => {
                steps.next.shaping = Arc::new(shaping.clone());
                Ok(())
            }
            Change::AddBridge { bridge, settings } => self.add_bridge(bridge, settings, steps),
            Change::RemoveBridge { bridge } => self.remove_bridge(bridge, steps),
            Change::SetBridge { bridge, settings } => {
                steps.learning.push((steps.next.bridge(bridge)?, learning(settings)));
                steps.next.bridge_mut(bridge)?.configure(settings);
                Ok(())
            }
            Change::AddPort { bridge, port, spec } => {
                let number =
                    steps.next.number(steps.next.bridge(bridge)?, spec.settings.number("ofport_request"), None)?;
                self.add_port(bridge, port, spec, number, steps)
            }
            Change::OpenPort { port, spec, .. } => {
                let id = steps.id(port)?;
                steps.set(id, spec)?;
                self.open(id, steps)
            }
            Change::SetPort { port, spec, .. } => {
                let id = steps.id(port)?;
                steps.set(id, spec)
            }
            Change::ClosePort { port, .. } => {
                let id = steps.id(port)?;
                self.close(id, steps);
                Ok(())
            }
            Change::RemovePort { port, .. } => {
                let id = steps.id(port)?;
                self.close(id, steps);
                steps.next.remove_port(id);
                steps.finally.push(Finally::Forget(id));
                Ok(())
            }
            Change::SetPool { pool, spec } => {
                // A number that the last snapshot uses is not taken in the same transaction.
                let in_use = |id| self.state.has_pool(id);
                steps.next.set_pool(pool, spec, in_use);
                Ok(())
            }
            Change::RemovePool { pool } => {
                steps.next.pools.remove(pool);
                Ok(())
            }
            Change::SetGroups { bridge, groups } => {
                let ports = steps.next.port_names(bridge)?;
                let read = |text: &String| grammar::parse_group(text, &ports).map_err(|error| error.to_string());
                let groups = groups.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                let refused = |(group, why)| format!("bridge {bridge}: group {group} is refused: {why}");
                self.editor(steps, bridge)?.set_groups(groups).map_err(refused)
            }
            Change::RemoveGroups { bridge, groups } => {
                let refused = |(group, why)| format!("bridge {bridge}: group {group} cannot go: {why}");
                self.editor(steps, bridge)?.remove_groups(groups).map_err(refused)
            }
            Change::SetMeter { bridge, meter: text } => {
                let meter = grammar::parse_meter(text).map_err(|error| error.to_string())?;
                let refused = |why| format!("bridge {bridge}: meter \"{text}\" is refused: {why}");
                self.editor(steps, bridge)?.set_meter(meter).map_err(refused)
            }
            Change::RemoveMeter { bridge, meter } => {
                let refused = |why| format!("bridge {bridge}: meter {meter} cannot go: {why}");
                self.editor(steps, bridge)?.delete_meters(*meter).map_err(refused)
            }
            Change::AddFlow { bridge, flow: text } => {
                let flow = flows::parse(text, &steps.next.port_names(bridge)?)?;
                let editor = self.editor(steps, bridge)?;
                let refused = |why| format!("bridge {bridge}: flow \"{text}\" is refused: {why}");
                editor.verify(&flow.actions, Some(flow.table)).map_err(refused)?;
                editor.bridge.program.tables.insert(flow, coarse_ms(), editor.lanes);
                Ok(())
            }
            Change::RemoveFlow { bridge, flow } => self.remove_flow(bridge, flow, steps),
        }
    }

    /// Changes what OpenFlow says about a bridge that is to be.
    fn editor<'a>(&'a mut self, steps: &'a mut Steps, bridge: &str) -> Result<Editor<'a>, String> {
        let index = steps.next.bridge(bridge)?;
        let slot = steps.next.bridge_mut(bridge)?;
        Ok(self.editor_of(index, slot))
    }

    /// A flow of the file names ports as they were when it was added; when such a port is gone since, the flow stays.
    fn remove_flow(&mut self, bridge: &str, text: &str, steps: &mut Steps) -> Result<(), String> {
        match flows::parse(text, &self.state.port_names(bridge)?) {
            Ok(flow) => drop(steps.next.bridge_mut(bridge)?.program.tables.remove(&Filter::strict(&flow))),
            Err(why) => warn!(%bridge, "a flow that left the file stays: {why}"),
        }
        Ok(())
    }

    fn add_bridge(&mut self, name: &str, settings: &Settings, steps: &mut Steps) -> Result<(), String> {
        // A place that the last snapshot uses is not taken in the same transaction.
        let in_use = |index: usize| matches!(self.state.bridges.get(index), Some(Some(_)));
        let index = steps.next.add_bridge(name, in_use);
        steps.next.bridge_mut(name)?.configure(settings);
        self.dataplane.add_bridge(index, learning(settings));
        steps.undo.push(Undo::RemoveBridge(index));
        let mut local = Port::default();
        port_column(&mut local, Record::Interface, "type=internal").map_err(|error| error.to_string())?;
        // The bridge works without its own port, which needs rights that others do not.
        let wanted = std::mem::replace(&mut steps.on_failure, OnFailure::Retry);
        let added = self.add_port(name, name, &local, LOCAL, steps);
        steps.on_failure = wanted;
        added
    }

    fn remove_bridge(&mut self, name: &str, steps: &mut Steps) -> Result<(), String> {
        let index = steps.next.bridge(name)?;
        let ports: Vec<PortId> = steps.next.ports_of(index).iter().map(|port| port.id).collect();
        for id in ports {
            self.close(id, steps);
            steps.next.remove_port(id);
            steps.finally.push(Finally::Forget(id));
        }
        steps.next.bridges[index] = None;
        steps.finally.push(Finally::RemoveBridge(index));
        Ok(())
    }

    fn add_port(
        &mut self,
        bridge: &str,
        name: &str,
        spec: &Port,
        number: u32,
        steps: &mut Steps,
    ) -> Result<(), String> {
        let bridge = steps.next.bridge(bridge)?;
        let in_use =
            |id: PortId| self.state.port(id).is_some() || self.retiring.iter().any(|&(_, retiring)| retiring == id);
        let id = steps.next.add_port(bridge, name, spec, number, in_use)?;
        if let Err(why) = self.open(id, steps) {
            steps.next.remove_port(id);
            self.forget(id);
            return Err(why);
        }
        // Taken back last step first: it is closed, then forgotten.
        let closing = steps.undo.pop_if(|undo| matches!(undo, Undo::Close(_)));
        steps.undo.push(Undo::Forget(id));
        steps.undo.extend(closing);
        Ok(())
    }

    /// Opens the port's device unless the operator turned it off.
    fn open(&mut self, id: PortId, steps: &mut Steps) -> Result<(), String> {
        let Some(port) = steps.next.port_mut(id) else { return Ok(()) };
        if !port.spec.admin_up() {
            let link = PortEvent::Down("admin_state is down".to_owned());
            self.links.insert(id, (port.name.clone(), link));
            return Ok(());
        }
        self.addresses.reopened(id);
        match self.dataplane.open_port(id, &port.name, &port.spec) {
            Ok(()) => {
                port.open = true;
                self.links.insert(id, (port.name.clone(), waiting()));
                steps.undo.push(Undo::Close(id));
                Ok(())
            }
            Err(why) if steps.on_failure == OnFailure::Retry => {
                self.failed(id, &port.name, why);
                Ok(())
            }
            Err(why) => Err(format!("port {}: {why}", port.name)),
        }
    }

    /// Tries the ports again that could not be opened, or not opened again.
    pub(super) fn retry(&mut self, now_ms: u64) {
        if now_ms < self.retry_ms {
            return;
        }
        self.retry_ms = now_ms + RETRY_MS;
        let mut opened = false;
        for id in self.state.failed_ports() {
            let Some(port) = self.state.port_mut(id) else { continue };
            let name = port.name.clone();
            self.addresses.reopened(id);
            match self.dataplane.open_port(id, &name, &port.spec) {
                Ok(()) => {
                    info!(port = %name, "opened at last");
                    port.open = true;
                    opened = true;
                    self.links.insert(id, (name, waiting()));
                }
                Err(why) => self.failed(id, &name, why),
            }
        }
        if opened {
            self.publish();
            self.tell_sorters();
            self.drain_events();
            self.tell_ports();
        }
    }

    /// Keeps why a port could not be opened; says so when that is news.
    fn failed(&mut self, id: PortId, name: &Name, why: String) {
        let link = PortEvent::Faulted(why);
        let known = self.links.get(&id).is_some_and(|(_, known)| *known == link);
        if let (false, PortEvent::Faulted(why)) = (known, &link) {
            warn!(port = %name, "cannot be opened, and is tried again until it can: {why}");
        }
        self.links.insert(id, (name.clone(), link));
    }

    fn close(&mut self, id: PortId, steps: &mut Steps) {
        let Some(port) = steps.next.port_mut(id).filter(|port| port.open) else { return };
        port.open = false;
        self.dataplane.close_port(id);
        // What it told before it closed is no news about what is opened next.
        self.drain_events();
        steps.undo.push(Undo::Reopen(id));
    }

    fn forget(&mut self, id: PortId) {
        self.dataplane.forget_port(id);
        self.links.remove(&id);
    }

    /// Takes steps back, the last one first. The state was not touched.
    fn undo(&mut self, steps: Vec<Undo>) {
        for step in steps.into_iter().rev() {
            match step {
                Undo::Close(id) => self.dataplane.close_port(id),
                Undo::Forget(id) => self.forget(id),
                Undo::RemoveBridge(bridge) => self.dataplane.remove_bridge(bridge),
                Undo::Reopen(id) => {
                    let Some(port) = self.state.port_mut(id) else { continue };
                    let name = port.name.clone();
                    self.addresses.reopened(id);
                    match self.dataplane.open_port(id, &name, &port.spec) {
                        Ok(()) => drop(self.links.insert(id, (name, waiting()))),
                        Err(why) => {
                            port.open = false;
                            self.failed(id, &name, why);
                        }
                    }
                }
            }
        }
        self.drain_events();
        self.publish();
        self.tell_sorters();
        self.tell_ports();
    }
}

impl Steps {
    fn id(&self, port: &str) -> Result<PortId, String> {
        self.next.port_named(port).map(|port| port.id).ok_or_else(|| format!("no port named {port}"))
    }

    fn set(&mut self, id: PortId, spec: &Port) -> Result<(), String> {
        let Some((bridge, own)) = self.next.port(id).map(|port| (port.bridge, port.number)) else { return Ok(()) };
        let number = self.next.number(bridge, spec.settings.number("ofport_request"), Some(own))?;
        if let Some(port) = self.next.port_mut(id) {
            port.number = number;
            port.spec = spec.clone();
        }
        Ok(())
    }
}

/// Every counter has a place for each worker from the start, so that their number stays.
fn check_workers(running: &Settings, wanted: &Settings) -> Result<(), String> {
    let (running, wanted) = (running.value("cpus"), wanted.value("cpus"));
    if running == wanted {
        return Ok(());
    }
    let say = |value: Option<&Value>| value.map_or("unset".to_owned(), ToString::to_string);
    let differ = format!("cpus is {}, was {} at the start", say(wanted), say(running));
    Err(format!("[workers] cpus cannot change while the daemon runs, restart it ({differ})"))
}

fn waiting() -> PortEvent {
    PortEvent::Down("waiting for the peer".to_owned())
}

fn learning(settings: &Settings) -> Learning {
    let bridge = Bridge { settings: settings.clone(), ..Bridge::default() };
    Learning { capacity: bridge.mac_table_size(), aging: bridge.mac_aging_time() }
}
