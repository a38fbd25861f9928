//! Groups, read and printed: `group_id=1,type=select,bucket=bucket_id:0,weight:1,actions=output:2`.
//!
//! Reference: `ovs-ofctl(8)`, "Group Syntax". Buckets are numbered from 0 where they are not numbered in the text.

use std::fmt::{self, Display, Formatter, Write};

use super::super::{Action, Bucket, FieldId, GROUP_MAX, Group, GroupKind, Place, Selection, WATCH_ANY};
use super::flow_text::Duration;
use super::ports::{self, Port};
use super::token::{Token, Tokens};
use super::values::{self, Value};
use super::{Fault, GrammarError, PortNames, actions, format_actions, names};

/// Words of how a bucket is chosen; the first one of a kind is printed.
const KINDS: [(&str, GroupKind); 5] = [
    ("all", GroupKind::All),
    ("select", GroupKind::Select),
    ("indirect", GroupKind::Indirect),
    ("ff", GroupKind::FastFailover),
    ("fast_failover", GroupKind::FastFailover),
];
const METHODS: [&str; 2] = ["hash", "dp_hash"];

/// Which buckets a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketPlace {
    /// The first one, or in front of all.
    First,
    /// The last one, or behind all.
    Last,
    /// Every one; new ones take their place.
    All,
    /// The one with this id, or behind it.
    Id(u32),
}

/// What `insert-buckets` and `remove-buckets` take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketChange {
    /// Of which group.
    pub group: u32,
    /// Where.
    pub place: BucketPlace,
    /// The new ones.
    pub buckets: Vec<Bucket>,
}

/// What `dump-group-stats` prints of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Milliseconds since it was installed.
    pub age_ms: u64,
    /// Flows and groups that use it.
    pub references: u32,
    /// Packets and bytes in all.
    pub total: (u64, u64),
    /// Packets and bytes of each bucket.
    pub buckets: Vec<(u64, u64)>,
}

/// Parses what `add-group` and `mod-group` take.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_group(text: &str, ports: &dyn PortNames) -> Result<Group, GrammarError> {
    Parts::parse(text, ports).and_then(|parts| parts.group(text)).map_err(|fault| fault.in_text("group", text))
}

/// Parses what `insert-buckets` and `remove-buckets` take.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_bucket_change(text: &str, ports: &dyn PortNames) -> Result<BucketChange, GrammarError> {
    Parts::parse(text, ports).and_then(|parts| parts.change(text)).map_err(|fault| fault.in_text("group", text))
}

/// Parses what `del-groups` and `dump-groups` take: `group_id=N`, or nothing or `all` for every group.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_group_id(text: &str) -> Result<Option<u32>, GrammarError> {
    if matches!(text.trim(), "" | "all" | "ALL") {
        return Ok(None);
    }
    let named = |token: &Token<'_>| token.value().is_some();
    let id = Tokens::new(text, 0).next_token().and_then(|token| match token {
        Some(token) if named(&token) && token.key == "group_id" => match token.text()? {
            "all" | "ALL" => Ok(None),
            _ => group_id(&token).map(Some),
        },
        // The number alone.
        Some(token) if !named(&token) => {
            let number = super::token::number(token.key).filter(|&number| number <= GROUP_MAX.into());
            let id = number.ok_or_else(|| Fault::new(token.at, format!("\"{}\"", token.key), GROUP_ID))?;
            Ok(Some(id as u32))
        }
        token => Err(Fault::new(token.map_or(0, |token| token.at), "no group", GROUP_ID)),
    });
    id.map_err(|fault| fault.in_text("group", text))
}

const GROUP_ID: &str = "group_id=NUMBER, 0 to 4294967040, or all";

fn group_id(token: &Token<'_>) -> Result<u32, Fault> {
    Ok(token.limited(GROUP_MAX.into(), "a group's number, 0 to 4294967040")? as u32)
}

