//! Which pool gets which ring: a pure function of what is wanted, what is, and what works. A pool keeps what it has as long as
//! that is allowed and works; others get the best that is free, in their order. What a pool leaves is free when its rings were
//! drained, with the next plan.

use super::program::MAX_POOL_SOCKETS;
use super::sort::{SortPool, Sorter, SorterChoice};

/// What a pool has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Hardware(u16),
    Slot(u16),
    Nothing,
}

/// What works.
pub(super) struct Means {
    pub choice: SorterChoice,
    /// Hardware queues that pools may have, or why none.
    pub nic: Result<Vec<u16>, String>,
    /// Or why the program cannot sort.
    pub xdp: Result<(), String>,
}

/// A pool's home, and why it is no better one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub home: Home,
    pub why_not: Vec<(Sorter, String)>,
}

/// Of each pool, in their order; `before` has the name and the home of all that there are now, those that go too.
pub(super) fn plan(pools: &[SortPool], before: &[(&str, Home)], means: &Means) -> Vec<Planned> {
    let nic = match means.choice.refusal(Sorter::Nic) {
        Some(why) => Err(why),
        None => means.nic.clone(),
    };
    let xdp = match means.choice.refusal(Sorter::Xdp) {
        Some(why) => Err(why),
        None => means.xdp.clone(),
    };
    let kept = |pool: &SortPool| {
        let had = before.iter().find(|(name, _)| *name == &*pool.name && is_sortable(pool));
        had.map_or(Home::Nothing, |&(_, home)| home)
    };
    let kept: Vec<_> = pools.iter().map(kept).collect();
    let queue = |home: &Home| if let Home::Hardware(queue) = home { Some(*queue) } else { None };
    let slot = |(_, home): &(&str, Home)| if let Home::Slot(slot) = home { Some(*slot) } else { None };
    // A hardware queue is one ring, whosever frames it has. A slot that is left still has the ring of the pool that leaves:
    // given away at once, it would have two, and nothing would say which comes first.
    let mut nic = Supply::new(nic, kept.iter().filter_map(queue));
    let mut xdp = Supply::new(xdp.map(|()| (1..=MAX_POOL_SOCKETS).collect()), before.iter().filter_map(slot));
    pools.iter().zip(kept).map(|(pool, kept)| place(pool, kept, &mut nic, &mut xdp)).collect()
}

fn is_sortable(pool: &SortPool) -> bool {
    pool.filters.iter().any(|filter| !filter.is_group())
}

fn place(pool: &SortPool, kept: Home, nic: &mut Supply, xdp: &mut Supply) -> Planned {
    if !is_sortable(pool) {
        let why = || "the pool has no address to sort by".to_owned();
        return Planned { home: Home::Nothing, why_not: vec![(Sorter::Nic, why()), (Sorter::Xdp, why())] };
    }
    let mut why_not = Vec::new();
    let (had_queue, had_slot) = match kept {
        Home::Hardware(queue) => (Some(queue), None),
        Home::Slot(slot) => (None, Some(slot)),
        Home::Nothing => (None, None),
    };
    match nic.take(had_queue, |all| format!("no room: the NIC's {all} spare queues have pools")) {
        Ok(queue) => return Planned { home: Home::Hardware(queue), why_not },
        Err(why) => why_not.push((Sorter::Nic, why)),
    }
    match xdp.take(had_slot, |all| format!("no room: {all} sockets per queue")) {
        Ok(slot) => Planned { home: Home::Slot(slot), why_not },
        Err(why) => {
            why_not.push((Sorter::Xdp, why));
            Planned { home: Home::Nothing, why_not }
        }
    }
}

/// Numbers to be given out.
struct Supply {
    /// All there are, or why none.
    all: Result<Vec<u16>, String>,
    /// Those that nobody has, to be taken from the end.
    free: Vec<u16>,
}

impl Supply {
    fn new(all: Result<Vec<u16>, String>, taken: impl Iterator<Item = u16>) -> Self {
        let taken: Vec<_> = taken.collect();
        let free = all.iter().flatten().rev().copied().filter(|number| !taken.contains(number)).collect();
        Self { all, free }
    }

