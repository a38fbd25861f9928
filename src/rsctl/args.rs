//! The command line: Open vSwitch's words, several commands separated by `--`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

const ABOUT: &str = "Controls a running ringswitchd, in the words of ovs-vsctl, ovs-ofctl and ovs-appctl.";

const EXAMPLES: &str = "\
TRANSACTIONS
  Commands that configure (add-br, del-br, add-port, del-port, set) may be joined with `--`. All of them happen, or none.
  Queries among them (get, list-br, list-ports, show) see the result.

COLUMNS
  port        tag, trunks, vlan_mode (access, trunk, native-tagged, native-untagged)
  interface   type (vhost-user, afxdp, tap, internal), ofport_request, mtu_request, admin_state, options:NAME;
              read only: ofport, link_state, statistics, status, error
  bridge      other_config:mac-table-size, other_config:mac-aging-time
  Options of vhost-user: path, mode (server, client), owner, group, permissions, queues, packed, mrg-rxbuf, indirect,
  event-idx, in-order. Of afxdp: netdev, n_rxq, xdp-mode, pass, busy-poll, frames. Of tap and internal: netdev.
  `column=[]` clears a column.

EXAMPLES
  Two guests on a bridge, the second one on VLAN 10:
    rsctl add-br br0 -- add-port br0 vm1 -- set interface vm1 type=vhost-user options:path=/run/ringswitch/vm1.sock
    rsctl add-port br0 vm2 type=vhost-user path=/run/ringswitch/vm2.sock mode=client tag=10
  A physical port:
    rsctl add-port br0 eth1 type=afxdp
  Flows:
    rsctl add-flow br0 'priority=100,tcp,tp_dst=22 actions=drop'
    rsctl add-flows br0 flows.txt
    rsctl del-flows br0 tcp
  What happens:
    rsctl show
    rsctl dump-ports br0
    rsctl top br0                     (a table that is redrawn; into a file or a pipe: one table after the other)
    rsctl --json top --interval 10    (an array per line)
    rsctl get interface vm1 link_state statistics:rx_packets
    rsctl --json worker-stats

EXIT STATUS
  0 done, 1 refused or no daemon, 2 wrong command line.";

/// See [`ABOUT`].
#[derive(Debug, Parser)]
#[command(name = "rsctl", version, about = ABOUT, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Args {
    /// The daemon's socket [default: /run/ringswitch/ringswitchd.sock; under $XDG_RUNTIME_DIR when not root]
    #[arg(short, long, env = "RINGSWITCH_SOCKET", value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Print results as JSON
    #[arg(short, long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a bridge
    AddBr {
        /// Do nothing if it exists
        #[arg(long)]
        may_exist: bool,
        bridge: String,
    },
    /// Delete a bridge and its ports
    DelBr {
        /// Do nothing if it does not exist
        #[arg(long)]
        if_exists: bool,
        bridge: String,
    },
    /// Print the names of all bridges
    ListBr,
    /// Create a port; columns of port and interface and, without "options:", options may follow
    AddPort {
        /// Do nothing if it exists on this bridge
        #[arg(long)]
        may_exist: bool,
        bridge: String,
        port: String,
        #[arg(value_name = "COLUMN=VALUE")]
        columns: Vec<String>,
    },
    /// Delete a port, of BRIDGE or of whichever bridge has it
    DelPort {
        /// Do nothing if it does not exist
        #[arg(long)]
        if_exists: bool,
        #[arg(value_name = "[BRIDGE] PORT", num_args = 1..=2, required = true)]
        names: Vec<String>,
    },
    /// Print the names of a bridge's ports
    ListPorts { bridge: String },
    /// Set columns of a bridge, port or interface
    Set {
        table: String,
        record: String,
        #[arg(value_name = "COLUMN[:KEY]=VALUE", required = true)]
        columns: Vec<String>,
    },
    /// Print columns of a bridge, port or interface; all of them when none is named
    Get {
        /// Print nothing if there is no such record, an empty line if there is no such key
        #[arg(long)]
        if_exists: bool,
        table: String,
        record: String,
        #[arg(value_name = "COLUMN[:KEY]")]
        columns: Vec<String>,
    },
    /// Print bridges, ports and their state at a glance
    Show,
    /// Add a flow (`-` for many, one a line of standard input)
    AddFlow { bridge: String, flow: String },
    /// Add the flows of a file, one a line (`-` for standard input), or change others: lines may start with add, modify,
    /// modify_strict, delete or delete_strict. All or none
    AddFlows { bridge: String, file: PathBuf },
    /// Give matching flows other actions; add the flow when none matches
    ModFlows {
        /// Only the flow with exactly this match and priority
        #[arg(long)]
        strict: bool,
        bridge: String,
        flow: String,
    },
    /// Delete matching flows, or all
    DelFlows {
        /// Only the flow with exactly this match and priority
        #[arg(long)]
        strict: bool,
        bridge: String,
        #[arg(value_name = "MATCH")]
        flow: Option<String>,
    },
    /// Print matching flows, or all, with statistics
    DumpFlows {
        /// Without statistics, as add-flows takes them
        #[arg(long)]
        no_stats: bool,
        bridge: String,
        #[arg(value_name = "MATCH")]
        flow: Option<String>,
    },
    /// Print the counters of a bridge's ports, and why packets were dropped
    DumpPorts { bridge: String, port: Option<String> },
    /// Show what goes through the ports now: packets, bits and drops per second, again and again
    Top {
        /// Only this bridge's ports
        bridge: Option<String>,
        /// Seconds between two looks
        #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        /// Stop after so many looks, and show how many are left
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print learned and static addresses
    FdbShow { bridge: String },
    /// Forget learned addresses
    FdbFlush {
        bridge: String,
        /// Only those behind this port
        #[arg(long)]
        port: Option<String>,
        /// Only those of this VLAN
        #[arg(long)]
        vlan: Option<u16>,
    },
    /// Print what learning did so far
    FdbStats { bridge: String },
    /// Add a static address
    FdbAdd { bridge: String, port: String, vlan: u16, mac: String },
    /// Remove an address, static or learned
    FdbDel { bridge: String, vlan: u16, mac: String },
    /// Print what workers did: cycles per packet, load, cache hits
    WorkerStats,
    /// Print which worker polls which queue
    QueueShow,
    /// Read the configuration file again, or another one, and apply what changed in it
    Reload { file: Option<PathBuf> },
    /// Print what is running as a configuration file
    DumpConfig,
    /// Print the versions of rsctl and of the daemon
    Version,
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| format!("'{text}' is not a number of seconds from 0.1 to 3600"))
}

