//! Flow text, through the dataplane's one grammar.

use ringswitch_dataplane::flow::{Action, Filter, Flow};

/// Which installed flows a command means.
pub type Selection = Filter;

/// Reads a flow.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn parse(text: &str) -> Result<Flow, String> {
    Err(format!("no grammar yet: {text}"))
}

/// The flow in the grammar's own spelling: two texts that mean the same flow become equal.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn canonical(text: &str) -> Result<String, String> {
    Ok(text.trim().to_owned())
}

/// The whole flow as text.
#[must_use]
pub fn format(flow: &Flow) -> String {
    format!("priority={},{} actions={}", flow.priority, format_match(flow), format_actions(flow))
}

/// What it matches.
#[must_use]
pub fn format_match(_flow: &Flow) -> String {
    String::new()
}

/// What it does.
#[must_use]
pub fn format_actions(_flow: &Flow) -> String {
    String::new()
}

/// Exactly this flow, whatever its actions.
#[must_use]
pub fn exactly(flow: &Flow) -> Selection {
    Filter::strict(flow)
}

/// Which flows `del-flows` or `dump-flows` means; empty for all.
///
/// # Errors
/// What is wrong with the text.
pub fn selection(_text: &str, _strict: bool) -> Result<Selection, String> {
    Ok(Filter::default())
}

/// What `mod-flows` means: which flows, their new actions, and their new cookie when it was given.
///
/// # Errors
/// What is wrong with the text.
pub fn modification(text: &str, strict: bool) -> Result<(Selection, Vec<Action>, Option<u64>), String> {
    let flow = parse(text)?;
    Ok((selection(text, strict)?, flow.actions, None))
}
