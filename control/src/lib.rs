//! ringswitch-control: whatever decides. It touches no ring.
//!
//! `config` and `rpc` say what is wanted (`model`), `plan` says what has to change, `apply` does it.

#![forbid(unsafe_code)]

pub mod command;
pub mod config;
pub mod controllers;
pub mod daemon;
pub mod dataplane;
pub mod engine;
pub mod flows;
pub mod merge;
pub mod model;
pub mod openflow;
pub mod plan;
pub mod report;
pub mod rpc;
