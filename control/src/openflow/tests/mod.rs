//! Messages there and back, and what Open vSwitch's own tools make of them.

mod oracle;
mod refused;
mod samples;
mod sent;

use ringswitch_dataplane::flow::grammar;

use super::message::{FlowMod, FlowModCommand};
use super::*;

/// A flow-mod that adds this flow.
fn add(text: &str, nxm: bool) -> Message {
    let mut flow = grammar::parse_flow(text, &()).unwrap_or_else(|error| panic!("{error}"));
    // 1.0 has no such flag, and does it.
    flow.flags.reset_counts |= nxm;
    Message::FlowMod(Box::new(FlowMod {
        command: FlowModCommand::Add,
        table: flow.table,
        flow,
        cookie: 0,
        cookie_mask: 0,
        new_cookie: None,
        buffer_id: None,
        out_port: None,
        out_group: None,
        nxm,
    }))
}

fn bytes(version: Version, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode(version, 1, message, &mut out);
    out
}
