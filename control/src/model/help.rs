//! The settings as help text: what `rsctl --help` and `ringswitchd --help` say about them comes from the one table.

use std::fmt::Write;

use super::{SETTINGS, Scope};

/// A line for each setting in scope: its name behind `prefix`, what it is, what it may be, and what it is otherwise.
#[must_use]
pub fn settings_help(prefix: &str, in_scope: impl Fn(Scope) -> bool) -> String {
    let mut text = String::new();
    for setting in SETTINGS.iter().filter(|setting| in_scope(setting.scope)) {
        let name = format!("{prefix}{}", setting.name);
        let _ = writeln!(text, "  {name:<28} {}: {} [default: {}]", setting.help, setting.expects, setting.default);
    }
    text
}
