//! From the command line to stations that are ready to send.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::capture::{self, Recorder};
use crate::check::Tracker;
use crate::cli::Args;
use crate::frame::{Frames, VLAN};
use crate::guest::{Guest, GuestError, Pair};
use crate::queue::open_netdev;
use crate::traffic::{Content, Listening, Sender, Station};

/// Why the stations are not ready.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The options contradict each other or name what is not there.
    #[error("{0}")]
    Usage(String),
    /// A station failed.
    #[error("{name}")]
    Station {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: GuestError,
    },
    /// A capture file failed.
    #[error("{file}")]
    Capture {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: pcap_file::PcapError,
    },
    /// A signal came while waiting.
    #[error("interrupted")]
    Interrupted,
}

/// All stations, and where received frames go.
pub struct Bench {
    /// Guests first, then netdevs.
    pub stations: Vec<Station>,
    /// `--record`.
    pub recorder: Option<Arc<Mutex<Recorder>>>,
}

/// The streams: receivers by sender.
fn streams(args: &Args, count: usize) -> Result<BTreeMap<usize, Vec<usize>>, SetupError> {
    let mut pairs = args.traffic.clone();
    if args.mesh {
        pairs = (0..count).flat_map(|a| (0..count).filter(move |&b| a != b).map(move |b| (a, b))).collect();
    } else if pairs.is_empty() {
        pairs = vec![(0, usize::from(count > 1))];
    }
    if args.bidir {
        pairs.extend(pairs.clone().iter().filter(|(a, b)| a != b).map(|&(a, b)| (b, a)));
    }
    let mut streams: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, to) in pairs {
        if from.max(to) >= count {
            let text = format!("--traffic {from}->{to}: there are {count} stations, numbered from 0");
            return Err(SetupError::Usage(text));
        }
        let receivers = streams.entry(from).or_default();
        if !receivers.contains(&to) {
            receivers.push(to);
        }
    }
    Ok(streams)
}

/// Opens all stations and gives each its part.
///
/// # Errors
/// See [`SetupError`].
pub fn open(args: &Args, stop: &AtomicBool) -> Result<Bench, SetupError> {
    let count = args.guest.len() + args.netdev.len();
    if count == 0 {
        return Err(SetupError::Usage("at least one --guest or --netdev is needed".into()));
    }
    if count > 255 {
        return Err(SetupError::Usage(format!("{count} stations, at most 255 are possible")));
    }
    let replay = args.pcap.as_ref().map(|path| {
        let frames = capture::read(path);
        frames.map_err(|source| SetupError::Capture { file: path.display().to_string(), source })
    });
    let replay: Option<Arc<[Vec<u8>]>> = replay.transpose()?.map(Into::into);
    let streams = streams(args, count)?;
    let mut stations = open_stations(args, replay.as_deref(), stop)?;
    let recorder = args.record.as_ref().map(|path| {
        let recorder = Recorder::create(path);
        recorder.map_err(|source| SetupError::Capture { file: path.display().to_string(), source })
    });
    let recorder = recorder.transpose()?.map(|recorder| Arc::new(Mutex::new(recorder)));
    let macs: Vec<_> = stations.iter().map(|station| station.mac).collect();
    for (index, station) in stations.iter_mut().enumerate() {
        station.recorder = recorder.clone();
        station.burst = usize::from(args.burst);
        station.listening = listening(args, index, count, &streams);
        let senders = senders(args, index, station.queues(), &streams, &macs, replay.as_ref());
        let announcements = if args.no_learn { Vec::new() } else { announcements(args, index, &streams, &macs) };
        station.set_up(senders, announcements);
    }
    let failed = |name: &str| {
        let name = name.to_owned();
        |source| SetupError::Station { name, source }
    };
    for station in &mut stations {
        station.prepare().map_err(failed(&station.name))?;
    }
    if !args.no_learn {
        // Time for the switch to carry the announcements; they are not counted.
        std::thread::sleep(Duration::from_millis(50));
        for station in &mut stations {
            station.discard().map_err(failed(&station.name))?;
        }
    }
    Ok(Bench { stations, recorder })
}

fn station_mac(index: usize) -> [u8; 6] {
    [2, 0, index as u8 + 1, 0, 0, 1]
}

