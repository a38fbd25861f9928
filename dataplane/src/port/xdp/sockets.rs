//! A port that is up: the program attached, sockets on each queue, their halves with the workers. Dropping it takes all of
//! that back, in the right order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::nic::Nic;
use super::program::{AttachMode, Program};
use super::queue::{Lane, XdpRx, XdpTx};
use super::sort::{PoolSorting, SortPool};
use super::sorting::{ANCHOR_WEIGHT, Sorters, Sorting, close_all};
use super::{XdpError, XdpOptions};
use crate::mem::{FRAME_ROOM, Xsk, XskConfig, XskCounters, XskStatistics, XskWay};
use crate::port::PortContext;
use crate::sys::netdev::{Netdev, Promiscuous, rx_queue_count};

/// The part of a queue's receive frames that may wait in the socket of one pool: one that is flooded leaves the other half.
const POOL_PART: u32 = 2;
/// Ethernet header and two tags.
const HEADERS: usize = 22;

pub(super) struct Sockets {
    context: PortContext,
    queue_count: u16,
    mode: AttachMode,
    zero_copy: bool,
    /// Of all sockets but the pools'.
    statistics: Vec<XskStatistics>,
    program: Option<Program>,
    /// There as long as the program.
    sorting: Option<Sorting>,
    _promiscuous: Promiscuous,
}

impl Sockets {
    /// Brings the port up on `netdev`, which exists and is up.
    pub fn open(
        options: &XdpOptions,
        context: &PortContext,
        netdev: Netdev,
        mtu: &Arc<AtomicU32>,
    ) -> Result<Self, XdpError> {
        let name = options.netdev.as_str();
        let there = rx_queue_count(name).map_err(|source| XdpError::Look { netdev: name.into(), source })?;
        let queue_count = options.queues.unwrap_or(there);
        if queue_count > there {
            return Err(XdpError::QueueCount { netdev: name.into(), wanted: queue_count, there });
        }
        let promiscuous = Promiscuous::hold(netdev.index).map_err(XdpError::Promiscuous)?;
        let mut program = Program::attach(netdev.index, queue_count, options.mode, &options.pass)?;
        let mode = program.mode;
        let ways = ways(options.zero_copy, mode, netdev.mtu);
        let mut opened = Vec::with_capacity(usize::from(queue_count));
        for queue in 0..queue_count {
            let xsk = Xsk::open(&XskConfig {
                netdev: name,
                ifindex: netdev.index,
                queue: u32::from(queue),
                rx_frames: options.rx_frames,
                tx_frames: options.tx_frames,
                ways: &ways,
                busy_poll_us: options.busy_poll_us,
            })?;
            opened.push(xsk);
        }
        let zero_copy = opened.iter().all(|xsk| xsk.way.zero_copy);
        let mut statistics = Vec::new();
        let mut queues = Vec::with_capacity(opened.len());
        let mut halves = Vec::with_capacity(opened.len());
        for (queue, xsk) in (0..).zip(opened) {
            let anchor = &xsk.rx.sockets()[0];
            program.steer(queue, 0, anchor)?;
            for of_one in [xsk.opener.statistics(), anchor.statistics()] {
                statistics.push(of_one.map_err(XdpError::Statistics)?);
            }
            let frames = Arc::new(AtomicU64::new(0));
            let lane = Lane { slot: 0, weight: ANCHOR_WEIGHT, frames: Arc::clone(&frames) };
            halves.push((XdpRx::new(xsk.rx, lane).map_err(XdpError::Bell)?, xsk.tx));
            queues.push((xsk.opener, frames));
        }
        let sorters = Sorters {
            choice: options.sorter,
            entries: options.rx_frames / POOL_PART,
            queues,
            tables: program.tables(),
            nic: Nic::new(name),
        };
        let sorting = Some(Sorting::new(context, sorters));
        for (queue, (rx, xsk)) in (0..).zip(halves) {
            context.host.attach_rx(context.id, queue, Box::new(rx));
            if usize::from(queue) < context.tx.capacity() {
                let tx = XdpTx { xsk, mtu: Arc::clone(mtu) };
                context.tx.replace(usize::from(queue), Some(Box::new(tx)));
            }
        }
        let (context, program) = (context.clone(), Some(program));
        Ok(Self { context, queue_count, mode, zero_copy, statistics, program, sorting, _promiscuous: promiscuous })
    }

