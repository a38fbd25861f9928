//! rspktgen: a packet generator that plays the guest.
//!
//! The library lets tests drive guests by hand ([`guest::Guest`]) or break the rules ([`hostile`]); the program runs
//! [`traffic`] between them and reports.

#![forbid(unsafe_code)]

pub mod guest;
pub mod queue;
pub mod ring;
