//! Real virtio drivers against two vhost-user ports: DPDK's testpmd with two `net_virtio_user` devices forwards what it
//! receives on one to the other, and a wire between our ports sends it round again.
//!
//! Skipped with a message where `dpdk-testpmd` is not installed.

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;

use ringswitch_dataplane::port::PortEvent;
use ringswitch_dataplane::port::vhost::{Mode, VhostOptions};
use support::{TestPort, Wire, is_down, is_up};

/// How testpmd is to be run, and what we must see.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Device arguments besides the path.
    device: &'static str,
    /// testpmd arguments.
    forward: &'static str,
    queues: u16,
    /// The switch is the client.
    client: bool,
    /// testpmd sends all the time by itself (and hears of lost connections), instead of sending a few frames round.
    generates: bool,
    /// Every frame's length.
    frame: u64,
    /// Part of the text with which the port comes up.
    up: &'static str,
}

const PLAIN: Case = Case {
    name: "plain",
    device: "",
    forward: "",
    queues: 1,
    client: false,
    generates: false,
    frame: 64,
    up: "1 queue pair",
};

const CASES: &[Case] = &[
    Case { name: "split", up: "split", ..PLAIN },
    Case { name: "split without mrg_rxbuf", device: ",mrg_rxbuf=0", ..PLAIN },
    Case { name: "split in order", device: ",in_order=1", up: "in_order", ..PLAIN },
    Case { name: "split, not in order", device: ",in_order=0", ..PLAIN },
    Case { name: "split vectorized", device: ",mrg_rxbuf=0,in_order=0,vectorized=1", ..PLAIN },
    Case { name: "packed", device: ",packed_vq=1", up: "packed", ..PLAIN },
    Case { name: "packed without mrg_rxbuf", device: ",packed_vq=1,mrg_rxbuf=0", up: "packed", ..PLAIN },
    Case { name: "packed, not in order", device: ",packed_vq=1,in_order=0", up: "packed", ..PLAIN },
    Case {
        name: "packed vectorized",
        device: ",packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1",
        up: "packed",
        ..PLAIN
    },
    Case { name: "split, 2 queues", forward: "--rxq=2 --txq=2", queues: 2, up: "2 queue pairs", ..PLAIN },
    Case { name: "packed, 2 queues", device: ",packed_vq=1", forward: "--rxq=2 --txq=2", queues: 2, ..PLAIN },
    Case { name: "client", client: true, ..PLAIN },
    Case { name: "client, packed", client: true, device: ",packed_vq=1", ..PLAIN },
    Case { name: "split, 1500 bytes", forward: "--txpkts=1500", frame: 1500, ..PLAIN },
    Case { name: "packed, chains", device: ",packed_vq=1", forward: "--txpkts=64,300,700", frame: 1064, ..PLAIN },
    Case { name: "split, chains", forward: "--txpkts=64,300,700", frame: 1064, ..PLAIN },
];

/// A running testpmd, ended with its test.
struct Testpmd(Child, PathBuf);

