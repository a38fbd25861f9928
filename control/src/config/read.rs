//! Walks the TOML tree by hand, because every value keeps its place in the file and all errors are wanted at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, place};
use crate::flows;
use crate::model::{
    self, Bridge, Expect, Place, Pool, Port, Qos, QueuePlace, Scope, Setting, Settings, Shaping, Switch, Value, find,
    near_miss,
};

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Reads the text; every error in file order.
pub fn switch(text: &str, allowed_cpus: &[usize]) -> Result<Switch, Vec<ConfigError>> {
    let mut reader = Reader { text, errors: Vec::new(), places: BTreeMap::new() };
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        reader.error(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message().replace('\n', ", ")));
    }
    let mut switch = Switch::default();
    if reader.errors.is_empty() {
        reader.document(document.get_ref(), &mut switch);
        if reader.errors.is_empty() {
            for problem in model::check(&switch, allowed_cpus) {
                let message = format!("{}: {}", path_of(&problem.place), problem.message);
                reader.error(reader.place(&problem.place), message);
            }
        }
    }
    reader.finish(switch)
}

struct Reader<'t> {
    text: &'t str,
    errors: Vec<(Range<usize>, String)>,
    /// Where each bridge, port and setting stands.
    places: BTreeMap<String, Range<usize>>,
}

/// `bridges.br0.ports.vm1.tag`
fn path_of(place: &Place) -> String {
    let mut path = Vec::new();
    let number;
    match place {
        Place { bridge: Some(bridge), .. } => path.extend(["bridges", bridge]),
        Place { pool: Some(pool), .. } => path.extend(["pools", pool]),
        Place { qos: Some(qos), queue: Some(QueuePlace::Number(queue)), .. } => {
            number = queue.to_string();
            path.extend(["qos", qos, "queues", &number]);
        }
        Place { qos: Some(qos), .. } => path.extend(["qos", qos]),
        Place { queue: Some(QueuePlace::Name(queue)), .. } => path.extend(["queues", queue]),
        _ => path.push(if place.ssl { "ssl" } else { "workers" }),
    }
    if let Some(port) = &place.port {
        path.extend(["ports", port]);
    }
    path.extend(place.setting);
    path.join(".")
}

