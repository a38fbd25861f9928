//! What a list of actions looks at: the fields of the packet on which depends where a packet goes and what becomes of it.
//!
//! Tables remember it for each of their rules beside the rules' masks, so that whoever caches what a walk found knows under
//! which bits of the key the same comes out again. Neighbours: `table` and `group` keep it, the pipeline's snapshot adds it up.

use super::{Action, Change, Field, FieldId, HashFields, Learn, LearnSource, Mask, Needs, Subfield};

/// What these actions look at. It matters when a walk goes through their rule: plain ones alone need none.
#[must_use]
pub fn reads(actions: &[Action]) -> Mask {
    let mut mask = Mask::NONE;
    if !actions.iter().all(is_plain) {
        // Where the packet came in decides what is "back" and where floods do not go.
        mask.add(Field::IN_PORT, u64::MAX);
    }
    actions.iter().for_each(|action| add(action, &mut mask));
    mask
}

/// True for actions that depend on which ports' links are up. (Those of a set never do.)
fn watch_links(actions: &[Action]) -> bool {
    actions.iter().any(|action| match action {
        Action::Bundle(_) => true,
        Action::Clone(actions) => watch_links(actions),
        _ => false,
    })
}

/// What the actions of a set of rules look at, as rules come and go. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reads {
    /// Rules that look at links.
    watching: usize,
    /// Of rules that need a walk, and how many look at just that.
    walks: imbl::HashMap<Mask, usize>,
    /// Of rules whose actions are plain.
    plain: imbl::HashMap<Mask, usize>,
}

impl Reads {
    fn part(&mut self, actions: &[Action]) -> &mut imbl::HashMap<Mask, usize> {
        if actions.iter().all(is_plain) { &mut self.plain } else { &mut self.walks }
    }

    /// One more rule with these actions.
    pub fn add(&mut self, actions: &[Action]) {
        self.watching += usize::from(watch_links(actions));
        let mask = reads(actions);
        if !mask.is_empty() {
            *self.part(actions).entry(mask).or_default() += 1;
        }
    }

    /// One less.
    pub fn remove(&mut self, actions: &[Action]) {
        self.watching -= usize::from(watch_links(actions));
        let (mask, part) = (reads(actions), self.part(actions));
        match part.get(&mask).copied() {
            Some(2..) => *part.entry(mask).or_default() -= 1,
            Some(_) => _ = part.remove(&mask),
            None => {}
        }
    }

    /// True when some rule looks at which links are up.
    #[must_use]
    pub fn watch_links(&self) -> bool {
        self.watching > 0
    }

    /// True when some rule needs a walk.
    #[must_use]
    pub fn need_walks(&self) -> bool {
        !self.walks.is_empty()
    }

    /// All of them.
    pub fn masks(&self) -> impl Iterator<Item = &Mask> {
        self.walks.keys().chain(self.plain.keys())
    }
}

/// True for actions that do the same whatever was done before: they output, or change the frame alone.
#[must_use]
pub fn is_plain(action: &Action) -> bool {
    match action {
        Action::Output(number) => *number < RESERVED,
        Action::SetField { field, .. } => is_of_frame(*field),
        Action::Load { target, .. } => is_of_frame(target.field),
        Action::InPort | Action::Flood | Action::All | Action::Local | Action::Normal => true,
        Action::SetDlSrc(_) | Action::SetDlDst(_) | Action::SetVlanVid(_) | Action::SetVlanPcp(_) => true,
        Action::SetNwSrc(_) | Action::SetNwDst(_) | Action::SetNwTos(_) | Action::SetNwEcn(_) => true,
        Action::SetNwTtl(_) | Action::SetTpSrc(_) | Action::SetTpDst(_) => true,
        Action::PushVlan(_) | Action::PopVlan | Action::PushMpls(_) | Action::PopMpls(_) => true,
        Action::PushPbb(_) | Action::PopPbb | Action::CopyTtlIn | Action::CopyTtlOut => true,
        Action::SetMplsLabel(_) | Action::SetMplsTc(_) | Action::SetMplsTtl(_) => true,
        Action::Note(_) | Action::SetQueue(_) | Action::PopQueue => true,
        _ => false,
    }
}

/// The first reserved port number.
const RESERVED: u32 = 0xffff_ff00;

/// True for fields that lie in the frame; the others are only known while it passes through the tables.
#[must_use]
pub fn is_of_frame(field: FieldId) -> bool {
    let place = field.info().place;
    usize::from(place.word) < super::FRAME_WORDS && place.word != Field::IN_PORT.word
        || (place.word == Field::IN_PORT.word && place.shift + place.bits <= Field::IN_PORT.shift)
}

fn add(action: &Action, mask: &mut Mask) {
    match action {
        Action::Pop(target) | Action::CheckPktLarger { target, .. } => look_at_target(*target, mask),
        Action::Move { source, target } => {
            look(*source, mask);
            look_at_target(*target, mask);
        }
        Action::Push(source) | Action::OutputField { source, .. } => look(*source, mask),
        Action::Clone(actions) | Action::WriteActions(actions) => actions.iter().for_each(|action| add(action, mask)),
        Action::Learn(learn) => {
            add_learn(learn, mask);
            learn.result.into_iter().for_each(|target| look_at_target(target, mask));
        }
        Action::Multipath(multipath) => {
            add_hash(multipath.fields, mask);
            look_at_target(multipath.target, mask);
        }
        Action::Bundle(bundle) => {
            add_hash(bundle.fields, mask);
            bundle.target.into_iter().for_each(|target| look_at_target(target, mask));
        }
        Action::FinTimeout { .. } => {
            let fields = [Field::DL_TYPE, Field::NW_PROTO, Field::TCP_FLAGS];
            fields.into_iter().for_each(|field| mask.add(field, u64::MAX));
        }
        change => mask.union(&change_reads(change)),
    }
}

