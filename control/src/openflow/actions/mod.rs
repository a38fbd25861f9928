//! Actions on the wire, of every version and Nicira's, and the instructions that hold them.
//!
//! A rule's one list of [`Action`]s is split into instructions where a version has those, and joined again; what a version
//! cannot say it says in Nicira's words, or, as Open vSwitch does, not at all. Trust: a peer's; nesting is bounded. Sources:
//! OpenFlow 1.5.1 sections 7.2.4 and 7.2.6, `ovs-actions(7)`.

mod instructions;
mod learn;
mod nicira_put;
mod nicira_read;
mod put;
mod read;
mod rules;

use ringswitch_dataplane::flow::{Action, Controller, Match};

pub(super) use instructions::{put_instructions, read_instructions};
pub(super) use put::put_actions;
pub(super) use read::read_actions;
pub use rules::check;

use super::wire::{Result, port_of_32};
use super::{OfError, Version};

/// "In any port", as Nicira's actions and 1.0 have it.
const IN_PORT: u16 = 0xfff8;
/// An action of an experimenter.
const EXPERIMENTER: u16 = 0xffff;
/// Lists in lists that are read: more is an attack on the stack.
const DEPTH: u8 = 16;

/// What is known of the packet where an action stands: some actions are written in other words for other packets.
#[derive(Clone, Copy, Default)]
pub(super) struct Packet {
    /// It has a VLAN tag.
    tagged: bool,
    /// Its IP protocol; 0 when that is not known.
    protocol: u8,
}

impl Packet {
    /// A packet that is matched.
    pub(super) fn of(matches: &Match) -> Self {
        use ringswitch_dataplane::flow::{Field, Needs};
        let tagged = Needs::Tag.are_met(matches);
        let protocol = if Needs::Ip.are_met(matches) { matches.key.field(Field::NW_PROTO) as u8 } else { 0 };
        Self { tagged, protocol }
    }
}

/// An output to a port with this number of 32 bits.
fn output(port: u32, max_len: u16) -> Result<Action> {
    Ok(match port {
        0xffff_fff8 => Action::InPort,
        0xffff_fff9 => Action::Table,
        0xffff_fffa => Action::Normal,
        0xffff_fffb => Action::Flood,
        0xffff_fffc => Action::All,
        0xffff_fffd => Action::Controller(Box::new(Controller { max_len, ..Controller::default() })),
        0xffff_fffe => Action::Local,
        0xffff_ff00.. => return Err(OfError::OFPBAC_BAD_OUT_PORT),
        _ => Action::Output(port_of_32(port)?),
    })
}

/// What an output to anything but a controller says about how much a controller gets. It means nothing there, is not kept,
/// and comes back as controllers send it (`OFPCML_MAX`): some compare what they read with what they installed.
const PORT_MAX_LEN: u16 = 0xffe5;

/// The port that an action of [`output`]'s sends to, and how much a controller gets.
fn output_port(action: &Action) -> Option<(u32, u16)> {
    Some(match action {
        Action::Output(port) => (*port, PORT_MAX_LEN),
        Action::InPort => (0xffff_fff8, PORT_MAX_LEN),
        Action::Table => (0xffff_fff9, PORT_MAX_LEN),
        Action::Normal => (0xffff_fffa, PORT_MAX_LEN),
        Action::Flood => (0xffff_fffb, PORT_MAX_LEN),
        Action::All => (0xffff_fffc, PORT_MAX_LEN),
        Action::Local => (0xffff_fffe, PORT_MAX_LEN),
        Action::Controller(controller) => {
            let plain = Controller { max_len: controller.max_len, ..Controller::default() };
            if **controller != plain {
                return None;
            }
            (0xffff_fffd, controller.max_len)
        }
        _ => return None,
    })
}

/// The action that a number of an `out_port` means: what a flow with that output has in its list.
///
/// # Errors
/// There can be no output to it.
pub fn action_to(port: u32) -> std::result::Result<Action, OfError> {
    output(port, u16::MAX)
}

/// Bitmap of the standard actions that are known, as 1.0's features and group features have it.
pub(super) fn supported(version: Version) -> u32 {
    let known: &[u32] = match version {
        Version::V10 => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        _ => &[0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    };
    known.iter().fold(0, |bits, number| bits | 1 << number)
}
