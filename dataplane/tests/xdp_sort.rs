//! Pools of AF_XDP ports on real veth pairs: each frame comes out with its pool's, whatever changes meanwhile.

mod netns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netns::{Bench, bytes_of, collect, frame, inject, inside, sh};
use ringswitch_dataplane::packet::{BATCH, DropReason, PacketBatch};
use ringswitch_dataplane::port::PortEvent;
use ringswitch_dataplane::port::xdp::{
    MAX_POOL_SOCKETS, SortFilter, SortPool, Sorter, SorterChoice, XdpMode, XdpOptions, XdpPort, XdpStatus,
};
use ringswitch_dataplane::sys::clock;
use ringswitch_dataplane::sys::packet_socket::PacketSocket;

const PAIR: &str = "ip link add v0 type veth peer name p0
    ip link set v0 up
    ip link set p0 up";
const TWO_QUEUES: &str = "ip link add v0 numrxqueues 2 numtxqueues 2 type veth peer name p0 numrxqueues 2 numtxqueues 2
    ip link set v0 up
    ip link set p0 up";
const VETH_CANNOT: &str = "the driver (veth) cannot steer by destination address";

fn open(bench: &Bench, options: XdpOptions) -> XdpPort {
    XdpPort::open(options, bench.context.clone()).expect("the port opens")
}

fn mac(vm: usize) -> [u8; 6] {
    [2, 0, 0, 1, (vm >> 8) as u8, vm as u8]
}

fn to(vm: usize, vlan: u16) -> SortFilter {
    SortFilter { mac: mac(vm), vlan }
}

fn pool(name: &str, filters: Vec<SortFilter>) -> SortPool {
    SortPool { name: name.into(), weight: 100, filters }
}

/// A pool per VM, with its frames in VLAN 7 and those without a tag.
fn pools(vms: std::ops::Range<usize>) -> Vec<SortPool> {
    vms.map(|vm| pool(&format!("vm{vm}"), vec![to(vm, 0), to(vm, 7)])).collect()
}

/// Has them sorted, and polls like a worker until that is so.
fn sort(bench: &Bench, port: &XdpPort, pools: &[SortPool]) -> XdpStatus {
    port.sort(pools);
    wait_until_sorted(bench, port)
}