fn open_stations(args: &Args, replay: Option<&[Vec<u8>]>, stop: &AtomicBool) -> Result<Vec<Station>, SetupError> {
    let longest = replay.map_or(0, |frames| frames.iter().map(Vec::len).max().unwrap_or(0) as u32);
    let own = args.guest.iter().filter_map(|config| config.frame);
    let longest = args.size.0.iter().copied().chain(own).max().unwrap_or(0).max(longest).max(64) + VLAN as u32;
    // All guests wait at the same time: the back-end may take them in any order.
    let handles = args.guest.iter().cloned().map(|mut config| {
        config.max_frame = longest;
        if !config.mrg {
            config.rx_buf = config.rx_buf.max(longest);
        }
        std::thread::spawn(move || Guest::open(config))
    });
    let handles: Vec<_> = handles.collect();
    while !handles.iter().all(std::thread::JoinHandle::is_finished) {
        if stop.load(Ordering::Relaxed) {
            return Err(SetupError::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut stations = Vec::new();
    for (index, (handle, config)) in handles.into_iter().zip(&args.guest).enumerate() {
        let opened = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let name = format!("guest {index} ({})", config.path.display());
        let guest = opened.map_err(|source| SetupError::Station { name, source })?;
        let mac = config.mac.unwrap_or(station_mac(index));
        stations.push(Station::guest(format!("guest {index}"), mac, guest, config.rate));
    }
    for name in &args.netdev {
        let opened = open_netdev(name, longest);
        let (tx, rx) = opened.map_err(|source| SetupError::Station { name: name.clone(), source })?;
        let mac = station_mac(stations.len());
        stations.push(Station::netdev(name.clone(), mac, Pair { tx, rx }));
    }
    Ok(stations)
}

fn frames(args: &Args, index: usize, receivers: &[usize], macs: &[[u8; 6]]) -> Frames {
    Frames {
        sender: index as u8,
        mac: macs[index],
        receivers: receivers.iter().map(|&to| (to as u8, macs[to])).collect(),
        vary: args.vary,
        vlan: args.vlan,
    }
}

/// Flows of a sender with so many receivers: each receiver gets at least one.
fn flow_count(args: &Args, receivers: usize) -> u32 {
    let flows = u32::try_from(args.flows).unwrap_or(u32::MAX).min(1 << 24);
    flows.max(1).next_multiple_of(receivers.max(1) as u32)
}

fn senders(
    args: &Args,
    index: usize,
    queues: usize,
    streams: &BTreeMap<usize, Vec<usize>>,
    macs: &[[u8; 6]],
    replay: Option<&Arc<[Vec<u8>]>>,
) -> Vec<Sender> {
    let Some(receivers) = streams.get(&index) else { return Vec::new() };
    let flows = flow_count(args, receivers.len()).max(queues as u32);
    let own = args.guest.get(index).and_then(|config| config.frame);
    let sizes: Arc<[u32]> = own.map_or_else(|| args.size.0.clone(), |frame| vec![frame]).into();
    let content = |queue: u32| match replay {
        Some(frames) => Content::Replay(Arc::clone(frames)),
        None => Content::Made {
            frames: frames(args, index, receivers, macs),
            first: queue,
            step: queues as u32,
            end: flows,
            sizes: Arc::clone(&sizes),
            sequence: args.check,
            stamp: args.latency,
        },
    };
    (0..queues as u32).map(|queue| Sender::new(content(queue), args.touch)).collect()
}

fn listening(args: &Args, index: usize, count: usize, streams: &BTreeMap<usize, Vec<usize>>) -> Listening {
    if args.check {
        let place = |receivers: &Vec<usize>| {
            let place = receivers.iter().position(|&to| to == index)?;
            Some((place as u32, receivers.len() as u32))
        };
        let wanted = (0..count).map(|sender| streams.get(&sender).and_then(place)).collect();
        return Listening::Checking(Box::new(Tracker::new(wanted)));
    }
    match (args.latency, args.touch) {
        (true, _) => Listening::Sampling,
        (false, true) => Listening::Touching(vec![0; usize::from(u16::MAX)].into()),
        (false, false) => Listening::Counting,
    }
}

/// Frames that tell a learning switch every address at which this station is to be reached.
fn announcements(args: &Args, index: usize, streams: &BTreeMap<usize, Vec<usize>>, macs: &[[u8; 6]]) -> Vec<Vec<u8>> {
    let own = frames(args, index, &[index], macs);
    let mut addresses = vec![macs[index]];
    if args.vary.dst_mac {
        for (&sender, receivers) in streams.iter().filter(|(_, receivers)| receivers.contains(&index)) {
            let theirs = frames(args, sender, receivers, macs);
            let count = receivers.len() as u32;
            let place = receivers.iter().position(|&to| to == index).unwrap_or(0) as u32;
            let flows = (0..flow_count(args, receivers.len())).filter(|flow| flow % count == place);
            addresses.extend(flows.map(|flow| theirs.destination(flow)));
        }
    }
    addresses.into_iter().map(|mac| own.announcement(mac)).collect()
}
