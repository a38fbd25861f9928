//! Parse, classify, act.

pub mod cache;
pub mod parse;
pub mod rewrite;
