//! Verifiers for certificates that are accepted although they do not name the host, or are not trusted.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::TlsFiles;

/// Replaces the verifier of a configuration if the options ask for less than rustls's.
pub(super) fn apply(
    config: &mut ClientConfig,
    files: &TlsFiles,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<(), String> {
    if !files.verify {
        config.enable_sni = false;
        config.dangerous().set_certificate_verifier(Arc::new(Lax {
            inner: None,
            provider,
        }));
    } else if !files.check_hostname {
        let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let inner = Some(inner.map_err(|error| error.to_string())?);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Lax { inner, provider }));
    }
    Ok(())
}

/// Accepts every host name, and without `inner` every certificate.
#[derive(Debug)]
struct Lax {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lax {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
