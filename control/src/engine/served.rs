//! Bridges as the OpenFlow server serves them: who may connect, and what happens while nobody does.

use std::sync::Arc;

use ringswitch_dataplane::flow::{Action, Flow};
use ringswitch_dataplane::pipeline::Program;
use ringswitch_dataplane::sys::clock::coarse_ms;
use tracing::{info, warn};

use super::{Dataplane, Engine};
use crate::model::{Bridge, Settings, Target};
use crate::openflow::Version;

/// A bridge, for the OpenFlow server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its index.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// How controllers know it.
    pub datapath_id: u64,
    /// Controllers to connect to, and where to listen for some.
    pub controllers: Vec<Target>,
    /// A bit for each version that is spoken.
    pub versions: u32,
    /// Without a controller it keeps to its flows.
    pub secure: bool,
    /// Milliseconds of silence before a controller is probed; 0 for never.
    pub probe_ms: u64,
    /// Most milliseconds between attempts to connect.
    pub max_backoff_ms: u64,
    /// Packet-ins per second of a port and connection.
    pub rate: u64,
    /// Packet-ins at once.
    pub burst: u64,
}

impl<D: Dataplane> Engine<D> {
    /// Another number whenever [`Engine::served`] may tell something else.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All bridges.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        let bridges = self.state.bridges.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)));
        bridges
            .filter_map(|(index, slot)| Some(served(index, &slot.name, self.model.bridges.get(&slot.name)?)))
            .collect()
    }

    /// How controllers know the bridge with this name.
    pub(super) fn datapath_id(&self, name: &str) -> Option<u64> {
        self.served().into_iter().find(|served| served.name == name).map(|served| served.datapath_id)
    }

    /// Key, certificate and authority for TLS.
    #[must_use]
    pub fn ssl(&self) -> &Settings {
        &self.model.ssl
    }

    /// Whether packets that no rule matches go to controllers.
    pub fn set_miss_to_controller(&mut self, bridge: usize, wanted: bool) {
        let Some(slot) = self.state.bridges.get_mut(bridge).and_then(Option::as_mut) else { return };
        if slot.program.miss_to_controller != wanted {
            slot.program.miss_to_controller = wanted;
            self.unpublished = true;
            self.flush();
        }
    }

    /// Nobody controls the bridge (any more): it switches by itself until this is taken back.
    pub fn set_standalone(&mut self, bridge: usize, standalone: bool) {
        let lanes = self.dataplane.lanes();
        let Some(slot) = self.state.bridges.get_mut(bridge).and_then(Option::as_mut) else { return };
        if slot.fallback.is_some() == standalone {
            return;
        }
        if standalone {
            warn!(bridge = %slot.name, "no controller: it switches by itself");
        } else {
            info!(bridge = %slot.name, "a controller is back");
        }
        slot.fallback = standalone.then(|| {
            let mut program = Program { dead_ports: Arc::clone(&slot.program.dead_ports), ..Program::default() };
            program.tables.insert(Flow { actions: vec![Action::Normal], ..Flow::default() }, coarse_ms(), lanes);
            program
        });
        self.unpublished = true;
        self.flush();
    }
}

fn served(index: usize, name: &str, bridge: &Bridge) -> Served {
    let settings = &bridge.settings;
    let number = |name, default| settings.number(name).unwrap_or(default);
    let protocols = settings.list("protocols");
    let bit = |name: &String| match name.as_str() {
        "OpenFlow10" => 1 << Version::V10 as u32,
        "OpenFlow13" => 1 << Version::V13 as u32,
        "OpenFlow14" => 1 << Version::V14 as u32,
        "OpenFlow15" => 1 << Version::V15 as u32,
        _ => 0,
    };
    let id = settings.text("datapath-id").and_then(|id| u64::from_str_radix(id, 16).ok());
    Served {
        index,
        name: name.to_owned(),
        datapath_id: id.unwrap_or_else(|| datapath_id(name)),
        controllers: bridge.controllers(),
        versions: if protocols.is_empty() { Version::BITMAP } else { protocols.iter().map(bit).sum() },
        secure: bridge.is_secure(),
        probe_ms: number("inactivity_probe", 5000),
        max_backoff_ms: number("max_backoff", 8000),
        rate: number("controller_rate_limit", 10_000),
        burst: number("controller_burst_limit", 2500),
    }
}

/// The same after every start, another one on every host: the upper 16 bits zero, the rest as a local address.
fn datapath_id(name: &str) -> u64 {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = hash(format!("{} {name}", machine.trim()).as_bytes());
    hash & 0x0000_fcff_ffff_ffff | 0x0000_0200_0000_0000
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
