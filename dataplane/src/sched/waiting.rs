//! Who wants a shared port, and who of them is behind: start-time fair queueing.
//!
//! A sender stands at a virtual time, which advances by the bytes it sent divided by its weight. It may go on while it is less
//! than a round ahead of everybody who waits. Those who wait are all there is to look at: when nobody does, nothing is compared.
//! A class goes before all classes below it; among its own each class has a time from which newcomers start, so that whoever
//! was away is owed nothing and owes nothing. Pure; neighbours: `egress` has it under its lock.

use super::pool::{Pool, Virtual};

/// The class of those who got less than they were promised, above all classes by priority (queue times 8 plus pool).
pub(super) const PROMISED: u8 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    senders: Box<[Sender]>,
    list: Vec<Wait>,
    /// Where newcomers start, by class.
    starts: [Virtual; PROMISED as usize + 1],
    round: Virtual,
}

/// Where a sender stands: by weight, and among those who get what they were promised.
#[derive(Clone, Copy, Debug, Default)]
struct Sender([Virtual; 2]);

impl Sender {
    fn stand(&mut self, class: u8) -> &mut Virtual {
        &mut self.0[usize::from(class == PROMISED)]
    }
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    sender: usize,
    class: u8,
    stand: Virtual,
    /// It is not waited for any longer than until then.
    until: u64,
}

impl Waiting {
    /// For so many senders. None may be further ahead of those who wait than by `round`.
    pub fn new(senders: usize, round: Virtual) -> Self {
        let senders = vec![Sender::default(); senders].into_boxed_slice();
        Self { list: Vec::with_capacity(senders.len()), senders, starts: [0; PROMISED as usize + 1], round }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets those who did not ask again in time.
    pub fn forget(&mut self, now: u64) {
        self.list.retain(|wait| wait.until > now);
    }

    /// Bytes that the sender may have now; 0 when it is the others' turn, and very many when there are no others.
    pub fn share(&mut self, sender: usize, pool: &Pool, class: u8) -> u64 {
        let stand = self.senders[sender].stand(class);
        *stand = (*stand).max(self.starts[usize::from(class)]);
        let mine = *stand;
        if self.others(sender).any(|other| other.class > class) {
            return 0;
        }
        let least = self.others(sender).filter(|other| other.class == class).map(|other| other.stand).min();
        least.map_or(u64::MAX, |least| pool.amount((least + self.round).saturating_sub(mine)))
    }

    fn others(&self, sender: usize) -> impl Iterator<Item = &Wait> {
        self.list.iter().filter(move |wait| wait.sender != sender)
    }

    /// The sender wants more than it got.
    pub fn stay(&mut self, sender: usize, class: u8, until: u64) {
        let stand = *self.senders[sender].stand(class);
        let wait = Wait { sender, class, stand, until };
        match self.list.iter_mut().find(|wait| wait.sender == sender) {
            Some(old) => *old = wait,
            // As long as there are senders: nothing is allocated.
            None => self.list.push(wait),
        }
    }

    /// The sender got what it wanted, or nobody else is to blame that it did not.
    pub fn leave(&mut self, sender: usize) {
        if let Some(place) = self.list.iter().position(|wait| wait.sender == sender) {
            self.list.swap_remove(place);
        }
    }

    /// The sender sent so many bytes in this class.
    pub fn charge(&mut self, sender: usize, pool: &Pool, class: u8, bytes: u64) {
        let stand = self.senders[sender].stand(class);
        let start = &mut self.starts[usize::from(class)];
        let before = (*stand).max(*start);
        *stand = before + pool.advance(bytes);
        let after = *stand;
        let mut least = before;
        for wait in self.list.iter_mut().filter(|wait| wait.class == class) {
            least = least.min(wait.stand);
            if wait.sender == sender {
                wait.stand = after;
            }
        }
        *start = (*start).max(least);
    }
}
