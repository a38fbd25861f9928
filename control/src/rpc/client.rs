//! The other end of the socket: what `rsctl` uses.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thiserror::Error;

use super::{Call, REQUEST_MAX};

/// Why there is no result.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot reach ringswitchd at {}: {source}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection broke.
    #[error("ringswitchd does not answer: {0}")]
    Broken(#[from] io::Error),
    /// What came back is no reply.
    #[error("ringswitchd answered what is no JSON-RPC reply")]
    Garbled,
    /// More than the daemon takes.
    #[error("the request has {0} bytes, ringswitchd takes {REQUEST_MAX}: send it in pieces")]
    TooLong(usize),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the daemon.
pub struct Client {
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or this user may not.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream =
            UnixStream::connect(path).map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        Ok(Self { stream: BufReader::new(stream), next_id: 1 })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the daemon refused, or a broken connection.
    pub fn call(&mut self, call: &Call) -> Result<Value, ClientError> {
        let mut request = serde_json::to_value(call).map_err(io::Error::from)?;
        request["jsonrpc"] = json!("2.0");
        request["id"] = json!(self.next_id);
        self.next_id += 1;
        let request = format!("{request}\n");
        if request.len() > REQUEST_MAX {
            return Err(ClientError::TooLong(request.len()));
        }
        // A daemon that sends us away may have closed before it read everything; what it said is more telling.
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        let mut line = String::new();
        match (self.stream.read_line(&mut line), sent) {
            (Ok(1..), _) => {}
            (_, Err(error)) | (Err(error), _) => return Err(error.into()),
            (Ok(0), Ok(())) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
        let reply: Value = serde_json::from_str(&line).map_err(|_| ClientError::Garbled)?;
        match (reply.get("result").cloned(), reply["error"]["message"].as_str()) {
            (Some(result), _) => Ok(result),
            (None, Some(message)) => Err(ClientError::Refused(message.to_owned())),
            (None, None) => Err(ClientError::Garbled),
        }
    }
}
