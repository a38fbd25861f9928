//! Real virtio drivers: DPDK's testpmd with two `net_virtio_user` devices, on two vhost-user ports of a real daemon that
//! joins them with two flows. testpmd sends on one device what it received on the other, so frames go round for ever.
//!
//! Skipped with a message where `dpdk-testpmd` is not installed.

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Daemon, alone, config, eventually, in_time, wire};

/// How testpmd is to be run, and what must be seen.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Device arguments besides the path.
    device: &'static str,
    /// testpmd's arguments.
    forward: &'static str,
    queues: u16,
    /// The switch is the client.
    client: bool,
    /// testpmd makes frames all the time, instead of sending a few round.
    generates: bool,
    /// Every frame's length; 0 when they differ.
    frame: u64,
    /// Part of the text with which the port comes up.
    up: &'static str,
}

const PLAIN: Case =
    Case { name: "split", device: "", forward: "", queues: 1, client: false, generates: false, frame: 64, up: "split" };
const PACKED: Case = Case { name: "packed", device: ",packed_vq=1", up: "packed", ..PLAIN };
const TWO: Case =
    Case { queues: 2, forward: "--rxq=2 --txq=2", generates: true, frame: 0, up: "2 queue pairs", ..PLAIN };

const CASES: &[Case] = &[
    PLAIN,
    Case { name: "split without mrg_rxbuf", device: ",mrg_rxbuf=0", ..PLAIN },
    Case { name: "split in order", device: ",in_order=1", up: "in_order", ..PLAIN },
    Case { name: "split, not in order", device: ",in_order=0", ..PLAIN },
    Case { name: "split vectorized", device: ",mrg_rxbuf=0,in_order=0,vectorized=1", ..PLAIN },
    PACKED,
    Case { name: "packed without mrg_rxbuf", device: ",packed_vq=1,mrg_rxbuf=0", ..PACKED },
    Case { name: "packed, not in order", device: ",packed_vq=1,in_order=0", ..PACKED },
    Case { name: "packed vectorized", device: ",packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1", ..PACKED },
    Case { name: "split, 2 queues", ..TWO },
    Case { name: "packed, 2 queues", device: ",packed_vq=1", ..TWO },
    Case { name: "client", client: true, ..PLAIN },
    Case { name: "client, packed", client: true, ..PACKED },
    Case { name: "split, 1500 bytes", forward: "--txpkts=1500", frame: 1500, ..PLAIN },
    Case { name: "split, chains", forward: "--txpkts=64,300,700", frame: 1064, ..PLAIN },
    Case { name: "packed, chains", forward: "--txpkts=64,300,700", frame: 1064, ..PACKED },
];

/// A running testpmd, ended by SIGKILL.
struct Testpmd {
    child: Child,
    log: PathBuf,
    prefix: String,
}

