//! A bridge as the server serves it: its sockets, its controllers, and since when it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::connection::Kind;
use super::dialer::Dialer;
use crate::engine::Served;
use crate::model::{Address, Target};

/// Without probes, this is how long a probe would wait.
const PROBE_MS: u64 = 5000;

/// See the file's head.
pub(super) struct Bridge {
    pub served: Served,
    /// The election that all its connections know of.
    pub generation_id: Option<u64>,
    /// Where it listens, for whom; the token of what listens, once it does.
    pub listening: BTreeMap<(Target, Kind), Option<usize>>,
    pub dialers: Vec<Dialer>,
    /// Controllers that versions were agreed on with.
    connected: BTreeSet<usize>,
    /// When the last controller went.
    alone_ms: u64,
    /// Where it could not listen: said once.
    pub complained: BTreeSet<Target>,
}

impl Bridge {
    pub fn new(served: &Served, directory: &Path, now_ms: u64) -> Self {
        let mut bridge = Self {
            served: served.clone(),
            generation_id: None,
            listening: BTreeMap::new(),
            dialers: Vec::new(),
            connected: BTreeSet::new(),
            alone_ms: now_ms,
            complained: BTreeSet::new(),
        };
        bridge.listening = bridge.wanted_listeners(directory);
        bridge
    }

    /// True when this is that bridge, whatever changed about its controllers.
    pub fn is_same(&self, served: &Served) -> bool {
        (self.served.index, &self.served.name, self.served.datapath_id)
            == (served.index, &served.name, served.datapath_id)
    }

    fn wanted_listeners(&self, directory: &Path) -> BTreeMap<(Target, Kind), Option<usize>> {
        let own = |end: &str| Target {
            passive: true,
            tls: false,
            address: Address::Path(directory.join(format!("{}.{end}", self.served.name))),
        };
        let given = self.served.controllers.iter().filter(|target| target.passive);
        let services = given.cloned().chain([own("mgmt")]).map(|target| ((target, Kind::Service), None));
        services.chain([((own("snoop"), Kind::Snoop), None)]).collect()
    }

    /// Takes over what changed; returns the tokens of what is not wanted any more.
    pub fn follow(&mut self, served: Served, directory: &Path, now_ms: u64) -> Vec<usize> {
        // Whoever is connected agreed on a version: with others to choose from that has to happen again.
        let afresh = self.served.versions != served.versions;
        self.served = served;
        let mut wanted = self.wanted_listeners(directory);
        let mut closed = Vec::new();
        for (what, token) in std::mem::take(&mut self.listening) {
            match wanted.get_mut(&what) {
                Some(place) => *place = token,
                None => closed.extend(token),
            }
        }
        self.listening = wanted;
        let had_controllers = (!self.dialers.is_empty(), !self.connected.is_empty());
        let mut dialers = std::mem::take(&mut self.dialers);
        for target in self.served.controllers.iter().filter(|target| !target.passive) {
            let known = dialers.iter().position(|dialer| dialer.target == *target && !afresh);
            self.dialers.push(known.map_or_else(|| Dialer::new(target.clone()), |place| dialers.swap_remove(place)));
        }
        for dialer in dialers {
            if let Some(token) = dialer.connection {
                self.connected.remove(&token);
                closed.push(token);
            }
        }
        if had_controllers != (!self.dialers.is_empty(), !self.connected.is_empty()) {
            self.alone_ms = now_ms;
        }
        closed
    }

    /// Versions were agreed on with a controller.
    pub fn reached(&mut self, connection: usize) {
        if let Some(dialer) = self.dialers.iter_mut().find(|dialer| dialer.connection == Some(connection)) {
            dialer.succeeded();
            self.connected.insert(connection);
        }
    }

    /// A connection is over.
    pub fn lost(&mut self, connection: usize, now_ms: u64) {
        if let Some(dialer) = self.dialers.iter_mut().find(|dialer| dialer.connection == Some(connection)) {
            dialer.lost(now_ms, self.served.max_backoff_ms);
        }
        if self.connected.remove(&connection) && self.connected.is_empty() {
            self.alone_ms = now_ms;
        }
    }

    /// True when it has to switch by itself: it has controllers, in standalone mode, and has heard of none for three
    /// probes.
    pub fn is_left_alone(&self, now_ms: u64) -> bool {
        let probe = if self.served.probe_ms == 0 { PROBE_MS } else { self.served.probe_ms };
        !self.served.secure
            && !self.dialers.is_empty()
            && self.connected.is_empty()
            && now_ms.saturating_sub(self.alone_ms) >= 3 * probe
    }
}