/// A group's text taken apart.
#[derive(Default)]
struct Parts {
    id: Option<u32>,
    kind: Option<GroupKind>,
    method: Option<(String, usize)>,
    parameter: Option<(u64, usize)>,
    fields: Option<(Vec<(FieldId, u128)>, usize)>,
    place: Option<(BucketPlace, usize)>,
    /// With where each one starts.
    buckets: Vec<(Part, usize)>,
}

/// A bucket's text taken apart.
struct Part {
    id: Option<u32>,
    weight: Option<u16>,
    watch_port: u32,
    watch_group: u32,
    actions: Vec<Action>,
}

impl Parts {
    fn parse(text: &str, ports: &dyn PortNames) -> Result<Self, Fault> {
        let mut parts = Self::default();
        // Buckets stand behind all else, so the text is cut at each of them first.
        let mut starts = bucket_starts(text);
        starts.push(text.len());
        let mut tokens = Tokens::new(&text[..starts[0]], 0);
        while let Some(token) = tokens.next_token()? {
            parts.take(&token, ports)?;
        }
        for ends in starts.windows(2) {
            let at = ends[0] + "bucket=".len();
            parts.buckets.push((bucket(&text[at..ends[1]], at, ports)?, ends[0]));
        }
        Ok(parts)
    }

    fn take(&mut self, token: &Token<'_>, ports: &dyn PortNames) -> Result<(), Fault> {
        match token.key {
            "group_id" => self.id = Some(group_id(token)?),
            "type" => {
                let kind = KINDS.iter().find(|(name, _)| Some(*name) == token.value());
                self.kind = Some(kind.ok_or_else(|| token.wrong("all, select, indirect or fast_failover"))?.1);
            }
            "selection_method" => {
                let method = METHODS.iter().find(|name| Some(**name) == token.value());
                let method = method.ok_or_else(|| token.wrong("hash or dp_hash"))?;
                self.method = Some(((*method).to_owned(), token.at));
            }
            "selection_method_param" => {
                self.parameter = Some((token.limited(u64::MAX, "a number of 64 bits")?, token.at));
            }
            "fields" => self.fields = Some((fields(token, ports)?, token.at)),
            "command_bucket_id" => {
                let place = match token.text()? {
                    "first" => BucketPlace::First,
                    "last" => BucketPlace::Last,
                    "all" => BucketPlace::All,
                    _ => BucketPlace::Id(bucket_id(token, "a bucket's number, first, last or all")?),
                };
                self.place = Some((place, token.at));
            }
            _ => {
                let problem = format!("unknown part of a group \"{}\"", token.key);
                let known =
                    "group_id, type, selection_method, selection_method_param, fields, command_bucket_id or bucket";
                return Err(Fault::new(token.at, problem, known));
            }
        }
        Ok(())
    }

    fn group(self, text: &str) -> Result<Group, Fault> {
        let end = text.trim_end().len();
        let id = self.id.ok_or_else(|| Fault::new(end, "no group_id", "group_id=NUMBER"))?;
        let expected = "type=all, type=select, type=indirect or type=fast_failover";
        let kind = self.kind.ok_or_else(|| Fault::new(end, "no type", expected))?;
        if let Some((_, at)) = self.place {
            return Err(Fault::new(at, "command_bucket_id", "it only in insert-buckets and remove-buckets"));
        }
        if kind == GroupKind::Indirect && self.buckets.len() != 1 {
            let at = self.buckets.get(1).map_or(end, |(_, at)| *at);
            return Err(Fault::new(at, format!("{} buckets", self.buckets.len()), "one bucket in an indirect group"));
        }
        for (part, at) in &self.buckets {
            if part.weight.is_some() && kind != GroupKind::Select {
                return Err(Fault::new(*at, "a weight", "weights only in a select group"));
            }
            let watches = part.watch_port != WATCH_ANY || part.watch_group != WATCH_ANY;
            if kind == GroupKind::FastFailover && !watches {
                let expected = "watch_port or watch_group in each bucket of a fast failover group";
                return Err(Fault::new(*at, "a bucket that watches nothing", expected));
            }
        }
        let selection = self.selection(kind)?;
        let buckets = numbered(self.buckets, u16::from(kind == GroupKind::Select))?;
        Ok(Group { id, kind, selection, buckets })
    }

