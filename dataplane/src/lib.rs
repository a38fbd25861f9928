//! ringswitch-dataplane: whatever touches a packet.
//!
//! *A batch goes rx -> parse -> classify -> act -> tx on one core, without a lock, an allocation or a syscall per
//! packet; control only ever publishes.*
//!
//! This crate knows no configuration, no operator and no control plane. The modules below stand in import order: each
//! imports only what stands above it (`tests/layout.rs` enforces it). `unsafe` lives in `sys` and `mem` only.

#![deny(unsafe_code)]

pub mod wire;

pub mod flow;

#[allow(unsafe_code)]
pub mod sys;

#[allow(unsafe_code)]
pub mod mem;

pub mod packet;

pub mod port;

pub mod sched;

pub mod pipeline;

pub mod worker;
