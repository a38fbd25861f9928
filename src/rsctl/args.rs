//! The command line: Open vSwitch's words, several commands separated by `--`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use ringswitch_control::model::{PortType, Scope, settings_help};

const ABOUT: &str = "Controls a running ringswitchd, in the words of ovs-vsctl, ovs-ofctl and ovs-appctl.";

const TRANSACTIONS: &str = "\
TRANSACTIONS
  Commands that configure (add-br, del-br, add-port, del-port, set, create, pool-set, set-controller and the like) may be joined with `--`. All of them happen, or none.
  Queries among them (get, list, list-br, list-ports, pool-list, show) see the result.
  What `--id=@NAME create` makes is called @NAME in all of them.

";

/// What `set` and `add-port` take and `get` prints.
fn columns() -> String {
    let part = |title: &str, prefix: &str, scope: &dyn Fn(Scope) -> bool| {
        format!("{title}\n{}\n", settings_help(prefix, scope))
    };
    let of = |port_type| move |scope| matches!(scope, Scope::Options(types) if types.contains(&port_type));
    [
        part("COLUMNS OF A BRIDGE", "", &|scope| scope == Scope::Bridge),
        part("  also", "other_config:", &|scope| scope == Scope::BridgeOther),
        part("COLUMNS OF A CONTROLLER, by its bridge's name", "", &|scope| scope == Scope::Controller),
        part("COLUMNS OF A POOL, a VM's ports", "", &|scope| scope == Scope::Pool),
        part("COLUMNS OF A PORT", "", &|scope| scope == Scope::Port),
        part("COLUMNS OF A QOS", "", &|scope| scope == Scope::Qos),
        part("  also queues:NUMBER=QUEUE, and", "other_config:", &|scope| scope == Scope::QosOther),
        part("COLUMNS OF A QUEUE", "other_config:", &|scope| scope == Scope::QueueOther),
        part("COLUMNS OF AN INTERFACE", "", &|scope| scope == Scope::Interface),
        part("  also", "other_config:", &|scope| scope == Scope::InterfaceOther),
        part("  of type vhost-user also", "options:", &of(PortType::VhostUser)),
        part("  of type afxdp also", "options:", &of(PortType::AfXdp)),
        part("  of type tap and internal also", "options:", &of(PortType::Tap)),
        part("COLUMNS OF open_vswitch, record .", "other_config:", &|scope| scope == Scope::Workers),
        "  Read only: ofport, link_state, statistics, status, error.\n  `COLUMN=[]` goes back to the default.\n"
            .to_owned(),
    ]
    .concat()
}

fn more() -> String {
    format!("{TRANSACTIONS}{}\n{EXAMPLES}", columns())
}

const EXAMPLES: &str = "\
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
    rsctl dump-flows br0 cookie=0x10/0xf0
    rsctl replace-flows br0 flows.txt
  Groups and meters:
    rsctl add-group br0 'group_id=1,type=select,bucket=output:vm1,bucket=output:vm2'
    rsctl add-meter br0 'meter=1,kbps,bands=type=drop,rate=10000'
    rsctl add-flow br0 'tcp actions=meter:1,group:1'
  A VM with two ports, its part of the uplink and of the CPU, and what sorts frames for it:
    rsctl pool-set web ports=vm1,vm2 weight=200 max_rate=1000000000
    rsctl pool-list; rsctl pool-stats web; rsctl pool-trace 52:54:00:00:00:01
  A port that its senders share, with a queue that comes first:
    rsctl set port eth1 qos=@up -- --id=@up create qos type=linux-htb other_config:max-rate=1000000000 queues:1=@voice \
      -- --id=@voice create queue other_config:min-rate=100000000
    rsctl add-flow br0 'udp,tp_dst=5060 actions=set_queue:1,NORMAL'
    rsctl queue-stats br0 eth1
  What happens:
    rsctl trace br0 in_port=vm1,tcp,nw_dst=10.0.0.1,tp_dst=22
    rsctl show
    rsctl dump-ports br0
    rsctl top br0                     (a table that is redrawn; into a file or a pipe: one table after the other)
    rsctl --json top --interval 10    (an array per line)
    rsctl get interface vm1 link_state statistics:rx_packets
    rsctl --json worker-stats
  Who polls what:
    rsctl set interface vm1 other_config:pmd-rxq-affinity=0:3,1:7
    rsctl queue-show
    rsctl rebalance --dry-run
    rsctl worker-stats --interval 1 --count 3