/// Parses the words of the command line: the first command with the global options, and those behind `--`.
///
/// # Errors
/// What clap says (help and version among them).
pub fn parse(words: &[String]) -> Result<(Args, Vec<Command>), clap::Error> {
    let mut pieces: Vec<Vec<String>> = words[1..].split(|word| word == "--").map(<[String]>::to_vec).collect();
    // `rsctl [OPTIONS] -- add-br br0` is as good as `rsctl [OPTIONS] add-br br0`.
    while pieces.len() > 1 && command_at(&pieces[0]).is_none() {
        let options = pieces.remove(0);
        pieces[0].splice(0..0, options);
    }
    let mut parsed = pieces.into_iter().map(|piece| Args::try_parse_from(in_order(piece)));
    let first = parsed.next().unwrap_or_else(|| Args::try_parse_from(["rsctl"]))?;
    let more = parsed.map(|args| args.map(|args| args.command)).collect::<Result<_, _>>()?;
    Ok((first, more))
}

/// The place of the command's name behind the options.
fn command_at(piece: &[String]) -> Option<usize> {
    let mut index = 0;
    while let Some(word) = piece.get(index) {
        match word.as_str() {
            "-s" | "--socket" => index += 2,
            option if option.starts_with('-') => index += 1,
            _ => return Some(index),
        }
    }
    None
}

/// `--may-exist add-br br0`, as ovs-vsctl wants it, in the order that clap wants.
fn in_order(mut piece: Vec<String>) -> Vec<String> {
    let command = command_at(&piece).unwrap_or(piece.len());
    let of_command = |word: &String| matches!(word.as_str(), "--may-exist" | "--if-exists" | "--strict" | "--no-stats");
    let (moved, mut words): (Vec<String>, Vec<String>) = piece.drain(..command).partition(of_command);
    words.append(&mut piece);
    words.extend(moved);
    words.insert(0, "rsctl".to_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        std::iter::once("rsctl").chain(line.split_whitespace()).map(str::to_owned).collect()
    }

    #[test]
    fn options_may_stand_where_open_vswitch_has_them() {
        for line in [
            "--may-exist add-br br0",
            "add-br --may-exist br0",
            "-- --may-exist add-br br0",
            "-s x -- add-br br0 --may-exist",
        ] {
            let (args, more) = parse(&words(line)).unwrap();
            assert!(
                matches!(args.command, Command::AddBr { may_exist: true, ref bridge } if bridge == "br0"),
                "{line}"
            );
            assert!(more.is_empty());
        }
        let (_, more) = parse(&words("add-br br0 -- --if-exists del-port br0 vm1 -- set port vm2 tag=1")).unwrap();
        assert!(matches!(&more[0], Command::DelPort { if_exists: true, names } if names.len() == 2));
        assert!(matches!(&more[1], Command::Set { columns, .. } if columns == &["tag=1"]));
    }
}
