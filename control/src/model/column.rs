//! `column=value` and `column:key=value`, as `ovs-vsctl set` takes them.
//!
//! Trust: text from operators; every refusal says what was expected.

use thiserror::Error;

use super::schema::SETTINGS;
use super::{Bridge, Expect, Pool, Port, Scope, Setting, Settings, find, near_miss};

/// Why a column was not set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ColumnError {
    /// Not `name=value`.
    #[error("{0}: argument does not end in \"=\" followed by a value")]
    NoValue(String),
    /// No such column.
    #[error("{record} does not contain a column \"{column}\"{}", did_you_mean(.hint))]
    Unknown {
        /// In which table it was looked for.
        record: &'static str,
        /// What was asked for.
        column: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// Exists, but does not take this.
    #[error("{column}: \"{value}\" is not {expects}")]
    Value {
        /// The column.
        column: String,
        /// What it was given.
        value: String,
        /// What it takes.
        expects: Expect,
    },
    /// Not what one of several values looks like.
    #[error("{column}: \"{pair}\" is not {expects}")]
    Pair {
        /// The column.
        column: String,
        /// What it was given.
        pair: String,
        /// What it takes.
        expects: &'static str,
    },
    /// Open vSwitch has it; this switch does not.
    #[error("{column} is not supported: {instead}")]
    Unsupported {
        /// The column, or the column and its value.
        column: String,
        /// What to do.
        instead: &'static str,
    },
}

pub(crate) fn did_you_mean(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!(" (did you mean \"{hint}\"?)")).unwrap_or_default()
}

/// Which of Open vSwitch's tables a column is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Table Port.
    Port,
    /// Table Interface.
    Interface,
    /// Either, and options without `options:` (the short form of `add-port`).
    Any,
}

impl Record {
    fn name(self) -> &'static str {
        match self {
            Self::Port => "Port",
            Self::Interface => "Interface",
            Self::Any => "a port",
        }
    }

    /// The setting that a column's name means here.
    #[must_use]
    pub fn setting(self, column: &str) -> Option<&'static Setting> {
        if let Some(option) = column.strip_prefix("options:") {
            return if self == Self::Port { None } else { find(option, |scope| matches!(scope, Scope::Options(_))) };
        }
        if let Some(other) = other_config(column) {
            return if self == Self::Port { None } else { find(other, |scope| scope == Scope::InterfaceOther) };
        }
        find(column, |scope| self.holds(scope))
    }

    fn holds(self, scope: Scope) -> bool {
        match self {
            Self::Port => scope == Scope::Port,
            Self::Interface => scope == Scope::Interface,
            Self::Any => matches!(scope, Scope::Port | Scope::Interface | Scope::Options(_)),
        }
    }

    fn unknown(self, column: &str) -> ColumnError {
        let known = SETTINGS.iter().filter_map(|setting| match setting.scope {
            Scope::Options(_) if self == Self::Interface => Some(format!("options:{}", setting.name)),
            Scope::InterfaceOther if self != Self::Port => Some(format!("other_config:{}", setting.name)),
            scope => self.holds(scope).then(|| setting.name.to_owned()),
        });
        let known: Vec<String> = known.collect();
        let hint = near_miss(column, known.iter().map(String::as_str)).map(str::to_owned);
        ColumnError::Unknown { record: self.name(), column: column.to_owned(), hint }
    }
}

/// Sets (or, with `[]` or nothing behind the `=`, clears) a column of a port or of its interface.
///
/// # Errors
/// When there is no such column in the table, or its value is not what it takes.
pub fn port_column(port: &mut Port, record: Record, argument: &str) -> Result<(), ColumnError> {
    let (column, value) = split(argument)?;
    let setting = record.setting(column).ok_or_else(|| record.unknown(column))?;
    store(&mut port.settings, setting, column, value)
}

/// Sets or clears a column of a bridge.
///
/// # Errors
/// As [`port_column`].
pub fn bridge_column(bridge: &mut Bridge, argument: &str) -> Result<(), ColumnError> {
    let (column, value) = split(argument)?;
    let setting = match other_config(column) {
        Some(name) => find(name, |scope| scope == Scope::BridgeOther),
        None => find(column, |scope| scope == Scope::Bridge),
    };
    let setting = setting.ok_or_else(|| unknown_of("Bridge", column, &[Scope::Bridge, Scope::BridgeOther]))?;
    let had_default = bridge.wants_default_flow();
    store(&mut bridge.settings, setting, column, value)?;
    bridge.settle_default_flow(had_default);
    Ok(())
}

/// Sets or clears a column of a bridge's controllers.
///
/// # Errors
/// As [`port_column`].
pub fn controller_column(bridge: &mut Bridge, argument: &str) -> Result<(), ColumnError> {
    let (column, value) = split(argument)?;
    let setting = find(column, |scope| scope == Scope::Controller);
    store(
        &mut bridge.settings,
        setting.ok_or_else(|| unknown_of("Controller", column, &[Scope::Controller]))?,
        column,
        value,
    )
}

