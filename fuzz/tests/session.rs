//! A front-end that sends messages in any order, damaged, and with the wrong descriptors, while its guest's rings are
//! polled: the port survives it, serves the next front-end, and keeps no descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::{PacketBatch, TxList};
use ringswitch_dataplane::port::vhost::VhostOptions;
use ringswitch_dataplane::sys::event::EventFd;
use ringswitch_fuzz::{Random, run};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

#[path = "../../dataplane/tests/support/mod.rs"]
mod support;
use support::TestPort;

const MEMORY: u64 = 0x10_0000;
const BYTES: u64 = 0x1_0000;
/// What is negotiated, at most: mergeable buffers, indirect, event index, protocol features, version 1, packed, in order.
const FEATURES: [u32; 7] = [15, 28, 29, 30, 32, 34, 35];

const SET_FEATURES: u32 = 2;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_VRING_ERR: u32 = 14;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const ADD_MEM_REG: u32 = 37;
const REM_MEM_REG: u32 = 38;

/// What a front-end can send, of each kind one.
struct Files {
    memory: Arc<Mapping>,
    events: [EventFd; 2],
    others: Vec<OwnedFd>,
}

impl Files {
    fn new() -> Self {
        let (reader, writer) = std::io::pipe().expect("pipe");
        let (one, two) = UnixStream::pair().expect("socket pair");
        let null = File::open("/dev/null").expect("/dev/null");
        let file = tempfile::tempfile().expect("file");
        let others = vec![reader.into(), writer.into(), one.into(), two.into(), null.into(), file.into()];
        let event = || EventFd::new().expect("eventfd");
        Self { memory: Arc::new(Mapping::memfd(c"fuzz", BYTES).expect("memfd")), events: [event(), event()], others }
    }

    fn any(&self, random: &mut Random) -> RawFd {
        match random.below(3) {
            0 => self.memory.as_fd().as_raw_fd(),
            1 => random.pick(&self.events).as_raw_fd(),
            _ => random.pick(&self.others).as_raw_fd(),
        }
    }

    /// Small numbers and addresses: what rings are full of.
    fn fill(&self, random: &mut Random) {
        let view = GuestMemory::new(vec![Region::of_own(Arc::clone(&self.memory), 0)]).expect("one region");
        let words = view.area(0, BYTES as usize, 8).expect("all of it");
        for at in (0..BYTES as usize).step_by(8) {
            let low = if random.once_in(2) { MEMORY + random.below(BYTES) } else { random.below(300) };
            words.store_u64(at, low | random.below(4) << 32, Ordering::Relaxed);
        }
    }

    fn truncate(&self, len: u64) {
        let _ = File::from(self.memory.as_fd().try_clone_to_owned().expect("dup")).set_len(len);
    }
}

#[derive(Clone)]
struct Message {
    code: u32,
    flags: u32,
    payload: Vec<u8>,
    fds: Vec<RawFd>,
}

