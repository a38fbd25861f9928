//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::frame::{MAX_FRAME, MIN_FRAME, Vary};
use crate::guest::GuestConfig;
use crate::hostile::Kind;

const ABOUT: &str = "\
Plays virtual machines in front of a vhost-user switch: sends frames from one guest, receives them as another, and says \
how many, how fast, how late and how intact they came.";

const EXAMPLES: &str = "\
Guests:
  --guest SOCKET[,key=value...]; a bare key is key=on.
    mode=client|server   connect to the switch (default), or listen for it
    packed=on            packed rings instead of split ones
    mrg=on  in_order=on  event_idx=on    ask for MRG_RXBUF, IN_ORDER, EVENT_IDX
    legacy=on            no VERSION_1: 10-byte header
    queues=N             queue pairs, 1 to 128
    size=N               entries per ring, a power of two (256)
    shape=single|chain|indirect   descriptors of a sent frame: one, header and frame, or a table
    rx_buf=N             bytes in a receive buffer (1536); small ones with mrg=on spread a frame over several
    mac=AA:BB:CC:DD:EE:FF    address (02:00:00:00:00:01 for the first station, and so on)
    timeout=S            how long to wait for the switch and its answers (10)
    frame=N              length of its frames, instead of --size
    rate=R               frames per second that it sends (K, M), instead of --rate
  What the switch does not offer is an error. A switch that goes away is waited for, and everything starts anew.
  --netdev NAME adds a kernel network device instead (needs root). Stations are numbered in the order: guests, netdevs.

Sizes are bytes of frame without FCS and without VLAN tag, at least 64. imix is 7 x 64, 4 x 594, 1 x 1514.

Hostile kinds (--hostile), one guest breaks the rules, then keeps its connection for --duration:
  loop            a descriptor chain that never ends
  outside         an address in no region
  wrap            an address and length that overflow 64 bits
  zero            a descriptor of length 0
  huge            a length of 4 GiB - 1
  direction       a writable descriptor in the transmit ring, a read-only one in the receive ring
  index           an available index (packed: an id) that jumps
  garbage         random descriptors and flags
  indirect        an indirect table that refers to itself
  runt            a frame shorter than an Ethernet header
  truncate        the memory file is cut to nothing while mapped

Exit status:
  0  all well
  1  loss, copies, reordering or corruption with --check; more loss than --max-loss; a broken ring
  2  wrong usage, or the stations could not be set up

Examples:
  rspktgen --guest /run/a.sock,packed --guest /run/b.sock,packed --duration 5
  rspktgen --guest /run/a.sock,mode=server --guest /run/b.sock,mode=server --bidir --size imix --check --count 1M
  rspktgen --guest /run/a.sock --netdev veth0 --traffic 0->1 --rate 100K --latency
  rspktgen --guest /run/a.sock --guest /run/b.sock --bidir --window 256 --max-loss 0
  rspktgen --guest /run/a.sock --guest /run/b.sock --rfc2544 --duration 2 --json";

