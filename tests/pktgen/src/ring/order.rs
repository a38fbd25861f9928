//! Which buffers are lent to the device, in the order in which they were offered.

use super::RingError;

/// A permutation of all buffers: those between `taken` and `offered` are lent, the others are free. As long as the device
/// completes in order the permutation never changes.
#[derive(Debug)]
pub struct Order {
    ids: Box<[u16]>,
    offered: u32,
    taken: u32,
}

impl Order {
    /// `capacity` is a power of two.
    pub fn new(capacity: u16) -> Self {
        Self { ids: (0..capacity).collect(), offered: 0, taken: 0 }
    }

    #[inline(always)]
    fn slot(&self, at: u32) -> usize {
        at as usize & (self.ids.len() - 1)
    }

    #[inline(always)]
    pub fn lent(&self) -> u32 {
        self.offered.wrapping_sub(self.taken)
    }

    #[inline(always)]
    pub fn free(&self) -> usize {
        self.ids.len() - self.lent() as usize
    }

    /// Buffers offered so far, modulo 2^32.
    #[inline(always)]
    pub fn offered(&self) -> u32 {
        self.offered
    }

    /// Buffers taken back so far, modulo 2^32.
    #[inline(always)]
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Lends the next free buffer. The caller has checked that there is one.
    #[inline(always)]
    pub fn offer(&mut self) -> u16 {
        let id = self.ids[self.slot(self.offered)];
        self.offered = self.offered.wrapping_add(1);
        id
    }

    /// The device gave buffer `id` back.
    #[inline(always)]
    pub fn take(&mut self, id: u16) -> Result<(), RingError> {
        let slot = self.slot(self.taken);
        if self.lent() == 0 || self.ids[slot] != id {
            self.take_out_of_order(id)?;
        }
        self.taken = self.taken.wrapping_add(1);
        Ok(())
    }

    #[cold]
    fn take_out_of_order(&mut self, id: u16) -> Result<(), RingError> {
        let at = self.position(id)?;
        let (from, to) = (self.slot(self.taken), self.slot(self.taken.wrapping_add(at)));
        self.ids.swap(from, to);
        Ok(())
    }

    /// The device gave back all buffers up to and with `id` (IN_ORDER): how many that are.
    #[inline(always)]
    pub fn take_through(&mut self, id: u16) -> Result<u32, RingError> {
        let slot = self.slot(self.taken);
        let count = if self.lent() > 0 && self.ids[slot] == id { 1 } else { self.position(id)? + 1 };
        self.taken = self.taken.wrapping_add(count);
        Ok(count)
    }

    /// The device gave `count` buffers back in order, without saying which. The caller has checked that it holds them.
    #[inline(always)]
    pub fn take_count(&mut self, count: u32) {
        self.taken = self.taken.wrapping_add(count);
    }

    fn position(&self, id: u16) -> Result<u32, RingError> {
        if usize::from(id) >= self.ids.len() {
            return Err(RingError::Unknown(id.into()));
        }
        (0..self.lent())
            .find(|&at| self.ids[self.slot(self.taken.wrapping_add(at))] == id)
            .ok_or(RingError::NotLent(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_may_come_back_in_any_order_but_only_once() {
        let mut order = Order::new(4);
        (0..3).for_each(|id| assert_eq!(order.offer(), id));
        order.take(2).expect("lent");
        assert_eq!(order.take(2), Err(RingError::NotLent(2)));
        assert_eq!(order.take(3), Err(RingError::NotLent(3)), "never offered");
        assert_eq!(order.take(9), Err(RingError::Unknown(9)));
        order.take(1).expect("lent");
        order.take(0).expect("lent");
        assert_eq!(order.take(0), Err(RingError::NotLent(0)), "nothing is lent");
        let mut again: Vec<u16> = (0..4).map(|_| order.offer()).collect();
        again.sort_unstable();
        assert_eq!(again, [0, 1, 2, 3]);
    }

    #[test]
    fn one_used_entry_may_stand_for_several_in_order() {
        let mut order = Order::new(4);
        (0..4).for_each(|_| _ = order.offer());
        assert_eq!(order.take_through(2), Ok(3));
        assert_eq!(order.take_through(3), Ok(1));
        assert_eq!(order.take_through(3), Err(RingError::NotLent(3)));
    }
}
