//! A socket that does not block: TCP, TLS over TCP, or a unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Config;
use crate::error::Error;
use crate::failure;

/// A socket that does not block.
pub(crate) type AsyncStream = Box<dyn Socket>;

/// The events that a socket is polled for.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Returns the descriptor of the socket itself, below TLS.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

impl Socket for TcpStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for UnixStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for TlsStream<TcpStream> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// Connects within a time.
pub(crate) async fn connect(
    address: &ConnectionAddr,
    config: &Config,
    limit: Duration,
) -> Result<AsyncStream, Error> {
    match timeout(limit, connect_any(address, config, limit)).await {
        Ok(result) => result,
        Err(_) => Err(failure::connect(address, &io::ErrorKind::TimedOut.into(), limit)),
    }
}

async fn connect_any(
    address: &ConnectionAddr,
    config: &Config,
    limit: Duration,
) -> Result<AsyncStream, Error> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(connect_tcp(address, host, *port, limit).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let Some(tls) = &config.tls else {
                return Err(failure::no_tls(address));
            };
            let failed = |error: io::Error| failure::tls(address, &error, limit);
            let name = ServerName::try_from(host.clone()).map_err(|error| failed(io::Error::other(error)))?;
            let tcp = connect_tcp(address, host, *port, limit).await?;
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            Ok(Box::new(connector.connect(name, tcp).await.map_err(failed)?))
        }
        ConnectionAddr::Unix(path) => {
            let connected = UnixStream::connect(path).await;
            Ok(Box::new(
                connected.map_err(|error| failure::connect(address, &error, limit))?,
            ))
        }
        _ => Err(failure::connect(
            address,
            &io::ErrorKind::Unsupported.into(),
            limit,
        )),
    }
}

async fn connect_tcp(
    address: &ConnectionAddr,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, Error> {
    let resolved = lookup_host((host, port))
        .await
        .map_err(|error| failure::resolve(address, &error))?;
    let mut error = io::Error::other("the host has no addresses");
    for socket in resolved {
        match TcpStream::connect(socket).await {
            Ok(tcp) => {
                // A failure costs speed only.
                _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(other) => error = other,
        }
    }
    Err(failure::connect(address, &error, limit))
}