impl Message {
    fn new(code: u32, longs: &[u64], fds: &[RawFd]) -> Self {
        let payload = longs.iter().flat_map(|long| long.to_ne_bytes()).collect();
        Self { code, flags: 1, payload, fds: fds.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let header = [self.code, self.flags, self.payload.len() as u32];
        header.iter().flat_map(|word| word.to_ne_bytes()).chain(self.payload.iter().copied()).collect()
    }

    /// One thing about it becomes another.
    fn damage(&mut self, random: &mut Random, files: &Files) {
        let at = random.index(self.payload.len().max(1));
        match random.below(8) {
            0 => self.code = random.below(45) as u32,
            1 => self.flags = random.edge() as u32,
            2 => self.payload.truncate(at),
            3 => self.payload.extend(vec![0; random.index(64)]),
            4 => self.fds.clear(),
            5 => self.fds = (0..random.below(4)).map(|_| files.any(random)).collect(),
            _ => {
                let value = random.edge().to_ne_bytes();
                self.payload.iter_mut().skip(at & !7).zip(value).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}

/// A state: ring, value.
fn state(ring: u64, value: u64) -> [u64; 1] {
    [ring | value << 32]
}

/// How a well-behaved front-end starts one queue pair.
fn start(random: &mut Random, files: &Files) -> Vec<Message> {
    let features = FEATURES.iter().filter(|_| random.once_in(2)).fold(0, |bits, bit| bits | 1u64 << bit);
    let memory = files.memory.as_fd().as_raw_fd();
    let half = BYTES / 2;
    let mut messages = vec![
        Message::new(SET_FEATURES, &[features], &[]),
        Message::new(SET_PROTOCOL_FEATURES, &[random.below(2) * 0x8009], &[]),
        Message::new(SET_MEM_TABLE, &[1, MEMORY, half, MEMORY, 0], &[memory]),
        Message::new(ADD_MEM_REG, &[0, MEMORY + half, half, MEMORY + half, half], &[memory]),
    ];
    for ring in 0..2 {
        let (desc, size) = (MEMORY + ring * 0x2000, 1 << random.below(8));
        let event = [files.events[ring as usize].as_raw_fd()];
        messages.extend([
            Message::new(SET_VRING_NUM, &state(ring, size), &[]),
            Message::new(SET_VRING_BASE, &state(ring, random.below(2) << 15), &[]),
            Message::new(SET_VRING_ADDR, &[ring, desc, desc + 0x1800, desc + 0x1000, 0], &[]),
            Message::new(SET_VRING_CALL, &[ring], &event),
            Message::new(SET_VRING_ERR, &[ring], &event),
            Message::new(SET_VRING_KICK, &[ring], &event),
            Message::new(SET_VRING_ENABLE, &state(ring, 1), &[]),
        ]);
    }
    messages
}

/// What it may say once rings run.
fn later(random: &mut Random, files: &Files) -> Message {
    let (ring, memory) = (random.below(2), files.memory.as_fd().as_raw_fd());
    let half = BYTES / 2;
    match random.below(6) {
        0 => Message::new(GET_VRING_BASE, &state(ring, 0), &[]),
        1 => Message::new(REM_MEM_REG, &[0, MEMORY + half, half, MEMORY + half, half], &[]),
        2 => Message::new(SET_MEM_TABLE, &[1, MEMORY, BYTES, MEMORY, 0], &[memory]),
        3 => Message::new(SET_VRING_ENABLE, &state(ring, random.below(2)), &[]),
        4 => Message::new(SET_VRING_KICK, &[ring | random.below(2) << 8], &[files.events[0].as_raw_fd()]),
        _ => Message::new(random.below(45) as u32, &[random.edge()], &[]),
    }
}

/// One burst of each ring, with whatever lies in the guest's memory.
fn poll(port: &TestPort, batch: &mut PacketBatch) {
    for queue in port.host.queues.lock().expect("nobody panicked").values_mut() {
        batch.clear();
        queue.rx_batch(batch);
        let mut list = TxList::new();
        (0..batch.len()).for_each(|id| assert!(list.push(id)));
        port.tx.with(0, |tx| {
            tx.tx_batch(batch, &mut list);
            tx.flush();
        });
        queue.finish();
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// A front-end that only asks is answered.
fn assert_serves(path: &Path) {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream.send_with_fds(&[&Message::new(1, &[], &[]).bytes()[..]], &[]).expect("send");
    stream.read_exact(&mut [0; 20]).expect("an answer");
}

#[test]
fn damaged_sessions() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("vm");
    // What the process opens once to signal a peer's eventfd is not the port's.
    let event = EventFd::new().expect("eventfd");
    EventFd::from_peer(event.as_fd().try_clone_to_owned().expect("dup")).expect("an eventfd").signal();
    let case = |random: &mut Random| {
        let before = open_descriptors();
        let mut port = TestPort::open(VhostOptions::new(path.clone()));
        let (files, mut batch) = (Files::new(), PacketBatch::new());
        files.fill(random);
        let mut messages = start(random, &files);
        messages.extend((0..random.below(6)).map(|_| later(random, &files)));
        let good = random.once_in(4);
        for _ in 0..if good { 0 } else { random.below(4) } {
            let (one, other) = (random.index(messages.len()), random.index(messages.len()));
            match random.below(4) {
                0 => messages.swap(one, other),
                1 => drop(messages.remove(one)),
                2 => messages.insert(one, messages[other].clone()),
                _ => messages[one].damage(random, &files),
            }
        }
        let stream = UnixStream::connect(&path).expect("connect");
        for message in messages {
            let bytes = message.bytes();
            let cut = if random.once_in(8) { random.index(bytes.len()) + 1 } else { bytes.len() };
            let _ = stream.send_with_fds(&[&bytes[..cut]], &message.fds);
            let _ = stream.send_with_fds(&[&bytes[cut..]], &[]);
            poll(&port, &mut batch);
            if random.once_in(60) {
                files.truncate(random.below(BYTES));
            }
        }
        poll(&port, &mut batch);
        drop(stream);
        assert_serves(&path);
        batch.clear();
        port.close();
        drop((port, files));
        let deadline = Instant::now() + Duration::from_secs(5);
        while open_descriptors() > before {
            assert!(Instant::now() < deadline, "{} descriptors, {before} before", open_descriptors());
        }
    };
    run("session", case);
}
