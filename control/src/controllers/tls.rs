//! TLS with controllers: who they are is checked both ways, by who signed their certificates.
//!
//! As in Open vSwitch, names in certificates do not count: a controller is reached by address, and whoever holds a certificate
//! of the configured authority is one. Trust: peers, until the handshake is over. Neighbours: `stream` runs it over TCP.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
};

use crate::model::Settings;

/// Keys and certificates, for both directions.
pub(super) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files that `set-ssl` named; none when none are named.
    ///
    /// # Errors
    /// Which file is wrong.
    pub fn load(settings: &Settings) -> Result<Option<Self>, String> {
        let files = ["private-key", "certificate", "ca-cert"].map(|name| settings.text(name));
        let [Some(key), Some(certificate), Some(authority)] = files else { return Ok(None) };
        let certificates = |file: &str| {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            read.map_err(|error| format!("{file}: {error}"))
        };
        let private = || PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{key}: {error}"));
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(|error| format!("{authority}: {error}"))?;
        }
        let (roots, own) = (Arc::new(roots), certificates(certificate)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |error: &dyn std::fmt::Display| format!("{certificate}, {key}, {authority}: {error}");
        let peers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = Arc::new(AnyName(peers.build().map_err(|error| wrong(&error))?));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(own.clone(), private()?)
            .map_err(|error| wrong(&error))?;
        let peers = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .with_client_cert_verifier(peers.build().map_err(|error| wrong(&error))?)
            .with_single_cert(own, private()?)
            .map_err(|error| wrong(&error))?;
        Ok(Some(Self { client: Arc::new(client), server: Arc::new(server) }))
    }

    /// We connected.
    pub fn connect(&self, stream: TcpStream, host: IpAddr) -> io::Result<TlsStream> {
        let session = ClientConnection::new(Arc::clone(&self.client), ServerName::IpAddress(host.into()));
        Ok(TlsStream { stream, session: session.map_err(io::Error::other)?.into() })
    }

    /// Somebody came.
    pub fn accept(&self, stream: TcpStream) -> io::Result<TlsStream> {
        let session = ServerConnection::new(Arc::clone(&self.server));
        Ok(TlsStream { stream, session: session.map_err(io::Error::other)?.into() })
    }
}

/// TLS over TCP, never blocking.
pub(super) struct TlsStream {
    pub stream: TcpStream,
    session: Connection,
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let state = self.session.process_new_packets();
            // What the handshake has to answer, an alert among it.
            self.flush()?;
            state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.flush()?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Who signed a certificate counts, and not the name in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The chain is looked at before the name.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
