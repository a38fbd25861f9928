//! Which worker polls which queue, as operators see and change it, while guests talk and lose nothing.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use common::daemon::queues;
use common::guests::{HonestPair, frame, mac, open};
use common::{BRIDGE, Daemon, alone, config, eventually};
use ringswitch_dataplane::sys::affinity::allowed_cpus;
use serde_json::Value;

/// Two CPUs for two workers.
fn two_cpus() -> Option<[usize; 2]> {
    let cpus = allowed_cpus();
    if cpus.len() < 2 {
        println!("skipped: it takes two CPUs");
        return None;
    }
    Some([cpus[0], cpus[1]])
}

/// Workers on these CPUs with these settings; guests' ports vm1 and vm2 are joined like a wire. What comes from others makes
/// much work, for port 5, where nobody is.
fn daemon_on(cpus: [usize; 2], settings: &str, ports: &[(&str, &str)]) -> Daemon {
    let work = "mod_dl_src:02:00:00:00:00:aa,output:5,".repeat(200);
    let flows =
        ["in_port=1 actions=output:2", "in_port=2 actions=output:1", &format!("priority=1 actions={work}output:5")];
    let flows = flows.map(str::to_owned);
    Daemon::start(&format!("[workers]\ncpus = {cpus:?}\n{settings}\n{}", config(ports, &flows)))
}

/// The CPU that polls the port's only queue; `None` while nobody does.
fn cpu_of(daemon: &Daemon, port: &str) -> Option<usize> {
    let queues = daemon.json(&["queue-show"]);
    let queue = queues.as_array().expect("a list").iter().find(|queue| queue["port"] == port)?;
    queue["cpu"].as_u64().map(|cpu| cpu as usize)
}

fn pin(daemon: &Daemon, port: &str, cpu: Option<usize>) {
    let value = cpu.map_or("[]".to_owned(), |cpu| format!("0:{cpu}"));
    daemon.ok(&["set", "interface", port, &format!("other_config:pmd-rxq-affinity={value}")]);
}

/// A guest that sends as much as it can to nobody.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(daemon: &Daemon, port: &str) -> Self {
        let mut guest = open(&daemon.path(port), "mrg");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let frame = frame(mac(9), mac(10), 60, 0);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if !guest.send(0, &frame).expect("a sound ring") {
                    std::thread::yield_now();
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a guest");
    }
}

#[test]
fn queues_are_pinned_by_file_and_by_command_and_pins_isolate() {
    let Some([one, two]) = two_cpus() else { return };
    let _alone = alone();
    let pinned = format!("pmd-rxq-affinity = \"0:{two}\"");
    let daemon = daemon_on([one, two], "", &[("vm1", &pinned), ("vm2", "")]);
    let guests = ["vm1", "vm2"].map(|port| open(&daemon.path(port), "mrg"));
    let on = |port: &str, cpu: usize| cpu_of(&daemon, port) == Some(cpu);
    eventually("both are served", || on("vm1", two) && on("vm2", one));
    assert!(cpu_of(&daemon, BRIDGE).is_none_or(|cpu| cpu == one), "the bridge's own port is not beside the pinned one");
    let isolated = format!("worker 1 on CPU {two}:\n  isolated : true\n  port: vm1 ");
    assert!(daemon.ok(&["queue-show"]).contains(&isolated), "{}", daemon.ok(&["queue-show"]));

    let pair = HonestPair::start(guests);
    pair.talks(3);
    pin(&daemon, "vm1", Some(one));
    assert!(on("vm1", one) && on("vm2", two), "{}", daemon.ok(&["queue-show"]));
    assert_eq!(daemon.ok(&["get", "interface", "vm1", "other_config:pmd-rxq-affinity"]).trim(), format!("\"0:{one}\""));
    assert!(daemon.ok(&["dump-config"]).contains(&format!("pmd-rxq-affinity = \"0:{one}\"")));
    daemon.ok(&["set", "Open_vSwitch", ".", "other_config:pmd-rxq-isolate=false"]);
    assert_eq!(daemon.json(&["worker-stats"])[0]["isolated"], false);
    daemon.ok(&["set", "open", ".", "other_config:pmd-rxq-isolate=[]"]);
    // Every worker has one: somebody polls the others all the same.
    pin(&daemon, "vm2", Some(two));
    pair.talks(3);
    eventually("that is told", || daemon.log().contains("every worker has a pinned queue"));
    pin(&daemon, "vm1", None);
    pin(&daemon, "vm2", None);
    assert!(!daemon.ok(&["queue-show"]).contains("pinned"));
    pair.stop();
    assert_eq!(daemon.totals().all_drops(), 0);
}

