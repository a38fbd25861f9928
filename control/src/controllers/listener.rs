//! Where tools and controllers come to us: `BRIDGE.mgmt`, `BRIDGE.snoop`, `ptcp:`, `punix:`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};

use super::stream::Stream;
use crate::model::Address;

/// What listens.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// See the file's head. Dropping it removes its socket.
pub(super) struct Listener {
    socket: Socket,
}

impl Listener {
    pub fn open(address: &Address, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = match address {
            Address::Ip(address) => Socket::Tcp(TcpListener::bind(*address)?),
            Address::Path(path) => Socket::Unix(bind(path)?, path.clone()),
        };
        match &mut socket {
            Socket::Tcp(listener) => listener.register(registry, token, Interest::READABLE)?,
            Socket::Unix(listener, _) => listener.register(registry, token, Interest::READABLE)?,
        }
        Ok(Self { socket })
    }

    /// The next one who came, and his name.
    pub fn accept(&self) -> io::Result<(Stream, String)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.accept().map(|(stream, peer)| (Stream::Tcp(stream), format!("tcp:{peer}")))
            }
            Socket::Unix(listener, path) => {
                listener.accept().map(|(stream, _)| (Stream::Unix(stream), format!("unix:{}", path.display())))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

/// For its owner only; a socket that somebody left behind is replaced.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a socket")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
