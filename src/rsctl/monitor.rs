//! `rsctl monitor` and `rsctl snoop`: OpenFlow messages as they come, until nobody reads any more.
//!
//! `monitor` is a controller of its own that gets what controllers get; `snoop` sees what the switch and all its controllers
//! say to each other. Trust: the daemon's sockets; messages are decoded as a controller's are. Neighbours: `main` starts it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ringswitch_control::openflow::message::{FlowRemoved, Header, Message, PacketIn, SwitchConfig, Version};
use ringswitch_control::openflow::{decode, encode};
use ringswitch_dataplane::flow::grammar::{fields_of, format_actions, format_flow, format_match};
use ringswitch_dataplane::flow::{DEFAULT_PRIORITY, Field};
use ringswitch_dataplane::pipeline::fields_of_frame;
use serde_json::json;

/// OpenFlow's numbers of reasons of a packet-in.
const REASONS: [&str; 6] = ["no_match", "action", "invalid_ttl", "action_set", "group", "packet_out"];
/// All of a packet.
const WHOLE: u16 = u16::MAX;

/// What to show.
pub struct Monitor {
    /// Of this bridge.
    pub bridge: String,
    /// What others say, too.
    pub snoop: bool,
    /// Stop after so many messages.
    pub count: Option<u64>,
    /// A JSON object per message instead of lines.
    pub json: bool,
}

/// Shows messages until the count is reached, the switch ends, or nobody reads any more. `directory` is where the bridges'
/// sockets are.
///
/// # Errors
/// When there is no such bridge, and what goes wrong on the connection.
pub fn run(directory: &Path, monitor: &Monitor) -> Result<(), String> {
    let kind = if monitor.snoop { "snoop" } else { "mgmt" };
    let path = directory.join(format!("{}.{kind}", monitor.bridge));
    let mut stream = UnixStream::connect(&path)
        .map_err(|error| format!("{}: {error}; is there a bridge named {}?", path.display(), monitor.bridge))?;
    let told = if monitor.snoop { Ok(()) } else { greet(&mut stream) };
    let shown = told.and_then(|()| show_all(&mut stream, monitor));
    shown.map_err(|error| format!("{}: {error}", path.display()))
}

/// Asks for what controllers get, all of each packet.
fn greet(stream: &mut UnixStream) -> io::Result<()> {
    send(stream, 1, &Message::Hello { versions: 1 << Version::V13 as u32 })?;
    let config = SwitchConfig { flags: 0, miss_send_len: WHOLE };
    send(stream, 2, &Message::SetConfig(config))
}

fn send(stream: &mut UnixStream, xid: u32, message: &Message) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(Version::V13, xid, message, &mut bytes);
    stream.write_all(&bytes)
}

fn show_all(stream: &mut UnixStream, monitor: &Monitor) -> io::Result<()> {
    let mut left = monitor.count;
    while left != Some(0) {
        let Some((header, bytes)) = next(stream)? else { return Ok(()) };
        let message = decode(&bytes, false);
        if let (Ok(Message::EchoRequest(data)), false) = (&message, monitor.snoop) {
            send(stream, header.xid, &Message::EchoReply(data.clone()))?;
            continue;
        }
        if !monitor.snoop && matches!(message, Ok(Message::Hello { .. })) {
            continue;
        }
        let (name, text) = match &message {
            Ok(message) => (name_of(message), describe(message)),
            Err(why) => ("undecodable".to_owned(), format!("type {}, {}", header.kind, why.name())),
        };
        let line = match monitor.json {
            true => json!({ "message": name, "version": header.version, "xid": header.xid, "text": text }).to_string(),
            false => format!("{name} (xid={:#x}):{}{text}", header.xid, if text.is_empty() { "" } else { " " }),
        };
        if writeln!(io::stdout(), "{line}").is_err() {
            return Ok(());
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// The next message; `None` at the end.
fn next(stream: &mut UnixStream) -> io::Result<Option<(Header, Vec<u8>)>> {
    let mut bytes = vec![0; Header::LEN];
    match stream.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let header = Header::read(&bytes).ok_or_else(|| io::Error::other("what comes is not OpenFlow"))?;
    bytes.resize(usize::from(header.len), 0);
    stream.read_exact(&mut bytes[Header::LEN..])?;
    Ok(Some((header, bytes)))
}

/// The variant's name in the specification's spelling: `packet_in`.
fn name_of(message: &Message) -> String {
    let debug = format!("{message:?}");
    let mut name = String::new();
    for letter in debug.chars().take_while(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

fn describe(message: &Message) -> String {
    match message {
        Message::PacketIn(packet) => packet_in(packet),
        Message::FlowRemoved(removed) => flow_removed(removed),
        Message::PortStatus { reason, port } => format!("{reason:?}: {}({})", port.number, port.name).to_lowercase(),
        Message::FlowMod(change) => format!("{:?} {}", change.command, format_flow(&change.flow, None, &()).trim()),
        Message::PacketOut(packet) => {
            let actions = format_actions(&packet.actions, &());
            format!("data_len={} actions={actions}", packet.frame.len())
        }
        Message::Error(error) => format!("{:?}", error.code),
        Message::MultipartRequest { request, .. } => word_of(&format!("{request:?}")),
        Message::MultipartReply { reply, .. } => word_of(&format!("{reply:?}")),
        _ => String::new(),
    }
}

fn word_of(debug: &str) -> String {
    debug.chars().take_while(|letter| letter.is_alphanumeric()).collect::<String>().to_lowercase()
}

fn packet_in(packet: &PacketIn) -> String {
    let in_port = packet.key.field(Field::IN_PORT) as u32;
    let reason = REASONS.get(usize::from(packet.reason)).copied().unwrap_or("unknown");
    let fields = fields_of(&fields_of_frame(&packet.frame, in_port));
    format!(
        "table={} cookie={:#x} total_len={} in_port={in_port} (via {reason}) data_len={} {}",
        packet.table,
        packet.cookie,
        packet.total_len,
        packet.frame.len(),
        format_match(&fields, DEFAULT_PRIORITY, &()),
    )
}

fn flow_removed(removed: &FlowRemoved) -> String {
    let flow = &removed.flow;
    let matches = format_match(&flow.matches, flow.priority, &());
    let seconds = removed.duration.as_secs_f64();
    let FlowRemoved { reason, packets, bytes, .. } = removed;
    format!(
        "{matches} reason={reason:?} table={} cookie={:#x} duration={seconds:.3}s packets={packets} bytes={bytes}",
        flow.table, flow.cookie,
    )
}
