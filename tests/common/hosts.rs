//! Hosts around the switch: network namespaces whose kernels speak to each other through it, and a guest with such a kernel.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringswitch_dataplane::sys::packet_socket::PacketSocket;
use rspktgen::guest::Guest;
use serde_json::Value;

use super::eventually;

#[path = "../../dataplane/tests/netns/namespace.rs"]
mod namespace;

pub use namespace::{Namespace, inside, is_inside, is_root, sh};

/// A host of its own, with one link to the switch's namespace.
pub struct Host(pub Namespace);

impl Host {
    /// Without a link.
    pub fn new(name: &str) -> Self {
        Self(Namespace::new(&format!("rsh-{}-{name}", std::process::id())))
    }

    /// With `eth0` at the other end of `nic`.
    pub fn on(nic: &str, address: &str, mtu: u32) -> Self {
        let host = Self::new(nic);
        host.plug(nic, address, mtu);
        host
    }

    pub fn plug(&self, nic: &str, address: &str, mtu: u32) {
        let name = self.0.name();
        sh(&format!("ip link add {nic} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}"));
        sh(&format!("ip link set {nic} up"));
        self.set_up("eth0", address);
        // A veth hands frames on with their checksum undone, as nobody is there to see it on a wire.
        self.0.run("ethtool -K eth0 tx off");
    }

    pub fn set_up(&self, netdev: &str, address: &str) {
        self.0.run(&format!("ip addr add {address}/24 dev {netdev}"));
        self.0.run(&format!("ip link set {netdev} up"));
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.0.name()]).args(words.split_whitespace());
        command
    }

    /// Three pings, each answered. One by one: after the first answer ping(8) waits for two round trips only, whatever it
    /// was told, and on a busy machine an answer takes longer.
    pub fn ping(&self, options: &str, to: &str) {
        for _ in 0..3 {
            let output = self.command(&format!("ping -n -c 1 -W 5 {options} {to}")).output().expect("ping runs");
            assert!(output.status.success(), "ping {options} {to}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }

    /// Two seconds of iperf3 towards `server`; the bytes that arrived there.
    pub fn iperf3(&self, server: &Host, address: &str, options: &str) -> u64 {
        let listener = Listener(server.command("iperf3 -s -1").stdout(Stdio::null()).spawn().expect("iperf3 runs"));
        let mut received = None;
        eventually("iperf3 gets through", || {
            let command = format!("timeout 20 iperf3 -c {address} -t 2 -J {options}");
            let output = self.command(&command).output().expect("iperf3 runs");
            // With -J it succeeds also when nobody listens yet.
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let end = &said["end"];
            received = end["sum_received"]["bytes"].as_u64().or_else(|| end["sum"]["bytes"].as_u64());
            received.is_some()
        });
        drop(listener);
        received.expect("it got through")
    }
}

struct Listener(Child);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A guest with a kernel: a [`Host`] whose frames a thread carries between its link and the guest's rings.
pub struct Kernel {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kernel {
    /// `link` is the near end of the host's link.
    pub fn boot(mut guest: Guest, link: &str) -> Self {
        let socket = PacketSocket::open(link).expect("a packet socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut frame = vec![0; 70_000];
            while !stopped.load(Ordering::Relaxed) {
                // Waits on the rings; the kernel's frames are looked for in between.
                if let Some(received) = guest.receive_within(Duration::from_micros(100)).expect("a sound ring") {
                    let _ = socket.send(&received);
                }
                while let Ok(len) = socket.receive(&mut frame) {
                    guest.send(0, &frame[..len]).expect("a sound ring");
                }
            }
            guest.close();
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            panic!("the guest's ring broke");
        }
    }
}
