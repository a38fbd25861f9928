//! Groups, meters, tables, packets: commands in ovs-ofctl's words, and how their results are printed.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ringswitch_control::engine::Source;
use ringswitch_control::report::{
    AggregateReport, Changed, CountReport, Difference, FlowReport, GroupReport, GroupStatsReport, MeterReport,
    MeterStatsReport, TableReport, TraceReport, TraceStep,
};
use ringswitch_control::rpc::Call;
use ringswitch_dataplane::flow::grammar::{self, GroupStats, MeterStats};
use serde_json::Value;

use super::print::{Printed, json, read};
use super::{Failure, call, lines, refused};

/// One command.
#[derive(Debug, Subcommand)]
pub enum OpenFlow {
    /// Add a group
    AddGroup {
        /// The bridge's name
        bridge: String,
        /// The group, as one argument, such as 'group_id=1,type=select,bucket=output:1,bucket=output:2'; `-` for standard
        /// input, as add-groups
        group: String,
    },
    /// Add the groups of a file, or change others, all or none
    AddGroups {
        /// The bridge's name
        bridge: String,
        /// A group a line, `-` for standard input. A line may start with add, modify, add_or_mod, delete, insert_bucket or
        /// remove_bucket; behind # is a comment
        file: PathBuf,
    },
    /// Give a group another type and other buckets
    ModGroup {
        /// Add it if there is none
        #[arg(long)]
        may_create: bool,
        /// The bridge's name
        bridge: String,
        /// The group as it is to be
        group: String,
    },
    /// Add buckets to a group
    InsertBuckets {
        /// The bridge's name
        bridge: String,
        /// Such as 'group_id=1,command_bucket_id=last,bucket=output:3': first, last, or behind this bucket
        group: String,
    },
    /// Remove buckets from a group
    RemoveBuckets {
        /// The bridge's name
        bridge: String,
        /// Such as 'group_id=1,command_bucket_id=3': first, last, all, or this bucket
        group: String,
    },
    /// Delete a group, or all, and the flows that use them
    DelGroups {
        /// The bridge's name
        bridge: String,
        /// Such as group_id=1; all groups when not given
        group: Option<String>,
    },
    /// Print a group, or all
    DumpGroups {
        /// Ports by name
        #[arg(long)]
        names: bool,
        /// The bridge's name
        bridge: String,
        /// Such as group_id=1; all groups when not given
        group: Option<String>,
    },
    /// Print what a group and its buckets, or all of them, counted
    DumpGroupStats {
        /// The bridge's name
        bridge: String,
        /// Such as group_id=1; all groups when not given
        group: Option<String>,
    },
    /// Add a meter
    AddMeter {
        /// The bridge's name
        bridge: String,
        /// The meter, as one argument, such as 'meter=1,kbps,bands=type=drop,rate=1000'
        meter: String,
    },
    /// Give a meter other bands
    ModMeter {
        /// The bridge's name
        bridge: String,
        /// The meter as it is to be
        meter: String,
    },
    /// Delete a meter, or all, and the flows that use them
    #[command(visible_alias = "del-meter")]
    DelMeters {
        /// The bridge's name
        bridge: String,
        /// Such as meter=1; all meters when not given
        meter: Option<String>,
    },
    /// Print a meter, or all
    #[command(visible_alias = "dump-meter")]
    DumpMeters {
        /// The bridge's name
        bridge: String,
        /// Such as meter=1; all meters when not given
        meter: Option<String>,
    },
    /// Print what a meter and its bands, or all of them, counted
    MeterStats {
        /// The bridge's name
        bridge: String,
        /// Such as meter=1; all meters when not given
        meter: Option<String>,
    },
    /// Print how many flows are in each table, and how many packets came through it
    DumpTables {
        /// The bridge's name
        bridge: String,
    },
    /// Print the sums over matching flows, or all
    DumpAggregate {
        /// The bridge's name
        bridge: String,
        /// Fields, cookie=V/MASK, out_port=PORT, table=N; all flows when not given
        #[arg(value_name = "MATCH")]
        flow: Option<String>,
    },
    /// Make the flows of a file the bridge's flows: others go, those that are there already are not touched
    ReplaceFlows {
        /// The bridge's name
        bridge: String,
        /// A flow a line, `-` for standard input
        file: PathBuf,
    },
    /// Print how flows differ: `-` is only in the first source, `+` only in the second. Exits with 2 when they do
    DiffFlows {
        /// A bridge, or a file
        one: String,
        /// A bridge, or a file
        other: String,
    },
    /// Tell what would become of a packet: tables, rules, actions, and where it goes
    Trace {
        /// Ports by name
        #[arg(long)]
        names: bool,
        /// The bridge's name
        bridge: String,
        /// The packet's fields, such as 'in_port=vm1,tcp,nw_dst=10.0.0.1,tp_dst=80'; beside a packet, what it does not tell
        flow: String,
        /// The packet itself, in hexadecimal
        packet: Option<String>,
    },
    /// Send packets through a bridge
    PacketOut {
        /// The bridge's name
        bridge: String,
        /// Such as 'in_port=controller packet=0102... actions=output:1'; or three and more words: the port, the actions, and
        /// a packet each
        #[arg(value_name = "PACKET-OUT", required = true)]
        words: Vec<String>,
    },
}

