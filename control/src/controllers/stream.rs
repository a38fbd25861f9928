//! The ways to a controller: TCP, TLS and unix sockets that never block.
//!
//! Neighbours: `connection` reads and writes, `dialer` and `listener` open.

use std::io::{self, ErrorKind, Read, Write};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::tls::{Tls, TlsStream};
use crate::model::{Address, Target};

/// An open (or opening) way.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Begins to connect; [`Stream::connected`] tells how it went.
    pub fn connect(target: &Target, tls: Option<&Tls>) -> io::Result<Self> {
        match &target.address {
            Address::Ip(address) if target.tls => {
                let tls = tls.ok_or_else(no_keys)?;
                tls.connect(TcpStream::connect(*address)?, address.ip()).map(|stream| Self::Tls(Box::new(stream)))
            }
            Address::Ip(address) => TcpStream::connect(*address).map(Self::Tcp),
            Address::Path(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }

    /// Somebody who came over TCP to where TLS is spoken.
    pub fn secured(self, tls: Option<&Tls>) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => tls.ok_or_else(no_keys)?.accept(stream).map(|stream| Self::Tls(Box::new(stream))),
            other => Ok(other),
        }
    }

    /// True when the peer is there, false while nobody knows.
    pub fn connected(&self) -> io::Result<bool> {
        let error = match self {
            Self::Tcp(stream) => stream.take_error()?,
            Self::Unix(stream) => stream.take_error()?,
            Self::Tls(tls) => tls.stream.take_error()?,
        };
        if let Some(error) = error {
            return Err(error);
        }
        let peer = match self {
            Self::Tcp(stream) => stream.peer_addr().map(drop),
            Self::Unix(stream) => stream.peer_addr().map(drop),
            Self::Tls(tls) => tls.stream.peer_addr().map(drop),
        };
        match peer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What it gives is what the system has: less than was asked for is all there is.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(tls) => &mut tls.stream,
            Self::Unix(stream) => return stream.register(registry, token, interest),
        };
        // Echoes and barriers wait for nobody's next segment.
        let _ = stream.set_nodelay(true);
        stream.register(registry, token, interest)
    }
}

fn no_keys() -> io::Error {
    io::Error::other("there are no keys for TLS; rsctl set-ssl names them")
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.flush(),
            _ => Ok(()),
        }
    }
}