/// What decides whether a field of the frame can be set.
fn look_at_target(target: Subfield, mask: &mut Mask) {
    mask.union(&change_reads(&Action::SetField { field: target.field, value: 0, mask: target.mask() }));
}

fn look(source: Subfield, mask: &mut Mask) {
    mask.add_bits(source.field, source.mask());
}

fn add_learn(learn: &Learn, mask: &mut Mask) {
    for spec in &learn.specs {
        if let LearnSource::Field(source) = spec.source {
            look(source, mask);
        }
    }
}

/// The bits of a key on which depends what an action that changes the frame makes of it, beside those that it writes.
#[must_use]
pub fn change_reads(action: &Action) -> Mask {
    let mut mask = Mask::NONE;
    let network = [Field::DL_TYPE, Field::HEADERS];
    let tags = [Field::VLAN_TCI, Field::INNER_TCI, Field::DL_TYPE, Field::HEADERS];
    let mut all = |fields: &[Field]| fields.iter().for_each(|&field| mask.add(field, u64::MAX));
    match action {
        Action::PushVlan(_) | Action::PopVlan => all(&tags),
        Action::PushMpls(_) => {
            all(&network);
            all(&[Field::NW_TTL, Field::MPLS_LSE]);
        }
        Action::PushPbb(_) => {
            all(&network);
            all(&[Field::PBB]);
        }
        Action::PopMpls(_) | Action::PopPbb | Action::DecTtl(_) | Action::DecMplsTtl => {
            all(&network);
            all(&[Field::NW_TTL, Field::MPLS_LSE]);
        }
        Action::CopyTtlOut => {
            all(&network);
            all(&[Field::NW_PROTO, Field::NW_FRAG]);
        }
        Action::SetTpSrc(_) | Action::SetTpDst(_) => {
            all(&network);
            all(&[Field::NW_PROTO, Field::NW_FRAG]);
        }
        setter => match Change::of(setter, || 0).map(|change| change.field) {
            None => {}
            Some(FieldId::VLAN_TCI) => all(&tags),
            Some(FieldId::VLAN_VID) => all(&[Field::VLAN_TCI]),
            Some(field) => match field.info().needs {
                Needs::Nothing => {}
                Needs::Tag => all(&[Field::VLAN_TCI]),
                Needs::Mpls | Needs::Pbb | Needs::Ipv4 | Needs::Ipv6 | Needs::Ip | Needs::Arp => all(&network),
                Needs::Nd | Needs::NdSolicit | Needs::NdAdvert => {
                    all(&network);
                    all(&[Field::NW_PROTO, Field::NW_FRAG, Field::TP_SRC]);
                }
                _ => {
                    all(&network);
                    all(&[Field::NW_PROTO, Field::NW_FRAG]);
                }
            },
        },
    }
    mask
}

/// The fields that a hash is taken over.
#[must_use]
pub fn hash_fields(fields: HashFields) -> &'static [FieldId] {
    const L2: &[FieldId] = &[FieldId::ETH_SRC, FieldId::ETH_DST, FieldId::ETH_TYPE, FieldId::VLAN_VID];
    const L3: &[FieldId] = &[
        FieldId::ETH_TYPE,
        FieldId::IP_PROTO,
        FieldId::IPV4_SRC,
        FieldId::IPV4_DST,
        FieldId::IPV6_SRC,
        FieldId::IPV6_DST,
    ];
    const PORTS: &[FieldId] = &[FieldId::IP_FRAG, FieldId::TCP_SRC, FieldId::TCP_DST];
    const L2_TO_L4: &[FieldId] = &concat::<13>(&[L2, L3, PORTS]);
    const L3_AND_L4: &[FieldId] = &concat::<9>(&[L3, PORTS]);
    match fields {
        HashFields::EthSrc => &[FieldId::ETH_SRC],
        HashFields::NwSrc => &[FieldId::IPV4_SRC, FieldId::IPV6_SRC],
        HashFields::NwDst => &[FieldId::IPV4_DST, FieldId::IPV6_DST],
        HashFields::SymmetricL3 => L3,
        HashFields::SymmetricL4 => L2_TO_L4,
        HashFields::SymmetricL3L4 | HashFields::SymmetricL3L4Udp => L3_AND_L4,
    }
}

const fn concat<const LEN: usize>(lists: &[&[FieldId]]) -> [FieldId; LEN] {
    let (mut all, mut at, mut list) = ([FieldId::ETH_SRC; LEN], 0, 0);
    while list < lists.len() {
        let mut nth = 0;
        while nth < lists[list].len() {
            all[at] = lists[list][nth];
            at += 1;
            nth += 1;
        }
        list += 1;
    }
    assert!(at == LEN);
    all
}

fn add_hash(fields: HashFields, mask: &mut Mask) {
    hash_fields(fields).iter().for_each(|field| mask.add_bits(*field, field.ones()));
}

/// What a group looks at: its buckets' actions, and what `select` hashes.
#[must_use]
pub fn group_reads(group: &super::Group) -> Mask {
    let mut mask = Mask::NONE;
    mask.add(Field::IN_PORT, u64::MAX);
    group.buckets.iter().flat_map(|bucket| &bucket.actions).for_each(|action| add(action, &mut mask));
    if group.kind == super::GroupKind::Select {
        match group.selection.as_ref().filter(|selection| !selection.fields.is_empty()) {
            Some(selection) => selection.fields.iter().for_each(|&(field, bits)| mask.add_bits(field, bits)),
            None => add_hash(HashFields::SymmetricL4, &mut mask),
        }
    }
    mask
}