impl OpenFlow {
    /// What the daemon is asked.
    fn call(self) -> Result<Call, Failure> {
        let one = |verb: &str, text: &str| vec![format!("{verb} {text}")];
        Ok(match self {
            Self::AddGroup { bridge, group } if group == "-" => {
                Call::AddGroups { bridge, groups: lines("-".as_ref())? }
            }
            Self::AddGroup { bridge, group } => Call::AddGroups { bridge, groups: vec![group] },
            Self::AddGroups { bridge, file } => Call::AddGroups { bridge, groups: lines(&file)? },
            Self::ModGroup { may_create, bridge, group } => {
                let verb = if may_create { "add_or_mod" } else { "modify" };
                Call::AddGroups { bridge, groups: one(verb, &group) }
            }
            Self::InsertBuckets { bridge, group } => Call::AddGroups { bridge, groups: one("insert_bucket", &group) },
            Self::RemoveBuckets { bridge, group } => Call::AddGroups { bridge, groups: one("remove_bucket", &group) },
            Self::DelGroups { bridge, group } => {
                Call::AddGroups { bridge, groups: one("delete", &group.unwrap_or_default()) }
            }
            Self::DumpGroups { names, bridge, group } => Call::DumpGroups { bridge, group, names },
            Self::DumpGroupStats { bridge, group } => Call::DumpGroupStats { bridge, group },
            Self::AddMeter { bridge, meter } => Call::AddMeters { bridge, meters: vec![meter] },
            Self::ModMeter { bridge, meter } => Call::AddMeters { bridge, meters: one("modify", &meter) },
            Self::DelMeters { bridge, meter } => {
                Call::AddMeters { bridge, meters: one("delete", &meter.unwrap_or_default()) }
            }
            Self::DumpMeters { bridge, meter } => Call::DumpMeters { bridge, meter },
            Self::MeterStats { bridge, meter } => Call::MeterStats { bridge, meter },
            Self::DumpTables { bridge } => Call::DumpTables { bridge },
            Self::DumpAggregate { bridge, flow } => Call::DumpAggregate { bridge, flow },
            Self::ReplaceFlows { bridge, file } => Call::ReplaceFlows { bridge, flows: lines(&file)? },
            Self::DiffFlows { one, other } => Call::DiffFlows { one: source(one)?, other: source(other)? },
            Self::Trace { names, bridge, flow, packet } => Call::Trace { bridge, flow, frame: packet, names },
            Self::PacketOut { bridge, words } => Call::PacketOut { bridge, packets: packets(words)? },
        })
    }

    /// The file that lines were read from.
    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::AddGroups { file, .. } | Self::ReplaceFlows { file, .. } => Some(file.clone()),
            _ => None,
        }
    }
}