impl Testpmd {
    /// Starts it, or says why not.
    fn start(directory: &Path, case: &Case) -> Option<Self> {
        let prefix = format!("ringswitch-root-{}", std::process::id());
        let server = if case.client { ",server=1" } else { "" };
        let device = |name: &str, index: usize| {
            let (path, queues, device) = (directory.join(name), case.queues, case.device);
            // A killed testpmd leaves its socket, and does not start over it.
            if case.client {
                let _ = std::fs::remove_file(&path);
            }
            let path = path.display();
            format!("--vdev=net_virtio_user{index},path={path},queues={queues},queue_size=256{device}{server}")
        };
        let log = directory.join("testpmd.log");
        let output = File::create(&log).expect("log file");
        let mut command = Command::new("dpdk-testpmd");
        command.args(["--lcores", "0@0,1@0", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry"]);
        command.args(["--log-level=user1,4", &format!("--file-prefix={prefix}"), &device("vm1", 0), &device("vm2", 1)]);
        command.args(["--", "--nb-cores=1", "--txd=256", "--rxd=256", "--total-num-mbufs=4096", "--no-mlockall"]);
        command.args(if case.generates {
            ["--forward-mode=flowgen"].iter()
        } else {
            ["--forward-mode=io", "--tx-first"].iter()
        });
        command.args(case.forward.split_whitespace());
        // It runs for as long as its standard input is open.
        command.stdin(Stdio::piped()).stderr(output.try_clone().expect("dup")).stdout(output);
        match command.spawn() {
            Ok(child) => Some(Self { child, log, prefix }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: dpdk-testpmd is not installed");
                None
            }
            Err(error) => panic!("starting dpdk-testpmd: {error}"),
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let runtime = std::env::var("XDG_RUNTIME_DIR").map_or("/tmp".into(), PathBuf::from);
        for place in [Path::new("/var/run"), &runtime] {
            let _ = std::fs::remove_dir_all(place.join("dpdk").join(&self.prefix));
        }
        if std::thread::panicking() {
            eprintln!("testpmd's log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn start(case: &Case) -> Daemon {
    let port = format!("queues = {}\nmode = \"{}\"", case.queues, if case.client { "client" } else { "server" });
    Daemon::start(&config(&[("vm1", &port), ("vm2", &port)], &wire()))
}

/// Do thousands of frames come and go on both ports?
fn frames_flow(daemon: &Daemon) -> bool {
    let before = daemon.totals();
    in_time(|| {
        let now = daemon.totals();
        let grew = |port, counter| now.of(port, counter) > before.of(port, counter) + 5000;
        ["vm1", "vm2"].iter().all(|port| grew(port, "rx_packets") && grew(port, "tx_packets"))
    })
}

/// Both ports are up as they should be, and carry frames both ways.
fn assert_flows(daemon: &Daemon, case: &Case) {
    for port in ["vm1", "vm2"] {
        let mut seen = (false, String::new());
        eventually(&format!("{}: {port} comes up", case.name), || {
            seen = daemon.link(port);
            seen.0 && seen.1.contains(case.up)
        });
    }
    assert!(frames_flow(daemon), "{}: no frames both ways", case.name);
    let queues = daemon.json(&["queue-show"]);
    let queues = queues.as_array().expect("a list").iter().filter(|queue| queue["port"] != common::BRIDGE);
    let packets: Vec<_> = queues.map(|queue| queue["packets"].as_u64().expect("a number")).collect();
    assert_eq!(packets.len(), 2 * usize::from(case.queues), "{}", case.name);
    assert!(packets.iter().all(|&packets| packets > 0), "{}: a silent queue in {packets:?}", case.name);
}

/// What has to be true when testpmd is gone.
fn assert_accounted(daemon: &Daemon, case: &Case) {
    for port in ["vm1", "vm2"] {
        eventually("the port is down", || !daemon.link(port).0);
    }
    daemon.assert_balanced();
    let totals = daemon.totals();
    if !case.generates {
        let lost = totals.all_drops() - totals.drops("vm1", "tx_down") - totals.drops("vm2", "tx_down");
        assert_eq!(lost, 0, "{}: dropped while testpmd ran: {:#?}", case.name, totals.0);
    }
    for port in ["vm1", "vm2"].into_iter().filter(|_| case.frame > 0) {
        let [packets, bytes] = ["rx_packets", "rx_bytes"].map(|counter| totals.of(port, counter));
        assert_eq!(bytes, packets * case.frame, "{}: frames of another length from {port}", case.name);
    }
}

#[test]
fn testpmd_sends_frames_round_in_every_mode() {
    let _alone = alone();
    for case in CASES {
        let daemon = start(case);
        let Some(testpmd) = Testpmd::start(daemon.dir(), case) else { return };
        assert_flows(&daemon, case);
        drop(testpmd);
        assert_accounted(&daemon, case);
    }
}

#[test]
fn testpmd_killed_under_traffic_comes_back() {
    let _alone = alone();
    for case in [PLAIN, PACKED, Case { client: true, ..PLAIN }, Case { client: true, ..PACKED }] {
        let daemon = start(&case);
        for _ in 0..2 {
            let Some(testpmd) = Testpmd::start(daemon.dir(), &case) else { return };
            assert_flows(&daemon, &case);
            drop(testpmd);
            assert_accounted(&daemon, &case);
        }
    }
}

/// The front-end listens and keeps running (DPDK's `server=1`), the switch goes and comes back.
#[test]
fn a_switch_killed_under_traffic_comes_back() {
    let _alone = alone();
    for case in [PLAIN, PACKED] {
        let case = Case { client: true, generates: true, frame: 0, ..case };
        let mut daemon = start(&case);
        let Some(testpmd) = Testpmd::start(daemon.dir(), &case) else { return };
        for signal in ["-KILL", "-TERM", "-KILL"] {
            assert_flows(&daemon, &case);
            let status = daemon.end(signal);
            assert_eq!(status.success(), signal == "-TERM", "{status}");
            daemon.start_again();
            // A driver that connects again with packed rings gives its own sending thread a millisecond to leave them before
            // it resets them. Where that thread waits for a CPU for longer, the driver has lost its place, until it connects
            // the next time.
            if case.device.contains("packed") && !frames_flow(&daemon) {
                println!("testpmd lost its place in a packed ring: the switch is started once more");
                daemon.end("-TERM");
                daemon.start_again();
            }
        }
        assert_flows(&daemon, &case);
        drop(testpmd);
        assert_accounted(&daemon, &case);
    }
}
