//! Parse, classify, act.
