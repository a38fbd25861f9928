//! Pools as text. Open vSwitch has none, so the format is our own, in the manner of `show`.

use std::fmt::Write;

use ringswitch_control::report::{PoolReport, PoolStatsReport, PoolTraceReport, SortingReport};

/// `pool-list`
pub fn list(pools: &[PoolReport]) -> String {
    let mut text = String::new();
    for pool in pools {
        let implicit = if pool.implicit { " (implicit)" } else { "" };
        let _ = writeln!(text, "Pool {}{implicit}", pool.name);
        let _ = writeln!(text, "    ports: {}", pool.ports.join(", "));
        let mut shares = format!("weight {}, priority {}", pool.weight, pool.priority);
        let rates =
            [("min_rate", pool.min_rate), ("max_rate", pool.max_rate), ("max_packet_rate", pool.max_packet_rate)];
        for (name, rate) in rates {
            if let Some(rate) = rate {
                let _ = write!(shares, ", {name} {rate}");
            }
        }
        let _ = writeln!(text, "    shares: {shares}");
        let filters = pool.filters.iter().map(|filter| format!("{} ({})", filter.address, filter.origin));
        let filters = filters.collect::<Vec<_>>().join("; ");
        let _ = writeln!(text, "    filters: {}", if filters.is_empty() { "none known" } else { &filters });
        pool.sorting.iter().for_each(|sorting| self::sorting(&mut text, sorting));
    }
    text
}

fn sorting(text: &mut String, sorting: &SortingReport) {
    let _ = writeln!(text, "    sorted on {}: {} ({})", sorting.uplink, sorting.sorter, sorting.queues);
    for (other, why) in &sorting.why_not {
        let _ = writeln!(text, "        not {other}: {why}");
    }
}

/// `pool-stats`
pub fn stats(pools: &[PoolStatsReport]) -> String {
    let mut text = String::new();
    for pool in pools {
        let _ = writeln!(text, "Pool {} ({})", pool.name, pool.ports.join(", "));
        let _ = writeln!(text, "    from the VM: packets={}, bytes={}", pool.rx_packets, pool.rx_bytes);
        let _ = writeln!(text, "    to the VM: packets={}, bytes={}", pool.tx_packets, pool.tx_bytes);
        let sorted = &pool.sorted;
        let _ = writeln!(
            text,
            "    frames for its addresses: sorted by nic={}, xdp={}, software={}; direct={}, through tables={}",
            sorted.nic, sorted.xdp, sorted.software, pool.direct, pool.walked
        );
        let _ = writeln!(text, "    cycles: {} ({:.1}% of all)", pool.cycles, 100.0 * pool.cycles_share);
        for (reason, count) in &pool.drops {
            let _ = writeln!(text, "    {reason}={count}");
        }
    }
    text
}

/// `pool-trace`
pub fn trace(bridges: &[PoolTraceReport]) -> String {
    let mut text = String::new();
    for found in bridges {
        let _ = match (&found.pool, &found.origin, &found.why) {
            (Some(pool), Some(origin), _) => {
                writeln!(text, "bridge {}: {} belongs to pool {pool} ({origin})", found.bridge, found.address)
            }
            (.., why) => {
                let why = why.as_deref().unwrap_or_default();
                writeln!(text, "bridge {}: {} belongs to no pool: {why}", found.bridge, found.address)
            }
        };
        for uplink in &found.uplinks {
            sorting(&mut text, &uplink.sorting);
            let direct = if uplink.fast_path { "without the tables" } else { "through the tables" };
            let _ = writeln!(text, "        {direct}: {}", uplink.verdict);
        }
    }
    text
}