EXIT STATUS
  0 done, 1 refused or no daemon, 2 wrong command line, or diff-flows found a difference.";

/// See [`ABOUT`].
#[derive(Debug, Parser)]
#[command(name = "rsctl", version, about = ABOUT, after_help = more())]
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
        /// The bridge's name, which its netdev gets too: at most 15 bytes
        bridge: String,
    },
    /// Delete a bridge and its ports
    DelBr {
        /// Do nothing if it does not exist
        #[arg(long)]
        if_exists: bool,
        /// The bridge's name
        bridge: String,
    },
    /// Print the names of all bridges
    ListBr,
    /// Create a port
    #[command(after_help = columns())]
    AddPort {
        /// Do nothing if it exists on this bridge
        #[arg(long)]
        may_exist: bool,
        /// The bridge's name
        bridge: String,
        /// The port's name; of an afxdp or tap port also its netdev's, unless netdev=NAME says another one
        port: String,
        /// Columns of port and interface, such as type=vhost-user tag=10; options may lack their "options:"
        #[arg(value_name = "COLUMN=VALUE")]
        columns: Vec<String>,
    },
    /// Delete a port
    DelPort {
        /// Do nothing if it does not exist
        #[arg(long)]
        if_exists: bool,
        /// The port's name, of this bridge or of whichever has it
        #[arg(value_name = "[BRIDGE] PORT", num_args = 1..=2, required = true)]
        names: Vec<String>,
    },
    /// Print the names of a bridge's ports
    ListPorts {
        /// The bridge's name
        bridge: String,
    },
    /// Set columns of a record: of a bridge, port, interface, controller, pool, qos, queue, or of the switch itself
    #[command(after_help = columns())]
    Set {
        /// bridge, port, interface, controller, pool, qos, queue or open_vswitch, or the beginning of it
        table: String,
        /// The name of the record; of a controller, its bridge's; of the switch, a dot
        record: String,
        /// What to set, such as tag=10 or options:path=/run/vm1.sock
        #[arg(value_name = "COLUMN[:KEY]=VALUE", required = true)]
        columns: Vec<String>,
    },
    /// Set columns of a record back to their default
    Clear {
        /// bridge, port, interface, controller, pool, qos, queue or open_vswitch, or the beginning of it
        table: String,
        /// The name of the record; of a controller, its bridge's; of the switch, a dot
        record: String,
        /// What to clear, such as qos or other_config:max-rate
        #[arg(value_name = "COLUMN[:KEY]", required = true)]
        columns: Vec<String>,
    },
    /// Remove keys from a column that is a map
    Remove {
        /// bridge, interface, qos or queue, or the beginning of it
        table: String,
        /// The name of the bridge, port, qos or queue
        record: String,
        /// The map, such as queues or other_config
        column: String,
        /// What to remove from it, such as 1 or max-rate
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Create a record of table qos or queue, and print its name
    #[command(after_help = columns())]
    Create {
        /// How other commands of the same line call it; its name too, unless that is taken [default: a new name]
        #[arg(long, value_name = "@NAME")]
        id: Option<String>,
        /// qos or queue
        table: String,
        /// What to set, such as type=linux-htb, queues:1=@q1 or other_config:max-rate=1000000
        #[arg(value_name = "COLUMN[:KEY]=VALUE", required = true)]
        columns: Vec<String>,
    },
    /// Destroy records of table qos or queue that nothing uses
    Destroy {
        /// Do nothing about those that do not exist
        #[arg(long)]
        if_exists: bool,
        /// All of the table
        #[arg(long)]
        all: bool,
        /// qos or queue
        table: String,
        /// Their names
        #[arg(value_name = "RECORD")]
        records: Vec<String>,
    },
    /// Print all columns of records
    List {
        /// bridge, port, interface, controller, pool, qos, queue or open_vswitch, or the beginning of it
        table: String,
        /// Their names; all of the table when none is named
        #[arg(value_name = "RECORD")]
        records: Vec<String>,
    },
    /// Print columns of a record
    #[command(after_help = columns())]
    Get {
        /// Print nothing if there is no such record, an empty line if there is no such key
        #[arg(long)]
        if_exists: bool,
        /// bridge, port, interface, controller, pool, qos, queue or open_vswitch, or the beginning of it
        table: String,
        /// The name of the record; of a controller, its bridge's; of the switch, a dot
        record: String,
        /// What to print, such as tag or statistics:rx_packets; all columns when none is named
        #[arg(value_name = "COLUMN[:KEY]")]
        columns: Vec<String>,
    },
    /// Say what a bridge does while no controller is there
    SetFailMode {
        /// The bridge's name
        bridge: String,
        /// standalone: it switches by itself, as actions=NORMAL does; secure: it keeps to the flows it has
        #[arg(value_parser = ["standalone", "secure"])]
        mode: String,
    },
    /// Print what a bridge does while no controller is there, if that was said
    GetFailMode {
        /// The bridge's name
        bridge: String,
    },
    /// Back to standalone
    DelFailMode {
        /// The bridge's name
        bridge: String,
    },
    /// Give a bridge OpenFlow controllers, instead of those it had
    SetController {
        /// The bridge's name
        bridge: String,
        /// tcp:IP[:PORT], ssl:IP[:PORT] or unix:PATH to connect; ptcp:[PORT][:IP], pssl:[PORT][:IP] or punix:PATH to listen
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Print a bridge's controllers
    GetController {
        /// The bridge's name
        bridge: String,
    },
    /// Take a bridge's controllers from it
    DelController {
        /// The bridge's name
        bridge: String,
    },
    /// Set the files that controllers are spoken to with over TLS
    SetSsl {
        /// The switch's private key, PEM
        private_key: String,
        /// Its certificate, PEM
        certificate: String,
        /// Certificates of those who sign controllers' certificates, PEM
        ca_cert: String,
    },
    /// Print these files
    GetSsl,
    /// No TLS any more
    DelSsl,
    /// Change a pool (the ports of one VM), or make one; with a port's name the pool that this port is
    #[command(after_help = columns())]
    PoolSet {
        /// The pool's name
        pool: String,
        /// What to set, such as ports=vm1,vm2 weight=200 filters=52:54:00:00:00:01,10
        #[arg(value_name = "COLUMN=VALUE", required = true)]
        columns: Vec<String>,
    },
    /// Delete a pool; its ports are pools of their own then
    PoolDel {
        /// Do nothing if it does not exist
        #[arg(long)]
        if_exists: bool,
        /// The pool's name
        pool: String,
    },
    /// Print all pools: ports, addresses, shares, and who sorts received frames for them
    PoolList,
    /// Print what pools received and sent, how it came and what it cost
    PoolStats {
        /// Only this pool
        pool: Option<String>,
    },
    /// Print which pool an address belongs to, why, and how frames to it get there
    PoolTrace {
        /// The address, such as 52:54:00:00:00:01, or in VLAN 10 52:54:00:00:00:01,10; on this bridge, or on all
        #[arg(value_name = "[BRIDGE] MAC[,VLAN]", num_args = 1..=2, required = true)]
        words: Vec<String>,
    },
    /// Print bridges, ports and their state at a glance
    Show,
    /// Add a flow
    AddFlow {
        /// The bridge's name
        bridge: String,
        /// The flow, as one argument, such as 'priority=100,tcp,tp_dst=22 actions=drop'; `-` for standard input, as add-flows
        #[arg(value_parser = flow)]
        flow: String,
    },
    /// Add the flows of a file, or change others, all or none
    AddFlows {
        /// The bridge's name
        bridge: String,
        /// A flow a line, `-` for standard input. A line may start with add, modify, modify_strict, delete or delete_strict;
        /// behind # is a comment
        file: PathBuf,
    },
    /// Give matching flows other actions; add the flow when none matches
    ModFlows {
        /// Only the flow with exactly this match and priority
        #[arg(long)]
        strict: bool,
        /// The bridge's name
        bridge: String,
        /// Match and new actions, such as 'tcp actions=drop'; cookie=V/MASK selects, cookie=V is the new one; `-` for standard
        /// input, one a line, all or none
        #[arg(value_parser = flow)]
        flow: String,
    },
    /// Delete matching flows, or all
    DelFlows {
        /// Only the flow with exactly this match and priority
        #[arg(long)]
        strict: bool,
        /// The bridge's name
        bridge: String,
        /// Fields, cookie=V/MASK, out_port=PORT; all flows when not given; `-` for standard input, one a line, all or none
        #[arg(value_name = "MATCH")]
        flow: Option<String>,
    },
    /// Print matching flows, or all, with statistics
    DumpFlows {
        /// Without statistics, as add-flows takes them
        #[arg(long)]
        no_stats: bool,
        /// Ports by name
        #[arg(long)]
        names: bool,
        /// Only the flow with exactly this match and priority
        #[arg(long)]
        strict: bool,
        /// The bridge's name
        bridge: String,
        /// Fields, cookie=V/MASK, out_port=PORT; all flows when not given
        #[arg(value_name = "MATCH")]
        flow: Option<String>,
    },
    #[command(flatten)]
    OpenFlow(super::openflow::OpenFlow),
    /// Print the counters of a bridge's ports, and why packets were dropped
    DumpPorts {
        /// The bridge's name
        bridge: String,
        /// Only this port, by name or number
        port: Option<String>,
    },
    /// Print the counters of the queues of ports' QoS
    QueueStats {
        /// The bridge's name
        bridge: String,
        /// Only this port, by name or number; ALL for all
        port: Option<String>,
        /// Only queues with this number; ALL for all
        queue: Option<String>,
    },
    /// Print how the queues of ports' QoS are set up
    QueueGetConfig {
        /// The bridge's name
        bridge: String,
        /// Only this port, by name or number; ANY for all
        port: Option<String>,
        /// Only queues with this number; ANY for all
        queue: Option<String>,
    },
    /// Show what goes through the ports now: packets, bits and drops per second, again and again
    Top {
        /// Only this bridge's ports
        bridge: Option<String>,
        /// Seconds between two looks, 0.1 to 3600
        #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
        /// Stop after so many looks, and show how many are left [default: never]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print what controllers are told, as it comes: packets, flows that went, ports that changed
    Monitor {
        /// The bridge's name
        bridge: String,
        /// Stop after so many messages [default: never]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print every OpenFlow message between the bridge and its controllers
    Snoop {
        /// The bridge's name
        bridge: String,
        /// Stop after so many messages [default: never]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print learned and static addresses
    FdbShow {
        /// The bridge's name
        bridge: String,
    },
    /// Forget learned addresses
    FdbFlush {
        /// The bridge's name
        bridge: String,
        /// Only those behind this port, by name or number [default: all]
        #[arg(long)]
        port: Option<String>,
        /// Only those of this VLAN, 0 to 4095, 0 for untagged [default: all]
        #[arg(long, value_parser = vlan())]
        vlan: Option<u16>,
    },
    /// Print what learning did so far
    FdbStats {
        /// The bridge's name
        bridge: String,
    },
    /// Add a static address
    FdbAdd {
        /// The bridge's name
        bridge: String,
        /// The port that it is behind, by name or number
        port: String,
        /// Its VLAN, 0 to 4095, 0 for untagged
        #[arg(value_parser = vlan())]
        vlan: u16,
        /// The address, such as 52:54:00:00:00:01
        mac: String,
    },
    /// Remove an address, static or learned
    FdbDel {
        /// The bridge's name
        bridge: String,
        /// Its VLAN, 0 to 4095, 0 for untagged
        #[arg(value_parser = vlan())]
        vlan: u16,
        /// The address
        mac: String,
    },
    /// Print what workers did, and through which queues: cycles per packet, load, cache hits, sizes and cost of batches
    #[command(visible_aliases = ["pmd-stats-show", "pmd-perf-show"])]
    WorkerStats {
        /// What is done in so many seconds, again and again, 0.1 to 3600 [default: since the start, once]
        #[arg(long, value_name = "S", value_parser = seconds)]
        interval: Option<f64>,
        /// Stop after so many intervals [default: never]
        #[arg(long, value_name = "N", requires = "interval", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Let the counts of workers and queues start at zero
    #[command(visible_alias = "pmd-stats-clear")]
    WorkerStatsClear,
    /// Print which worker polls which queue, and what each queue takes of its CPU
    #[command(visible_alias = "pmd-rxq-show")]
    QueueShow,
    /// Move queues so that all workers have about the same load, and print which ones and why
    #[command(visible_alias = "pmd-rxq-rebalance")]
    Rebalance {
        /// Only print what would be moved
        #[arg(long)]
        dry_run: bool,
    },
    /// Read the configuration file again and apply what changed in it, all or nothing
    Reload {
        /// Another file, which is the daemon's from then on [default: the one it has]
        file: Option<PathBuf>,
    },
    /// Print what is running as a configuration file
    DumpConfig,
    /// Print the versions of rsctl and of the daemon
    Version,
    /// Print a completion script for a shell
    Completions {
        /// Whose; `make install` installs those of bash, zsh and fish
        shell: Shell,
    },
}

fn vlan() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=4095)
}

/// A flow's text, which is the daemon's to read; only that there is one is checked here.
fn flow(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("expected a flow, such as 'tcp actions=drop'".to_owned()) } else { Ok(text.to_owned()) }
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

/// What clap says, in one line: what is wrong, what was probably meant, and how it is used.
pub fn explain(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let said: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    let mut line = said.strip_prefix("error: ").unwrap_or(&said).to_owned();
    for rest in lines {
        match rest.split_once(": ") {
            Some(("tip", tip)) => line += &format!("; {tip}"),
            Some(("Usage", usage)) if !usage.ends_with("<COMMAND>") => line += &format!("; usage: {usage}"),
            _ => {}
        }
    }
    line + " (see rsctl --help)"
}

/// The place of the command's name behind the options.
fn command_at(piece: &[String]) -> Option<usize> {
    let mut index = 0;
    while let Some(word) = piece.get(index) {
        match word.as_str() {
            "-s" | "--socket" | "--id" => index += 2,
            option if option.starts_with('-') => index += 1,
            _ => return Some(index),
        }
    }
    None
}

/// Options of commands that ovs-vsctl and ovs-ofctl have in front of them.
const OF_COMMANDS: [&str; 8] =
    ["--may-exist", "--if-exists", "--may-create", "--strict", "--no-stats", "--names", "--all", "--id"];

/// `--may-exist add-br br0`, as ovs-vsctl wants it, in the order that clap wants.
fn in_order(mut piece: Vec<String>) -> Vec<String> {
    let command = command_at(&piece).unwrap_or(piece.len());
    let mut value_follows = false;
    let of_command = |word: &String| {
        let is_value = std::mem::replace(&mut value_follows, word == "--id");
        is_value || OF_COMMANDS.contains(&word.as_str()) || word.starts_with("--id=")
    };
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
        for line in ["--id=@q create queue other_config:burst=1", "-j --id @q create queue other_config:burst=1"] {
            let (args, _) = parse(&words(line)).unwrap();
            assert!(matches!(&args.command, Command::Create { id: Some(id), .. } if id == "@q"), "{line}");
        }
        let (args, _) = parse(&words("-- --all destroy qos")).unwrap();
        assert!(matches!(&args.command, Command::Destroy { all: true, records, .. } if records.is_empty()));
    }

    #[test]
    fn slips_of_the_finger_are_answered_with_what_was_meant_and_how_it_is_used() {
        let cases = [
            ("lst-br", ["unrecognized subcommand 'lst-br'", "'list-br'"]),
            ("--jsn show", ["unexpected argument '--jsn'", "'--json'"]),
            ("dump-flows br0 --nostats", ["unexpected argument '--nostats'", "'--no-stats'"]),
            ("add-port br0", ["not provided: <PORT>", "usage: rsctl add-port <BRIDGE> <PORT>"]),
            ("add-flow br0 tcp actions=drop", ["unexpected argument 'actions=drop'", "usage: rsctl add-flow"]),
            ("fdb-flush br0 --vlan 5000", ["'5000'", "0..=4095"]),
        ];
        for (line, parts) in cases {
            let said = explain(&parse(&words(line)).unwrap_err());
            assert!(parts.iter().all(|part| said.contains(part)) && !said.contains('\n'), "{line}: {said}");
        }
    }

    #[test]
    fn every_command_option_and_argument_is_explained() {
        use clap::CommandFactory;
        let program = Args::command();
        for command in program.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
        let help = more();
        for setting in ringswitch_control::model::SETTINGS {
            let told = help.contains(&format!("{}: {} [default: {}]", setting.help, setting.expects, setting.default));
            assert!(told || setting.scope == Scope::Ssl, "{} is not in rsctl --help", setting.name);
        }
    }
}
