//! What can go wrong with a vhost-user port, named by the act that failed.

use std::io;
use std::path::PathBuf;

use crate::mem::MemoryError;

/// Why a port could not be opened, or why a front-end was sent away.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// An option is out of range.
    #[error("{0}")]
    Option(String),
    /// Another program answers on the socket.
    #[error("{}: another process listens on this socket", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket is there, and it is not ours to delete.
    #[error("{}: exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The socket could not be set up.
    #[error("{}: {act}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The thread or one of its descriptors could not be made.
    #[error("starting the session")]
    Start(#[source] io::Error),
    /// The front-end closed the connection.
    #[error("the front-end disconnected")]
    Disconnected,
    /// Reading or writing the socket failed.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// Part of a message came, the rest did not.
    #[error("a message stayed incomplete for {0} s")]
    Incomplete(u64),
    /// The front-end does not read what it asked for.
    #[error("the front-end does not read its replies")]
    NotReading,
    /// The header is not one of protocol version 1.
    #[error("a message with header flags {0:#x}, not vhost-user version 1")]
    Version(u32),
    /// Longer than any message of the protocol.
    #[error("a message of {0} bytes")]
    TooLong(u32),
    /// A request that this back-end does not know or did not offer.
    #[error("request {0} is not supported")]
    Unsupported(u32),
    /// The payload has another length than the request wants.
    #[error("{request}: a payload of {len} bytes")]
    Payload {
        /// The request.
        request: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// Too many descriptors, or too few.
    #[error("{request}: {count} file descriptors")]
    Descriptors {
        /// The request.
        request: &'static str,
        /// How many came.
        count: usize,
    },
    /// A value that the request cannot have.
    #[error("{request}: {what} {value:#x} is not possible")]
    Value {
        /// The request.
        request: &'static str,
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// The kick, call or error descriptor cannot be used.
    #[error("{request}: taking over the event descriptor")]
    Event {
        /// The request.
        request: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The memory table cannot be used.
    #[error("{request}")]
    Memory {
        /// The request.
        request: &'static str,
        /// Why not.
        #[source]
        source: MemoryError,
    },
}

impl VhostError {
    /// The whole chain in one line.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}
