//! rspktgen: see `rspktgen --help`.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rspktgen::check::Findings;
use rspktgen::cli::{Args, Rate};
use rspktgen::report::{Report, chain, human};
use rspktgen::search::{Search, loss};
use rspktgen::setup::{self, Bench, SetupError};
use rspktgen::traffic::{self, Listening, Load, Outcome, Progress, Station};

const TROUBLE: u8 = 1;
const SETUP: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("rspktgen: {}", chain(&error));
            ExitCode::from(SETUP)
        }
    }
}

fn run(args: &Args) -> Result<u8, SetupError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| SetupError::Usage(format!("handling signals: {error}")))?;
    }
    if args.hostile.is_some() {
        return hostile(args, &stop);
    }
    if args.window.is_some() && args.cores.len() > 1 {
        return Err(SetupError::Usage("--window counts what one core sends and receives: give --cores one".into()));
    }
    let mut bench = setup::open(args, &stop)?;
    let (outcome, lossless_pps) = measure(args, &mut bench.stations, &stop);
    let report = report(bench.stations.as_mut_slice(), outcome, lossless_pps);
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    close(bench, args)?;
    let too_much = args.max_loss.is_some_and(|max| report.loss() * 100.0 > max);
    let broken = !report.outcome.faults.is_empty();
    Ok(if report.is_clean() && !too_much && !broken { 0 } else { TROUBLE })
}

fn close(bench: Bench, args: &Args) -> Result<(), SetupError> {
    bench.stations.into_iter().for_each(Station::close);
    let (Some(recorder), Some(path)) = (bench.recorder, &args.record) else { return Ok(()) };
    let mut recorder = recorder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    recorder.finish().map_err(|source| SetupError::Capture { file: path.display().to_string(), source })
}

fn measure(args: &Args, stations: &mut [Station], stop: &AtomicBool) -> (Outcome, Option<f64>) {
    let cores = &args.cores[..];
    if let Some(warmup) = args.warmup {
        let load = Load { pps: f64::INFINITY, duration: Some(warmup), count: None, window: args.window };
        trial(stations, cores, load, stop, "warm-up");
    }
    if args.rfc2544 {
        let (pps, outcome) = search(args, stations, stop);
        return (outcome, Some(pps));
    }
    let pps = match args.rate {
        None => f64::INFINITY,
        Some(Rate::Pps(pps)) => pps,
        Some(Rate::Percent(percent)) => {
            let load =
                Load { pps: f64::INFINITY, duration: Some(Duration::from_secs(1)), count: None, window: args.window };
            let outcome = trial(stations, cores, load, stop, "unlimited");
            let senders = stations.iter().filter(|station| station.is_sender()).count().max(1);
            let reached = outcome.total().rx_frames as f64 / outcome.sending.as_secs_f64().max(1e-9);
            (reached / senders as f64 * percent / 100.0).max(1.0)
        }
    };
    let duration = args.duration.or(args.count.is_none().then_some(Duration::from_secs(10)));
    for station in &mut *stations {
        // What warm-up and calibration sent is not this trial's.
        if let Listening::Checking(tracker) = &mut station.listening {
            tracker.findings = Findings::default();
        }
    }
    (trial(stations, cores, Load { pps, duration, count: args.count, window: args.window }, stop, "sending"), None)
}

fn bar(len: Option<Duration>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{prefix:>10} {bar:30} {elapsed} {msg}";
    let bar = ProgressBar::new(len.map_or(0, |len| len.as_millis() as u64));
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn trial(stations: &mut [Station], cores: &[usize], load: Load, stop: &AtomicBool, what: &'static str) -> Outcome {
    let bar = bar(load.duration).with_prefix(what);
    let mut last = (Instant::now(), 0, 0);
    let outcome = traffic::run(stations, cores, load, stop, &mut |progress| {
        let (at, tx, rx) = last;
        let seconds = at.elapsed().as_secs_f64();
        if seconds < 0.2 {
            return;
        }
        let total = progress.total;
        let (tx_rate, rx_rate) = ((total.tx_frames - tx) as f64 / seconds, (total.rx_frames - rx) as f64 / seconds);
        last = (Instant::now(), total.tx_frames, total.rx_frames);
        bar.set_position(progress.elapsed.as_millis() as u64);
        bar.set_message(format!("tx {}pps  rx {}pps", human(tx_rate), human(rx_rate)));
    });
    bar.finish_and_clear();
    outcome
}

fn search(args: &Args, stations: &mut [Station], stop: &AtomicBool) -> (f64, Outcome) {
    let search = Search {
        duration: args.duration.unwrap_or(Duration::from_secs(2)),
        tolerance: args.tolerance / 100.0,
        resolution: (args.resolution / 100.0).clamp(1e-6, 0.5),
    };
    let bar = bar(None).with_prefix("search");
    bar.set_length(search.steps());
    let mut watch = |_: &Progress| bar.tick();
    let mut step = |pps: f64, loss: f64| {
        bar.inc(1);
        let rate = if pps.is_finite() { format!("{}pps", human(pps)) } else { "unlimited".into() };
        bar.set_message(format!("{rate}: {:.4} % lost", loss * 100.0));
    };
    let found = search.run(stations, &args.cores, stop, &mut watch, &mut step);
    bar.finish_and_clear();
    if found.0 == 0.0 {
        eprintln!("rspktgen: every rate loses; unlimited {:.4} %", loss(&found.1) * 100.0);
    }
    found
}

fn report(stations: &mut [Station], outcome: Outcome, lossless_pps: Option<f64>) -> Report {
    let mut findings: Option<Findings> = None;
    for station in stations.iter() {
        if let Listening::Checking(tracker) = &station.listening {
            findings.get_or_insert_default().add(&tracker.findings);
        }
    }
    let names = stations.iter().map(|station| station.name.clone()).collect();
    let latencies = stations.iter().map(|station| station.latency.clone()).collect();
    Report { names, outcome, findings, latencies, lossless_pps }
}

fn hostile(args: &Args, stop: &AtomicBool) -> Result<u8, SetupError> {
    let (Some(kind), Some(config)) = (args.hostile, args.guest.first()) else {
        return Err(SetupError::Usage("--hostile needs a --guest".into()));
    };
    let name = config.path.display().to_string();
    let mut guest = rspktgen::guest::Guest::open(config.clone())
        .map_err(|source| SetupError::Station { name: name.clone(), source })?;
    guest
        .misbehave(0, kind)
        .map_err(|source| SetupError::Station { name, source: rspktgen::guest::GuestError::Setup { source } })?;
    let end = Instant::now() + args.duration.unwrap_or(Duration::from_secs(1));
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let connected = guest.is_connected();
    println!("{}: the back-end {} the connection", kind.name(), if connected { "keeps" } else { "closed" });
    Ok(0)
}
