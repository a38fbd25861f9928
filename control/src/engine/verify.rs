//! Whether what actions name is there: groups, meters, tables, ports.
//!
//! What a message alone can tell was checked when it was read. Neighbours: `flow_mod`, `group_mod`, packet-outs.

use ringswitch_dataplane::flow::{Action, GROUP_MAX, METER_MAX, TABLES};
use ringswitch_dataplane::pipeline::Program;

use super::edit::Editor;
use super::state::NUMBER_MAX;
use crate::openflow::{OfError, action_to};

impl Editor<'_> {
    /// Refuses actions of a flow in this table (none: of a group or packet-out) that name what is not there.
    pub fn verify(&self, actions: &[Action], table: Option<u8>) -> Result<(), OfError> {
        verify(&self.bridge.program, actions, table)
    }
}

/// See [`Editor::verify`].
pub(super) fn verify(program: &Program, actions: &[Action], table: Option<u8>) -> Result<(), OfError> {
    actions.iter().try_for_each(|action| match action {
        Action::Output(port) | Action::OutputCut { port, .. } | Action::Enqueue { port, .. } => is_port(*port),
        Action::Group(group) if *group > GROUP_MAX || !program.groups.contains_key(group) => {
            Err(OfError::OFPBAC_BAD_OUT_GROUP)
        }
        Action::Meter(meter) if *meter == 0 || *meter > METER_MAX || !program.meters.contains_key(meter) => {
            Err(OfError::OFPMMFC_INVALID_METER)
        }
        Action::GotoTable(next) if *next >= TABLES || table.is_some_and(|table| *next <= table) => {
            Err(OfError::OFPBIC_BAD_TABLE_ID)
        }
        Action::Learn(learn) if learn.table >= TABLES => Err(OfError::OFPBRC_BAD_TABLE_ID),
        Action::Bundle(bundle) => bundle.members.iter().try_for_each(|port| is_port(*port)),
        Action::Clone(inner) | Action::WriteActions(inner) => verify(program, inner, table),
        _ => Ok(()),
    })
}

/// Could a port have this number? One that is not there may come; reserved ports have actions of their own.
fn is_port(number: u32) -> Result<(), OfError> {
    let is_reserved = action_to(number).is_ok_and(|action| action != Action::Output(number));
    if number <= NUMBER_MAX || is_reserved { Ok(()) } else { Err(OfError::OFPBAC_BAD_OUT_PORT) }
}
