//! How many packets of each port a controller gets: token buckets.

use std::collections::BTreeMap;

/// A bucket per port of one connection.
pub(super) struct Limit {
    /// Per second.
    rate: u64,
    burst: u64,
    /// Packets that may still go, in thousandths, and when that was true.
    buckets: BTreeMap<u32, (u64, u64)>,
}

impl Limit {
    pub fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, buckets: BTreeMap::new() }
    }

    /// True when another packet of this port may go.
    pub fn allows(&mut self, port: u32, now_ms: u64) -> bool {
        let full = self.burst * 1000;
        let (left, then) = self.buckets.get(&port).copied().unwrap_or((full, now_ms));
        let left = full.min(left + self.rate * now_ms.saturating_sub(then));
        let allowed = left >= 1000;
        self.buckets.insert(port, (if allowed { left - 1000 } else { left }, now_ms));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_gets_its_burst_and_then_its_rate() {
        let mut limit = Limit::new(100, 25);
        let passed = |limit: &mut Limit, port, at, tries| (0..tries).filter(|_| limit.allows(port, at)).count();
        assert_eq!(passed(&mut limit, 1, 1000, 100), 25);
        assert_eq!(passed(&mut limit, 2, 1000, 100), 25, "another port's is its own");
        assert_eq!(passed(&mut limit, 1, 1100, 100), 10);
        assert_eq!(passed(&mut limit, 1, 99_000, 100), 25);
    }
}
