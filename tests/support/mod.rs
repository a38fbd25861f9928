//! A daemon of a test's own, and rsctl to ask it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The daemon's program; for root in a network namespace of its own, because bridges make netdevs.
pub fn ringswitchd() -> Command {
    let program = env!("CARGO_BIN_EXE_ringswitchd");
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !root {
        return Command::new(program);
    }
    // It becomes the daemon, with the same process number.
    let mut command = Command::new("unshare");
    command.arg("--net").arg(program);
    command
}

/// A running daemon in a directory of its own. Stopped when dropped.
pub struct Daemon {
    pub dir: TempDir,
    pub child: Child,
}

impl Daemon {
    pub fn start(config: Option<&str>) -> Self {
        Self::start_with(TempDir::new().unwrap(), config, &[])
    }

    /// In this directory, with these variables. `DIR` in the configuration is the directory.
    pub fn start_with(dir: TempDir, config: Option<&str>, variables: &[(&str, &Path)]) -> Self {
        let mut command = ringswitchd();
        command.arg("--socket").arg(dir.path().join("ctl.sock")).stderr(Stdio::null());
        command.envs(variables.iter().copied());
        if let Some(text) = config {
            let file = dir.path().join("switch.toml");
            fs::write(&file, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
            command.arg("--config").arg(file);
        }
        let daemon = Self { child: command.spawn().unwrap(), dir };
        eventually("the daemon answers", || daemon.run(&["version"]).status.success());
        daemon
    }

    /// Writes the configuration anew; `DIR` is the directory.
    pub fn write(&self, text: &str) {
        fs::write(self.path("switch.toml"), text.replace("DIR", self.dir.path().to_str().unwrap())).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs rsctl; `DIR` in the words is the daemon's directory.
    pub fn run(&self, words: &[&str]) -> Output {
        let dir = self.dir.path().to_str().unwrap();
        let words = words.iter().map(|word| word.replace("DIR", dir));
        Command::new(env!("CARGO_BIN_EXE_rsctl"))
            .arg("--socket")
            .arg(self.path("ctl.sock"))
            .args(words)
            .output()
            .unwrap()
    }

    /// Runs rsctl, which must succeed, and returns what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs rsctl with this text as its standard input; it must succeed.
    pub fn ok_with_input(&self, words: &[&str], input: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsctl"));
        command.arg("--socket").arg(self.path("ctl.sock")).args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs rsctl, which must be refused, and returns what it said.
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let dir = self.dir.path().to_str().unwrap();
        said.strip_prefix("rsctl: ").unwrap_or_else(|| panic!("{said}")).trim_end().replace(dir, "DIR")
    }

    pub fn is_socket(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).is_ok_and(|found| found.file_type().is_socket())
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}

/// Waits until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A bridge with two guests' ports.
pub const TWO_PORTS: &str = r#"
[bridges.rst-br0.ports.vm1]
type = "vhost-user"
path = "DIR/vm1.sock"
[bridges.rst-br0.ports.vm2]
type = "vhost-user"
path = "DIR/vm2.sock"
"#;
