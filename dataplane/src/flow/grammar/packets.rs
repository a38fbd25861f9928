//! Packet-outs: `in_port=controller packet=00112233... actions=output:1`.
//!
//! Reference: `ovs-ofctl(8)`, "Packet-Out Syntax".

use super::super::{Action, FRAME_WORDS, Field, FlowKey, Place};
use super::matches::MatchBuilder;
use super::token::{Token, Tokens};
use super::{Fault, GrammarError, PortNames, actions, words};

/// A packet that is sent through a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketText {
    /// in_port, and what else is set for it: metadata, registers.
    pub key: FlowKey,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// The shortest frame: an Ethernet header.
const FRAME_MIN: usize = 14;

/// Parses what `packet-out` takes.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_packet_out(text: &str, ports: &dyn PortNames) -> Result<PacketText, GrammarError> {
    packet_out(text, ports).map_err(|fault| fault.in_text("packet-out", text))
}

/// Reads a frame as hexadecimal digits, with or without dots, colons or spaces between them.
#[must_use]
pub fn parse_frame(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|letter| !matches!(letter, ':' | ' ' | '\n')).collect();
    words::hex(&digits).filter(|frame| frame.len() >= FRAME_MIN)
}

fn packet_out(text: &str, ports: &dyn PortNames) -> Result<PacketText, Fault> {
    let end = text.trim_end().len();
    let mut builder = MatchBuilder::default();
    let (mut frame, mut list) = (None, None);
    let mut tokens = Tokens::new(text, 0);
    while let Some(token) = tokens.next_token()? {
        match token.key {
            "packet" => frame = Some(parse_frame(token.text()?).ok_or_else(|| no_frame(&token))?),
            "actions" | "action" => {
                let start = token.value_start()?;
                list = Some(actions::parse_list(&text[start..], start, Place::List, ports)?);
                break;
            }
            _ => builder.take(&token, ports)?,
        }
    }
    let matches = builder.finish()?;
    if matches.mask.words[1..FRAME_WORDS] != [0; FRAME_WORDS - 1] || matches.mask.field(Field::DL_TYPE) != 0 {
        return Err(Fault::new(0, "fields of the frame", "in_port, metadata, tun_id and registers beside the packet"));
    }
    if matches.mask.field(Field::IN_PORT) == 0 {
        return Err(Fault::new(end, "no in_port", "in_port=PORT; in_port=controller when it comes from nowhere"));
    }
    let actions = list.ok_or_else(|| Fault::new(end, "no actions", "\"actions=\" at the end"))?;
    let frame = frame.ok_or_else(|| Fault::new(end, "no packet", "packet=HEX in front of the actions"))?;
    Ok(PacketText { key: matches.key, actions, frame })
}

fn no_frame(token: &Token<'_>) -> Fault {
    token.wrong("an Ethernet frame in hexadecimal, 14 bytes or more")
}
