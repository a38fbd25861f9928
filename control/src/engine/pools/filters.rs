//! By which addresses pools are reached: those that the operator said, and otherwise those that flows and the address
//! table tell. Pure.
//!
//! An address belongs to one pool of a bridge or to none: where two claim it nothing is sorted, and the tables decide as
//! always. So a guest that pretends to be another one gains nothing but that frames for both go the long way.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringswitch_dataplane::flow::{Action, Field, Rule};
use ringswitch_dataplane::sched::PoolId;

use crate::model::{FILTERS_MAX, NativeTag, PoolFilter, Vlan};

/// How it is known that an address is a pool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterOrigin {
    /// The operator said so.
    Config,
    /// A static address of a bridge.
    Static,
    /// A flow sends what has it there.
    Flow,
    /// It was seen as a sender there.
    Learned,
}

impl FilterOrigin {
    /// For operators.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Static => "static",
            Self::Flow => "flow",
            Self::Learned => "learned",
        }
    }
}

/// An address of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Index of the bridge whose frames are meant.
    pub bridge: usize,
    pub filter: PoolFilter,
    pub origin: FilterOrigin,
}

/// Every bit of an address.
const ADDRESS: u64 = (1 << 48) - 1;

/// An address on a bridge.
pub type Place = (usize, PoolFilter);

/// Who claims which address; changed claim by claim.
#[derive(Default)]
pub struct Claims {
    places: HashMap<Place, Vec<Claim>>,
    /// Addresses that are one pool's.
    settled: BTreeMap<PoolId, BTreeSet<(FilterOrigin, Place)>>,
    contested: BTreeMap<Place, [PoolId; 2]>,
}

struct Claim {
    pool: PoolId,
    origin: FilterOrigin,
    /// How many say so.
    count: usize,
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Pool(PoolId, FilterOrigin),
    /// Two claim it, or more.
    Contested([PoolId; 2]),
}

impl Claims {
    /// Notes a claim. True when it made a difference.
    pub fn add(&mut self, place: Place, pool: PoolId, origin: FilterOrigin) -> bool {
        self.change(place, |claims| {
            match claims.iter_mut().find(|claim| (claim.pool, claim.origin) == (pool, origin)) {
                Some(known) => known.count += 1,
                None => claims.push(Claim { pool, origin, count: 1 }),
            }
        })
    }

    /// Takes back a claim that was noted. True when it made a difference.
    pub fn remove(&mut self, place: Place, pool: PoolId, origin: FilterOrigin) -> bool {
        self.change(place, |claims| {
            let known = claims.iter_mut().find(|claim| (claim.pool, claim.origin) == (pool, origin));
            known.into_iter().for_each(|claim| claim.count -= 1);
            claims.retain(|claim| claim.count > 0);
        })
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Vec<Claim>)) -> bool {
        let claims = self.places.entry(place).or_default();
        let before = owner(claims);
        change(claims);
        let after = owner(claims);
        if claims.is_empty() {
            self.places.remove(&place);
        }
        if before == after {
            return false;
        }
        match before {
            Owner::Nobody => {}
            Owner::Pool(pool, origin) => {
                if let Some(places) = self.settled.get_mut(&pool) {
                    places.remove(&(origin, place));
                }
            }
            Owner::Contested(_) => drop(self.contested.remove(&place)),
        }
        match after {
            Owner::Nobody => {}
            Owner::Pool(pool, origin) => drop(self.settled.entry(pool).or_default().insert((origin, place))),
            Owner::Contested(pools) => drop(self.contested.insert(place, pools)),
        }
        true
    }

    /// The addresses that two pools claim, and who these are.
    pub fn contested(&self) -> &BTreeMap<Place, [PoolId; 2]> {
        &self.contested
    }

    /// Every pool's addresses: those it had stay, oldest first, then new ones, up to the most that a pool may have.
    pub fn settle(&self, before: &BTreeMap<PoolId, Vec<Chosen>>) -> BTreeMap<PoolId, Vec<Chosen>> {
        let settle = |(&pool, places): (&PoolId, &BTreeSet<(FilterOrigin, Place)>)| {
            let had = before.get(&pool).into_iter().flatten().filter_map(|had| {
                let place = (had.bridge, had.filter);
                match owner(self.places.get(&place)?) {
                    Owner::Pool(owner, origin) if owner == pool => Some((origin, place)),
                    _ => None,
                }
            });
            let had: Vec<_> = had.collect();
            let mut chosen = Vec::new();
            let is_known: BTreeSet<Place> = had.iter().map(|(_, place)| *place).collect();
            // What the operator said is never left out; it was checked to be no more on each bridge. It comes first among new ones.
            let new = places.iter().copied().filter(|(_, place)| !is_known.contains(place));
            for (is_new, (origin, (bridge, filter))) in
                had.into_iter().map(|had| (false, had)).chain(new.map(|new| (true, new)))
            {
                if origin == FilterOrigin::Config || chosen.len() < FILTERS_MAX {
                    chosen.push(Chosen { bridge, filter, origin });
                } else if is_new {
                    break;
                }
            }
            (pool, chosen)
        };
        self.settled.iter().filter(|(_, places)| !places.is_empty()).map(settle).collect()
    }
}