fn wait_until_sorted(bench: &Bench, port: &XdpPort) -> XdpStatus {
    let (mut batch, start) = (PacketBatch::new(), Instant::now());
    loop {
        for queue in 0..2 {
            bench.poll(queue, &mut batch, |_| ());
        }
        let status = port.status();
        if status.is_sorted {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the sorting is not done: {status:?}");
    }
}

/// A frame that says at its end which flow it is of, and its number there.
fn numbered(destination: [u8; 6], vlan: Option<u16>, flow: u8, number: u32) -> Vec<u8> {
    let mut frame = frame(100, 0);
    frame[..6].copy_from_slice(&destination);
    frame[95] = flow;
    frame[96..].copy_from_slice(&number.to_be_bytes());
    if let Some(vlan) = vlan {
        frame.splice(12..12, [0x81, 0x00, (vlan >> 8) as u8, vlan as u8]);
    }
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(*frame.last_chunk().expect("four bytes"))
}

/// The far end, which says on which queue a frame arrives: that of the transmit queue. (The kernel would choose one by flow,
/// and another one when it likes.)
struct FarEnd {
    bench: Bench,
    _port: XdpPort,
}

impl FarEnd {
    fn new() -> Self {
        let bench = Bench::new(2);
        let port = open(&bench, XdpOptions::new("p0"));
        Self { bench, _port: port }
    }

    fn send(&self, queue: usize, frames: &[Vec<u8>]) {
        let mut sent = 0;
        while sent < frames.len() {
            sent += self.bench.send(queue, &frames[sent..frames.len().min(sent + BATCH)]);
        }
    }
}

/// Whose a frame is, said in another way than the program's.
fn owner(frame: &[u8], pools: &[SortPool]) -> Option<usize> {
    let vlan = match frame[12..16] {
        [0x81, 0x00, high, low] => u16::from_be_bytes([high & 0x0f, low]),
        _ => 0,
    };
    pools
        .iter()
        .position(|pool| pool.filters.iter().any(|filter| frame.starts_with(&filter.mac) && filter.vlan == vlan))
}

#[test]
fn sixty_four_pools_on_two_queues_get_batches_of_their_own() {
    if !inside("sixty_four_pools_on_two_queues_get_batches_of_their_own", TWO_QUEUES) {
        return;
    }
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let bench = Bench::new(2);
        let port = open(&bench, XdpOptions { mode, ..XdpOptions::new("v0") });
        let pools = pools(0..64);
        let status = sort(&bench, &port, &pools);
        assert!(status.pools.iter().all(|pool| pool.sorter == Sorter::Xdp), "{status:?}");
        assert_eq!(status.pools[5].why_not, [(Sorter::Nic, VETH_CANNOT.to_owned())]);
        assert_eq!(status.pools[5].queues, "socket on each of 2 queues");
        let far = FarEnd::new();
        // To VMs with and without tag, in a VLAN that is no pool's, to nobody known, to everybody; with a priority only.
        let kinds = |vm: u32, number: u32| {
            let (destination, vlan) = match number % 8 {
                0 => (mac(vm as usize + 1000), None),
                1 => ([0xff; 6], None),
                2 => ([3, 0, 0, 1, 0, vm as u8], Some(7)),
                3 => (mac(vm as usize), Some(8)),
                4 | 5 => (mac(vm as usize), Some(0xe007)),
                6 => (mac(vm as usize), Some(0x6000)),
                _ => (mac(vm as usize), None),
            };
            numbered(destination, vlan, 0, number)
        };
        let (mut seen, mut of_pool, mut largest, mut batch) = (HashMap::new(), vec![[0; 2]; 64], 0, PacketBatch::new());
        let mut poll = |seen: &mut HashMap<u32, Vec<u8>>| {
            for queue in 0..2 {
                bench.poll(queue, &mut batch, |batch| {
                    let frames: Vec<_> = batch.packets().iter().map(bytes_of).collect();
                    let owners: Vec<_> = frames.iter().map(|frame| owner(frame, &pools)).collect();
                    assert!(owners.iter().all(|owner| *owner == owners[0]), "a mixed batch: {owners:?}");
                    if let Some(&Some(owner)) = owners.first() {
                        of_pool[owner][usize::from(queue)] += frames.len();
                    }
                    largest = largest.max(frames.len());
                    seen.extend(frames.into_iter().map(|frame| (number(&frame), frame)));
                });
            }
        };
        let mut sent = HashMap::new();
        for round in 0..40 {
            let frames: Vec<_> =
                (round * 600..(round + 1) * 600).map(|number| kinds(number / 8 % 64, number)).collect();
            far.send(round as usize % 2, &frames);
            sent.extend(frames.into_iter().map(|frame| (number(&frame), frame)));
            let start = Instant::now();
            while seen.len() < sent.len() && start.elapsed() < Duration::from_secs(5) {
                poll(&mut seen);
            }
        }
        assert!(seen == sent, "{} of {} frames, as they were sent", seen.len(), sent.len());
        assert!(largest > 4, "batches are not of one frame each");
        // Generic XDP knows no queues of a veth.
        let queues = if mode == XdpMode::Native { 0..2 } else { 0..1 };
        let got_some = |frames: &[usize; 2]| frames[queues.clone()].iter().all(|&count| count > 0);
        assert!(of_pool.iter().all(got_some), "every pool, on every queue: {of_pool:?}");
        let counted: Vec<_> = port.status().pools.iter().map(|pool| pool.frames).collect();
        let expected: Vec<_> = of_pool.iter().map(|frames| frames.iter().sum::<usize>() as u64).collect();
        assert_eq!(counted, expected);
    }
}

/// Takes what the queues have, as a worker does, and checks it: which flow, which number.
struct Receiver<'a> {
    bench: &'a Bench,
    next: HashMap<([u8; 6], u8), u32>,
    received: [u64; 2],
    held_back: u64,
}

impl Receiver<'_> {
    /// All that is there; false when that is nothing.
    fn poll(&mut self, batch: &mut PacketBatch) -> bool {
        let mut count = 0;
        for queue in 0..2 {
            let Self { bench, next, received, held_back } = self;
            let mut poll = || {
                bench.poll(queue, batch, |batch| {
                    *held_back += u64::from(batch.tally.count(DropReason::RxHeldBack));
                    received[usize::from(queue)] += batch.len() as u64;
                    for frame in batch.packets().iter().map(bytes_of) {
                        let flow = (*frame.first_chunk().expect("an address"), frame[95]);
                        let (number, next) = (number(&frame), next.entry(flow).or_insert(0));
                        assert!(number >= *next, "flow {flow:x?}: {number} after {}", *next - 1);
                        *next = number + 1;
                    }
                })
            };
            while let more @ 1.. = poll() {
                count += more;
            }
        }
        count > 0
    }
}