    fn selection(&self, kind: GroupKind) -> Result<Option<Selection>, Fault> {
        let fields = self.fields.as_ref();
        let Some((method, at)) = &self.method else {
            let at = self.parameter.map(|(_, at)| at).or(fields.map(|(_, at)| *at));
            let idle = |at| Err(Fault::new(at, "a part of a selection", "selection_method=hash beside it"));
            return at.map_or(Ok(None), idle);
        };
        if kind != GroupKind::Select {
            return Err(Fault::new(*at, "selection_method", "it only in a select group"));
        }
        if let (Some((_, at)), "dp_hash") = (fields, method.as_str()) {
            return Err(Fault::new(*at, "fields with dp_hash", "selection_method=hash beside fields"));
        }
        let parameter = self.parameter.map_or(0, |(parameter, _)| parameter);
        let fields = fields.map(|(fields, _)| fields.clone()).unwrap_or_default();
        Ok(Some(Selection { method: method.clone(), parameter, fields }))
    }

    fn change(self, text: &str) -> Result<BucketChange, Fault> {
        let end = text.trim_end().len();
        let group = self.id.ok_or_else(|| Fault::new(end, "no group_id", "group_id=NUMBER"))?;
        let (place, _) =
            self.place.unwrap_or((if self.buckets.is_empty() { BucketPlace::All } else { BucketPlace::Last }, 0));
        Ok(BucketChange { group, place, buckets: numbered(self.buckets, 1)? })
    }
}

/// Where each `bucket=` starts that is a part of its own.
fn bucket_starts(text: &str) -> Vec<usize> {
    let parts = text.match_indices("bucket=").map(|(at, _)| at);
    parts
        .filter(|at| text[..*at].ends_with(|before: char| before == ',' || before.is_ascii_whitespace()) || *at == 0)
        .collect()
}

/// Numbers those that have no number with the lowest free ones.
fn numbered(parts: Vec<(Part, usize)>, weight: u16) -> Result<Vec<Bucket>, Fault> {
    let mut taken = std::collections::BTreeSet::new();
    for (part, at) in &parts {
        if let Some(id) = part.id.filter(|id| !taken.insert(*id)) {
            return Err(Fault::new(*at, format!("bucket_id {id} for the second time"), "a number for each bucket"));
        }
    }
    let mut free = (0..).filter(|id| !taken.contains(id));
    let bucket = |(part, _): (Part, usize)| Bucket {
        id: part.id.unwrap_or_else(|| free.next().unwrap_or_default()),
        weight: part.weight.unwrap_or(weight),
        watch_port: part.watch_port,
        watch_group: part.watch_group,
        actions: part.actions,
    };
    Ok(parts.into_iter().map(bucket).collect())
}

fn bucket_id(token: &Token<'_>, expected: &str) -> Result<u32, Fault> {
    Ok(token.limited(GROUP_MAX.into(), expected)? as u32)
}

/// Reads what stands behind `bucket=`: what is not about the bucket is its actions, also without a word for them.
fn bucket(text: &str, base: usize, ports: &dyn PortNames) -> Result<Part, Fault> {
    let (watch_port, watch_group) = (WATCH_ANY, WATCH_ANY);
    let mut part = Part { id: None, weight: None, watch_port, watch_group, actions: Vec::new() };
    let mut tokens = Tokens::new(text, base);
    loop {
        let rest = tokens.clone();
        let Some(token) = tokens.next_token()? else {
            return Err(Fault::new(base, "a bucket without actions", "actions, or drop"));
        };
        match token.key {
            "bucket_id" => part.id = Some(bucket_id(&token, "a bucket's number, 0 to 4294967040")?),
            "weight" => part.weight = Some(token.limited(0xffff, "a weight, 0 to 65535")? as u16),
            "watch_group" if matches!(token.text()?, "any" | "ANY") => part.watch_group = WATCH_ANY,
            "watch_group" => part.watch_group = group_id(&token)?,
            "watch_port" => {
                let port = ports::port(token.text()?, ports).filter(|port| ports::is_source(*port));
                part.watch_port = port.ok_or_else(|| token.wrong("a port number, a port's name, or any"))?;
            }
            key => {
                let start = if key == "actions" { token.value_start()? } else { rest.position() };
                part.actions = actions::parse_list(&text[start - base..], start, Place::Set, ports)?;
                return Ok(part);
            }
        }
    }
}

