//! Quality of service as operators describe it: Open vSwitch's tables QoS and Queue.
//!
//! A port names a QoS, a QoS names queues by their OpenFlow numbers; either may serve several. Where Open vSwitch has UUIDs,
//! records have names here. Trust: text from operators. Neighbours: `command` makes and destroys records, `engine` turns
//! them into what the dataplane schedules by.

use std::collections::{BTreeMap, BTreeSet};

use super::check::word;
use super::column::{ColumnError, store, unknown_of};
use super::{Place, Port, Problem, QueuePlace, Scope, Settings, find};

/// Queue numbers are below this, as those of linux-htb and linux-hfsc are.
const NUMBERS: u32 = 61440;
/// Most queues of a QoS: workers go through them.
const QUEUES_MAX: usize = 64;

/// Every QoS and every queue, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// Table QoS.
    pub qos: BTreeMap<String, Qos>,
    /// Table Queue.
    pub queues: BTreeMap<String, Settings>,
}

/// How the senders to a port share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qos {
    /// Its type, and its `other_config`.
    pub settings: Settings,
    /// Names of queues, by number.
    pub queues: BTreeMap<u32, String>,
}

impl Shaping {
    /// The QoS of a port.
    #[must_use]
    pub fn of(&self, port: &Port) -> Option<&Qos> {
        self.qos.get(port.settings.text("qos")?)
    }

    /// A queue of a QoS: its settings by its number.
    #[must_use]
    pub fn queue(&self, qos: &Qos, number: u32) -> Option<&Settings> {
        self.queues.get(qos.queues.get(&number)?)
    }

    /// True when the queue is described inside its QoS in a file: its name says where it is.
    #[must_use]
    pub fn is_nested(&self, queue: &str) -> bool {
        let place = queue.rsplit_once('.').and_then(|(qos, number)| Some((qos, number.parse().ok()?)));
        let owner = place.and_then(|(qos, number): (_, u32)| self.qos.get(qos)?.queues.get(&number));
        owner.is_some_and(|name| name == queue)
    }

    /// What is wrong with the port's QoS when there is none of that name.
    pub(super) fn unknown_to(&self, port: &Port) -> Option<String> {
        let name = port.settings.text("qos").filter(|&name| !self.qos.contains_key(name))?;
        Some(missing("qos", name, self.qos.keys()))
    }

    /// Everything that does not fit together.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, qos) in &self.qos {
            let place = Place { qos: Some(name.clone()), ..Place::default() };
            if let Err(why) = record_name(name) {
                problems.push(Problem { place: place.clone(), message: why });
            }
            self.check(qos, &place, &mut problems);
        }
        for name in self.queues.keys() {
            if let Err(message) = record_name(name) {
                let place = Place { queue: Some(QueuePlace::Name(name.clone())), ..Place::default() };
                problems.push(Problem { place, message });
            }
        }
        problems
    }

    fn check(&self, qos: &Qos, place: &Place, problems: &mut Vec<Problem>) {
        let mut problem = |place: Place, message: String| problems.push(Problem { place, message });
        let kind = qos.settings.text("type");
        if kind.is_none() {
            problem(place.clone(), "it has no type; expected linux-htb or linux-hfsc".to_owned());
        }
        if qos.queues.len() > QUEUES_MAX {
            problem(place.clone(), format!("{} queues, a qos has at most {QUEUES_MAX}", qos.queues.len()));
        }
        let mut promised = 0;
        for (&number, name) in &qos.queues {
            let place = Place { queue: Some(QueuePlace::Number(number)), ..place.clone() };
            let Some(queue) = self.queues.get(name) else {
                problem(place, missing("queue", name, self.queues.keys()));
                continue;
            };
            let at = |setting| Place { setting: Some(setting), ..place.clone() };
            if number >= NUMBERS {
                problem(place.clone(), format!("expected a number from 0 to {}", NUMBERS - 1));
            }
            let (min, max) = (queue.number("min-rate").unwrap_or(0), queue.number("max-rate"));
            if let Some(max) = max.filter(|&max| min > max) {
                problem(at("min-rate"), format!("min-rate {min} is above its max-rate {max}"));
            }
            for setting in ["burst", "priority"] {
                if kind == Some("linux-hfsc") && queue.value(setting).is_some() {
                    let message = format!("linux-hfsc has no {setting}; expected min-rate and max-rate, or linux-htb");
                    problem(at(setting), message);
                }
            }
            if queue.value("burst").is_some() && max.is_none() {
                problem(at("burst"), "a burst is a burst above max-rate, which is not set".to_owned());
            }
            promised += min;
        }
        if let Some(max) = qos.settings.number("max-rate").filter(|&max| promised > max) {
            let message = format!("the min-rates of its queues add up to {promised}, above its max-rate {max}");
            problem(Place { setting: Some("max-rate"), ..place.clone() }, message);
        }
    }
}

fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let expected =
        if known.is_empty() { "none is there".to_owned() } else { format!("there are {}", known.join(", ")) };
    format!("there is no {what} named \"{}\"; {expected}", name.escape_debug())
}

fn record_name(name: &str) -> Result<(), String> {
    if name.starts_with('@') {
        return Err(format!("its name \"{}\" starts with @, which stands for a name", name.escape_debug()));
    }
    word(name).map_err(|why| format!("its name {why}"))
}

/// Sets or clears a column of a QoS: `type=linux-htb`, `other_config:max-rate=1000000000`, `queues:1=NAME`,
/// `queues=0=NAME,1=NAME`.
///
/// # Errors
/// When there is no such column, or its value is not what it takes.
pub fn qos_column(qos: &mut Qos, argument: &str) -> Result<(), ColumnError> {
    let given = Given::read(argument)?;
    match (given.column.as_str(), given.key) {
        ("queues", _) => {
            if given.key.is_none() {
                qos.queues.clear();
            }
            for (number, name) in given.pairs()? {
                let expects = "a queue's number from 0 to 61439, = and its name";
                let wrong = || ColumnError::Pair { column: "queues".to_owned(), pair: number.to_owned(), expects };
                let number = number.parse().ok().filter(|&number: &u32| number < NUMBERS).ok_or_else(wrong)?;
                match name {
                    "" | "[]" => qos.queues.remove(&number),
                    name => qos.queues.insert(number, name.to_owned()),
                };
            }
            Ok(())
        }
        ("type", None) if matches!(given.value, "egress-policer" | "trtcm-policer") => Err(ColumnError::Unsupported {
            column: format!("type {}", given.value),
            instead: "it would drop what is over its rate, which waits here: linux-htb with other_config:max-rate",
        }),
        ("type", None) => given.setting(&mut qos.settings, Scope::Qos, "QoS"),
        _ => given.other_config(&mut qos.settings, Scope::QosOther, "QoS"),
    }
}

/// Sets or clears a column of a queue, such as `other_config:min-rate=100000000`.
///
/// # Errors
/// As [`qos_column`].
pub fn queue_column(queue: &mut Settings, argument: &str) -> Result<(), ColumnError> {
    let given = Given::read(argument)?;
    if given.column == "dscp" {
        let instead = "change packets with mod_nw_tos beside set_queue";
        return Err(ColumnError::Unsupported { column: given.column, instead });
    }
    given.other_config(queue, Scope::QueueOther, "Queue")
}

/// `column[:key]=value`, the column as Open vSwitch writes it.
struct Given<'a> {
    argument: &'a str,
    column: String,
    key: Option<&'a str>,
    value: &'a str,
}

impl<'a> Given<'a> {
    fn read(argument: &'a str) -> Result<Self, ColumnError> {
        let no_value = || ColumnError::NoValue(argument.to_owned());
        let (place, value) = argument.split_once('=').ok_or_else(no_value)?;
        let (column, key) = place.split_once(':').map_or((place, None), |(column, key)| (column, Some(key)));
        Ok(Self { argument, column: column.to_ascii_lowercase().replace('-', "_"), key, value: unquoted(value) })
    }