/// Raises flags when it is dropped.
struct Raise<'a>([&'a AtomicBool; 2]);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }
}

#[test]
fn pools_come_go_and_move_under_traffic_and_no_flow_notices() {
    if !inside("pools_come_go_and_move_under_traffic_and_no_flow_notices", TWO_QUEUES) {
        return;
    }
    const VMS: usize = 4;
    /// Per VM and queue.
    const FLOWS: usize = 16;
    let bench = Bench::new(2);
    let port = open(&bench, XdpOptions { rx_frames: 1 << 14, ..XdpOptions::new("v0") });
    let of = |name: &str, vms: &[usize]| pool(name, vms.iter().map(|&vm| to(vm, 0)).collect());
    let steps: &[Vec<SortPool>] = &[
        vec![of("a", &[0]), of("b", &[1])],
        // They change places, and c is new.
        vec![of("a", &[1]), of("b", &[0]), of("c", &[2])],
        // One goes to another's, another's to nobody.
        vec![of("a", &[1, 0]), of("b", &[3])],
        vec![of("b", &[0]), of("d", &[1, 2, 3])],
        vec![],
        vec![SortPool { weight: 7, ..of("a", &[0, 1, 2, 3]) }],
    ];
    let (stop, quiet) = (AtomicBool::new(false), AtomicBool::new(false));
    let (sent, receiver) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let far = FarEnd::new();
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                // Some 12 000 frames a second, over both queues; a flow stays in its queue.
                let start = Instant::now();
                for queue in 0..2 {
                    let flows = (0..FLOWS).flat_map(|flow| (0..VMS).map(move |vm| (flow * 2 + queue, vm)));
                    let frames: Vec<_> = flows.map(|(flow, vm)| numbered(mac(vm), None, flow as u8, rounds)).collect();
                    far.send(queue, &frames);
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(10).saturating_sub(start.elapsed()));
            }
            u64::from(rounds) * (VMS * FLOWS * 2) as u64
        });
        let receiver = scope.spawn(|| {
            let mut receiver = Receiver { bench: &bench, next: HashMap::new(), received: [0; 2], held_back: 0 };
            let mut batch = PacketBatch::new();
            let mut last = Instant::now();
            while !quiet.load(Ordering::Relaxed) || last.elapsed() < Duration::from_millis(500) {
                if receiver.poll(&mut batch) {
                    last = Instant::now();
                }
                // So that frames lie in the rings whenever something changes.
                std::thread::sleep(Duration::from_millis(15));
            }
            receiver
        });
        // Whatever fails here, the threads end.
        let _end = Raise([&stop, &quiet]);
        for round in 0..4 {
            for (at, pools) in steps.iter().enumerate() {
                port.sort(pools);
                // Now and then the next change is wanted while one is under way.
                let start = Instant::now();
                let waits = || !port.status().is_sorted && start.elapsed() < Duration::from_secs(10);
                while (round + at) % 3 > 0 && !receiver.is_finished() && waits() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("the sender does not panic");
        quiet.store(true, Ordering::Relaxed);
        (sent, receiver.join().expect("frames in order"))
    });
    let status = port.status();
    assert!(status.is_sorted, "{status:?}");
    let dropped = status.counters.rx_dropped + status.counters.rx_ring_full + receiver.held_back;
    assert_eq!(
        receiver.received.iter().sum::<u64>() + dropped,
        sent,
        "each frame once; {dropped} were too many for the rings"
    );
    assert!(
        dropped < sent / 10,
        "{dropped} of {sent} dropped: {} held back, {:?}",
        receiver.held_back,
        status.counters
    );
    assert!(receiver.received.iter().all(|&count| count > 0), "over both queues: {:?}", receiver.received);
    assert_eq!(receiver.next.len(), VMS * FLOWS * 2);
    assert!(status.pools[0].frames > 0, "and they were sorted");
    // No frame of the queues got lost on the way.
    let far = FarEnd::new();
    far.send(1, &vec![numbered(mac(0), None, 1, 0); 1000]);
    let mut received = 0;
    let (mut batch, start) = (PacketBatch::new(), Instant::now());
    while received < 1000 && start.elapsed() < Duration::from_secs(5) {
        received += (0..2).map(|queue| bench.poll(queue, &mut batch, |_| ())).sum::<usize>();
    }
    assert_eq!(received, 1000);
}

