//! Tests with real netdevs: each runs in a network namespace of its own ([`namespace`]), with a port between two ends.

mod namespace;

pub use namespace::{inside, sh};

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use ringswitch_dataplane::packet::{BATCH, PacketBatch, TxList};
use ringswitch_dataplane::port::{PortContext, PortEvent, PortEvents, PortId, QueueHost, RxQueue, TxQueues};
use ringswitch_dataplane::sys::event::EventFd;
use ringswitch_dataplane::sys::packet_socket::PacketSocket;

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
