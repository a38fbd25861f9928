//! A daemon of its own for each test, asked through rsctl, and guests to talk through it.
//!
//! As root the daemon gets a network namespace, which ends with it: its bridges' netdevs meet nobody. Without root it works
//! as well, and only its bridges lack their own netdevs.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod guests;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringswitch_dataplane::sys::affinity::allowed_cpus;
use serde_json::Value;
use tempfile::TempDir;

/// The bridge that tests use.
pub const BRIDGE: &str = "rst-br0";

/// How long anything may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// New namespace, and no netdev in it that greets the world by itself.
const ALONE: &str = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; exec \"$0\" \"$@\"";

/// There are fewer CPUs than these tests would like: one runs at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running daemon in a directory of its own. Stopped when dropped.
pub struct Daemon {
    dir: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts it with this configuration, in which `DIR` is its directory, and waits until it answers.
    pub fn start(config: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        write_config(dir.path(), config);
        let child = spawn(dir.path());
        let daemon = Self { dir, child };
        daemon.wait();
        daemon
    }

    fn wait(&self) {
        eventually("the daemon answers", || self.run(&["version"]).status.success());
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it logged, of all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Replaces its configuration file.
    pub fn write_config(&self, config: &str) {
        write_config(self.dir.path(), config);
    }

    /// Ends it with this signal.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        self.child.wait().expect("it was started by us")
    }

    /// Starts it again, after it ended.
    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path());
        self.wait();
    }

    /// Runs rsctl; `DIR` in the words is the daemon's directory.
    pub fn run(&self, words: &[&str]) -> Output {
        let dir = self.dir.path().to_str().expect("a readable path");
        let words = words.iter().map(|word| word.replace("DIR", dir));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsctl"));
        command.arg("--socket").arg(self.path("ctl.sock")).args(words).output().expect("rsctl runs")
    }

    /// Runs rsctl, which must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same with --json.
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], words].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error} in {text}"))
    }

    /// Every port's counters.
    pub fn totals(&self) -> Totals {
        Totals(self.json(&["dump-ports", BRIDGE]).as_array().expect("a list").clone())
    }

    /// How the port is attached, or why not, when it is (not) up.
    pub fn link(&self, port: &str) -> (bool, String) {
        let show = self.json(&["show"]);
        let ports = show[0]["ports"].as_array().expect("a bridge with ports");
        let found = ports.iter().find(|found| found["name"] == port).unwrap_or_else(|| panic!("no port {port}"));
        (found["link_up"] == true, found["link"].as_str().expect("text").to_owned())
    }

    /// Waits until what rsctl shows of all ports is no longer changing, and in balance.
    pub fn assert_balanced(&self) {
        let mut before = self.totals();
        eventually("counters stand still", || {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.totals();
            let same = now.0 == before.0;
            before = now;
            same
        });
        let [received, copies, sent] = ["rx_packets", "copies", "tx_packets"].map(|name| before.sum(name));
        let dropped = before.all_drops();
        assert!(received > 0, "nothing was received");
        assert_eq!(received + copies, sent + dropped, "packets got lost or were made up: {:#?}", before.0);
    }

    /// The number of a worker's counter, over all workers.
    pub fn worker(&self, counter: &str) -> u64 {
        let workers = self.json(&["worker-stats"]);
        workers.as_array().expect("a list").iter().map(|worker| worker[counter].as_u64().expect("a number")).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            self.end("-TERM");
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

fn write_config(dir: &Path, config: &str) {
    let text = config.replace("DIR", dir.to_str().expect("a readable path"));
    fs::write(dir.join("switch.toml"), text).expect("the configuration is written");
}

fn spawn(dir: &Path) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log file");
    let is_root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    let mut command = if is_root {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", ALONE, env!("CARGO_BIN_EXE_ringswitchd")]);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_ringswitchd"))
    };
    command.arg("--socket").arg(dir.join("ctl.sock")).arg("--config").arg(dir.join("switch.toml"));
    command.stderr(log).spawn().expect("the daemon starts")
}

/// What `dump-ports` says.
#[derive(Debug)]
pub struct Totals(pub Vec<Value>);

impl Totals {
    /// Is there such a port?
    pub fn has(&self, port: &str) -> bool {
        self.0.iter().any(|found| found["name"] == port)
    }

    /// A port's counter.
    pub fn of(&self, port: &str, counter: &str) -> u64 {
        self.port(port)[counter].as_u64().expect("a number")
    }

    /// A port's drops for this reason.
    pub fn drops(&self, port: &str, reason: &str) -> u64 {
        self.port(port)["drops"][reason].as_u64().unwrap_or(0)
    }

    /// All ports' drops for all reasons.
    pub fn all_drops(&self) -> u64 {
        let drops = self.0.iter().filter_map(|port| port["drops"].as_object());
        drops.flat_map(|drops| drops.values()).filter_map(Value::as_u64).sum()
    }

    fn sum(&self, counter: &str) -> u64 {
        self.0.iter().map(|port| port[counter].as_u64().expect("a number")).sum()
    }

    fn port(&self, name: &str) -> &Value {
        self.0.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("no port {name}"))
    }
}

/// A configuration: these vhost-user ports (name and more lines), these flows.
pub fn config(ports: &[(&str, &str)], flows: &[String]) -> String {
    let flows: Vec<_> = flows.iter().map(|flow| format!("  \"{flow}\",\n")).collect();
    let mut text = format!("[bridges.{BRIDGE}]\nflows = [\n{}]\n", flows.concat());
    for (name, more) in ports {
        text += &format!("[bridges.{BRIDGE}.ports.{name}]\ntype = \"vhost-user\"\npath = \"DIR/{name}\"\n{more}\n");
    }
    text
}

/// The configuration with two workers instead of one, where there are two CPUs.
pub fn with_two_workers(config: &str) -> String {
    let cpus = allowed_cpus();
    format!("[workers]\ncpus = {:?}\n{config}", &cpus[..cpus.len().min(2)])
}

/// Flows that join two ports like a wire.
pub fn wire() -> Vec<String> {
    vec!["in_port=1 actions=output:2".to_owned(), "in_port=2 actions=output:1".to_owned()]
}