impl Reader<'_> {
    fn document(&mut self, document: &DeTable<'_>, switch: &mut Switch) {
        for entry @ (key, value) in document {
            match key.get_ref().as_ref() {
                "workers" => {
                    if let Some(table) = self.table(entry, "workers") {
                        self.settings(table, "workers", |scope| scope == Scope::Workers, &[], &mut switch.workers);
                    }
                }
                "ssl" => {
                    if let Some(table) = self.table(entry, "ssl") {
                        self.settings(table, "ssl", |scope| scope == Scope::Ssl, &[], &mut switch.ssl);
                    }
                }
                "qos" => {
                    for entry @ (name, _) in self.table(entry, "qos").into_iter().flatten() {
                        self.qos(entry, name.get_ref(), &mut switch.shaping);
                    }
                }
                "queues" => {
                    for entry @ (name, _) in self.table(entry, "queues").into_iter().flatten() {
                        let path = format!("queues.{}", name.get_ref());
                        self.queue(entry, &path, name.get_ref(), &mut switch.shaping);
                    }
                }
                "bridges" => {
                    for entry @ (name, _) in self.table(entry, "bridges").into_iter().flatten() {
                        let path = format!("bridges.{}", name.get_ref());
                        if let Some(table) = self.table(entry, &path) {
                            let bridge = self.bridge(table, &path);
                            switch.bridges.insert(name.get_ref().to_string(), bridge);
                        }
                    }
                }
                "pools" => {
                    for entry @ (name, _) in self.table(entry, "pools").into_iter().flatten() {
                        let path = format!("pools.{}", name.get_ref());
                        if let Some(table) = self.table(entry, &path) {
                            let mut pool = Pool::default();
                            self.settings(table, &path, |scope| scope == Scope::Pool, &[], &mut pool.settings);
                            switch.pools.insert(name.get_ref().to_string(), pool);
                        }
                    }
                }
                other => self.unknown(key.span(), other, "", &["workers", "ssl", "qos", "queues", "bridges", "pools"]),
            }
            self.places.insert(key.get_ref().to_string(), value.span());
        }
    }

    /// A QoS; queues stand inside it, or it names some of `[queues]`.
    fn qos(&mut self, entry: Entry<'_, '_>, name: &str, shaping: &mut Shaping) {
        let path = format!("qos.{name}");
        let Some(table) = self.table(entry, &path) else { return };
        let mut qos = Qos::default();
        let mine = |scope| matches!(scope, Scope::Qos | Scope::QosOther);
        self.settings(table, &path, mine, &["queues"], &mut qos.settings);
        let queues = table.get_key_value("queues").and_then(|entry| self.table(entry, &format!("{path}.queues")));
        for entry @ (number, value) in queues.into_iter().flatten() {
            let path = format!("{path}.queues.{}", number.get_ref());
            self.places.insert(path.clone(), value.span());
            let queue = match value.get_ref().as_str() {
                Some(queue) => queue.to_owned(),
                None => {
                    let queue = format!("{name}.{}", number.get_ref());
                    self.queue(entry, &path, &queue, shaping);
                    queue
                }
            };
            // One spelling for each number: the queue's name is made of it.
            match number.get_ref().parse::<u32>().ok().filter(|known| known.to_string() == **number.get_ref()) {
                Some(number) => drop(qos.queues.insert(number, queue)),
                None => self.error(number.span(), format!("{path}: expected a queue's number from 0 to 61439")),
            }
        }
        shaping.qos.insert(name.to_owned(), qos);
    }

    fn queue(&mut self, entry: Entry<'_, '_>, path: &str, name: &str, shaping: &mut Shaping) {
        let Some(table) = self.table(entry, path) else { return };
        let mut queue = Settings::default();
        self.settings(table, path, |scope| scope == Scope::QueueOther, &[], &mut queue);
        if shaping.queues.insert(name.to_owned(), queue).is_some() {
            self.error(entry.0.span(), format!("{path}: there are two queues named \"{name}\""));
        }
    }

    fn bridge(&mut self, table: &DeTable<'_>, path: &str) -> Bridge {
        let mut bridge = Bridge::default();
        let mine = |scope| matches!(scope, Scope::Bridge | Scope::BridgeOther | Scope::Controller);
        self.settings(table, path, mine, &["flows", "groups", "meters", "ports"], &mut bridge.settings);
        bridge.settle_default_flow(true);
        let ports = table.get_key_value("ports").and_then(|entry| self.table(entry, &format!("{path}.ports")));
        for entry @ (name, _) in ports.into_iter().flatten() {
            let path = format!("{path}.ports.{}", name.get_ref());
            if let Some(table) = self.table(entry, &path) {
                let mut port = Port::default();
                let mine =
                    |scope| matches!(scope, Scope::Port | Scope::Interface | Scope::InterfaceOther | Scope::Options(_));
                self.settings(table, &path, mine, &[], &mut port.settings);
                bridge.ports.insert(name.get_ref().to_string(), port);
            }
        }
        let names = || bridge.ports.keys().map(String::as_str);
        if let Some(groups) = table.get("groups") {
            let read = |text: &str| flows::canonical_group(text, names());
            bridge.groups = self.numbered(groups, &format!("{path}.groups"), "a group", read);
        }
        if let Some(meters) = table.get("meters") {
            bridge.meters = self.numbered(meters, &format!("{path}.meters"), "a meter", flows::canonical_meter);
        }
        if let Some(flows) = table.get("flows") {
            bridge.flows = self.flows(flows, &format!("{path}.flows"), &bridge);
        }
        bridge
    }

    /// A list of texts that each have a number.
    fn numbered(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        what: &str,
        read: impl Fn(&str) -> Result<(u32, String), String>,
    ) -> BTreeMap<u32, String> {
        let mut found = BTreeMap::new();
        let Some(lines) = value.get_ref().as_array() else {
            self.expected(value, path, format!("a list of texts, {what} each"));
            return found;
        };
        for (index, line) in lines.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = line.get_ref().as_str() else {
                self.expected(line, &path, format!("{what} as text"));
                continue;
            };
            match read(text) {
                Ok((number, _)) if found.contains_key(&number) => {
                    self.error(line.span(), format!("{path}: number {number} a second time"));
                }
                Ok((number, text)) => drop(found.insert(number, text)),
                Err(why) => self.error(line.span(), format!("{path}: {why}")),
            }
        }
        found
    }

    fn flows(&mut self, value: &Spanned<DeValue<'_>>, path: &str, bridge: &Bridge) -> BTreeSet<String> {
        let mut flows = BTreeSet::new();
        let Some(lines) = value.get_ref().as_array() else {
            self.expected(value, path, "a list of flows");
            return flows;
        };
        for (index, line) in lines.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = line.get_ref().as_str() else {
                self.expected(line, &path, "a flow, such as \"priority=10,arp actions=NORMAL\"");
                continue;
            };
            let ports = || bridge.ports.keys().map(String::as_str);
            match flows::canonical(text, ports()) {
                Ok(flow) => {
                    if let Some(missing) = flows::missing(text, ports(), &bridge.groups, &bridge.meters) {
                        let expected = "expected it among the bridge's groups and meters";
                        self.error(line.span(), format!("{path}: the flow names {missing}, {expected}"));
                    }
                    if !flows.insert(flow) {
                        self.error(line.span(), format!("{path}: the same flow a second time"));
                    }
                }
                Err(why) => self.error(line.span(), format!("{path}: {why}")),
            }
        }
        flows
    }

    /// Reads all keys that are settings in scope into `into`; keys that are neither these nor `others` are errors.
    fn settings(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        scope: impl Fn(Scope) -> bool,
        others: &[&str],
        into: &mut Settings,
    ) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if others.contains(&name) {
                continue;
            }
            let path = format!("{path}.{name}");
            match find(name, &scope) {
                Some(setting) => {
                    self.places.insert(path.clone(), value.span());
                    match parse(setting, value.get_ref()) {
                        Some(value) => into.set(setting, value),
                        None => self.expected(value, &path, setting.expects),
                    }
                }
                None => {
                    let known =
                        model::SETTINGS.iter().filter(|setting| scope(setting.scope)).map(|setting| setting.name);
                    let known: Vec<&str> = known.chain(others.iter().copied()).collect();
                    self.unknown(key.span(), name, path.rsplit_once('.').map_or("", |(parent, _)| parent), &known);
                }
            }
        }
    }

    fn table<'a, 'i>(&mut self, (key, value): Entry<'a, 'i>, path: &str) -> Option<&'a DeTable<'i>> {
        self.places.insert(path.to_owned(), key.span());
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.expected(value, path, "a table");
        }
        table
    }

    /// The place itself, or the nearest thing around it that stands in the file.
    fn place(&self, place: &Place) -> Range<usize> {
        let mut path = path_of(place);
        loop {
            if let Some(span) = self.places.get(&path) {
                return span.clone();
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent.to_owned(),
                None => return 0..0,
            }
        }
    }

    fn unknown(&mut self, span: Range<usize>, key: &str, parent: &str, known: &[&str]) {
        let within = if parent.is_empty() { String::new() } else { format!(" in {parent}") };
        let message = match near_miss(key, known.iter().copied()) {
            Some(hint) => format!("unknown key \"{key}\"{within}; did you mean \"{hint}\"?"),
            None => format!("unknown key \"{key}\"{within}; expected one of {}", known.join(", ")),
        };
        self.error(span, message);
    }

    fn expected(&mut self, value: &Spanned<DeValue<'_>>, path: &str, expects: impl std::fmt::Display) {
        let found = match value.get_ref() {
            DeValue::Table(_) => "a table".to_owned(),
            other => format!("{} {}", other.type_str(), self.text.get(value.span()).unwrap_or("")),
        };
        self.error(value.span(), format!("{path}: expected {expects}, found {found}"));
    }

    fn error(&mut self, span: Range<usize>, message: String) {
        self.errors.push((span, message));
    }

    fn finish(mut self, switch: Switch) -> Result<Switch, Vec<ConfigError>> {
        if self.errors.is_empty() {
            return Ok(switch);
        }
        self.errors.sort_by_key(|(span, _)| span.start);
        let text = self.text;
        let errors = self.errors.into_iter().map(|(span, message)| {
            let at = Some(place(&text[..text.floor_char_boundary(span.start.min(text.len()))]));
            ConfigError { at, message }
        });
        Err(errors.collect())
    }
}

