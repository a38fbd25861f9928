//! rspktgen: a packet generator that plays the guest.
//!
//! The library lets tests drive guests by hand ([`guest::Guest`]) or break the rules ([`hostile`]); the program runs
//! [`traffic`] between them and reports.

#![forbid(unsafe_code)]

pub mod capture;
pub mod check;
pub mod cli;
pub mod frame;
pub mod guest;
pub mod hostile;
pub mod queue;
pub mod report;
pub mod ring;
pub mod search;
pub mod setup;
pub mod traffic;