#[test]
fn a_pool_takes_over_from_one_of_another_name_and_no_frame_overtakes() {
    if !inside("a_pool_takes_over_from_one_of_another_name_and_no_frame_overtakes", PAIR) {
        return;
    }
    const ROUNDS: u32 = 12;
    const FRAMES: u32 = 50;
    let bench = Bench::new(1);
    let port = open(&bench, XdpOptions::new("v0"));
    let far = FarEnd::new();
    let named = |round: u32| vec![pool(&format!("vm{round}"), vec![to(1, 0)])];
    let burst = |from: u32| (from..from + FRAMES).map(|number| numbered(mac(1), None, 0, number)).collect::<Vec<_>>();
    sort(&bench, &port, &named(0));
    for round in 1..ROUNDS {
        let first = round * 2 * FRAMES;
        // They lie in the ring of the pool that goes.
        far.send(0, &burst(first));
        port.sort(&named(round));
        far.send(0, &burst(first + FRAMES));
        let numbers: Vec<_> = bench.receive(0, 2 * FRAMES as usize).iter().map(|frame| number(frame)).collect();
        assert_eq!(numbers, (first..first + 2 * FRAMES).collect::<Vec<_>>(), "round {round}");
        let pools = wait_until_sorted(&bench, &port).pools;
        assert_eq!((pools.len(), pools[0].sorter), (1, Sorter::Xdp));
    }
}

#[test]
fn a_sleeping_worker_hears_every_pool() {
    if !inside("a_sleeping_worker_hears_every_pool", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, XdpOptions::new("v0"));
    let far = PacketSocket::open("p0").expect("packet socket on p0");
    let mut poll = mio::Poll::new().expect("epoll");
    let mut events = mio::Events::with_capacity(1);
    let fd = bench.with_rx(0, |rx| rx.event_fd()).expect("a set of sockets");
    poll.registry()
        .register(&mut mio::unix::SourceFd(&fd), mio::Token(0), mio::Interest::READABLE)
        .expect("the set can be polled");
    sort(&bench, &port, &pools(0..3));
    assert_eq!(bench.with_rx(0, |rx| rx.event_fd()), Some(fd), "the worker listens to what it always did");
    for vm in [0, 2, 1000, 1, 2] {
        assert!(bench.with_rx(0, |rx| rx.arm()), "nothing is there");
        poll.poll(&mut events, Some(Duration::ZERO)).expect("poll");
        inject(&far, &numbered(mac(vm), None, 1, 9));
        poll.poll(&mut events, Some(Duration::from_secs(5))).expect("poll");
        assert!(events.iter().any(mio::event::Event::is_readable), "VM {vm} wakes it");
        assert!(!bench.with_rx(0, |rx| rx.arm()), "something is there");
        assert_eq!(bench.receive(0, 1), [numbered(mac(vm), None, 1, 9)]);
    }
    // While a change waits for the queue, the worker must not sleep over it.
    port.sort(&pools(0..2));
    assert!(!bench.with_rx(0, |rx| rx.arm()), "the queue has a change to follow");
    wait_until_sorted(&bench, &port);
    assert!(bench.with_rx(0, |rx| rx.arm()));
}

#[test]
fn operators_read_what_sorts_and_why_not_better() {
    if !inside("operators_read_what_sorts_and_why_not_better", PAIR) {
        return;
    }
    let sorting = |sorter, pools: &[SortPool]| {
        let bench = Bench::new(1);
        let port = open(&bench, XdpOptions { sorter, ..XdpOptions::new("v0") });
        sort(&bench, &port, pools).pools
    };
    let nic = |why: &str| (Sorter::Nic, why.to_owned());
    let xdp = |why: &str| (Sorter::Xdp, why.to_owned());
    let many = pools(0..usize::from(MAX_POOL_SOCKETS) + 2);
    let all = sorting(SorterChoice::Auto, &many);
    assert_eq!(all.iter().filter(|pool| pool.sorter == Sorter::Xdp).count(), usize::from(MAX_POOL_SOCKETS));
    assert_eq!(all[0].queues, "socket on the queue");
    let last = all.last().expect("there are pools");
    assert_eq!((last.sorter, last.queues.as_str()), (Sorter::Software, ""));
    assert_eq!(last.why_not, [nic(VETH_CANNOT), xdp("no room: 128 sockets per queue")]);

    let forced = |only| format!("the port's option says sorter={only}");
    let one = sorting(SorterChoice::Xdp, &many[..1]).remove(0);
    assert_eq!((one.sorter, one.why_not), (Sorter::Xdp, vec![nic(&forced("xdp"))]));
    let one = sorting(SorterChoice::Nic, &many[..1]).remove(0);
    assert_eq!((one.sorter, one.why_not), (Sorter::Software, vec![nic(VETH_CANNOT), xdp(&forced("nic"))]));
    let one = sorting(SorterChoice::Software, &many[..1]).remove(0);
    assert_eq!((one.sorter, one.why_not), (Sorter::Software, vec![nic(&forced("software")), xdp(&forced("software"))]));
    let one = sorting(SorterChoice::Auto, &[pool("a", vec![])]).remove(0);
    assert_eq!((one.sorter, one.why_not[1].1.as_str()), (Sorter::Software, "the pool has no address to sort by"));
}