/// What the operator said stands against whatever else is claimed.
fn owner(claims: &[Claim]) -> Owner {
    let said = claims.iter().find(|claim| claim.origin == FilterOrigin::Config);
    if let Some(claim) = said {
        return Owner::Pool(claim.pool, claim.origin);
    }
    let Some(first) = claims.iter().map(|claim| claim.pool).min() else { return Owner::Nobody };
    match claims.iter().map(|claim| claim.pool).filter(|pool| *pool != first).min() {
        Some(rival) => Owner::Contested([first, rival]),
        None => {
            claims.iter().map(|claim| claim.origin).min().map_or(Owner::Nobody, |origin| Owner::Pool(first, origin))
        }
    }
}

/// The tags (0 for none) with which frames of a bridge's VLAN come in at a port.
pub fn on_the_wire(port: &Vlan, vlan: u16) -> BTreeSet<u16> {
    let mut tags = BTreeSet::new();
    match port {
        Vlan::Access(tag) => {
            if *tag == vlan {
                tags.insert(0);
            }
        }
        Vlan::Trunk { allowed, native } => {
            if allowed.is_empty() || allowed.contains(&vlan) {
                tags.insert(vlan);
            }
            match native {
                Some((native, NativeTag::Tagged | NativeTag::Untagged)) if *native == vlan => drop(tags.insert(0)),
                // Untagged frames belong to the native VLAN, not to 0.
                Some(_) => drop(tags.remove(&0)),
                None => {}
            }
        }
    }
    tags
}