    /// Goes on towards sorting to these pools; true when that is reached.
    pub fn sort(&mut self, pools: &[SortPool]) -> bool {
        let both = self.sorting.as_mut().zip(self.program.as_mut());
        both.is_none_or(|(sorting, program)| sorting.advance(program, pools))
    }

    /// No change is under way or to come.
    pub fn is_sorted(&self, pools: &[SortPool]) -> bool {
        self.sorting.as_ref().is_some_and(|sorting| sorting.is_sorted(pools))
    }

    /// How pools are sorted.
    pub fn pools(&self) -> Vec<PoolSorting> {
        self.sorting.as_ref().map_or_else(Vec::new, Sorting::status)
    }

    /// How it runs, for operators.
    pub fn describe(&self) -> String {
        let mode = match self.mode {
            AttachMode::Native => "native XDP",
            AttachMode::Generic => "generic XDP",
        };
        let copy = if self.zero_copy { "zero-copy" } else { "copy" };
        let plural = if self.queue_count == 1 { "" } else { "s" };
        format!("{mode}, {copy}, {} queue{plural}", self.queue_count)
    }

    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    pub fn queue_count(&self) -> u16 {
        self.queue_count
    }

    /// The kernel's counters, all sockets together, since they were opened.
    pub fn counters(&self) -> XskCounters {
        let mut sum = self.sorting.as_ref().map_or_else(XskCounters::default, Sorting::counters);
        self.statistics.iter().for_each(|statistics| sum += statistics.read());
        sum
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // First no new frames; then what else keeps sockets open; then the queues, whose last half closes each.
        self.program = None;
        self.sorting = None;
        self.statistics.clear();
        let (mut queues, mut sockets) = (Vec::new(), Vec::new());
        for queue in 0..self.queue_count {
            let rx = self.context.host.detach_rx(self.context.id, queue);
            if usize::from(queue) < self.context.tx.capacity() {
                self.context.tx.replace(usize::from(queue), None);
            }
            if let Some(mut rx) = rx.and_then(|rx| rx.into_any().downcast::<XdpRx>().ok()) {
                sockets.append(&mut rx.remove_pools());
                queues.push(rx);
            }
        }
        close_all(sockets);
    }
}

/// The ways to bind, best first. Kernels before 6.6 know no frames in several pieces.
fn ways(zero_copy: Option<bool>, mode: AttachMode, mtu: u32) -> Vec<XskWay> {
    let needs_jumbo = mtu as usize + HEADERS > FRAME_ROOM;
    // A generic program never sees the driver's own buffers.
    let may_share = zero_copy != Some(false) && mode == AttachMode::Native;
    let may_copy = zero_copy != Some(true);
    let kinds = [(true, may_share), (false, may_copy)].into_iter().filter(|(_, may)| *may);
    let sizes = [true, false].into_iter().filter(|jumbo| *jumbo || !needs_jumbo);
    kinds.flat_map(|(zero_copy, _)| sizes.clone().map(move |jumbo| XskWay { zero_copy, jumbo })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(zero_copy: Option<bool>, mode: AttachMode, mtu: u32) -> Vec<&'static str> {
        let name = |way: XskWay| match (way.zero_copy, way.jumbo) {
            (true, true) => "zero-copy, jumbo",
            (true, false) => "zero-copy",
            (false, true) => "copy, jumbo",
            (false, false) => "copy",
        };
        ways(zero_copy, mode, mtu).into_iter().map(name).collect()
    }

    #[test]
    fn zero_copy_is_tried_first_and_old_kernels_get_what_they_know() {
        use AttachMode::{Generic, Native};
        assert_eq!(tried(None, Native, 1500), ["zero-copy, jumbo", "zero-copy", "copy, jumbo", "copy"]);
        assert_eq!(tried(None, Native, 9000), ["zero-copy, jumbo", "copy, jumbo"]);
        assert_eq!(tried(None, Generic, 1500), ["copy, jumbo", "copy"]);
        assert_eq!(tried(Some(true), Native, 1500), ["zero-copy, jumbo", "zero-copy"]);
        assert_eq!(tried(Some(false), Native, 9000), ["copy, jumbo"]);
        assert_eq!(tried(Some(true), Generic, 1500), [""; 0]);
    }
}
