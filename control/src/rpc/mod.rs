//! JSON-RPC 2.0 over a unix socket, one request or reply a line: how `rsctl` (or any script) talks to the daemon.
//!
//! ```text
//! {"jsonrpc":"2.0","id":1,"method":"dump-ports","params":{"bridge":"br0"}}
//! {"jsonrpc":"2.0","id":1,"result":[{"name":"vm1","number":1,"rx_packets":0,...}]}
//! ```
//!
//! Methods are `rsctl`'s commands; those that configure go together as `transact`. Trust: clients may send anything, slowly,
//! and never read: requests are bounded, a client has at most one reply waiting, and nobody waits for it.

mod client;
mod dispatch;
mod lock;
mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use client::{Client, ClientError};
pub use dispatch::dispatch;
pub use server::{Server, ServerError};

use crate::command::Command;
use crate::engine::Source;

/// Where the daemon listens unless told otherwise: `/run/ringswitch/ringswitchd.sock` for root, under `XDG_RUNTIME_DIR`
/// for others.
#[must_use]
pub fn default_socket() -> PathBuf {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !is_root && !dir.is_empty());
    PathBuf::from(runtime.unwrap_or_else(|| "/run".into())).join("ringswitch/ringswitchd.sock")
}

/// Longest request, in bytes: room for several 100 000 flows.
pub const REQUEST_MAX: usize = 64 << 20;

/// A request's method and parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Call {
    /// Configuration commands and queries, all or nothing. Result: a value for each, null for those that answer nothing.
    Transact { commands: Vec<Command> },
    /// Adds flows, all or nothing.
    AddFlows { bridge: String, flows: Vec<String> },
    /// Other actions for matching flows.
    ModFlows {
        bridge: String,
        flow: String,
        #[serde(default)]
        strict: bool,
    },
    /// Matching flows go.
    DelFlows {
        bridge: String,
        flow: Option<String>,
        #[serde(default)]
        strict: bool,
    },
    /// Matching flows with statistics.
    DumpFlows {
        bridge: String,
        flow: Option<String>,
        /// Its priority counts too.
        #[serde(default)]
        strict: bool,
        /// Ports by name.
        #[serde(default)]
        names: bool,
    },
    /// Makes these the bridge's flows, all or nothing.
    ReplaceFlows { bridge: String, flows: Vec<String> },
    /// What two sides do not have in common.
    DiffFlows { one: Source, other: Source },
    /// Sums over matching flows.
    DumpAggregate { bridge: String, flow: Option<String> },
    /// Tables and their counters.
    DumpTables { bridge: String },
    /// Adds groups, or does what a verb in front says (modify, add_or_mod, delete, insert_bucket, remove_bucket), all or
    /// nothing.
    AddGroups { bridge: String, groups: Vec<String> },
    /// A group, or all.
    DumpGroups {
        bridge: String,
        group: Option<String>,
        /// Ports by name.
        #[serde(default)]
        names: bool,
    },
    /// What they counted.
    DumpGroupStats { bridge: String, group: Option<String> },
    /// Adds meters, or does what a verb in front says (modify, delete), all or nothing.
    AddMeters { bridge: String, meters: Vec<String> },
    /// A meter, or all.
    DumpMeters { bridge: String, meter: Option<String> },
    /// What they counted.
    MeterStats { bridge: String, meter: Option<String> },
    /// What would become of a packet: its fields, or a frame in hexadecimal and what it does not tell.
    Trace {
        bridge: String,
        flow: String,
        frame: Option<String>,
        /// Ports by name.
        #[serde(default)]
        names: bool,
    },
    /// Sends packets through the bridge.
    PacketOut { bridge: String, packets: Vec<String> },
    /// Counters.
    DumpPorts { bridge: String, port: Option<String> },
    /// Counters of ports' QoS queues.
    QueueStats { bridge: String, port: Option<String>, queue: Option<String> },
    /// How these queues are set up.
    QueueGetConfig { bridge: String, port: Option<String>, queue: Option<String> },
    /// Learned addresses.
    FdbShow { bridge: String },
    /// Learning's counts.
    FdbStats { bridge: String },
    /// Forget learned addresses.
    FdbFlush { bridge: String, port: Option<String>, vlan: Option<u16> },
    /// A static address.
    FdbAdd { bridge: String, port: String, vlan: u16, mac: String },
    /// An address goes.
    FdbDel { bridge: String, vlan: u16, mac: String },
    /// What pools received and sent.
    PoolStats { pool: Option<String> },
    /// Which pool an address belongs to, and how its frames get there.
    PoolTrace { bridge: Option<String>, address: String },
    /// What workers did.
    WorkerStats {},
    /// Workers' and queues' counts start at zero.
    WorkerStatsClear {},
    /// Who polls what.
    QueueShow {},
    /// Evens out the load of the workers, or only tells how.
    Rebalance {
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads the configuration file again, or another one.
    Reload { file: Option<PathBuf> },
    /// What runs, as a configuration file.
    DumpConfig {},
    /// Version and process.
    Version {},
}

