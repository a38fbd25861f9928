//! A worker's pass without the worker: rings, pipeline and counters of one thread, so that a case repeats.

use std::sync::Arc;

use ringswitch_dataplane::flow::{Flow, Mask};
use ringswitch_dataplane::packet::{BATCH, PacketBatch, PortCounters, PortTotals};
use ringswitch_dataplane::pipeline::{
    BridgePorts, BridgeView, Fdb, FlowCache, Pipeline, PortEntry, Program, Snapshot, TableStats,
};
use ringswitch_dataplane::port::vhost::{RxRing, TxRing, open_rx, open_tx};
use ringswitch_dataplane::port::{PortId, RxQueue, TxQueues};

use crate::guest::Guest;

/// Ports 1, 2, ... of one bridge, a guest on each.
pub struct Switch {
    pipeline: Pipeline,
    snapshot: Snapshot,
    batch: PacketBatch,
    rx: Vec<Option<RxRing>>,
    version: u64,
}

impl Switch {
    /// With a guest on each port, and these flows.
    #[must_use]
    pub fn new(guests: &[&Guest], flows: Vec<Flow>) -> Self {
        let mut pipeline = Pipeline::new(0);
        // Small, so that flows push each other out.
        pipeline.set_cache(0, Some(Box::new(FlowCache::new(64, &Mask::NONE))));
        let entry = |place: usize| {
            let (tx, counters) = (Arc::new(TxQueues::new(1)), Arc::new([PortCounters::default()]));
            Some(Arc::new(PortEntry::new(PortId(place as u16), place as u32 + 1, 0, tx, counters)))
        };
        let snapshot = Snapshot { ports: (0..guests.len()).map(entry).collect(), ..Snapshot::default() };
        let rx = guests.iter().map(|_| None).collect();
        let mut switch = Self { pipeline, snapshot, batch: PacketBatch::new(), rx, version: 0 };
        switch.set_flows(flows);
        guests.iter().enumerate().for_each(|(place, guest)| switch.attach(place, guest));
        switch
    }

    /// Replaces all flows.
    pub fn set_flows(&mut self, flows: Vec<Flow>) {
        let mut program = Program::default();
        flows.into_iter().for_each(|flow| _ = program.tables.insert(flow, 0, 1));
        self.version += 1;
        let ports = BridgePorts::new(self.snapshot.ports.iter().flatten().map(|entry| &**entry));
        let view = BridgeView::new(
            self.version,
            program,
            Arc::new(Fdb::new(64)),
            Arc::new(ports),
            Arc::new(TableStats::new(1)),
        );
        self.snapshot.bridges = vec![Some(Arc::new(view))];
    }

    fn entry(&self, place: usize) -> &Arc<PortEntry> {
        self.snapshot.port(PortId(place as u16)).expect("a port")
    }

    /// Opens the guest's rings from their beginning.
    ///
    /// # Panics
    /// When they are refused.
    pub fn attach(&mut self, place: usize, guest: &Guest) {
        self.rx[place] = Some(open_rx(guest.sends.setup(&guest.fault)).expect("a good ring"));
        let tx = open_tx(guest.receives.setup(&guest.fault)).expect("a good ring");
        self.entry(place).tx.replace(0, Some(Box::new(tx)));
    }

    /// Takes the guest's rings and opens them where they stood, as a session does for nearly every request.
    ///
    /// # Panics
    /// When a ring is refused or gone.
    pub fn reopen(&mut self, place: usize) {
        let rx = self.rx[place].take().expect("an open ring").close();
        self.rx[place] = Some(open_rx(rx).expect("the same ring"));
        let tx = self.entry(place).tx.replace(0, None).expect("an open ring");
        let tx = tx.into_any().downcast::<TxRing>().expect("a vhost-user ring").close();
        let tx = open_tx(tx).expect("the same ring");
        self.entry(place).tx.replace(0, Some(Box::new(tx)));
    }

    /// One pass over all ports, as a worker does it; returns what came in.
    ///
    /// # Panics
    /// When a burst is larger than a batch.
    pub fn pass(&mut self) -> usize {
        let mut total = 0;
        for (rx, entry) in self.rx.iter_mut().zip(self.snapshot.ports.iter().flatten()) {
            let Some(rx) = rx else { continue };
            let received = rx.rx_batch(&mut self.batch);
            assert!(received + self.batch.tally.total() as usize <= BATCH + 1, "a burst without end");
            self.pipeline.process(&mut self.batch, &self.snapshot, entry);
            rx.finish();
            self.batch.clear();
            total += received;
        }
        total
    }

    /// The counters of the port on this place.
    #[must_use]
    pub fn totals(&self, place: usize) -> PortTotals {
        let mut totals = PortTotals::default();
        self.entry(place).counters[0].add_to(&mut totals);
        totals
    }

    /// # Panics
    /// Unless received + copies = sent + dropped, over all ports.
    pub fn assert_accounted(&self) {
        let (mut came, mut went) = (0, 0);
        for totals in (0..self.rx.len()).map(|place| self.totals(place)) {
            came += totals.rx_packets + totals.copies;
            went += totals.tx_packets + totals.dropped();
        }
        assert_eq!(came, went, "received + copies = sent + dropped");
    }
}