#[test]
fn wishes_that_cannot_come_true_are_refused_with_what_there_is() {
    let Some([one, two]) = two_cpus() else { return };
    let daemon = daemon_on([one, two], "", &[("vm1", "queues = 2")]);
    let workers = format!("(workers: {one}, {two})");
    let wish =
        |value: &str| daemon.refused(&["set", "interface", "vm1", &format!("other_config:pmd-rxq-affinity={value}")]);
    let of_port = |why: &str| format!("port vm1: pmd-rxq-affinity: {why}");
    assert_eq!(wish("0:900"), of_port(&format!("no worker is on CPU 900, which queue 0 asks for {workers}")));
    assert_eq!(wish(&format!("2:{one}")), of_port("there is no queue 2, the port has 2, from 0"));
    assert_eq!(wish("0-1"), of_port("\"0-1\" is not QUEUE:CPU, such as 0:3"));
    assert_eq!(wish(&format!("0:{one},0:{two}")), of_port("queue 0 is there twice"));
    let said = daemon.refused(&["set", "interface", "vm1", "other_config:pmd-rxq-afinity=0:0"]);
    assert!(said.contains("did you mean \"other_config:pmd-rxq-affinity\"?"), "{said}");
    let said = daemon.refused(&["set", "open_vswitch", ".", "other_config:pmd-auto-bl=true"]);
    assert!(said.contains("Open_vSwitch does not contain a column") && said.contains("pmd-auto-lb"), "{said}");
    let said = daemon.refused(&["set", "open_vswitch", "x", "other_config:pmd-auto-lb=true"]);
    assert_eq!(said, "no row \"x\" in table Open_vSwitch, whose only one is .");
    let said = daemon.refused(&["set", "open_vswitch", ".", &format!("other_config:cpus={one}")]);
    assert!(said.starts_with("[workers] cpus cannot change while the daemon runs, restart it (cpus is "), "{said}");
    daemon.ok(&["set", "interface", "vm1", &format!("other_config:pmd-rxq-affinity=0:{two},1:{one}")]);
    assert_eq!(daemon.ok(&["get", "open", ".", "other_config"]).trim(), format!("{{cpus=\"[{one}, {two}]\"}}"));
}

#[test]
fn queues_move_under_traffic_and_nothing_is_lost_doubled_or_overtaken() {
    let Some(cpus) = two_cpus() else { return };
    let _alone = alone();
    let daemon = daemon_on(cpus, "", &[("vm1", ""), ("vm2", ""), ("vm3", "")]);
    let pair = HonestPair::start(["vm1", "vm2"].map(|port| open(&daemon.path(port), "mrg")));
    let mut restless = open(&daemon.path("vm3"), "mrg");
    for turn in 0..40 {
        pin(&daemon, "vm1", Some(cpus[turn % 2]));
        pin(&daemon, "vm3", Some(cpus[(turn + 1) % 2]));
        // A guest that comes and goes while its queue moves; and settings that change under everybody.
        restless.disconnect();
        pin(&daemon, "vm2", Some(cpus[turn / 2 % 2]));
        daemon.ok(&["set", "open", ".", &format!("other_config:cache-entries={}", 1024 << (turn % 3))]);
        daemon.ok(&["set", "open", ".", &format!("other_config:spin-us={}", turn % 4 * 100)]);
        eventually("the guest comes back", || restless.try_reconnect().expect("a sound guest"));
        pair.talks(1);
    }
    eventually("it is served where it is wanted", || cpu_of(&daemon, "vm3") == Some(cpus[0]));
    pair.stop();
    assert_eq!(daemon.totals().all_drops(), 0);
    assert!(daemon.worker("moved_in") >= 60 && daemon.worker("moved_in") == daemon.worker("moved_out"));
    daemon.assert_balanced();
}

/// Both floods on one worker, and nobody is pinned any more. Both at once: the first one alone would isolate the worker, and the
/// last one would still.
fn unequal(daemon: &Daemon, cpu: usize) {
    let both = |value: &str| {
        let column = format!("other_config:pmd-rxq-affinity={value}");
        daemon.ok(&["set", "interface", "vm3", &column, "--", "set", "interface", "vm4", &column]);
    };
    both(&format!("0:{cpu}"));
    eventually("both are served", || ["vm3", "vm4"].iter().all(|port| cpu_of(daemon, port) == Some(cpu)));
    both("[]");
    assert_eq!(["vm3", "vm4"].map(|port| cpu_of(daemon, port)), [Some(cpu); 2], "without a reason nothing moves");
    let heavy = |queue: &Value| queue["usage"].as_f64().is_some_and(|usage| usage > 4.0);
    eventually("both are a load", || {
        let queues = daemon.json(&["queue-show"]);
        queues.as_array().expect("a list").iter().filter(|queue| heavy(queue)).count() >= 2
    });
}