/// The value, when it is of the TOML type that the setting takes.
fn parse(setting: &Setting, value: &DeValue<'_>) -> Option<Value> {
    match (setting.expects, value) {
        (Expect::Text(_) | Expect::OneOf(_) | Expect::Permissions, DeValue::String(text)) => {
            setting.expects.parse(text)
        }
        (Expect::Number(..), DeValue::Integer(_)) => setting.expects.parse(&decimal(value)?),
        (Expect::List(_) | Expect::Filters, DeValue::String(text)) => setting.expects.parse(text),
        (Expect::List(_), DeValue::Array(parts)) if parts.is_empty() => Some(Value::List(Vec::new())),
        (Expect::List(_) | Expect::Filters, DeValue::Array(parts)) => {
            let parts: Option<Vec<&str>> = parts.iter().map(|part| part.get_ref().as_str()).collect();
            setting.expects.parse(&parts?.join(","))
        }
        (Expect::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (Expect::Numbers(..), DeValue::Array(parts)) => {
            let parts: Option<Vec<String>> = parts
                .iter()
                .map(|part| match part.get_ref() {
                    DeValue::String(range) => Some(range.to_string()),
                    other => decimal(other),
                })
                .collect();
            setting.expects.parse(&parts?.join(","))
        }
        _ => None,
    }
}

/// A TOML integer in decimal, however it was written.
fn decimal(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
}
