//! `trace`: what would become of a packet, in words.
//!
//! The dataplane follows the packet as its workers would; here its events become a report as `ovs-appctl ofproto/trace`
//! prints it. Neighbours: `report` has the shape, rsctl prints it.

use ringswitch_dataplane::flow::grammar::{self, PortNames};
use ringswitch_dataplane::flow::{Action, DEFAULT_PRIORITY, Field, FlowKey, LOCAL_PORT, Mask, Match, Rule};
use ringswitch_dataplane::pipeline::{Trace, TraceEvent};

use super::{Dataplane, Engine};
use crate::report::{TraceReport, TraceStep};

impl<D: Dataplane> Engine<D> {
    /// Follows a packet through the bridge. `flow` has its fields, or what a `frame` (in hexadecimal) does not tell: in_port,
    /// metadata, registers. Nothing is sent, counted or learned.
    ///
    /// # Errors
    /// When a text is not what it should be.
    pub fn trace(&mut self, bridge: &str, flow: &str, frame: Option<&str>, names: bool) -> Result<TraceReport, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let mut key = grammar::parse_match(flow, &ports).map_err(|error| error.to_string())?.key;
        // Whoever says a protocol means a packet that has all of its headers; a frame tells better.
        key.set(Field::HEADERS, u64::MAX);
        let bytes = frame.map(|frame| {
            let wrong = || format!("\"{frame}\" is not an Ethernet frame in hexadecimal, 14 bytes or more");
            grammar::parse_frame(frame).ok_or_else(wrong)
        });
        let bytes = bytes.transpose()?;
        self.flush();
        let trace = self.dataplane.trace(index, &key, bytes.as_deref());
        let trace = trace.ok_or_else(|| format!("bridge {bridge} is not in use yet"))?;
        Ok(Teller { ports: if names { &ports } else { &() } }.report(&trace))
    }
}

struct Teller<'a> {
    ports: &'a dyn PortNames,
}

impl Teller<'_> {
    fn report(&self, trace: &Trace) -> TraceReport {
        // The first table sees the packet as it came, read from its frame when there is one.
        let came = trace.events.iter().find_map(|event| match event {
            TraceEvent::Table { key, .. } => Some(**key),
            _ => None,
        });
        let came = came.unwrap_or(trace.key);
        let mut outputs: Vec<String> = trace.events.iter().filter_map(|event| self.destination(event)).collect();
        outputs.dedup();
        TraceReport {
            flow: self.fields(&came),
            steps: self.steps(trace),
            final_flow: self.fields(&trace.key),
            megaflow: self.mattered(&came, &trace.mask),
            outputs,
            dropped: trace.drop_reason().map(|reason| reason.name().to_owned()),
        }
    }

    fn fields(&self, key: &FlowKey) -> String {
        grammar::format_match(&grammar::fields_of(key), DEFAULT_PRIORITY, self.ports)
    }

    fn mattered(&self, key: &FlowKey, mask: &Mask) -> String {
        let mut matches = Match { key: *key, mask: grammar::fields_of(key).mask };
        for (word, mattered) in matches.mask.words.iter_mut().zip(&mask.words) {
            *word &= mattered;
        }
        grammar::format_match(&matches.normalized(), DEFAULT_PRIORITY, self.ports)
    }

    fn steps(&self, trace: &Trace) -> Vec<TraceStep> {
        let mut depth = 0;
        let mut steps = Vec::new();
        for event in &trace.events {
            match event {
                TraceEvent::Table { depth: at, table, rule, .. } => {
                    depth = *at;
                    steps.push(self.table(*at, *table, rule.as_deref()));
                }
                TraceEvent::Action { depth: at, action } => {
                    depth = *at;
                    let action = grammar::format_actions(std::slice::from_ref(action), self.ports);
                    steps.push(TraceStep::Action { depth, action });
                }
                event => steps.extend(self.note(event).map(|note| TraceStep::Note { depth, note })),
            }
        }
        if let Some(reason) = trace.gave_up {
            steps.push(TraceStep::Note { depth, note: format!("given up: {}", reason.name()) });
        }
        steps
    }

    fn table(&self, depth: u32, table: u8, rule: Option<&Rule>) -> TraceStep {
        let rule = rule.map(|rule| {
            let matches = grammar::format_match(&rule.flow.matches, DEFAULT_PRIORITY, self.ports);
            let comma = if matches.is_empty() { "" } else { ", " };
            let cookie = match rule.flow.cookie {
                0 => String::new(),
                cookie => format!(", cookie {cookie:#x}"),
            };
            format!("{matches}{comma}priority {}{cookie}", rule.flow.priority)
        });
        TraceStep::Table { depth, table, rule }
    }

    /// What an action led to, where it does not say so itself.
    fn note(&self, event: &TraceEvent) -> Option<String> {
        Some(match event {
            TraceEvent::Cut(len) => format!("cut to {len} bytes"),
            TraceEvent::Output { port } => format!("output to port {}", self.port(*port)),
            TraceEvent::Flood { except } => format!("output to every port but {}", self.port(*except)),
            TraceEvent::Normal { port: Some(port) } => format!("forwarding to learned port {}", self.port(*port)),
            TraceEvent::Normal { port: None } => "no learned MAC for destination, flooding".to_owned(),
            TraceEvent::Controller { .. } => "packet-in".to_owned(),
            TraceEvent::Learn(flow) => format!("learned: {}", grammar::format_flow(flow, None, self.ports)),
            TraceEvent::Bucket { bucket, .. } => format!("using bucket {bucket}"),
            TraceEvent::Drop(reason) => format!("drop: {}", reason.name()),
            _ => return None,
        })
    }

    /// Where a packet goes to.
    fn destination(&self, event: &TraceEvent) -> Option<String> {
        Some(match event {
            TraceEvent::Output { port } | TraceEvent::Normal { port: Some(port) } => self.port(*port),
            TraceEvent::Flood { except } => format!("all but {}", self.port(*except)),
            TraceEvent::Normal { port: None } => "flood".to_owned(),
            TraceEvent::Controller { .. } => "controller".to_owned(),
            _ => return None,
        })
    }

    fn port(&self, number: u32) -> String {
        let action = if number == LOCAL_PORT { Action::Local } else { Action::Output(number) };
        let text = grammar::format_actions(&[action], self.ports);
        text.strip_prefix("output:").unwrap_or(&text).to_owned()
    }
}