/// Asks, and returns what is printed.
pub fn run(command: OpenFlow, socket: &Path, as_json: bool) -> Result<String, Failure> {
    let file = command.file();
    let asked = command.call()?;
    let result = call(socket, &asked).map_err(|failure| match &file {
        Some(file) => failure.of_file(file),
        None => failure,
    })?;
    let text = if as_json { json(&result) } else { printed(&asked, &result).map_err(refused)? };
    let differ = matches!(asked, Call::DiffFlows { .. }) && result.as_array().is_some_and(|list| !list.is_empty());
    if differ { Err(Failure::Differ(text)) } else { Ok(text) }
}

/// A file when there is one with this name, a bridge otherwise, as ovs-ofctl has it.
fn source(name: String) -> Result<Source, Failure> {
    if name == "-" || Path::new(&name).is_file() {
        return Ok(Source { bridge: None, flows: lines(name.as_ref())? });
    }
    Ok(Source { bridge: Some(name), flows: Vec::new() })
}

/// ovs-ofctl's new form is one word, its old one a port, actions, and any number of packets.
fn packets(mut words: Vec<String>) -> Result<Vec<String>, Failure> {
    if words.len() == 1 {
        return Ok(words);
    }
    if words.len() == 2 {
        return Err(Failure::Usage("packet-out: no packet behind the actions".to_owned()));
    }
    let packets = words.split_off(2);
    let [port, actions] = &words[..] else { return Ok(Vec::new()) };
    Ok(packets.iter().map(|packet| format!("in_port={port} packet={packet} actions={actions}")).collect())
}

fn printed(asked: &Call, result: &Value) -> Printed {
    Ok(match asked {
        Call::DumpGroups { .. } => {
            read::<Vec<GroupReport>>(result)?.iter().map(|group| format!(" {}\n", group.text)).collect()
        }
        Call::DumpGroupStats { .. } => read::<Vec<GroupStatsReport>>(result)?.iter().map(group_stats).collect(),
        Call::DumpMeters { .. } => {
            read::<Vec<MeterReport>>(result)?.iter().map(|meter| format!("{}\n", meter.text)).collect()
        }
        Call::MeterStats { .. } => read::<Vec<MeterStatsReport>>(result)?.iter().map(meter_stats).collect(),
        Call::DumpTables { .. } => tables(&read::<Vec<TableReport>>(result)?),
        Call::DumpAggregate { .. } => {
            let AggregateReport { packet_count, byte_count, flow_count } = read(result)?;
            format!("packet_count={packet_count} byte_count={byte_count} flow_count={flow_count}\n")
        }
        Call::Trace { bridge, .. } => trace(bridge, &read(result)?),
        Call::DiffFlows { .. } => read::<Vec<Difference>>(result)?.iter().map(difference).collect(),
        Call::ReplaceFlows { .. } => {
            let Changed { count } = read(result)?;
            if count == 0 { "nothing to change\n".to_owned() } else { String::new() }
        }
        _ => String::new(),
    })
}

fn pair(count: &CountReport) -> (u64, u64) {
    (count.packet_count, count.byte_count)
}

fn group_stats(report: &GroupStatsReport) -> String {
    let stats = GroupStats {
        age_ms: report.duration_ms,
        references: report.ref_count,
        total: pair(&report.count),
        buckets: report.buckets.iter().map(pair).collect(),
    };
    format!(" {}\n", grammar::format_group_stats(report.group_id, &stats))
}

fn meter_stats(report: &MeterStatsReport) -> String {
    let stats = MeterStats {
        age_ms: report.duration_ms,
        flows: report.flow_count,
        total: pair(&report.count),
        bands: report.bands.iter().map(pair).collect(),
    };
    format!("{}\n", grammar::format_meter_stats(report.meter_id, &stats))
}

