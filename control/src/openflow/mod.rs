//! OpenFlow 1.0, 1.3, 1.4 and 1.5 with the extensions of the ONF and of Nicira that Open vSwitch's tools speak.
//!
//! Here is the codec: bytes of the wire <-> [`Message`], pure, no sockets. What a message means is told once ([`message`],
//! [`stats`]); how each version writes it is the business of the other files. Trust: peers lie; every length is checked
//! before it is used, and what is refused is refused with the error value of the specification, or of Open vSwitch where
//! that says nothing ([`error`]).

mod error;
pub mod message;
pub mod stats;

pub use error::{Code, OfError};
pub use message::{Header, Message, Version};
