//! A socket that blocks: TCP, TLS over TCP, or a unix socket.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::ConnectionAddr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::Config;
use crate::error::Error;
use crate::failure;
use crate::resp::{Source, read_rest};

/// A socket that blocks.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// Connects within a time; after that, every read and write takes up to the response timeout.
    pub(crate) fn connect(
        address: &ConnectionAddr,
        config: &Config,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + timeout;
        let failed = |error: io::Error| failure::connect(address, &error, timeout);
        let stream = match address {
            ConnectionAddr::Unix(path) => Self::Unix(connect_unix(path, timeout).map_err(failed)?),
            ConnectionAddr::Tcp(host, port) => Self::Tcp(connect_tcp(address, host, *port, timeout)?),
            ConnectionAddr::TcpTls { host, port, .. } => {
                let Some(tls) = &config.tls else {
                    return Err(failure::no_tls(address));
                };
                let tcp = connect_tcp(address, host, *port, timeout)?;
                set_timeouts(tcp.as_fd(), remaining(deadline)).map_err(failed)?;
                let tls = connect_tls(tcp, host, Arc::clone(&tls.config));
                Self::Tls(Box::new(
                    tls.map_err(|error| failure::tls(address, &error, timeout))?,
                ))
            }
            _ => {
                return Err(failure::connect(
                    address,
                    &io::ErrorKind::Unsupported.into(),
                    timeout,
                ));
            }
        };
        set_timeouts(stream.as_fd(), config.response_timeout).map_err(failed)?;
        Ok(stream)
    }

    /// Returns whether the server closed the connection, or sent what nobody asked for. A system call.
    pub(crate) fn is_stale(&self) -> bool {
        let mut byte = [0_u8];
        let peeked = recv(self.as_fd(), &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        match (peeked, self) {
            (Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR), _) => false,
            // A session ticket of TLS, which comes without a request.
            (Ok((count, _)), Self::Tls(_)) => count == 0,
            _ => true,
        }
    }
}

fn remaining(deadline: Instant) -> Duration {
    // Zero would mean no timeout.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

fn connect_tcp(
    address: &ConnectionAddr,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<TcpStream, Error> {
    let resolved = (host, port)
        .to_socket_addrs()
        .map_err(|error| failure::resolve(address, &error))?;
    let deadline = Instant::now() + timeout;
    let mut error = io::Error::other("the host has no addresses");
    for socket in resolved {
        match TcpStream::connect_timeout(&socket, remaining(deadline)) {
            Ok(tcp) => {
                // A failure costs speed only.
                _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(other) => error = other,
        }
    }
    Err(failure::connect(address, &error, timeout))
}

/// Connects to a unix socket, whose backlog may be full.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::empty(),
        None,
    )?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

fn connect_tls(
    mut tcp: TcpStream,
    host: &str,
    config: Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        match connection.complete_io(&mut tcp) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => _ = result?,
        }
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn set_timeouts(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(timeout))?;
    set_socket_timeout(socket, Timeout::Send, Some(timeout))?;
    Ok(())
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Tls(tls) => tls.sock.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
        }
    }
}

impl Source for Stream {
    fn read_rest(&mut self, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => read_rest(tcp, len, into),
            Self::Tls(tls) => read_rest(tls, len, into),
            Self::Unix(unix) => read_rest(unix, len, into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
            Self::Unix(unix) => unix.flush(),
        }
    }
}