/// Method, parameters and id of a request line; the error reply when it is none.
fn parse_request(line: &[u8]) -> Result<(Call, Option<Value>), Value> {
    let request: Value =
        serde_json::from_slice(line).map_err(|error| failure(Value::Null, -32700, &format!("not JSON: {error}")))?;
    let invalid = |why| failure(Value::Null, -32600, why);
    let Value::Object(mut request) = request else { return Err(invalid("a request is one object on one line")) };
    let id = request.remove("id");
    let reply_id = id.clone().unwrap_or(Value::Null);
    if request.get("jsonrpc") != Some(&json!("2.0")) {
        return Err(failure(reply_id, -32600, "expected \"jsonrpc\": \"2.0\""));
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return Err(failure(reply_id, -32600, "expected \"method\", a text"));
    };
    let params = request.remove("params").unwrap_or_else(|| json!({}));
    match serde_json::from_value(json!({ "method": method, "params": params })) {
        Ok(call) => Ok((call, id)),
        Err(error) if error.to_string().starts_with("unknown variant") && !error.to_string().contains("commands") => {
            let code = if error.to_string().contains(&format!("`{method}`")) { -32601 } else { -32602 };
            Err(failure(reply_id, code, &error.to_string()))
        }
        Err(error) => Err(failure(reply_id, -32602, &format!("{method}: {error}"))),
    }
}

/// `result` is JSON.
fn success(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn failure(id: Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// JSON-RPC's code for a command that was understood and refused.
const REFUSED: i32 = -32000;

/// Runs one request line and returns the reply, if it wants one. What `run` returns is JSON.
pub(crate) fn serve(line: &[u8], run: &mut dyn FnMut(Call) -> Result<String, String>) -> Option<String> {
    match parse_request(line) {
        Ok((call, id)) => {
            let outcome = run(call);
            let id = id?;
            Some(match outcome {
                Ok(result) => success(&id, &result),
                Err(why) => failure(id, REFUSED, &why).to_string(),
            })
        }
        Err(reply) => Some(reply.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Value {
        let mut run = |call| match call {
            Call::FdbShow { bridge } => Ok(json!({ "asked": bridge }).to_string()),
            other => Err(format!("{other:?} refused")),
        };
        serve(line.as_bytes(), &mut run).map_or(json!("no reply"), |reply| serde_json::from_str(&reply).unwrap())
    }

    #[test]
    fn requests_and_their_mistakes_are_answered_as_the_specification_says() {
        let request = |rest: &str| ask(&format!(r#"{{"jsonrpc":"2.0","id":7,{rest}}}"#));
        let reply = json!({"jsonrpc": "2.0", "id": 7, "result": {"asked": "b"}});
        assert_eq!(request(r#""method":"fdb-show","params":{"bridge":"b"}"#), reply);
        assert_eq!(request(r#""method":"version""#), failure(json!(7), -32000, "Version refused"));
        assert_eq!(ask(r#"{"jsonrpc":"2.0","method":"version"}"#), json!("no reply"));
        let codes = [
            (ask("{"), -32700),
            (ask("[1]"), -32600),
            (ask(r#"{"id":1,"method":"version"}"#), -32600),
            (request(r#""method":5"#), -32600),
            (request(r#""method":"fdb-shwo""#), -32601),
            (request(r#""method":"fdb-show","params":{"bridge":5}"#), -32602),
            (request(r#""method":"fdb-show","params":{"bridge":"b","more":5}"#), -32602),
            (request(r#""method":"transact","params":{"commands":[{"ad-br":{}}]}"#), -32602),
        ];
        for (reply, code) in codes {
            assert_eq!(reply["error"]["code"], json!(code), "{reply}");
        }
    }
}