/// `fields=NAME`, `fields(NAME,NAME=MASK)`
fn fields(token: &Token<'_>, ports: &dyn PortNames) -> Result<Vec<(FieldId, u128)>, Fault> {
    let mut fields = Vec::new();
    let mut inner = token.inner()?;
    while let Some(token) = inner.next_token()? {
        let id = names::field(token.key).ok_or_else(|| {
            Fault::new(token.at, format!("unknown field \"{}\"", token.key), "a field of ovs-fields(7)")
        })?;
        let mask = match token.value() {
            None => id.ones(),
            Some(text) => {
                let mask = values::read(id, text, ports).ok().filter(|&(_, bits)| bits == id.ones());
                mask.ok_or_else(|| token.wrong("a mask, in the form of the field's values"))?.0
            }
        };
        fields.push((id, mask));
    }
    Ok(fields)
}

/// A line of `dump-groups`; also what `add-group` takes.
#[must_use]
pub fn format_group(group: &Group, ports: &dyn PortNames) -> String {
    let kind = KINDS.iter().find(|(_, kind)| *kind == group.kind).map_or("", |(name, _)| name);
    let mut text = format!("group_id={},type={kind}", group.id);
    if let Some(selection) = &group.selection {
        write!(text, "{}", SelectionText(selection, ports)).unwrap_or_default();
    }
    for bucket in &group.buckets {
        let plain = u16::from(group.kind == GroupKind::Select);
        write!(text, ",bucket={}", BucketText { bucket, plain, ports }).unwrap_or_default();
    }
    text
}

/// A line of `dump-group-stats`.
#[must_use]
pub fn format_group_stats(id: u32, stats: &GroupStats) -> String {
    let GroupStats { age_ms, references, total: (packets, bytes), buckets } = stats;
    let mut text = format!("group_id={id},duration={},ref_count={references}", Duration(*age_ms));
    write!(text, ",packet_count={packets},byte_count={bytes}").unwrap_or_default();
    for (place, (packets, bytes)) in buckets.iter().enumerate() {
        write!(text, ",bucket{place}:packet_count={packets},byte_count={bytes}").unwrap_or_default();
    }
    text
}

struct SelectionText<'a>(&'a Selection, &'a dyn PortNames);

impl Display for SelectionText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Selection { method, parameter, fields } = self.0;
        write!(to, ",selection_method={method}")?;
        if *parameter != 0 {
            write!(to, ",selection_method_param={parameter}")?;
        }
        let field = |(id, mask): &(FieldId, u128)| {
            let name = names::of_set_field(*id);
            if *mask == id.ones() {
                return name.to_owned();
            }
            format!("{name}={}", Value { field: *id, value: *mask, bits: id.ones(), names: self.1 })
        };
        match fields.iter().map(field).collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            [one] => write!(to, ",fields={one}"),
            many => write!(to, ",fields({})", many.join(",")),
        }
    }
}

struct BucketText<'a> {
    bucket: &'a Bucket,
    /// The weight that goes without saying.
    plain: u16,
    ports: &'a dyn PortNames,
}

impl Display for BucketText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Bucket { id, weight, watch_port, watch_group, actions } = self.bucket;
        write!(to, "bucket_id:{id},")?;
        if *weight != self.plain {
            write!(to, "weight:{weight},")?;
        }
        if *watch_port != WATCH_ANY {
            write!(to, "watch_port:{},", Port(*watch_port, self.ports))?;
        }
        if *watch_group != WATCH_ANY {
            write!(to, "watch_group:{watch_group},")?;
        }
        write!(to, "actions={}", format_actions(actions, self.ports))
    }
}
