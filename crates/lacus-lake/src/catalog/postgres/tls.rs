//! TLS to the PostgreSQL server: whether it is used, and how the server proves who it is.
//!
//! `sslmode` and `sslrootcert` in the URL mean what they mean to PostgreSQL's own clients. Whoever asks for encryption never gets
//! a connection without it, and whoever asks for verification never one with a wrong certificate.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use lacus_core::{Error, Kind, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Config, Socket};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{self, WebPkiSupportedAlgorithms, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_rustls::{TlsConnector, client};

/// The protocol that we announce within TLS.
const PROTOCOL: &[u8] = b"postgresql";
/// The value of `sslrootcert` for the certificates that this machine trusts.
const SYSTEM: &str = "system";
/// The most bytes of a file with certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The driver's error for a server that refuses TLS.
const NO_TLS: &str = "server does not support TLS";

/// What a URL says about TLS.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    mode: Mode,
    roots: Option<String>,
}

/// The values of `sslmode`, except for `allow`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Never TLS.
    Disable,
    /// TLS where the server has it.
    Prefer,
    /// TLS with any server; with `sslrootcert`, only with one that has such a certificate.
    Require,
    /// TLS with who has a certificate.
    VerifyCa,
    /// TLS with a server whose certificate has the name that we connect to.
    VerifyFull,
}

/// Who is believed to be the server.
enum Believed {
    /// Any server: protects from those who listen, not from one who pretends to be the server.
    Anybody,
    /// A server with a certificate that one of these signed.
    SignedBy(RootCertStore),
    /// The same, if the certificate has the name that we connect to.
    Named(RootCertStore),
}

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

/// A connection about to be encrypted.
pub(super) struct Handshake {
    connector: TlsConnector,
    host: String,
}

/// An encrypted connection, boxed because it is large and moved often.
pub(super) struct Encrypted(Box<client::TlsStream<Socket>>);

/// Takes the TLS parameters out of a URL: the driver knows fewer of them.
///
/// # Errors
/// `Invalid` for a mode that there is not.
pub(super) fn split(url: &str) -> Result<(String, Asked)> {
    let mut asked = Asked { mode: Mode::Prefer, roots: None };
    // As in the driver: a password may contain a question mark.
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url[host..].find('?').map(|place| host + place) else { return Ok((url.to_owned(), asked)) };
    let mut others = Vec::new();
    for parameter in url[query + 1..].split('&') {
        // In these URLs a plus is a plus, not a space as in forms.
        let plain = parameter.replace('+', "%2B");
        let Some((name, value)) = form_urlencoded::parse(plain.as_bytes()).next() else { continue };
        match &*name {
            "sslmode" => asked.mode = value.parse()?,
            "sslrootcert" => asked.roots = Some(value.into_owned()),
            _ => others.push(parameter),
        }
    }
    let separator = if others.is_empty() { "" } else { "?" };
    Ok((format!("{}{separator}{}", &url[..query], others.join("&")), asked))
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(Error::invalid(format!("lake.catalog has sslmode={text}, which there is not"))
                .with_hint("sslmode is disable, prefer, require, verify-ca or verify-full")),
        }
    }
}

impl Asked {
    /// How to encrypt connections with these settings; none if not at all. It sets the driver's mode, too.
    ///
    /// # Errors
    /// `Invalid` for what can't be, and for certificates that can't be read.
    pub(super) fn tls(&self, config: &mut Config) -> Result<Option<Tls>> {
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let mode = match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer if is_local => SslMode::Disable,
            _ if is_local => {
                return Err(Error::invalid("lake.catalog asks for TLS on a Unix socket, where there is none")
                    .with_hint("leave out sslmode: what goes over the socket stays on this machine"));
            }
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        };
        config.ssl_mode(mode);
        let believed = self.believed()?;
        if mode == SslMode::Disable { Ok(None) } else { Tls::with(believed).map(Some) }
    }

    fn believed(&self) -> Result<Believed> {
        let Some(roots) = self.roots.as_deref() else {
            return match self.mode {
                Mode::Disable | Mode::Prefer | Mode::Require => Ok(Believed::Anybody),
                Mode::VerifyFull => system_roots().map(Believed::Named),
                Mode::VerifyCa => Err(Error::invalid("lake.catalog has sslmode=verify-ca and no sslrootcert")
                    .with_hint("sslrootcert=/path/to/ca.crt names the certificate of who signed the server's")),
            };
        };
        let is_system = roots == SYSTEM;
        match self.mode {
            Mode::VerifyFull if is_system => system_roots().map(Believed::Named),
            Mode::VerifyFull => roots_in(roots).map(Believed::Named),
            Mode::Require | Mode::VerifyCa if !is_system => roots_in(roots).map(Believed::SignedBy),
            // The certificates that everybody trusts sign anybody's.
            Mode::Disable | Mode::Prefer | Mode::Require | Mode::VerifyCa => {
                Err(Error::invalid("lake.catalog has an sslrootcert that its sslmode does not look at")
                    .with_hint("say sslmode=verify-full, too"))
            }
        }
    }
}