/// The one address that a rule is about, and the numbers of the ports that it outputs to.
pub fn of_rule(rule: &Rule) -> Option<(PoolFilter, Vec<u32>)> {
    let matches = &rule.flow.matches;
    if matches.mask.field(Field::DL_DST) != ADDRESS {
        return None;
    }
    let [_, _, mac @ ..] = matches.key.field(Field::DL_DST).to_be_bytes();
    if mac[0] & 1 != 0 {
        return None;
    }
    let tci = matches.key.field(Field::VLAN_TCI) & matches.mask.field(Field::VLAN_TCI);
    // Without a word about VLANs untagged frames are meant: a filter is about one VLAN.
    let vlan = if tci & 0x1000 == 0 { 0 } else { (tci & 0xfff) as u16 };
    let mut ports = Vec::new();
    Action::any(&rule.flow.actions, &mut |action| {
        if let Action::Output(port) = action {
            ports.push(*port);
        }
        false
    });
    (!ports.is_empty()).then_some((PoolFilter { mac, vlan }, ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> PoolFilter {
        text.parse().unwrap()
    }

    fn shown(chosen: &BTreeMap<PoolId, Vec<Chosen>>, pool: u16) -> String {
        let of_pool = chosen.get(&PoolId(pool)).into_iter().flatten();
        let words = of_pool.map(|one| format!("{}@{} {}", one.filter, one.bridge, one.origin.name()));
        words.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_the_operator_said_wins_and_what_two_claim_is_nobodys() {
        let mut claims = Claims::default();
        let (a, b, c) = (filter("02:00:00:00:00:0a"), filter("02:00:00:00:00:0b,7"), filter("02:00:00:00:00:0c"));
        claims.add((0, a), PoolId(1), FilterOrigin::Config);
        claims.add((0, a), PoolId(2), FilterOrigin::Learned);
        claims.add((0, b), PoolId(1), FilterOrigin::Learned);
        claims.add((0, b), PoolId(2), FilterOrigin::Flow);
        claims.add((1, b), PoolId(2), FilterOrigin::Learned);
        claims.add((0, c), PoolId(2), FilterOrigin::Learned);
        claims.add((0, c), PoolId(2), FilterOrigin::Static);
        assert_eq!(*claims.contested(), BTreeMap::from([((0, b), [PoolId(1), PoolId(2)])]));
        let chosen = claims.settle(&BTreeMap::new());
        assert_eq!(shown(&chosen, 1), "02:00:00:00:00:0a@0 config");
        assert_eq!(shown(&chosen, 2), "02:00:00:00:00:0c@0 static; 02:00:00:00:00:0b,7@1 learned");
    }

    #[test]
    fn claims_that_are_taken_back_leave_what_the_others_say() {
        let mut claims = Claims::default();
        let (place, flow, learned) = ((0, filter("02:00:00:00:00:0a")), FilterOrigin::Flow, FilterOrigin::Learned);
        let now = |claims: &Claims| {
            let chosen = claims.settle(&BTreeMap::new());
            [1, 2].map(|pool| shown(&chosen, pool).rsplit(' ').next().unwrap_or_default().to_owned()).join(",")
        };
        assert!(claims.add(place, PoolId(1), flow));
        assert!(!claims.add(place, PoolId(1), flow), "two flows say the same");
        claims.add(place, PoolId(2), learned);
        assert_eq!(now(&claims), ",");
        claims.remove(place, PoolId(1), flow);
        assert_eq!((now(&claims).as_str(), claims.contested().len()), (",", 1), "one flow is left");
        claims.remove(place, PoolId(1), flow);
        assert_eq!((now(&claims).as_str(), claims.contested().len()), (",learned", 0));
        claims.add(place, PoolId(2), flow);
        assert_eq!(now(&claims), ",flow");
        claims.add(place, PoolId(1), FilterOrigin::Config);
        assert_eq!(now(&claims), "config,");
        claims.remove(place, PoolId(2), flow);
        claims.remove(place, PoolId(2), learned);
        claims.remove(place, PoolId(1), FilterOrigin::Config);
        assert_eq!(now(&claims), ",");
        assert!(claims.places.is_empty());
    }

    #[test]
    fn a_pool_keeps_its_oldest_addresses_when_there_are_too_many() {
        let address = |number: usize| PoolFilter { mac: [2, 0, 0, 0, 0, number as u8], vlan: 0 };
        let claim = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut claims = Claims::default();
            for number in numbers {
                claims.add((0, address(number)), PoolId(3), FilterOrigin::Learned);
            }
            claims
        };
        let old = claim(&mut (100..150)).settle(&BTreeMap::new());
        let new = &claim(&mut (0..149)).settle(&old)[&PoolId(3)];
        assert_eq!(new.len(), FILTERS_MAX);
        assert_eq!(new[0].filter, address(100));
        assert_eq!(new[48].filter, address(148), "149 is gone");
        assert_eq!(new[49].filter, address(0));
    }

    #[test]
    fn a_vlan_comes_in_as_the_uplink_carries_it() {
        let trunk = |allowed: &[u16], native| Vlan::Trunk { allowed: allowed.iter().copied().collect(), native };
        let cases = [
            (trunk(&[], None), 0, vec![0]),
            (trunk(&[], None), 10, vec![10]),
            (trunk(&[20], None), 10, vec![]),
            (Vlan::Access(10), 10, vec![0]),
            (Vlan::Access(10), 0, vec![]),
            (trunk(&[], Some((10, NativeTag::Untagged))), 10, vec![0, 10]),
            (trunk(&[], Some((10, NativeTag::Tagged))), 0, vec![]),
        ];
        for (port, vlan, expected) in cases {
            assert_eq!(on_the_wire(&port, vlan).into_iter().collect::<Vec<_>>(), expected, "{port:?} {vlan}");
        }
    }

    #[test]
    fn rules_about_one_address_tell_whose_it_is() {
        let rule = |text: &str| {
            let flow = ringswitch_dataplane::flow::grammar::parse_flow(text, &()).unwrap();
            let mut tables = ringswitch_dataplane::flow::Tables::new();
            tables.insert(flow, 0, 1);
            let found = of_rule(tables.rules().next().unwrap());
            found.map(|(filter, ports)| format!("{filter} {ports:?}"))
        };
        assert_eq!(rule("dl_dst=02:00:00:00:00:01 actions=output:3").as_deref(), Some("02:00:00:00:00:01 [3]"));
        let tagged = rule("dl_vlan=7,dl_dst=02:00:00:00:00:01 actions=strip_vlan,output:3,output:4");
        assert_eq!(tagged.as_deref(), Some("02:00:00:00:00:01,7 [3, 4]"));
        let untagged = rule("vlan_tci=0,dl_dst=02:00:00:00:00:01,tcp actions=1");
        assert_eq!(untagged.as_deref(), Some("02:00:00:00:00:01 [1]"));
        for text in [
            "dl_dst=01:00:5e:00:00:01 actions=1",
            "dl_dst=02:00:00:00:00:00/ff:ff:ff:ff:ff:00 actions=1",
            "dl_dst=02:00:00:00:00:01 actions=drop",
            "dl_src=02:00:00:00:00:01 actions=1",
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
    }
}