/// As `ovs-appctl ofproto/trace` prints it.
fn trace(bridge: &str, report: &TraceReport) -> String {
    let title = format!("bridge(\"{bridge}\")");
    let mut text = format!("Flow: {}\n\n{title}\n{}\n", report.flow, "-".repeat(title.len()));
    for step in &report.steps {
        // A table that an action asks stands between that action and its own.
        let indent = |depth: u32| " ".repeat(8 * depth as usize);
        let _ = match step {
            TraceStep::Table { depth, table, rule } => {
                let outside = if *depth > 0 { &indent(*depth)[4..] } else { "" };
                let rule = rule.as_deref().unwrap_or("No match.");
                writeln!(text, "{outside}{table:>2}. {rule}")
            }
            TraceStep::Action { depth, action } => writeln!(text, "{}    {action}", indent(*depth)),
            TraceStep::Note { depth, note } => writeln!(text, "{}     -> {note}", indent(*depth)),
        };
    }
    let unchanged = report.final_flow == report.flow;
    let _ = writeln!(text, "\nFinal flow: {}", if unchanged { "unchanged" } else { &report.final_flow });
    let _ = writeln!(text, "Megaflow: {}", if report.megaflow.is_empty() { "any packet" } else { &report.megaflow });
    let _ = match &report.dropped {
        Some(reason) if report.outputs.is_empty() => writeln!(text, "Datapath actions: drop ({reason})"),
        _ => writeln!(text, "Datapath actions: {}", report.outputs.join(",")),
    };
    text
}

fn difference(difference: &Difference) -> String {
    let sides = [('-', &difference.one), ('+', &difference.other)];
    sides.iter().filter_map(|(sign, flow)| Some(format!("{sign}{}\n", flow.as_ref()?))).collect()
}

/// Tables that are like the one before are not printed again.
fn tables(tables: &[TableReport]) -> String {
    let mut text = String::new();
    for alike in tables.chunk_by(|one, other| TableReport { table: 0, ..*one } == TableReport { table: 0, ..*other }) {
        let TableReport { table, active, lookups, matched } = alike[0];
        let _ = writeln!(text, "  table {table}:\n    active={active}, lookup={lookups}, matched={matched}\n");
        let _ = match &alike[1..] {
            [] => Ok(()),
            [one] => writeln!(text, "  table {}: ditto\n", one.table),
            [first, .., last] => writeln!(text, "  tables {}...{}: ditto\n", first.table, last.table),
        };
    }
    text
}

/// A line of dump-flows.
pub fn flow(flow: &FlowReport, no_stats: bool) -> String {
    let mut text = String::from(" ");
    let (seconds, rest) = (flow.duration_ms / 1000, flow.duration_ms % 1000);
    if !no_stats || flow.cookie != 0 {
        let _ = write!(text, "cookie={:#x}, ", flow.cookie);
    }
    if !no_stats {
        let _ = write!(text, "duration={seconds}.{rest:03}s, ");
    }
    if !no_stats || flow.table != 0 {
        let _ = write!(text, "table={}, ", flow.table);
    }
    if !no_stats {
        let _ = write!(text, "n_packets={}, n_bytes={}, ", flow.packets, flow.bytes);
    }
    for (name, timeout) in [("idle_timeout", flow.idle_timeout), ("hard_timeout", flow.hard_timeout)] {
        if timeout > 0 {
            let _ = write!(text, "{name}={timeout}, ");
        }
    }
    flow.flags.iter().for_each(|flag| text.extend([flag, " "]));
    if flow.importance != 0 {
        let _ = write!(text, "importance={}, ", flow.importance);
    }
    if !no_stats {
        let _ = write!(text, "idle_age={}, ", flow.idle_ms / 1000);
    }
    let priority =
        (flow.priority != ringswitch_dataplane::flow::DEFAULT_PRIORITY).then(|| format!("priority={}", flow.priority));
    let matches = priority.into_iter().chain((!flow.matches.is_empty()).then(|| flow.matches.clone()));
    let matches = matches.collect::<Vec<_>>().join(",");
    let _ = writeln!(text, "{matches}{}actions={}", if matches.is_empty() { "" } else { " " }, flow.actions);
    text
}
