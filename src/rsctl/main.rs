//! rsctl: asks a running ringswitchd. Parses arguments and prints; everything else is the daemon's.

mod args;
mod monitor;
mod openflow;
mod pools;
mod print;
mod top;
mod workers;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use ringswitch_control::command::Command as Configure;
use ringswitch_control::rpc::{Call, Client, default_socket};
use serde_json::Value;

use args::{Args, Command};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let (args, more) = match args::parse(&words) {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("rsctl: {}", args::explain(&error));
            return ExitCode::from(2);
        }
    };
    match run(args, more) {
        Ok(text) => {
            // Whoever reads may stop reading: `rsctl dump-flows br0 | head`.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Failure::Differ(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::from(2)
        }
        Err(Failure::Usage(why)) => {
            eprintln!("rsctl: {why}");
            ExitCode::from(2)
        }
        Err(Failure::Refused(why)) => {
            eprintln!("rsctl: {why}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    /// Nothing failed, but what was compared is not the same.
    Differ(String),
    Usage(String),
    Refused(String),
}

impl Failure {
    /// `flows.txt: line 2: ...`, when it is about a line.
    fn of_file(self, file: &Path) -> Self {
        match self {
            Self::Refused(why) if why.starts_with("line ") => Self::Refused(format!("{}: {why}", file.display())),
            other => other,
        }
    }
}

fn refused(error: impl ToString) -> Failure {
    Failure::Refused(error.to_string())
}

fn run(args: Args, more: Vec<Command>) -> Result<String, Failure> {
    let socket = args.socket.unwrap_or_else(default_socket);
    if more.is_empty() {
        return one(args.command, &socket, args.json);
    }
    let commands = std::iter::once(args.command).chain(more).map(|command| {
        configure(command).map_err(|()| Failure::Usage("only commands that configure can be joined with --".to_owned()))
    });
    let commands: Vec<Configure> = commands.collect::<Result<_, _>>()?;
    let result = call(&socket, &Call::Transact { commands: commands.clone() })?;
    warn(&commands, &socket);
    if args.json {
        return Ok(print::json(&result));
    }
    let answers = commands.iter().zip(result.as_array().into_iter().flatten());
    answers.map(|(command, answer)| print::answer(command, answer).map_err(refused)).collect()
}

fn call(socket: &Path, call: &Call) -> Result<Value, Failure> {
    Client::connect(socket).and_then(|mut client| client.call(call)).map_err(refused)
}

/// The bridges' sockets are beside the control socket, unless the environment says where.
fn watch(socket: &Path, asked: &monitor::Monitor) -> Result<String, Failure> {
    let directory = std::env::var_os("OVS_RUNDIR").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| socket.parent().unwrap_or(Path::new(".")).to_owned());
    monitor::run(&directory, asked).map(|()| String::new()).map_err(Failure::Refused)
}

fn one(command: Command, socket: &Path, json: bool) -> Result<String, Failure> {
    let command = match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "rsctl", &mut script);
            return Ok(String::from_utf8_lossy(&script).into_owned());
        }
        Command::Top { bridge, interval, count } => {
            let looks = top::Looks { interval: Duration::from_secs_f64(interval), count, json };
            return top::run(socket, bridge.as_deref(), &looks).map(|()| String::new()).map_err(refused);
        }
        Command::WorkerStats { interval: Some(interval), count } => {
            let looks = top::Looks { interval: Duration::from_secs_f64(interval), count, json };
            return workers::run(socket, &looks).map(|()| String::new()).map_err(refused);
        }
        // Workers without queues are shown too.
        Command::QueueShow if !json => {
            let reports = call(socket, &Call::WorkerStats {})?;
            return print::read(&reports).map(|reports: Vec<_>| workers::queues(&reports)).map_err(refused);
        }
        Command::Monitor { bridge, count } => {
            let asked = monitor::Monitor { bridge, snoop: false, count, json };
            return watch(socket, &asked);
        }
        Command::Snoop { bridge, count } => {
            let asked = monitor::Monitor { bridge, snoop: true, count, json };
            return watch(socket, &asked);
        }
        Command::OpenFlow(command) => return openflow::run(command, socket, json),
        command => command,
    };
    let asked = match command {
        Command::AddFlow { bridge, flow } if flow == "-" => Call::AddFlows { bridge, flows: lines("-".as_ref())? },
        Command::AddFlow { bridge, flow } => Call::AddFlows { bridge, flows: vec![flow] },
        Command::AddFlows { bridge, file } => {
            let asked = Call::AddFlows { bridge, flows: lines(&file)? };
            let result = call(socket, &asked).map_err(|failure| failure.of_file(&file))?;
            return Ok(if json { print::json(&result) } else { String::new() });
        }
        Command::ModFlows { strict, bridge, flow } if flow == "-" => {
            let verb = if strict { "modify_strict" } else { "modify" };
            Call::AddFlows { bridge, flows: lines_for(verb)? }
        }
        Command::DelFlows { strict, bridge, flow: Some(flow) } if flow == "-" => {
            let verb = if strict { "delete_strict" } else { "delete" };
            Call::AddFlows { bridge, flows: lines_for(verb)? }
        }
        Command::ModFlows { strict, bridge, flow } => Call::ModFlows { bridge, flow, strict },
        Command::DelFlows { strict, bridge, flow } => Call::DelFlows { bridge, flow, strict },
        Command::DumpFlows { no_stats, names, strict, bridge, flow } => {
            let result = call(socket, &Call::DumpFlows { bridge, flow, strict, names })?;
            return if json { Ok(print::json(&result)) } else { print::flows(&result, no_stats).map_err(refused) };
        }
        Command::DumpPorts { bridge, port } => Call::DumpPorts { bridge, port },
        Command::QueueStats { bridge, port, queue } => Call::QueueStats { bridge, port, queue },
        Command::QueueGetConfig { bridge, port, queue } => Call::QueueGetConfig { bridge, port, queue },
        Command::FdbShow { bridge } => Call::FdbShow { bridge },
        Command::FdbFlush { bridge, port, vlan } => Call::FdbFlush { bridge, port, vlan },
        Command::FdbStats { bridge } => Call::FdbStats { bridge },
        Command::FdbAdd { bridge, port, vlan, mac } => Call::FdbAdd { bridge, port, vlan, mac },
        Command::FdbDel { bridge, vlan, mac } => Call::FdbDel { bridge, vlan, mac },
        Command::PoolStats { pool } => Call::PoolStats { pool },
        Command::PoolTrace { mut words } => {
            let address = words.pop().unwrap_or_default();
            Call::PoolTrace { bridge: words.pop(), address }
        }
        Command::WorkerStats { .. } => Call::WorkerStats {},
        Command::WorkerStatsClear => Call::WorkerStatsClear {},
        Command::Rebalance { dry_run } => Call::Rebalance { dry_run },
        Command::QueueShow => Call::QueueShow {},
        Command::Reload { file } => Call::Reload { file: file.map(absolute).transpose()? },
        Command::DumpConfig => Call::DumpConfig {},
        Command::Version => Call::Version {},
        command => {
            let command = configure(command).map_err(|()| Failure::Usage("not a command".to_owned()))?;
            let result = call(socket, &Call::Transact { commands: vec![command.clone()] })?;
            warn(std::slice::from_ref(&command), socket);
            let answer = result.get(0).unwrap_or(&Value::Null);
            return if json { Ok(print::json(answer)) } else { print::answer(&command, answer).map_err(refused) };
        }
    };
    let result = call(socket, &asked)?;
    if json { Ok(print::json(&result)) } else { print::result(&asked, &result).map_err(refused) }
}

