//! ringswitchd: the switch. Parses arguments, starts workers and control, serves until told to stop.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ringswitch_control::config;
use ringswitch_control::daemon::{Daemon, Notice};
use ringswitch_control::dataplane::Switch;
use ringswitch_control::engine::Engine;
use ringswitch_control::model::{self, PortType, Scope, settings_help};
use ringswitch_control::rpc::default_socket;
use ringswitch_dataplane::port::PortEvents;
use ringswitch_dataplane::sys::affinity::allowed_cpus;
use ringswitch_dataplane::sys::event::EventFd;
use ringswitch_dataplane::sys::limits::raise_open_files;
use sd_notify::NotifyState;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// systemd's EXIT_NOTCONFIGURED: starting again helps only after the file was corrected.
const EXIT_NOT_CONFIGURED: u8 = 6;

const ABOUT: &str = "A userspace virtual switch for hosts that run virtual machines.";

const CONFIGURATION: &str = "\
CONFIGURATION
  TOML. A bridge without flows has one, `priority=0 actions=NORMAL`: it learns addresses and floods. Flows are written as for
  ovs-ofctl, and may name ports. What is wrong with the file is told by line and column.

    [workers]
    cpus = [2, 3]
    [bridges.br0]
    flows = [\"priority=100,tcp,tp_dst=22 actions=drop\", \"priority=0 actions=NORMAL\"]
    [bridges.br0.ports.vm1]
    type = \"vhost-user\"
    path = \"/run/ringswitch/vm1.sock\"

";

/// What stands behind the options in `--help`.
fn more() -> String {
    let keys = |title: &str, scope: &dyn Fn(Scope) -> bool| format!("{title}\n{}\n", settings_help("", scope));
    let of = |port_type| move |scope| matches!(scope, Scope::Options(types) if types.contains(&port_type));
    [
        CONFIGURATION.to_owned(),
        keys("KEYS OF [workers]  (a change of cpus needs a restart)", &|scope| scope == Scope::Workers),
        keys("KEYS OF [ssl]", &|scope| scope == Scope::Ssl),
        keys("KEYS OF [bridges.NAME], beside flows and ports", &|scope| {
            matches!(scope, Scope::Bridge | Scope::BridgeOther | Scope::Controller)
        }),
        keys("KEYS OF [bridges.NAME.ports.NAME]", &|scope| {
            matches!(scope, Scope::Port | Scope::Interface | Scope::InterfaceOther)
        }),
        keys("THE SAME, OF type vhost-user", &of(PortType::VhostUser)),
        keys("THE SAME, OF type afxdp", &of(PortType::AfXdp)),
        keys("THE SAME, OF type tap AND internal", &of(PortType::Tap)),
        MORE.to_owned(),
    ]
    .concat()
}

const MORE: &str = "\
SIGNALS
  SIGTERM, SIGINT  stop: rings go back to the guests, XDP programs are detached, sockets removed
  SIGHUP           read the configuration file again and apply what changed, all of it or nothing

EXIT STATUS
  0 stopped when told to, 1 failed, 2 wrong command line, 6 the configuration has errors.

EXAMPLES
  ringswitchd --config /etc/ringswitch/ringswitch.toml --check-config
  ringswitchd --config /etc/ringswitch/ringswitch.toml
  ringswitchd --socket /tmp/rs.sock --log debug     (an empty switch, to be filled with rsctl)";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "ringswitchd", version, about = ABOUT, after_help = more())]
struct Args {
    /// Configuration file; without, the switch starts empty
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration file, say what is wrong with it, and exit
    #[arg(long, requires = "config")]
    check_config: bool,
    /// Where rsctl reaches the daemon [default: /run/ringswitch/ringswitchd.sock; under $XDG_RUNTIME_DIR when not root]
    #[arg(short, long, env = "RINGSWITCH_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where ovs-ofctl finds BRIDGE.mgmt and BRIDGE.snoop [default: the directory of the control socket]
    #[arg(long, env = "OVS_RUNDIR", value_name = "DIRECTORY")]
    of_rundir: Option<PathBuf>,
    /// What goes to stderr: error, warn, info, debug, trace, or a filter such as info,ringswitch_control=debug
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("ringswitchd: --log {}: {error}", args.log);
            return ExitCode::from(2);
        }
    };
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(colours).with_target(false).init();
    end_on_panic();

    let cpus = allowed_cpus();
    let loaded = args.config.as_deref().map_or(Ok(model::Switch::default()), |file| config::load(file, &cpus));
    let wanted = match loaded {
        Ok(wanted) => wanted,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_NOT_CONFIGURED);
        }
    };
    if args.check_config {
        let ports: usize = wanted.bridges.values().map(|bridge| bridge.ports.len()).sum();
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        println!("{}, {}: no errors", count(wanted.bridges.len(), "bridge"), count(ports, "port"));
        return ExitCode::SUCCESS;
    }
    match serve(args, wanted, cpus) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// A thread that panics leaves its queues or its port without anybody to serve them, and nothing would notice. Optimised
/// builds abort by themselves; this says so in the log, and holds for all builds.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        let thread = std::thread::current();
        error!("thread {} panicked: the switch ends, to be started again", thread.name().unwrap_or("without a name"));
        std::process::abort();
    }));
}

fn serve(args: Args, wanted: model::Switch, cpus: Vec<usize>) -> Result<(), Box<dyn std::error::Error>> {
    let socket = args.socket.unwrap_or_else(default_socket);
    if let Some(directory) = socket.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|error| {
            let directory = directory.display();
            format!(
                "cannot make the directory of the control socket, {directory}: {error}; --socket PATH has it elsewhere"
            )
        })?;
    }
    if let Err(error) = raise_open_files() {
        warn!("raising the limit of open files: {error}");
    }
    let wake = Arc::new(EventFd::new()?);
    let (sender, events) = crossbeam_channel::unbounded();
    // The socket first: a second daemon ends here, before it touches anything.
    let directory = args.of_rundir.or_else(|| socket.parent().map(Into::into)).unwrap_or_default();
    let daemon = Daemon::new(&socket, directory, Arc::clone(&wake))?;
    let switch = Switch::start(&wanted.workers, &cpus, PortEvents::new(sender, wake))?;
    let mut engine = Engine::new(switch, &wanted, events, cpus);
    engine.start(args.config.map(std::path::absolute).transpose()?, wanted)?;
    info!(socket = %socket.display(), "ready");
    daemon.run(&mut engine, &notify)?;
    Ok(())
}

/// Tells systemd; nobody there is fine.
fn notify(notice: Notice) {
    let _ = match notice {
        Notice::Ready => sd_notify::notify(false, &[NotifyState::Ready]),
        Notice::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(false, &[NotifyState::Reloading, now]),
            Err(_) => sd_notify::notify(false, &[NotifyState::Reloading]),
        },
        Notice::Stopping => sd_notify::notify(false, &[NotifyState::Stopping]),
    };
}