impl Testpmd {
    /// Starts it, or says why not.
    fn start(directory: &Path, case: &Case) -> Option<Self> {
        let queues = case.queues;
        let server = if case.client { ",server=1" } else { "" };
        let device = |index: usize| {
            let path = directory.join(format!("port{index}"));
            let device = case.device;
            format!(
                "--vdev=net_virtio_user{index},path={},queues={queues},queue_size=256{device}{server}",
                path.display()
            )
        };
        let log = directory.join("testpmd.log");
        let output = File::create(&log).expect("log file");
        let mut command = Command::new("dpdk-testpmd");
        command.args([
            "--lcores",
            "0@0,1@0",
            "--no-pci",
            "--no-huge",
            "-m",
            "256",
            "--no-telemetry",
            "--log-level=user1,4",
        ]);
        command.arg(format!("--file-prefix=rs{}", std::process::id()));
        command.args([device(0), device(1)]).args([
            "--",
            "--nb-cores=1",
            "--txd=256",
            "--rxd=256",
            "--total-num-mbufs=4096",
        ]);
        let forward =
            if case.generates { ["--forward-mode=flowgen"].iter() } else { ["--forward-mode=io", "--tx-first"].iter() };
        command.arg("--no-mlockall").args(forward).args(case.forward.split_whitespace());
        command.stdin(Stdio::piped()).stderr(output.try_clone().expect("dup")).stdout(output);
        match command.spawn() {
            Ok(child) => Some(Self(child, log)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("starting dpdk-testpmd: {error}"),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap_or_default()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ports(directory: &Path, case: &Case) -> [TestPort; 2] {
    [0, 1].map(|index| {
        TestPort::open(VhostOptions {
            mode: if case.client { Mode::Client } else { Mode::Server },
            queue_pairs: case.queues,
            ..VhostOptions::new(directory.join(format!("port{index}")))
        })
    })
}

/// Both ports up, and frames going round; `None` when there is no testpmd.
fn run(directory: &Path, case: &Case, ports: &[TestPort; 2], wire: &Wire) -> Option<Testpmd> {
    let Some(testpmd) = Testpmd::start(directory, case) else {
        eprintln!("skipped: dpdk-testpmd is not installed");
        return None;
    };
    let up = |event: &PortEvent| matches!(event, PortEvent::Up(text) if text.contains(case.up));
    for port in ports {
        port.wait_event(20, up);
    }
    if let Err(error) = wire.wait_frames(20_000, 20) {
        panic!("{}: {error}\n{:?}\n{}", case.name, ports[0].status(), testpmd.log());
    }
    Some(testpmd)
}

fn check(case: &Case) -> bool {
    let directory = tempfile::tempdir().expect("directory");
    let mut ports = ports(directory.path(), case);
    let wire = Wire::start(&ports[0], &ports[1]);
    let Some(testpmd) = run(directory.path(), case, &ports, &wire) else { return false };
    eprintln!("{}: {:?}, {}", case.name, wire.received(), ports[0].status().summary());
    assert_eq!(wire.counts.tallied.load(Relaxed), 0, "{}: frames dropped by a ring", case.name);
    assert_eq!(wire.counts.queues.load(Relaxed), (1 << case.queues) - 1, "{}: silent queues", case.name);
    ports.iter_mut().for_each(TestPort::close);
    drop(testpmd);
    for (bytes, frames) in wire.counts.bytes.iter().zip(&wire.counts.received) {
        assert_eq!(bytes.load(Relaxed), frames.load(Relaxed) * case.frame, "{}: frames of another length", case.name);
    }
    true
}

#[test]
fn testpmd_sends_frames_round_in_every_mode() {
    for case in CASES {
        if !check(case) {
            return;
        }
    }
}

#[test]
fn testpmd_killed_under_traffic_comes_back() {
    for case in [PLAIN, Case { client: true, device: ",packed_vq=1", ..PLAIN }] {
        let directory = tempfile::tempdir().expect("directory");
        let ports = ports(directory.path(), &case);
        let wire = Wire::start(&ports[0], &ports[1]);
        for _ in 0..2 {
            let Some(testpmd) = run(directory.path(), &case, &ports, &wire) else { return };
            drop(testpmd);
            for (index, port) in ports.iter().enumerate() {
                port.wait_event(5, is_down);
                if case.client {
                    let _ = std::fs::remove_file(directory.path().join(format!("port{index}")));
                }
            }
        }
    }
}

/// In client mode the front-end keeps running while the switch goes and comes back (DPDK's `server=1` allows for that).
#[test]
fn switch_restarted_under_traffic_comes_back() {
    for device in ["", ",packed_vq=1"] {
        let case = Case { client: true, generates: true, device, ..PLAIN };
        let directory = tempfile::tempdir().expect("directory");
        let mut first = ports(directory.path(), &case);
        let wire = Wire::start(&first[0], &first[1]);
        let Some(testpmd) = run(directory.path(), &case, &first, &wire) else { return };
        first.iter_mut().for_each(TestPort::close);
        drop(wire);
        let second = ports(directory.path(), &case);
        let wire = Wire::start(&second[0], &second[1]);
        for port in &second {
            port.wait_event(10, is_up);
        }
        if let Err(error) = wire.wait_frames(20_000, 10) {
            panic!("{device}: {error}\n{:?}\n{}", second[0].status(), testpmd.log());
        }
        assert_eq!(wire.counts.tallied.load(Relaxed), 0, "frames dropped by a ring");
    }
}
