//! Who wants a shared port, and who of them is behind: start-time fair queueing.
//!
//! A sender stands at a virtual time, which advances by the bytes it sent divided by its weight. It may go on while it is less
//! than a round ahead of everybody who waits. Those who wait are all there is to look at: when nobody does, nothing is compared.
//! A class goes before all classes below it; among its own each class has a time from which newcomers start, so that whoever
//! was away is owed nothing and owes nothing. What a queue was promised is divided among its senders in the same way, by
//! another time. Pure; neighbours: `egress` has it under its lock.

use super::pool::{POOLS, Pool, Virtual};

/// The class of those who got less than they were promised, above all classes by priority (queue times 8 plus pool).
pub(super) const PROMISED: u8 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    senders: Box<[Sender]>,
    list: Vec<Wait>,
    /// Where newcomers start, by class.
    starts: [Virtual; PROMISED as usize],
    /// The same for what queues were promised, by queue.
    promise_starts: Box<[Virtual]>,
    round: Virtual,
    /// How often somebody asked.
    asked: u64,
}

/// One pool in one queue.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    stand: Virtual,
    /// In what its queue was promised.
    promise_stand: Virtual,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    sender: usize,
    class: u8,
    /// When it was refused, or when it was told to come.
    since: u64,
    /// It is not waited for any longer than until then.
    until: u64,
    /// How often somebody had asked.
    asked: u64,
}

/// Where a sender is to be found.
fn place(queue: usize, pool: &Pool) -> usize {
    queue * POOLS + pool.place()
}

impl Waiting {
    /// For so many queues. None may be further ahead of those who wait than by `round`.
    pub fn new(queues: usize, round: Virtual) -> Self {
        let senders = vec![Sender::default(); queues * POOLS].into_boxed_slice();
        let list = Vec::with_capacity(senders.len());
        Self { senders, list, starts: [0; PROMISED as usize], promise_starts: vec![0; queues].into(), round, asked: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Somebody asks: forgets those who did not ask again in time. A worker that the host kept from its CPU could ask for none of
    /// its senders, so nobody is forgotten before all had the opportunity twice.
    pub fn forget(&mut self, now: u64) {
        self.asked += 1;
        let (asked, twice) = (self.asked, 2 * (self.list.len() as u64 + 1));
        self.list.retain(|wait| wait.until > now || asked - wait.asked < twice);
    }

    /// Bytes that the pool may have now by its weight; 0 when it is the others' turn, and very many when there are none.
    pub fn share(&mut self, queue: usize, pool: &Pool, class: u8) -> u64 {
        let sender = place(queue, pool);
        let start = self.starts[usize::from(class)];
        let mine = &mut self.senders[sender].stand;
        *mine = (*mine).max(start);
        let mine = *mine;
        let others = self.list.iter().filter(|other| other.sender != sender);
        if others.clone().any(|other| other.class > class) {
            return 0;
        }
        let least = others.filter(|other| other.class == class).map(|other| self.senders[other.sender].stand).min();
        self.lead(pool, mine, least)
    }

    /// The same of what its queue was promised.
    pub fn promised_share(&mut self, queue: usize, pool: &Pool) -> u64 {
        let sender = place(queue, pool);
        let mine = &mut self.senders[sender].promise_stand;
        *mine = (*mine).max(self.promise_starts[queue]);
        let mine = *mine;
        let others = self.list.iter().filter(|other| other.sender != sender && other.sender / POOLS == queue);
        let least = others.map(|other| self.senders[other.sender].promise_stand).min();
        self.lead(pool, mine, least)
    }

    fn lead(&self, pool: &Pool, mine: Virtual, least: Option<Virtual>) -> u64 {
        least.map_or(u64::MAX, |least| pool.amount((least + self.round).saturating_sub(mine)))
    }

    /// The pool wants more than it got. It is waited for, `patience` longer than until `since`.
    pub fn stay(&mut self, queue: usize, pool: &Pool, class: u8, since: u64, patience: u64) {
        let sender = place(queue, pool);
        let wait = Wait { sender, class, since, until: since + patience, asked: self.asked };
        match self.list.iter_mut().find(|wait| wait.sender == sender) {
            Some(old) => *old = wait,
            // As long as there are senders: nothing is allocated.
            None => self.list.push(wait),
        }
    }

    /// The pool got a batch: it is waited for only as long as what was before is `recent`.
    pub fn go(&mut self, queue: usize, pool: &Pool, recent: u64) {
        let sender = place(queue, pool);
        if let Some(wait) = self.list.iter_mut().find(|wait| wait.sender == sender) {
            wait.until = wait.since + recent;
        }
    }

    /// The pool wants no more, or nobody else is to blame that it gets none.
    pub fn leave(&mut self, queue: usize, pool: &Pool) {
        let sender = place(queue, pool);
        if let Some(place) = self.list.iter().position(|wait| wait.sender == sender) {
            self.list.swap_remove(place);
        }
    }

    /// The pool sent so many bytes by its weight.
    pub fn charge(&mut self, queue: usize, pool: &Pool, class: u8, bytes: u64) {
        let start = &mut self.starts[usize::from(class)];
        let stand = &mut self.senders[place(queue, pool)].stand;
        let before = (*stand).max(*start);
        *stand = before + pool.advance(bytes);
        let waiting = self.list.iter().filter(|wait| wait.class == class).map(|wait| self.senders[wait.sender].stand);
        *start = (*start).max(waiting.fold(before, Virtual::min));
    }

    /// The pool sent so many bytes of what its queue was promised.
    pub fn charge_promise(&mut self, queue: usize, pool: &Pool, bytes: u64) {
        let start = &mut self.promise_starts[queue];
        let stand = &mut self.senders[place(queue, pool)].promise_stand;
        let before = (*stand).max(*start);
        *stand = before + pool.advance(bytes);
        let waiting = self.list.iter().filter(|wait| wait.sender / POOLS == queue);
        let least = waiting.map(|wait| self.senders[wait.sender].promise_stand).fold(before, Virtual::min);
        *start = (*start).max(least);
    }
}
