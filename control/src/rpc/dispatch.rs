//! A call, answered by the engine.

use serde::Serialize;

use super::Call;
use crate::engine::{Dataplane, Engine};
use crate::report::VersionReport;

/// Does what the call asks; the result is JSON text, for a table of 100 000 flows is written once and not built as a tree.
///
/// # Errors
/// The text that the operator is to see.
pub fn dispatch<D: Dataplane>(engine: &mut Engine<D>, call: Call) -> Result<String, String> {
    match call {
        Call::Transact { commands } => engine.transact(&commands).and_then(json),
        Call::AddFlows { bridge, flows } => engine.add_flows(&bridge, &flows).and_then(json),
        Call::ModFlows { bridge, flow, strict } => engine.mod_flows(&bridge, &flow, strict).and_then(json),
        Call::DelFlows { bridge, flow, strict } => engine.del_flows(&bridge, flow.as_deref(), strict).and_then(json),
        Call::DumpFlows { bridge, flow, strict, names } => {
            engine.dump_flows(&bridge, flow.as_deref(), strict, names).and_then(json)
        }
        Call::ReplaceFlows { bridge, flows } => engine.replace_flows(&bridge, &flows).and_then(json),
        Call::DiffFlows { one, other } => engine.diff_flows(&one, &other).and_then(json),
        Call::DumpAggregate { bridge, flow } => engine.dump_aggregate(&bridge, flow.as_deref()).and_then(json),
        Call::DumpTables { bridge } => engine.dump_tables(&bridge).and_then(json),
        Call::AddGroups { bridge, groups } => engine.add_groups(&bridge, &groups).and_then(json),
        Call::DumpGroups { bridge, group, names } => {
            engine.dump_groups(&bridge, group.as_deref(), names).and_then(json)
        }
        Call::DumpGroupStats { bridge, group } => engine.dump_group_stats(&bridge, group.as_deref()).and_then(json),
        Call::AddMeters { bridge, meters } => engine.add_meters(&bridge, &meters).and_then(json),
        Call::DumpMeters { bridge, meter } => engine.dump_meters(&bridge, meter.as_deref()).and_then(json),
        Call::MeterStats { bridge, meter } => engine.dump_meter_stats(&bridge, meter.as_deref()).and_then(json),
        Call::Trace { bridge, flow, frame, names } => {
            engine.trace(&bridge, &flow, frame.as_deref(), names).and_then(json)
        }
        Call::PacketOut { bridge, packets } => {
            packets.iter().try_for_each(|packet| engine.send_packet(&bridge, packet)).and_then(json)
        }
        Call::DumpPorts { bridge, port } => engine.dump_ports(&bridge, port.as_deref()).and_then(json),
        Call::QueueStats { bridge, port, queue } => {
            engine.dump_queue_stats(&bridge, port.as_deref(), queue.as_deref()).and_then(json)
        }
        Call::QueueGetConfig { bridge, port, queue } => {
            engine.dump_queue_configs(&bridge, port.as_deref(), queue.as_deref()).and_then(json)
        }
        Call::FdbShow { bridge } => engine.fdb(&bridge).and_then(json),
        Call::FdbStats { bridge } => engine.fdb_stats(&bridge).and_then(json),
        Call::FdbFlush { bridge, port, vlan } => engine.fdb_flush(&bridge, port.as_deref(), vlan).and_then(json),
        Call::FdbAdd { bridge, port, vlan, mac } => engine.fdb_add(&bridge, &port, vlan, &mac).and_then(json),
        Call::FdbDel { bridge, vlan, mac } => engine.fdb_del(&bridge, vlan, &mac).and_then(json),
        Call::PoolStats { pool } => engine.pool_stats(pool.as_deref()).and_then(json),
        Call::PoolTrace { bridge, address } => engine.pool_trace(bridge.as_deref(), &address).and_then(json),
        Call::WorkerStats {} => json(engine.workers()),
        Call::WorkerStatsClear {} => {
            engine.clear_worker_stats();
            json(())
        }
        Call::QueueShow {} => json(engine.queues()),
        Call::Rebalance { dry_run } => json(engine.rebalance(dry_run)),
        Call::Reload { file } => engine.reload(file.as_deref()).and_then(json),
        Call::DumpConfig {} => json(engine.to_toml()),
        Call::Version {} => {
            json(VersionReport { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() })
        }
    }
}

fn json<T: Serialize>(report: T) -> Result<String, String> {
    serde_json::to_string(&report).map_err(|error| error.to_string())
}
