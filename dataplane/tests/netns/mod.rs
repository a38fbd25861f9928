//! Tests with real netdevs: each runs in a network namespace of its own, by starting its own binary again inside one.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use ringswitch_dataplane::packet::{BATCH, PacketBatch, TxList};
use ringswitch_dataplane::port::{PortContext, PortEvent, PortEvents, PortId, QueueHost, RxQueue, TxQueues};
use ringswitch_dataplane::sys::event::EventFd;
use ringswitch_dataplane::sys::packet_socket::PacketSocket;

const INSIDE: &str = "RINGSWITCH_TEST_NETNS";

/// True inside the namespace, where the test's body is to run. Outside it makes the namespace, runs `setup` there (one
/// command of ip(8) or another tool per line), and the test once more. Skips when not root.
pub fn inside(test: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if std::fs::metadata("/proc/self").map(|meta| meta.uid()).ok() != Some(0) {
        println!("{test}: skipped, it needs root");
        return false;
    }
    let namespace = Namespace::new(format!("xdp-{}-{test}", std::process::id()));
    namespace.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    namespace.run("ip link set lo up");
    setup.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| namespace.run(line));
    let binary = std::env::current_exe().expect("a test has a binary");
    let status = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, &namespace.0)
        .status();
    assert!(status.expect("ip runs").success(), "{test} failed inside its namespace");
    false
}

struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Self {
        sh(&format!("ip netns add {name}"));
        Self(name)
    }

    fn run(&self, command: &str) {
        sh(&format!("ip netns exec {} {command}", self.0));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs a command, which must succeed, and returns what it printed.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A worker that polls when the test says so.
#[derive(Default)]
pub struct Host {
    queues: Mutex<HashMap<u16, Box<dyn RxQueue>>>,
}

impl QueueHost for Host {
    fn attach_rx(&self, _port: PortId, index: u16, queue: Box<dyn RxQueue>) {
        let old = self.queues.lock().expect("no test panics inside").insert(index, queue);
        assert!(old.is_none(), "queue {index} attached twice");
    }

    fn detach_rx(&self, _port: PortId, index: u16) -> Option<Box<dyn RxQueue>> {
        self.queues.lock().expect("no test panics inside").remove(&index)
    }
}

/// What surrounds a port in a test.
pub struct Bench {
    pub host: Arc<Host>,
    pub tx: Arc<TxQueues>,
    pub events: Receiver<(PortId, PortEvent)>,
    pub context: PortContext,
}

impl Bench {
    pub fn new(tx_capacity: usize) -> Self {
        let host = Arc::new(Host::default());
        let tx = Arc::new(TxQueues::new(tx_capacity));
        let (sender, events) = crossbeam_channel::unbounded();
        let wake = Arc::new(EventFd::new().expect("eventfd"));
        let context = PortContext {
            id: PortId(7),
            name: "nic".into(),
            host: Arc::<Host>::clone(&host),
            tx: Arc::clone(&tx),
            events: PortEvents::new(sender, wake),
        };
        Self { host, tx, events, context }
    }

    /// One burst on one queue: what `use_batch` does with the packets is over before the frames go back.
    pub fn poll(&self, queue: u16, batch: &mut PacketBatch, use_batch: impl FnOnce(&PacketBatch)) -> usize {
        let mut queues = self.host.queues.lock().expect("no test panics inside");
        let Some(rx) = queues.get_mut(&queue) else { return 0 };
        let count = rx.rx_batch(batch);
        use_batch(batch);
        rx.finish();
        batch.clear();
        count
    }

    /// Runs `use_rx` on the queue itself.
    pub fn with_rx<R>(&self, queue: u16, use_rx: impl FnOnce(&mut dyn RxQueue) -> R) -> R {
        let mut queues = self.host.queues.lock().expect("no test panics inside");
        use_rx(queues.get_mut(&queue).expect("the queue is attached").as_mut())
    }

    /// Polls until `count` frames came in or two seconds are over.
    pub fn receive(&self, queue: u16, count: usize) -> Vec<Vec<u8>> {
        let (mut frames, mut batch) = (Vec::new(), PacketBatch::new());
        let start = Instant::now();
        while frames.len() < count && start.elapsed() < Duration::from_secs(2) {
            self.poll(queue, &mut batch, |batch| frames.extend(batch.packets().iter().map(bytes_of)));
        }
        frames
    }

    /// Sends frames through the transmit queue in batches; returns how many it took.
    pub fn send(&self, queue: usize, frames: &[Vec<u8>]) -> usize {
        let mut sent = 0;
        for chunk in frames.chunks(BATCH) {
            let (batch, mut list) = batch_of(chunk);
            sent += self
                .tx
                .with(queue, |tx| {
                    let sent = tx.tx_batch(&batch, &mut list);
                    tx.flush();
                    sent
                })
                .unwrap_or(0);
        }
        sent
    }

    pub fn next_event(&self) -> PortEvent {
        self.events.recv_timeout(Duration::from_secs(5)).expect("an event within 5 s").1
    }
}

pub fn bytes_of(packet: &ringswitch_dataplane::packet::Packet) -> Vec<u8> {
    let mut bytes = vec![0; packet.len()];
    packet.copy_to(&mut bytes).expect("as long as the packet");
    bytes
}

/// A batch of whole frames and the list to send all of them.
pub fn batch_of(frames: &[Vec<u8>]) -> (PacketBatch, TxList) {
    let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
    for (id, frame) in frames.iter().enumerate() {
        batch.next_slot().expect("room").reset(frame.len()).copy_from_slice(frame);
        batch.push();
        assert!(list.push(id));
    }
    (batch, list)
}

/// An Ethernet frame of a local experimental type, of `len` bytes that depend on `seed`.
pub fn frame(len: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(31) ^ seed.wrapping_mul(17)) as u8).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// Sends, waiting while the device is busy.
pub fn inject(socket: &PacketSocket, frame: &[u8]) {
    while let Err(error) = socket.send(frame) {
        let busy = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
        assert!(busy, "sending {} bytes: {error}", frame.len());
        std::thread::yield_now();
    }
}

/// Receives until `count` frames came or two seconds are over.
pub fn collect(socket: &PacketSocket, count: usize) -> Vec<Vec<u8>> {
    let (mut frames, mut buffer, start) = (Vec::new(), vec![0; 70_000], Instant::now());
    while frames.len() < count && start.elapsed() < Duration::from_secs(2) {
        match socket.receive(&mut buffer) {
            Ok(len) => frames.push(buffer[..len].to_vec()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    frames
}