    /// The pairs of a map: the one that a key is given for, or all.
    fn pairs(&self) -> Result<Vec<(&'a str, &'a str)>, ColumnError> {
        if let Some(key) = self.key {
            return Ok(vec![(unquoted(key), self.value)]);
        }
        if self.value == "[]" {
            return Ok(Vec::new());
        }
        let inside = self.value.strip_prefix('{').and_then(|value| value.strip_suffix('}')).unwrap_or(self.value);
        let mut keys = BTreeSet::new();
        let pair = |pair: &'a str| {
            let both = pair.split_once('=').map(|(key, value)| (unquoted(key), unquoted(value)));
            let wrong = || ColumnError::Pair {
                column: self.column.clone(),
                pair: pair.to_owned(),
                expects: "a key that is not there yet, = and a value",
            };
            both.filter(|(key, _)| keys.insert(*key)).ok_or_else(wrong)
        };
        inside.split([',', ' ']).filter(|pair| !pair.is_empty()).map(pair).collect()
    }

    fn setting(&self, settings: &mut Settings, scope: Scope, record: &'static str) -> Result<(), ColumnError> {
        match find(&self.column, |of| of == scope) {
            Some(setting) => store(settings, setting, &self.column, self.value),
            None => Err(unknown_of(record, &self.column, &[scope])),
        }
    }

    /// Sets a key of `other_config`, or all of them when none is named.
    fn other_config(&self, settings: &mut Settings, scope: Scope, record: &'static str) -> Result<(), ColumnError> {
        if self.column == "external_ids" {
            let instead = "records have names instead, --id=@NAME gives one";
            return Err(ColumnError::Unsupported { column: self.column.clone(), instead });
        }
        if self.column != "other_config" {
            let scopes = [scope, if scope == Scope::QosOther { Scope::Qos } else { scope }];
            return Err(unknown_of(record, self.argument.split_once('=').map_or("", |(column, _)| column), &scopes));
        }
        let pairs = self.pairs()?;
        if self.key.is_none() {
            let keys: Vec<_> = settings.iter().filter_map(|(name, _)| find(name, |of| of == scope)).collect();
            keys.into_iter().for_each(|key| settings.clear(key));
        }
        for (key, value) in pairs {
            let column = format!("other_config:{key}");
            let setting = find(key, |of| of == scope).ok_or_else(|| unknown_of(record, &column, &[scope]))?;
            store(settings, setting, &column, value)?;
        }
        Ok(())
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qos(columns: &[&str]) -> Result<Qos, String> {
        let mut qos = Qos::default();
        columns.iter().try_for_each(|column| qos_column(&mut qos, column).map_err(|why| why.to_string()))?;
        Ok(qos)
    }

    #[test]
    fn maps_are_written_in_every_way_that_ovs_vsctl_takes() {
        let one = qos(&["type=linux-htb", "other-config:max-rate=10", "queues:0=a", "queues:1=b"]).unwrap();
        let ways = [
            ["type=linux-htb", "other_config={max-rate=10}", "queues=0=a,1=b"],
            ["type=\"linux-htb\"", "Other-Config=max-rate=\"10\"", "queues={0=a, 1=b}"],
            ["queues=7=z", "queues=1=b 0=a", "type=linux-htb"],
        ];
        for mut way in ways.map(|way| way.to_vec()) {
            way.push("other_config:max-rate=10");
            assert_eq!(qos(&way).as_ref(), Ok(&one), "{way:?}");
        }
        assert_eq!(qos(&["queues=0=a,1=b", "queues:0=[]"]).unwrap().queues.len(), 1);
        let cleared = qos(&["type=linux-htb", "other_config:max-rate=1", "other_config={}", "queues=[]"]).unwrap();
        assert_eq!(cleared, qos(&["type=linux-htb"]).unwrap());
    }

    #[test]
    fn what_is_not_done_is_refused_in_words() {
        let cases = [
            ("type=egress-policer", "type egress-policer is not supported: it would drop what is over its rate"),
            ("type=linux-sfq", "type: \"linux-sfq\" is not one of linux-htb, linux-hfsc"),
            ("other_config:max-rate=fast", "other_config:max-rate: \"fast\" is not a number from 1 to"),
            ("other_config:maxrate=1", "QoS does not contain a column \"other_config:maxrate\" (did you mean"),
            ("queues:x=q", "queues: \"x\" is not a queue's number from 0 to 61439"),
            ("queues:61440=q", "queues: \"61440\" is not"),
            ("queues=0=a,0=b", "queues: \"0=b\" is not a key that is not there yet"),
            ("queues=a", "queues: \"a\" is not a key that is not there yet, = and a value"),
            ("colour=1", "QoS does not contain a column \"colour\""),
            ("external-ids:a=b", "external_ids is not supported"),
            ("type", "type: argument does not end in \"=\""),
        ];
        for (column, said) in cases {
            let why = qos(&[column]).unwrap_err();
            assert!(why.starts_with(said), "{column}: {why}");
        }
        let why = queue_column(&mut Settings::default(), "dscp=46").unwrap_err().to_string();
        assert!(why.starts_with("dscp is not supported: ") && why.contains("mod_nw_tos"), "{why}");
    }
}