/// Sets or clears a column of a pool.
///
/// # Errors
/// As [`port_column`].
pub fn pool_column(pool: &mut Pool, argument: &str) -> Result<(), ColumnError> {
    let (column, value) = split(argument)?;
    let setting = find(column, |scope| scope == Scope::Pool);
    store(&mut pool.settings, setting.ok_or_else(|| unknown_of("Pool", column, &[Scope::Pool]))?, column, value)
}

/// Sets or clears a column of the switch itself: the table Open_vSwitch.
///
/// # Errors
/// As [`port_column`].
pub fn workers_column(workers: &mut Settings, argument: &str) -> Result<(), ColumnError> {
    let (column, value) = split(argument)?;
    let setting = other_config(column).and_then(|name| find(name, |scope| scope == Scope::Workers));
    store(workers, setting.ok_or_else(|| unknown_of("Open_vSwitch", column, &[Scope::Workers]))?, column, value)
}

/// The part behind `other_config:`.
fn other_config(column: &str) -> Option<&str> {
    column.strip_prefix("other_config:").or_else(|| column.strip_prefix("other-config:"))
}

pub(super) fn unknown_of(record: &'static str, column: &str, scopes: &[Scope]) -> ColumnError {
    let known = SETTINGS.iter().filter(|setting| scopes.contains(&setting.scope));
    let name = |setting: &Setting| match setting.scope {
        Scope::BridgeOther | Scope::Workers | Scope::QosOther | Scope::QueueOther => {
            format!("other_config:{}", setting.name)
        }
        _ => setting.name.to_owned(),
    };
    let known: Vec<String> = known.map(name).collect();
    let hint = near_miss(column, known.iter().map(String::as_str)).map(str::to_owned);
    ColumnError::Unknown { record, column: column.to_owned(), hint }
}

fn split(argument: &str) -> Result<(&str, &str), ColumnError> {
    argument.split_once('=').ok_or_else(|| ColumnError::NoValue(argument.to_owned()))
}

pub(super) fn store(
    settings: &mut Settings,
    setting: &'static Setting,
    column: &str,
    value: &str,
) -> Result<(), ColumnError> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if matches!(value, "[]" | "{}" | "") {
        settings.clear(setting);
        return Ok(());
    }
    // Sets may be written as Open vSwitch prints them: [10, 20].
    let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap_or(value);
    let text =
        if matches!(setting.expects, Expect::Numbers(..) | Expect::List(_) | Expect::Filters) { list } else { value };
    let parsed = setting.expects.parse(text).ok_or_else(|| ColumnError::Value {
        column: column.to_owned(),
        value: value.to_owned(),
        expects: setting.expects,
    })?;
    settings.set(setting, parsed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_set_and_cleared_in_the_words_of_ovs_vsctl() {
        let mut port = Port::default();
        for argument in ["type=vhost-user", "options:path=/run/vm1.sock", "options:mode=client", "ofport_request=7"] {
            port_column(&mut port, Record::Interface, argument).unwrap();
        }
        port_column(&mut port, Record::Port, "trunks=[10, 20]").unwrap();
        assert_eq!(port.settings.text("path"), Some("/run/vm1.sock"));
        assert_eq!(port.settings.number("ofport_request"), Some(7));
        assert_eq!(port.settings.numbers("trunks"), Some(&[10, 20][..]));
        port_column(&mut port, Record::Port, "trunks=[]").unwrap();
        assert_eq!(port.settings.value("trunks"), None);
    }

    #[test]
    fn refusals_say_what_was_expected() {
        let cases = [
            (Record::Port, "tag", "tag: argument does not end in \"=\" followed by a value"),
            (Record::Port, "tag=99999", "tag: \"99999\" is not a number from 0 to 4095"),
            (Record::Port, "tga=1", "Port does not contain a column \"tga\" (did you mean \"tag\"?)"),
            (Record::Port, "type=tap", "Port does not contain a column \"type\""),
            (
                Record::Interface,
                "options:paht=/x",
                "Interface does not contain a column \"options:paht\" (did you mean \"options:path\"?)",
            ),
            (Record::Interface, "type=dpdk", "type: \"dpdk\" is not one of vhost-user, afxdp, tap, internal"),
            (Record::Any, "permissions=999", "permissions: \"999\" is not permissions in octal, such as \"0660\""),
        ];
        for (record, argument, expected) in cases {
            let error = port_column(&mut Port::default(), record, argument).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let error = bridge_column(&mut Bridge::default(), "other_config:mac-table-sise=9").unwrap_err();
        assert!(error.to_string().contains("did you mean \"other_config:mac-table-size\""), "{error}");
    }
}
