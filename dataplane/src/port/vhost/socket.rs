//! How a front-end is found: we listen for it (server mode), or we call it (client mode).
//!
//! Trust: the path is the operator's, what lies there may be anybody's. Neighbours: `session` waits on the listener.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{VhostError, VhostOptions};

/// Front-ends that may wait while one is served.
const BACKLOG: i32 = 8;

/// A bound socket file, removed when dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub socket: UnixListener,
    path: PathBuf,
    /// Device and inode of our file: whatever else lies at the path later is not ours to remove.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Binds `options.path`, with the owner, group and mode wanted before anybody can connect.
    pub fn bind(options: &VhostOptions) -> Result<Self, VhostError> {
        let path = options.path.as_path();
        remove_stale(path)?;
        let failed = |act| move |source| VhostError::Socket { path: path.to_owned(), act, source };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("making the socket"))?;
        let address = SockAddr::unix(path).map_err(failed("binding the socket"))?;
        socket.bind(&address).map_err(failed("binding the socket"))?;
        let identity = fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let socket = UnixListener::from(std::os::fd::OwnedFd::from(socket));
        let listener = Self { socket, path: path.to_owned(), identity };
        if options.owner.is_some() || options.group.is_some() {
            chown(path, options.owner, options.group).map_err(failed("changing the owner"))?;
        }
        if let Some(mode) = options.socket_mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("changing the mode"))?;
        }
        let socket = socket2::SockRef::from(&listener.socket);
        socket.listen(BACKLOG).and_then(|()| socket.set_nonblocking(true)).map_err(failed("listening"))?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if found.is_some() && found == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects without waiting: a listener whose backlog is full counts as one that is not there.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

/// Removes the socket that an earlier process left behind; anything else at the path is an error.
fn remove_stale(path: &Path) -> Result<(), VhostError> {
    let failed = |act| move |source| VhostError::Socket { path: path.to_owned(), act, source };
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("looking at what is there"))?,
    };
    if !meta.file_type().is_socket() {
        return Err(VhostError::NotASocket(path.to_owned()));
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the stale socket"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(failed("looking who listens")(error)),
        _ => Err(VhostError::InUse(path.to_owned())),
    }
}
