//! TLS by rustls, with the system's certificates or given ones.

mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use redis::{Client, ClientTlsConfig, ConnectionAddr, TlsCertificates};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files and switches of TLS.
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) verify: bool,
    pub(crate) check_hostname: bool,
}

/// How connections are encrypted.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// An address with the parameters by which redis-rs connects.
    template: ConnectionAddr,
}

/// Without keys.
impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

/// The contents of the files.
struct Pems {
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Reads the files. The error says what is wrong.
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, String> {
        // redis-rs, by which the listener connects, takes the provider of the process.
        _ = ring::default_provider().install_default();
        let pems = Pems::read(files)?;
        Ok(Self {
            config: Arc::new(client_config(files, &pems)?),
            template: template(files, pems)?,
        })
    }

    /// Returns the address of a host by TLS.
    pub(crate) fn address(&self, host: String, port: u16) -> Result<ConnectionAddr, String> {
        rustls::pki_types::ServerName::try_from(host.as_str()).map_err(|_| "the host is not a valid name")?;
        Ok(with_host(&self.template, host, port))
    }
}

/// Returns the address of another host that is reached as this one is: with the same TLS parameters.
pub(crate) fn with_host(like: &ConnectionAddr, new_host: String, new_port: u16) -> ConnectionAddr {
    let mut address = like.clone();
    match &mut address {
        ConnectionAddr::TcpTls { host, port, .. } => {
            *host = new_host;
            *port = new_port;
            address
        }
        _ => ConnectionAddr::Tcp(new_host, new_port),
    }
}

impl Pems {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| format!("cannot read the TLS file {}: {error}", path.display()))
        };
        let client = match (&files.cert, &files.key) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err("it has the key of a client certificate, but no certificate".to_owned());
            }
            // One file may hold both.
            (Some(cert), key) => Some((read(cert)?, read(key.as_ref().unwrap_or(cert))?)),
        };
        Ok(Self {
            ca: files.ca.as_ref().map(read).transpose()?,
            client,
        })
    }
}

fn client_config(files: &TlsFiles, pems: &Pems) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &pems.ca {
        Some(pem) => Arc::new(given_roots(files, pem)?),
        None if files.verify => native_roots()?,
        None => Arc::new(RootCertStore::empty()),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(Arc::clone(&roots));
    let mut config = match &pems.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let invalid = |error: &dyn fmt::Display| {
                let path = files.cert.as_deref().unwrap_or_else(|| Path::new("")).display();
                format!("the client certificate in the TLS file {path} or its key is invalid: {error}")
            };
            let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
            let chain = chain.map_err(|error| invalid(&error))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid(&error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid(&error))?
        }
    };
    verifier::apply(&mut config, files, roots, provider)?;
    Ok(config)
}

fn given_roots(files: &TlsFiles, pem: &[u8]) -> Result<RootCertStore, String> {
    let path = files.ca.clone().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.map_err(|error| error.to_string());
        let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| format!("the TLS file {} is invalid: {error}", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("the TLS file {} has no certificates", path.display()));
    }
    Ok(roots)
}

/// Returns the certificates that the system trusts. They are read once a process: that takes about 20 ms.
fn native_roots() -> Result<Arc<RootCertStore>, String> {
    // Not a lock: a child of `fork` would wait for a thread of its parent.
    static ROOTS: ArcSwapOption<RootCertStore> = ArcSwapOption::const_empty();
    let roots = ROOTS.load_full().unwrap_or_else(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let roots = Arc::new(roots);
        ROOTS.store(Some(Arc::clone(&roots)));
        roots
    });
    if roots.is_empty() {
        return Err("the system has no trusted certificates; name a file by ssl_ca_certs".to_owned());
    }
    Ok(roots)
}

fn template(files: &TlsFiles, pems: Pems) -> Result<ConnectionAddr, String> {
    let mut certificates = TlsCertificates::new();
    if let Some((cert, key)) = pems.client {
        certificates = certificates.client_tls_config(ClientTlsConfig::new(cert, key));
    }
    if let Some(ca) = pems.ca {
        certificates = certificates.root_cert(ca);
    }
    let address = ConnectionAddr::TcpTls {
        host: String::new(),
        port: 0,
        insecure: !files.verify,
        tls_params: None,
    };
    let client = Client::build_with_tls(address, certificates).map_err(|error| error.to_string())?;
    let mut address = client.get_connection_info().addr().clone();
    if !files.check_hostname {
        address.set_danger_accept_invalid_hostnames(true);
    }
    Ok(address)
}
