//! The listening socket and its clients, without ever waiting for one of them.
//!
//! Trust: see `rpc`. Neighbours: `daemon` polls and calls [`Server::ready`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use serde_json::Value;
use thiserror::Error;
use tracing::{debug, warn};

use super::lock::Lock;
use super::{Call, REQUEST_MAX, failure, serve};

/// Most clients at a time; more are sent away.
const CLIENTS_MAX: usize = 64;
/// Requests of one client before another has its turn.
const TURN: usize = 16;
/// Bytes asked for with one read.
const READ: usize = 64 << 10;

/// Why the socket cannot be had.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Somebody answers there.
    #[error("another ringswitchd is listening on {}", .0.display())]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system's reason.
    #[error("cannot listen on {}: {source}", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// See the file's head.
pub struct Server {
    path: PathBuf,
    listener: UnixListener,
    listening: Token,
    clients: BTreeMap<Token, Client>,
    next: usize,
    /// Clients whose turn ended before they were done.
    again: Vec<Token>,
    /// Given back last, when the socket is gone.
    _lock: Lock,
}

impl Server {
    /// Listens on the path, for its owner only. A socket left behind by a daemon that died is replaced.
    ///
    /// # Errors
    /// When another daemon has the socket (or is about to), or something else has that name.
    pub fn listen(path: &Path, registry: &Registry, listening: Token) -> Result<Self, ServerError> {
        let listen = |source| ServerError::Listen { path: path.to_owned(), source };
        let lock = Lock::take(path).map_err(listen)?.ok_or_else(|| ServerError::InUse(path.to_owned()))?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ServerError::NotASocket(path.to_owned())),
            // Without waiting: whoever is too busy to answer is there too.
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(listen(error)),
                _ => return Err(ServerError::InUse(path.to_owned())),
            },
            Err(_) => {}
        }
        // Under another name until its permissions are right; the rename also replaces what a dead daemon left.
        let mut early = path.as_os_str().to_owned();
        early.push(format!(".{}", std::process::id()));
        let early = PathBuf::from(early);
        let mut listener = UnixListener::bind(&early).map_err(listen)?;
        let named =
            fs::set_permissions(&early, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&early, path));
        if let Err(source) = named.and_then(|()| registry.register(&mut listener, listening, Interest::READABLE)) {
            let _ = fs::remove_file(&early);
            return Err(listen(source));
        }
        let (clients, next, again) = (BTreeMap::new(), listening.0 + 1, Vec::new());
        Ok(Self { path: path.to_owned(), listener, listening, clients, next, again, _lock: lock })
    }

    /// True when somebody is waiting for his next turn: poll without waiting.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    /// Something happened on this token; `run` answers requests.
    pub fn ready(&mut self, token: Token, registry: &Registry, run: &mut dyn FnMut(Call) -> Result<String, String>) {
        if token == self.listening { self.accept(registry) } else { self.turn(token, run) }
    }

    /// Another turn for those who were not done.
    pub fn go_on(&mut self, run: &mut dyn FnMut(Call) -> Result<String, String>) {
        for token in std::mem::take(&mut self.again) {
            self.turn(token, run);
        }
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return warn!("cannot accept a client: {error}"),
            };
            if self.clients.len() >= CLIENTS_MAX {
                let reply = failure(Value::Null, super::REFUSED, "too many clients");
                let _ = stream.write(format!("{reply}\n").as_bytes());
                continue;
            }
            let token = Token(self.next);
            self.next += 1;
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                self.clients.insert(token, Client::new(stream));
            }
        }
    }

    fn turn(&mut self, token: Token, run: &mut dyn FnMut(Call) -> Result<String, String>) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        match client.turn(run) {
            Ok(Turn::Waiting) => {}
            Ok(Turn::Again) => self.again.push(token),
            Ok(Turn::Done) => drop(self.clients.remove(&token)),
            Err(error) => {
                debug!("a client is gone: {error}");
                self.clients.remove(&token);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

enum Turn {
    /// For its next bytes, or for room to write.
    Waiting,
    /// It has more.
    Again,
    /// It is gone.
    Done,
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    /// So far there is no newline in `input`.
    searched: usize,
    output: Vec<u8>,
    written: usize,
    /// After the output it is over.
    closing: bool,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self { stream, input: Vec::new(), searched: 0, output: Vec::new(), written: 0, closing: false }
    }

    /// Writes what waits, then answers requests, until something would block. No request is read while a reply waits.
    fn turn(&mut self, run: &mut dyn FnMut(Call) -> Result<String, String>) -> io::Result<Turn> {
        for _ in 0..TURN {
            if !self.write()? {
                return Ok(Turn::Waiting);
            }
            if self.closing {
                return Ok(Turn::Done);
            }
            match self.line()? {
                Line::Whole(line) => {
                    if let Some(reply) = serve(&line, run) {
                        self.reply(&reply);
                    }
                }
                Line::Partial => return Ok(Turn::Waiting),
                Line::TooLong => {
                    let message = format!("a request has at most {REQUEST_MAX} bytes");
                    self.reply(&failure(Value::Null, -32600, &message).to_string());
                    self.closing = true;
                }
                Line::End => return Ok(Turn::Done),
            }
        }
        Ok(Turn::Again)
    }

    fn reply(&mut self, reply: &str) {
        self.output = format!("{reply}\n").into_bytes();
        self.written = 0;
    }

    /// True when nothing waits to be written any more.
    fn write(&mut self) -> io::Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.output, self.written) = (Vec::new(), 0);
        Ok(true)
    }

    fn line(&mut self) -> io::Result<Line> {
        loop {
            if let Some(end) = self.input[self.searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.input.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.pop();
                self.searched = 0;
                return Ok(Line::Whole(line));
            }
            self.searched = self.input.len();
            if self.searched > REQUEST_MAX {
                return Ok(Line::TooLong);
            }
            self.input.resize(self.searched + READ, 0);
            let read = self.stream.read(&mut self.input[self.searched..]);
            self.input.truncate(self.searched + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(Line::End),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Line::Partial),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    Partial,
    TooLong,
    End,
}
