//! Flow monitors: a peer is told which flows come, change and go. OpenFlow 1.5.1 section 7.3.5.17; Nicira's
//! `NXST_FLOW_MONITOR` is the same.

use ringswitch_dataplane::flow::{Filter, Flow, Rule};

use super::session::Session;
use crate::engine::{Dataplane, Engine, FlowChange, output_to};
use crate::openflow::OfError;
use crate::openflow::message::TABLE_ALL;
use crate::openflow::stats::{FlowRequest, FlowUpdate, MonitorCommand, MonitorRequest};

/// Most monitors of a connection.
const MONITORS_MAX: usize = 1024;

/// Makes, changes or ends monitors; returns the flows that are there already, where that is asked for.
pub(super) fn change<D: Dataplane>(
    engine: &Engine<D>,
    bridge: usize,
    session: &mut Session,
    requests: Vec<MonitorRequest>,
) -> Result<Vec<FlowUpdate>, OfError> {
    let mut updates = Vec::new();
    for request in requests {
        let is_there = session.monitors.contains_key(&request.id);
        match request.command {
            MonitorCommand::Add if is_there => return Err(OfError::OFPMOFC_MONITOR_EXISTS),
            MonitorCommand::Add if session.monitors.len() >= MONITORS_MAX => return Err(OfError::OFPMOFC_UNKNOWN),
            MonitorCommand::Modify | MonitorCommand::Delete if !is_there => {
                return Err(OfError::OFPMOFC_UNKNOWN_MONITOR);
            }
            MonitorCommand::Delete => {
                session.monitors.remove(&request.id);
                continue;
            }
            _ => {}
        }
        if request.flags & MonitorRequest::INITIAL != 0 {
            let rules = engine.flows(bridge, &flows_of(&request))?;
            updates.extend(rules.iter().map(|rule| FlowUpdate::Initial(flow(rule, request.flags))));
        }
        session.monitors.insert(request.id, request);
    }
    Ok(updates)
}

/// What a peer is told about a change; `own` is the request, when the change is the peer's own.
pub(super) fn update(session: &Session, change: FlowChange, rule: &Rule, own: Option<u32>) -> Option<FlowUpdate> {
    let wanted = match change {
        FlowChange::Added => MonitorRequest::ADD,
        FlowChange::Modified => MonitorRequest::MODIFY,
        FlowChange::Removed(_) => MonitorRequest::REMOVED,
    };
    // ONLY_OWN hides nobody's changes: ovs-ofctl sets it where it means NO_ABBREV, and Open vSwitch takes it so.
    let sees = |monitor: &&MonitorRequest| monitor.flags & wanted != 0 && filter(monitor).selects(rule);
    let flags = session.monitors.values().filter(sees).map(|monitor| monitor.flags).reduce(|all, more| all | more)?;
    let in_full = MonitorRequest::NO_ABBREV | MonitorRequest::ONLY_OWN;
    if let (Some(xid), true) = (own, flags & in_full == 0) {
        return Some(FlowUpdate::Abbreviated { xid });
    }
    Some(match change {
        FlowChange::Added => FlowUpdate::Added(flow(rule, flags)),
        FlowChange::Modified => FlowUpdate::Modified(flow(rule, flags)),
        FlowChange::Removed(reason) => FlowUpdate::Removed(flow(rule, flags), reason),
    })
}

fn flow(rule: &Rule, flags: u16) -> Box<Flow> {
    let mut flow = rule.flow.clone();
    if flags & MonitorRequest::INSTRUCTIONS == 0 {
        flow.actions.clear();
    }
    Box::new(flow)
}

fn filter(monitor: &MonitorRequest) -> Filter {
    Filter {
        matches: monitor.matches.normalized(),
        table: (monitor.table != TABLE_ALL).then_some(monitor.table),
        out_port: monitor.out_port.map(output_to),
        out_group: monitor.out_group,
        ..Filter::default()
    }
}

fn flows_of(monitor: &MonitorRequest) -> FlowRequest {
    FlowRequest {
        nxm: false,
        table: monitor.table,
        out_port: monitor.out_port,
        out_group: monitor.out_group,
        cookie: 0,
        cookie_mask: 0,
        matches: monitor.matches,
    }
}