/// Says which of the new ports wait for a netdev: that is allowed, and mostly a slip of the finger. As with `ovs-vsctl` the
/// command succeeded.
fn warn(commands: &[Configure], socket: &Path) {
    let get = |port: &String| Configure::Get {
        table: "interface".to_owned(),
        record: port.clone(),
        columns: ["type", "link_state", "status:link"].map(str::to_owned).to_vec(),
        if_exists: true,
    };
    let new = commands.iter().filter_map(|command| match command {
        Configure::AddPort { port, .. } => Some(port),
        _ => None,
    });
    for port in new {
        let Ok(answer) = call(socket, &Call::Transact { commands: vec![get(port)] }) else { continue };
        let row = &answer[0];
        if row["type"] == "afxdp" && row["link_state"] == "down" {
            eprintln!("rsctl: port {port} is down: {}", row["status:link"].as_str().unwrap_or("no reason known"));
        }
    }
}

/// A command that can be part of a transaction.
fn configure(command: Command) -> Result<Configure, ()> {
    Ok(match command {
        Command::AddBr { may_exist, bridge } => Configure::AddBr { bridge, may_exist },
        Command::DelBr { if_exists, bridge } => Configure::DelBr { bridge, if_exists },
        Command::ListBr => Configure::ListBr {},
        Command::AddPort { may_exist, bridge, port, columns } => {
            Configure::AddPort { bridge, port, may_exist, columns }
        }
        Command::DelPort { if_exists, mut names } => {
            let port = names.pop().unwrap_or_default();
            Configure::DelPort { bridge: names.pop(), port, if_exists }
        }
        Command::ListPorts { bridge } => Configure::ListPorts { bridge },
        Command::Set { table, record, columns } => Configure::Set { table, record, columns },
        Command::Clear { table, record, columns } => Configure::Clear { table, record, columns },
        Command::Remove { table, record, column, keys } => Configure::Remove { table, record, column, keys },
        Command::Create { id, table, columns } => Configure::Create { table, id, columns },
        Command::Destroy { if_exists, all, table, records } => Configure::Destroy { table, records, all, if_exists },
        Command::List { table, records } => Configure::List { table, records },
        Command::Get { if_exists, table, record, columns } => Configure::Get { table, record, columns, if_exists },
        Command::SetFailMode { bridge, mode } => Configure::SetFailMode { bridge, mode },
        Command::GetFailMode { bridge } => Configure::GetFailMode { bridge },
        Command::DelFailMode { bridge } => Configure::DelFailMode { bridge },
        Command::SetController { bridge, targets } => Configure::SetController { bridge, targets },
        Command::GetController { bridge } => Configure::GetController { bridge },
        Command::DelController { bridge } => Configure::DelController { bridge },
        Command::SetSsl { private_key, certificate, ca_cert } => {
            Configure::SetSsl { private_key, certificate, ca_cert }
        }
        Command::GetSsl => Configure::GetSsl {},
        Command::DelSsl => Configure::DelSsl {},
        Command::PoolSet { pool, columns } => Configure::PoolSet { pool, columns },
        Command::PoolDel { if_exists, pool } => Configure::PoolDel { pool, if_exists },
        Command::PoolList => Configure::PoolList {},
        Command::Show => Configure::Show {},
        _ => return Err(()),
    })
}

fn lines(file: &Path) -> Result<Vec<String>, Failure> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let bytes = bytes.map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = sound.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Failure::Refused(format!("{}: line {line}: not UTF-8", file.display()))
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The lines of standard input, flows with this verb in front; blank lines and comments stay what they are.
fn lines_for(verb: &str) -> Result<Vec<String>, Failure> {
    let is_flow = |line: &String| !matches!(line.trim_start().as_bytes().first(), None | Some(b'#'));
    let lines = lines("-".as_ref())?.into_iter();
    Ok(lines.map(|line| if is_flow(&line) { format!("{verb} {line}") } else { line }).collect())
}

/// The daemon has another working directory.
fn absolute(file: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&file).map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))
}