#[test]
fn unequal_load_is_explained_then_evened_out() {
    let Some(cpus) = two_cpus() else { return };
    let _alone = alone();
    let daemon = daemon_on(cpus, "", &[("vm1", ""), ("vm2", ""), ("vm3", ""), ("vm4", ""), ("vm5", "")]);
    assert!(daemon.ok(&["rebalance"]).contains("nothing to move: no queue had any load to speak of"));
    let floods = ["vm3", "vm4"].map(|port| Flood::start(&daemon, port));
    let pair = HonestPair::start(["vm1", "vm2"].map(|port| open(&daemon.path(port), "mrg")));
    unequal(&daemon, cpus[0]);

    let dry = daemon.json(&["rebalance", "--dry-run"]);
    assert!(dry["moves"].as_array().is_some_and(|moves| !moves.is_empty()), "{dry:#}");
    assert!(dry["predicted_variance"].as_f64() < dry["variance"].as_f64(), "{dry:#}");
    let of = |worker: usize, what: &str| dry["workers"][worker][what].as_f64().expect("a load");
    assert!(of(0, "load") > of(1, "load") && of(1, "predicted_load") > of(1, "load"), "{dry:#}");
    assert!(dry["moves"][0]["reason"].as_str().is_some_and(|why| why.contains("worker 0 carries")), "{dry:#}");
    let text = daemon.ok(&["rebalance", "--dry-run"]);
    assert!(
        text.contains(&format!("worker 0 on CPU {}: load ", cpus[0])) && text.contains("\nwould move vm"),
        "{text}"
    );
    assert_eq!(["vm3", "vm4"].map(|port| cpu_of(&daemon, port)), [Some(cpus[0]); 2], "nothing was moved");

    let done = daemon.ok(&["rebalance"]);
    assert!(done.contains("\nmoved vm") && done.contains("% better"), "{done}");
    let now = ["vm3", "vm4"].map(|port| cpu_of(&daemon, port));
    assert!(now[0] != now[1], "{done}\n{}", daemon.ok(&["queue-show"]));
    assert!(daemon.log().contains("rebalanced: variance"));
    pair.talks(10);
    pair.stop();
    floods.into_iter().for_each(Flood::stop);
    assert_eq!(daemon.totals().of("vm1", "tx_packets"), daemon.totals().of("vm2", "rx_packets"));
    assert_eq!(daemon.totals().drops("vm1", "tx_full") + daemon.totals().drops("vm2", "tx_full"), 0);
}

#[test]
fn unequal_load_is_evened_out_without_being_asked_when_that_is_wanted() {
    let Some(cpus) = two_cpus() else { return };
    let _alone = alone();
    let daemon = daemon_on(cpus, "", &[("vm1", ""), ("vm2", ""), ("vm3", ""), ("vm4", ""), ("vm5", "")]);
    let floods = ["vm3", "vm4"].map(|port| Flood::start(&daemon, port));
    unequal(&daemon, cpus[1]);
    let wanted = ["pmd-auto-lb=true", "pmd-auto-lb-load-threshold=1", "pmd-auto-lb-improvement-threshold=10"];
    let wanted = wanted.map(|setting| format!("other_config:{setting}"));
    daemon.ok(&["set", "Open_vSwitch", ".", &wanted[0], &wanted[1], &wanted[2]]);
    eventually("one of them moves", || cpu_of(&daemon, "vm3") != cpu_of(&daemon, "vm4"));
    assert!(daemon.log().contains("moved: it takes"), "{}", daemon.log());
    floods.into_iter().for_each(Flood::stop);
}

#[test]
fn workers_tell_what_they_did_per_queue_and_per_interval() {
    let Some(cpus) = two_cpus() else { return };
    let _alone = alone();
    let daemon = daemon_on(cpus, "", &[("vm1", ""), ("vm2", "")]);
    let pair = HonestPair::start(["vm1", "vm2"].map(|port| open(&daemon.path(port), "mrg")));
    pair.talks(20);
    let queue =
        |report: &Value, port: &str| queues(report).find(|queue| queue["port"] == port).expect("it is polled").clone();
    let number = |queue: &Value, what: &str| queue[what].as_u64().expect("a number");
    let sum = |buckets: &Value| -> u64 {
        buckets.as_array().expect("buckets").iter().map(|bucket| number(bucket, "count")).sum()
    };
    let told = queue(&daemon.json(&["worker-stats"]), "vm1");
    let packets = number(&told, "packets");
    assert!(packets >= 20 * 24, "{told:#}");
    let found = ["port_hits", "shortlist_hits", "cache_hits", "walks"].map(|how| number(&told, how));
    assert_eq!(found.iter().sum::<u64>(), packets, "{told:#}");
    assert_eq!(sum(&told["batch_cycles"]), number(&told, "batches"), "{told:#}");
    assert!(sum(&told["batch_sizes"]) >= number(&told, "batches"), "{told:#}");
    let text = daemon.ok(&["pmd-stats-show"]);
    assert!(text.contains("  port: vm1  queue-id: 0") && text.contains("    cycles of a batch: "), "{text}");

    let lines = daemon.ok(&["--json", "worker-stats", "--interval", "0.2", "--count", "2"]);
    let looks: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(looks.len(), 2);
    let all = number(&queue(&daemon.json(&["worker-stats"]), "vm1"), "packets");
    let seen: u64 = looks.iter().map(|look| number(&queue(look, "vm1"), "packets")).sum();
    assert!(seen > 0 && seen <= all - packets, "{seen} of {packets} to {all}");
    let _guests = pair.stop();
    daemon.ok(&["worker-stats-clear"]);
    let cleared = daemon.json(&["worker-stats"]);
    assert_eq!((number(&queue(&cleared, "vm1"), "packets"), daemon.worker("packets")), (0, 0), "{cleared:#}");
}
