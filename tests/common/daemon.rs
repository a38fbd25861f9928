//! A running `ringswitchd` and the `rsctl` that asks it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::hosts::{is_inside, is_root};
use super::{BRIDGE, Totals, eventually};

/// New namespace, and no netdev in it that greets the world by itself.
const ALONE: &str = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; exec \"$0\" \"$@\"";

/// The daemon's program, in a network namespace of its own where that can be. What is started becomes the daemon, with the
/// same process number.
pub fn ringswitchd() -> Command {
    let program = env!("CARGO_BIN_EXE_ringswitchd");
    if is_inside() || !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", ALONE, program]);
    command
}

/// A running daemon in a directory of its own. Stopped when dropped.
///
/// Wherever a configuration or a word for rsctl says `DIR`, its directory is meant.
pub struct Daemon {
    dir: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts it with this configuration, and waits until it answers.
    pub fn start(config: &str) -> Self {
        Self::start_in(TempDir::new().expect("a directory"), config, &[])
    }

    /// The same without a configuration: an empty switch.
    pub fn empty() -> Self {
        let dir = TempDir::new().expect("a directory");
        let child = spawn(&dir, &[]);
        Self { dir, child }.answering()
    }

    /// The same in this directory, with these variables in its environment.
    pub fn start_in(dir: TempDir, config: &str, variables: &[(&str, &Path)]) -> Self {
        write_config(dir.path(), config);
        let child = spawn(&dir, variables);
        Self { dir, child }.answering()
    }

    /// Starts it again, after it ended.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.dir, &[]);
        self.wait();
    }

    fn answering(self) -> Self {
        self.wait();
        self
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

    pub fn is_socket(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).is_ok_and(|found| found.file_type().is_socket())
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

    /// Sends it this signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    /// Ends it with this signal.
    pub fn end(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.child.wait().expect("it was started by us")
    }

    /// Runs rsctl.
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

    /// Runs rsctl with this text as its standard input; it must succeed.
    pub fn ok_with_input(&self, words: &[&str], input: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsctl"));
        command.arg("--socket").arg(self.path("ctl.sock")).args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("rsctl runs");
        child.stdin.as_mut().expect("a pipe").write_all(input.as_bytes()).expect("rsctl reads");
        let output = child.wait_with_output().expect("rsctl ends");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs rsctl, which must be refused, and returns what it said.
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        let dir = self.dir.path().to_str().expect("a readable path");
        said.strip_prefix("rsctl: ").unwrap_or_else(|| panic!("{said}")).trim_end().replace(dir, "DIR")
    }

    /// Runs rsctl with --json, which must succeed.
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

    /// The same as `up ...` or `down ...`.
    pub fn state(&self, port: &str) -> String {
        let (up, how) = self.link(port);
        format!("{} {how}", if up { "up" } else { "down" })
    }

    /// Waits until no counter moves; then no packet is missing and none was made up.
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

    /// A counter of all workers' queues.
    pub fn of_queues(&self, counter: &str) -> u64 {
        queues(&self.json(&["worker-stats"])).map(|queue| queue[counter].as_u64().expect("a number")).sum()
    }

    /// A counter of all workers.
    pub fn worker(&self, counter: &str) -> u64 {
        let workers = self.json(&["worker-stats"]);
        workers.as_array().expect("a list").iter().map(|worker| worker[counter].as_u64().expect("a number")).sum()
    }
}

/// The queues that all workers poll, of what `worker-stats` says.
pub fn queues(report: &Value) -> impl Iterator<Item = &Value> {
    report.as_array().expect("workers").iter().flat_map(|worker| worker["queues"].as_array()).flatten()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let counters = self.run(&["dump-ports", BRIDGE]).stdout;
            eprintln!("the daemon's log:\n{}\nand counters:\n{}", self.log(), String::from_utf8_lossy(&counters));
        }
        if self.is_alive() {
            self.end("-TERM");
        }
    }
}

fn write_config(dir: &Path, config: &str) {
    let text = config.replace("DIR", dir.to_str().expect("a readable path"));
    fs::write(dir.join("switch.toml"), text).expect("the configuration is written");
}

/// Starts it, with the configuration if there is one.
fn spawn(dir: &TempDir, variables: &[(&str, &Path)]) -> Child {
    let file = |name: &str| dir.path().join(name);
    let log = File::options().create(true).append(true).open(file("log")).expect("a log file");
    let mut command = ringswitchd();
    command.arg("--socket").arg(file("ctl.sock"));
    if file("switch.toml").exists() {
        command.arg("--config").arg(file("switch.toml"));
    }
    command.envs(variables.iter().copied()).stderr(log).spawn().expect("the daemon starts")
}