/// What the user asked for.
#[derive(Debug, Parser)]
#[command(name = "rspktgen", version, about = ABOUT, after_long_help = EXAMPLES, after_help = "--help says more.")]
pub struct Args {
    /// A guest: SOCKET[,key=value...] (repeatable)
    #[arg(long, value_name = "GUEST")]
    pub guest: Vec<GuestConfig>,
    /// A kernel network device (repeatable)
    #[arg(long, value_name = "NAME")]
    pub netdev: Vec<String>,
    /// Who sends to whom: FROM->TO by station number (repeatable) [default: 0->1; 0->0 with one station]
    #[arg(long, value_name = "FROM->TO", value_parser = parse_stream)]
    pub traffic: Vec<(usize, usize)>,
    /// Every stream in both directions
    #[arg(long)]
    pub bidir: bool,
    /// Everybody to everybody else
    #[arg(long, conflicts_with = "traffic")]
    pub mesh: bool,
    /// Frame lengths in turn: N, N,N,... or imix
    #[arg(long, value_name = "SIZES", default_value = "64", value_parser = parse_sizes)]
    pub size: Sizes,
    /// Flows of each sender
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_count)]
    pub flows: u64,
    /// What differs between flows: src-mac,dst-mac,src-ip,dst-ip,src-port,dst-port
    #[arg(long, value_name = "FIELDS", default_value = "src-ip,src-port")]
    pub vary: Vary,
    /// Tag all frames with this VLAN
    #[arg(long, value_name = "VID", value_parser = clap::value_parser!(u16).range(0..4096))]
    pub vlan: Option<u16>,
    /// Frames per second of each sender (K, M), or N% of what goes through unlimited [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// At most N frames of all senders together on their way, those lost after 10 ms apart: nothing is dropped for want
    /// of room in a ring, however busy the host (one core only)
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with_all = ["rate", "rfc2544"])]
    pub window: Option<u64>,
    /// Stop after this time, seconds [default: 10 without --count]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// Stop after this many frames, all senders together (K, M)
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub count: Option<u64>,
    /// Send for so long before counting, seconds
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub warmup: Option<Duration>,
    /// A station sends and receives at most N frames before it is the next one's turn, 1 to 32: fewer make latencies truer when
    /// others send a lot
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub burst: u8,
    /// Do not announce the stations' addresses first
    #[arg(long)]
    pub no_learn: bool,
    /// Send the frames of a pcap file over and over instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "latency", "flows", "size"])]
    pub pcap: Option<PathBuf>,
    /// Write what is received to a pcap file
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Number every frame and verify every byte received
    #[arg(long)]
    pub check: bool,
    /// Write every frame whole before it is sent, and read every one that is received, as guests do; otherwise frames stay as
    /// they are where nothing in them changes
    #[arg(long, conflicts_with_all = ["check", "latency"])]
    pub touch: bool,
    /// Measure latency
    #[arg(long)]
    pub latency: bool,
    /// Search the highest rate without loss (each trial takes --duration, default 2 s)
    #[arg(long, conflicts_with_all = ["rate", "count", "pcap"])]
    pub rfc2544: bool,
    /// Search: loss that counts as none, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub tolerance: f64,
    /// Search: stop when the rate is known to this part of it, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub resolution: f64,
    /// Exit with 1 when more than this is lost, percent
    #[arg(long, value_name = "PERCENT")]
    pub max_loss: Option<f64>,
    /// Cores to run on, one thread each: N,N,...
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Break the rules with the first guest
    #[arg(long, value_name = "KIND")]
    pub hostile: Option<Kind>,
}

/// Frame lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<u32>);

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Frames per second.
    Pps(f64),
    /// Percent of what goes through unlimited.
    Percent(f64),
}

/// Reads a number with an optional unit K, M or G (thousands).
pub(crate) fn parse_unit(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        Some((at, 'g' | 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let number: Option<f64> = digits.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.map(|number| number * factor).ok_or_else(|| format!("'{text}' is not a positive number (units: K, M, G)"))
}

fn parse_count(text: &str) -> Result<u64, String> {
    parse_unit(text).map(|number| number.round().max(1.0) as u64)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    let seconds = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("'{text}' is not a number of seconds"))
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.strip_suffix('%') {
        Some(percent) => parse_unit(percent).map(Rate::Percent),
        None => parse_unit(text.strip_suffix("pps").unwrap_or(text)).map(Rate::Pps),
    }
}

fn parse_sizes(text: &str) -> Result<Sizes, String> {
    if text == "imix" {
        return Ok(Sizes(vec![64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 64, 594]));
    }
    let size = |text: &str| text.trim().parse().ok().filter(|size| (MIN_FRAME..=MAX_FRAME).contains(size));
    let sizes: Option<Vec<u32>> = text.split(',').map(size).collect();
    sizes.map(Sizes).ok_or_else(|| format!("'{text}' is neither imix nor lengths from {MIN_FRAME} to {MAX_FRAME}"))
}

fn parse_stream(text: &str) -> Result<(usize, usize), String> {
    let (from, to) = text.split_once("->").ok_or_else(|| format!("'{text}' is not FROM->TO, as in 0->1"))?;
    let number = |text: &str| text.trim().parse().map_err(|_| format!("'{text}' is not a station number"));
    Ok((number(from)?, number(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn units_and_mistakes() {
        assert_eq!(parse_rate("1.5M"), Ok(Rate::Pps(1.5e6)));
        assert_eq!(parse_rate("80%"), Ok(Rate::Percent(80.0)));
        assert_eq!(parse_count("2K"), Ok(2000));
        assert_eq!(parse_stream("2->0"), Ok((2, 0)));
        assert!(parse_sizes("63").is_err_and(|error| error.contains("64 to 9216")));
        assert!(parse_rate("fast").is_err());
        assert!(parse_rate("-1").is_err());
        assert!(parse_seconds("-1").is_err());
    }
}