    /// What it had if that is still to be had, else the next.
    fn take(&mut self, had: Option<u16>, no_room: impl FnOnce(usize) -> String) -> Result<u16, String> {
        let all = self.all.as_ref().map_err(String::clone)?;
        let kept = had.filter(|number| all.contains(number));
        kept.or_else(|| self.free.pop()).ok_or_else(|| no_room(all.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::xdp::SortFilter;

    fn pool(number: usize) -> SortPool {
        let mac = [2, 0, 0, 0, (number >> 8) as u8, number as u8];
        SortPool { name: format!("vm{number}").into(), weight: 100, filters: vec![SortFilter { mac, vlan: 0 }] }
    }

    fn means(choice: SorterChoice, nic: Result<Vec<u16>, String>) -> Means {
        Means { choice, nic, xdp: Ok(()) }
    }

    fn homes(pools: &[SortPool], before: &[(&str, Home)], means: &Means) -> Vec<Home> {
        plan(pools, before, means).into_iter().map(|planned| planned.home).collect()
    }

    #[test]
    fn the_first_pools_get_hardware_the_next_sockets_the_rest_nothing() {
        let pools: Vec<_> = (0..134).map(pool).collect();
        let planned = plan(&pools, &[], &means(SorterChoice::Auto, Ok(vec![2, 3])));
        assert_eq!(planned[0], Planned { home: Home::Hardware(2), why_not: vec![] });
        assert_eq!(planned[1].home, Home::Hardware(3));
        let no_queue = (Sorter::Nic, "no room: the NIC's 2 spare queues have pools".to_owned());
        assert_eq!(planned[2], Planned { home: Home::Slot(1), why_not: vec![no_queue.clone()] });
        assert_eq!(planned[129].home, Home::Slot(128));
        let no_socket = (Sorter::Xdp, "no room: 128 sockets per queue".to_owned());
        assert_eq!(planned[130], Planned { home: Home::Nothing, why_not: vec![no_queue, no_socket] });
    }

    #[test]
    fn who_has_something_keeps_it() {
        let pools = [pool(1), pool(2), pool(3)];
        let before = [("vm2", Home::Slot(1)), ("vm3", Home::Hardware(3))];
        let auto = means(SorterChoice::Auto, Ok(vec![3]));
        assert_eq!(homes(&pools, &before, &auto), [Home::Slot(2), Home::Slot(1), Home::Hardware(3)]);
        // The queue is wanted for something else now.
        let none = means(SorterChoice::Auto, Err("every queue takes part in RSS".into()));
        assert_eq!(homes(&pools, &before, &none), [Home::Slot(2), Home::Slot(1), Home::Slot(3)]);
        // A queue became free: whoever has a socket moves up.
        let more = means(SorterChoice::Auto, Ok(vec![2, 3]));
        assert_eq!(homes(&pools[1..], &before, &more), [Home::Hardware(2), Home::Hardware(3)]);
    }

    #[test]
    fn what_a_pool_leaves_is_nobody_elses_until_it_was_drained() {
        let xdp = means(SorterChoice::Xdp, Err(String::new()));
        let before = [("vm1", Home::Slot(1)), ("vm2", Home::Slot(2))];
        assert_eq!(homes(&[pool(3), pool(2)], &before, &xdp), [Home::Slot(3), Home::Slot(2)], "vm1 goes");
        assert_eq!(homes(&[pool(3), pool(2)], &before[1..], &xdp), [Home::Slot(1), Home::Slot(2)], "vm1 is gone");
        let without_address = SortPool { filters: vec![], ..pool(1) };
        assert_eq!(homes(&[without_address, pool(3)], &before, &xdp), [Home::Nothing, Home::Slot(3)]);
        // As many as there can be, and one is replaced.
        let names: Vec<_> = (0..MAX_POOL_SOCKETS).map(|number| format!("vm{number}")).collect();
        let all: Vec<_> = (1..).zip(&names).map(|(slot, name)| (name.as_str(), Home::Slot(slot))).collect();
        assert_eq!(homes(&[pool(500)], &all, &xdp), [Home::Nothing]);
        assert_eq!(homes(&[pool(500)], &all[1..], &xdp), [Home::Slot(1)]);
    }

    #[test]
    fn the_option_limits_the_choice_and_says_so() {
        let says = |only| format!("the port's option says sorter={only}");
        let chosen = |choice| plan(&[pool(1)], &[("vm1", Home::Slot(5))], &means(choice, Ok(vec![1]))).remove(0);
        assert_eq!(chosen(SorterChoice::Nic).home, Home::Hardware(1));
        let xdp = chosen(SorterChoice::Xdp);
        assert_eq!((xdp.home, xdp.why_not), (Home::Slot(5), vec![(Sorter::Nic, says("xdp"))]));
        let software = chosen(SorterChoice::Software);
        let both = vec![(Sorter::Nic, says("software")), (Sorter::Xdp, says("software"))];
        assert_eq!((software.home, software.why_not), (Home::Nothing, both));
    }

    #[test]
    fn a_pool_without_an_address_of_its_own_is_not_sorted() {
        let group = SortFilter { mac: [1, 0, 0x5e, 0, 0, 1], vlan: 0 };
        let planned = plan(
            &[SortPool { filters: vec![group], ..pool(1) }, SortPool { filters: vec![], ..pool(2) }],
            &[("vm1", Home::Slot(1))],
            &means(SorterChoice::Auto, Ok(vec![1])),
        );
        assert!(
            planned.iter().all(|planned| planned.home == Home::Nothing && planned.why_not[1].1.contains("no address"))
        );
    }
}