/// The certificates in a file.
fn roots_in(path: &str) -> Result<RootCertStore> {
    let named = "sslrootcert in lake.catalog is the path of a PEM file, from / on, or \"system\"";
    let wrong = |message: String| Error::invalid(message).with_hint(named);
    if !Path::new(path).is_absolute() {
        return Err(wrong(format!("the path {path} of certificates does not begin with /")));
    }
    let unreadable =
        |error: io::Error| wrong(format!("can't read the certificates {path}: {error}")).with_source(error);
    let unfit = || wrong(format!("there is no certificate in {path}"));
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(unfit());
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(path).map_err(unreadable)?) {
        let certificate = certificate.map_err(|_| unfit())?;
        roots.add(certificate).map_err(|error| unfit().with_source(error))?;
    }
    if roots.is_empty() { Err(unfit()) } else { Ok(roots) }
}

/// Whoever this machine trusts.
fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some may be of a kind that is no longer used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::invalid("this machine has no list of whom it trusts")
            .with_hint("install ca-certificates, or name a certificate: sslrootcert=/path/to/ca.crt in lake.catalog"));
    }
    Ok(roots)
}

impl Tls {
    fn with(believed: Believed) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("prepare TLS").with_source(error))?;
        let any_name = |roots| Arc::new(AnyName { roots, algorithms });
        let mut config = match believed {
            Believed::Named(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
            Believed::SignedBy(roots) => {
                builder.dangerous().with_custom_certificate_verifier(any_name(Some(roots))).with_no_client_auth()
            }
            Believed::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(any_name(None)).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }
}

/// Verifies who signed a certificate, if that matters, but not its name.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.roots {
            Some(_) => crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms),
            // The signature proves nothing if anybody may have made the certificate.
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.roots {
            Some(_) => crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = Infallible;

    /// Called before it is known whether there will be TLS; for Unix sockets without a name.
    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.config)), host: host.to_owned() })
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            self.connector.connect(host, socket).await.map(|stream| Encrypted(Box::new(stream)))
        })
    }
}

impl TlsStream for Encrypted {
    /// Passwords are not bound to the certificate: `sslmode=verify-full` proves who the server is.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Whether a connection failed because the two sides disagree about TLS.
pub(super) fn is_refused(error: &tokio_postgres::Error) -> bool {
    of_rustls(error).is_some() || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

fn of_rustls(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// An error about TLS of the catalog with this name; none for other errors.
pub(super) fn failed(error: &tokio_postgres::Error, name: &str) -> Option<Error> {
    let denied = |message: String| Error::new(Kind::Denied, message);
    if error.source().is_some_and(|source| source.to_string() == NO_TLS) {
        return Some(
            denied(format!("the catalog {name} has no TLS, and lake.catalog asks for it"))
                .with_hint("switch it on at the server (ssl = on), or use sslmode=prefer on a network that is yours"),
        );
    }
    Some(match of_rustls(error)? {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            // Another certificate of the same name is noticed by what it has not signed.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                denied(format!("nobody that lacus trusts has signed the certificate of the catalog {name}"))
                    .with_hint("sslrootcert=/path/to/ca.crt in lake.catalog names the certificate of who signed it")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                denied(format!("the certificate of the catalog {name} is that of another host"))
                    .with_hint("use one of its alternative names, which are not its common name, or sslmode=verify-ca")
            }
            other => denied(format!("the certificate of the catalog {name} is not valid: {other}"))
                .with_hint("it has to be that of a server, not of who signs, and of today"),
        },
        other => Error::unavailable(format!("the catalog {name} and lacus don't agree about TLS: {other}"))
            .with_hint("lacus speaks TLS 1.2 and 1.3"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_about_tls_is_taken_out_of_it() {
        let of = |url: &str| split(url).unwrap();
        let asked = |mode, roots: Option<&str>| Asked { mode, roots: roots.map(str::to_owned) };
        let plain = "postgres://lacus:a?sslmode=b@host:5432/lake";
        assert_eq!(of(plain), (plain.to_owned(), asked(Mode::Prefer, None)));
        for (url, left, expected) in [
            ("?sslmode=require", "", asked(Mode::Require, None)),
            ("?sslmode=disable&options=-c%20x%3D1+2", "?options=-c%20x%3D1+2", asked(Mode::Disable, None)),
            ("?sslrootcert=%2Fetc%2Fca+1.crt&sslmode=verify-ca", "", asked(Mode::VerifyCa, Some("/etc/ca+1.crt"))),
            (
                "?connect_timeout=3&sslmode=verify-full&sslrootcert=system",
                "?connect_timeout=3",
                asked(Mode::VerifyFull, Some("system")),
            ),
        ] {
            assert_eq!(of(&format!("{plain}{url}")), (format!("{plain}{left}"), expected));
        }
        for wrong in ["allow", "Require", "", "require%00"] {
            let error = split(&format!("{plain}?sslmode={wrong}")).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
        }
    }
}