#[test]
fn pools_survive_the_netdev_and_a_full_house_closes_and_opens_again() {
    if !inside("pools_survive_the_netdev_and_a_full_house_closes_and_opens_again", TWO_QUEUES) {
        return;
    }
    let bench = Bench::new(2);
    let port = open(&bench, XdpOptions::new("v0"));
    let up = bench.next_event();
    assert!(sort(&bench, &port, &pools(0..64)).pools.iter().all(|pool| pool.sorter == Sorter::Xdp));
    sh("ip link set v0 down");
    while !matches!(bench.next_event(), PortEvent::Down(_)) {}
    let down = port.status();
    assert_eq!((down.is_sorted, down.pools.len()), (false, 64));
    assert_eq!(down.pools[9].why_not[1].1, "the port is down");
    sh("ip link set v0 up");
    while bench.next_event() != up {}
    assert!(wait_until_sorted(&bench, &port).pools.iter().all(|pool| pool.sorter == Sorter::Xdp));
    port.close();
    let bench = Bench::new(2);
    let port = open(&bench, XdpOptions::new("v0"));
    sort(&bench, &port, &pools(0..64));
    let far = PacketSocket::open("p0").expect("packet socket on p0");
    inject(&far, &numbered(mac(63), None, 1, 5));
    let received = [bench.receive(0, 1), bench.receive(1, 1)].concat();
    assert_eq!(received, [numbered(mac(63), None, 1, 5)]);
    // What a pool sends goes out as ever: its socket does not send.
    assert_eq!(bench.send(0, &[frame(100, 3)]), 1);
    assert_eq!(collect(&far, 1), [frame(100, 3)]);
}

/// What sorting costs the switch: `cargo test --release --test xdp_sort -- --ignored --nocapture cost`.
#[test]
#[ignore = "measures"]
fn cost_of_sorted_and_unsorted_frames() {
    if !inside("cost_of_sorted_and_unsorted_frames", PAIR) {
        return;
    }
    for count in [0, 1, 64] {
        let bench = Bench::new(1);
        let port = open(&bench, XdpOptions::new("v0"));
        sort(&bench, &port, &pools(0..count));
        let far = FarEnd::new();
        let frames: Vec<_> = (0..1024).map(|number| numbered(mac(number as usize % 64), None, 0, number)).collect();
        let (mut batch, mut rounds, mut received, mut batches) = (PacketBatch::new(), Vec::new(), 0, 0);
        for _ in 0..500 {
            far.send(0, &frames);
            // All have arrived before the first is taken.
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            let (mut here, mut cycles) = (0, 0);
            while here < frames.len() && start.elapsed() < Duration::from_secs(1) {
                here += bench.with_rx(0, |rx| {
                    let before = clock::cycles();
                    let count = rx.rx_batch(&mut batch);
                    rx.finish();
                    if count > 0 {
                        cycles += clock::cycles() - before;
                        batches += 1;
                    }
                    count
                });
                batch.clear();
            }
            received += here;
            rounds.push(cycles / here.max(1) as u64);
        }
        let looks = || {
            bench.with_rx(0, |rx| {
                let before = clock::cycles();
                (0..100).for_each(|_| assert_eq!(rx.rx_batch(&mut batch), 0));
                (clock::cycles() - before) / 100
            })
        };
        let mut looks: Vec<_> = std::iter::repeat_with(looks).take(500).collect();
        // The median: a machine with something else to do takes the CPU away now and then.
        let [cycles, idle] = [&mut rounds, &mut looks].map(|all| *all.select_nth_unstable(250).1);
        let frames = received / batches;
        println!("{count} pools: {cycles} cycles per frame, {frames} frames per batch; an idle look {idle} cycles");
    }
}
