//! OpenFlow 1.0, 1.3, 1.4 and 1.5 with the extensions of the ONF and of Nicira that Open vSwitch's tools speak.
//!
//! Here is the codec: bytes of the wire <-> [`Message`], pure, no sockets. What a message means is told once ([`message`],
//! [`stats`]); how each version writes it is the business of the other files. Trust: peers lie; every length is checked
//! before it is used, and what is refused is refused with the error value of the specification, or of Open vSwitch where
//! that says nothing ([`OfError`]).

mod actions;
mod decode;
mod encode;
mod error;
mod flow_mod;
mod flow_stats;
mod groups;
mod match10;
mod matches;
pub mod message;
mod meters;
mod monitor;
mod multipart;
mod oxm;
mod oxs;
mod packets;
mod ports;
mod prop;
mod session;
pub mod stats;
mod tables;
mod wire;

pub use actions::{action_to, check};
pub use decode::decode;
pub use encode::encode;
pub use error::{Code, OfError};
pub use message::{Header, Message, Version};

/// OpenFlow's numbers of messages, the same in all versions.
mod kind {
    pub(super) const HELLO: u8 = 0;
    pub(super) const ERROR: u8 = 1;
    pub(super) const ECHO_REQUEST: u8 = 2;
    pub(super) const ECHO_REPLY: u8 = 3;
    pub(super) const EXPERIMENTER: u8 = 4;
    pub(super) const FEATURES_REQUEST: u8 = 5;
    pub(super) const FEATURES_REPLY: u8 = 6;
    pub(super) const GET_CONFIG_REQUEST: u8 = 7;
    pub(super) const GET_CONFIG_REPLY: u8 = 8;
    pub(super) const SET_CONFIG: u8 = 9;
    pub(super) const PACKET_IN: u8 = 10;
    pub(super) const FLOW_REMOVED: u8 = 11;
    pub(super) const PORT_STATUS: u8 = 12;
    pub(super) const PACKET_OUT: u8 = 13;
    pub(super) const FLOW_MOD: u8 = 14;
}

/// Those of 1.0 that later versions have under other numbers.
mod kind10 {
    pub(super) const PORT_MOD: u8 = 15;
    pub(super) const STATS_REQUEST: u8 = 16;
    pub(super) const STATS_REPLY: u8 = 17;
    pub(super) const BARRIER_REQUEST: u8 = 18;
    pub(super) const BARRIER_REPLY: u8 = 19;
    pub(super) const QUEUE_GET_CONFIG_REQUEST: u8 = 20;
    pub(super) const QUEUE_GET_CONFIG_REPLY: u8 = 21;
}

/// Those of 1.3 and later.
mod kind13 {
    pub(super) const GROUP_MOD: u8 = 15;
    pub(super) const PORT_MOD: u8 = 16;
    pub(super) const TABLE_MOD: u8 = 17;
    pub(super) const MULTIPART_REQUEST: u8 = 18;
    pub(super) const MULTIPART_REPLY: u8 = 19;
    pub(super) const BARRIER_REQUEST: u8 = 20;
    pub(super) const BARRIER_REPLY: u8 = 21;
    pub(super) const QUEUE_GET_CONFIG_REQUEST: u8 = 22;
    pub(super) const QUEUE_GET_CONFIG_REPLY: u8 = 23;
    pub(super) const ROLE_REQUEST: u8 = 24;
    pub(super) const ROLE_REPLY: u8 = 25;
    pub(super) const GET_ASYNC_REQUEST: u8 = 26;
    pub(super) const GET_ASYNC_REPLY: u8 = 27;
    pub(super) const SET_ASYNC: u8 = 28;
    pub(super) const METER_MOD: u8 = 29;
    pub(super) const ROLE_STATUS: u8 = 30;
    pub(super) const TABLE_STATUS: u8 = 31;
    pub(super) const REQUESTFORWARD: u8 = 32;
    pub(super) const BUNDLE_CONTROL: u8 = 33;
    pub(super) const BUNDLE_ADD_MESSAGE: u8 = 34;
    pub(super) const CONTROLLER_STATUS: u8 = 35;
}

/// Nicira's numbers of messages.
mod nicira {
    pub(super) const ROLE_REQUEST: u32 = 10;
    pub(super) const ROLE_REPLY: u32 = 11;
    pub(super) const SET_FLOW_FORMAT: u32 = 12;
    pub(super) const FLOW_MOD: u32 = 13;
    pub(super) const FLOW_REMOVED: u32 = 14;
    pub(super) const FLOW_MOD_TABLE_ID: u32 = 15;
    pub(super) const SET_PACKET_IN_FORMAT: u32 = 16;
    pub(super) const PACKET_IN: u32 = 17;
    pub(super) const FLOW_AGE: u32 = 18;
    pub(super) const SET_ASYNC_CONFIG: u32 = 19;
    pub(super) const SET_CONTROLLER_ID: u32 = 20;
    pub(super) const FLOW_MONITOR_CANCEL: u32 = 21;
    pub(super) const FLOW_MONITOR_PAUSED: u32 = 22;
    pub(super) const FLOW_MONITOR_RESUMED: u32 = 23;
    pub(super) const TLV_TABLE_MOD: u32 = 24;
    pub(super) const TLV_TABLE_REQUEST: u32 = 25;
    pub(super) const TLV_TABLE_REPLY: u32 = 26;
    pub(super) const SET_ASYNC_CONFIG2: u32 = 27;
    pub(super) const RESUME: u32 = 28;
    pub(super) const PACKET_IN2: u32 = 30;
    pub(super) const GROUP_MOD: u32 = 31;
    pub(super) const REQUESTFORWARD: u32 = 132;
}

/// The ONF's numbers of messages, for 1.3.
mod onf {
    pub(super) const FLOW_MONITOR_CANCEL: u32 = 1870;
    pub(super) const FLOW_MONITOR_PAUSED: u32 = 1871;
    pub(super) const FLOW_MONITOR_RESUMED: u32 = 1872;
    pub(super) const ROLE_STATUS: u32 = 1911;
    pub(super) const BUNDLE_CONTROL: u32 = 2300;
    pub(super) const BUNDLE_ADD_MESSAGE: u32 = 2301;
    pub(super) const REQUESTFORWARD: u32 = 2350;
}

#[cfg(test)]
mod tests;
