//! TLS: the certificate, its key, and what a client may bind its password to.
//!
//! It fails closed: a certificate that can't be read or does not fit its key is an error at the start. While we serve, files
//! that change are taken for new connections; files that can't be are told, and the certificate before stays.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lacus_core::{Context, Error, Result};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The protocol that clients announce within TLS.
const PROTOCOL: &[u8] = b"postgresql";
/// How often to check whether the files changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The most bytes of a file with certificates or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Permissions of those who are neither the owner nor of the group.
const OF_OTHERS: u32 = 0o007;

/// The current certificate, and where the next one will come from.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<Loaded>>,
}

/// A certificate in use by connections.
pub(crate) struct Loaded {
    acceptor: TlsAcceptor,
    /// Its hash, which a client may bind its password to. None: its signature algorithm has none.
    pub(crate) endpoint: Option<Vec<u8>>,
    seen: Seen,
}

/// Changes with the contents or the permissions of the two files: inode, change time (seconds, nanoseconds) and size of each.
type Seen = [(u64, i64, i64, u64); 2];

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// If they can't be read, do not fit each other, or if others can read the key.
    pub(crate) fn open(certificate: PathBuf, key: PathBuf) -> Result<Self> {
        let current = RwLock::new(Arc::new(load(&certificate, &key)?));
        Ok(Self { certificate, key, current })
    }

    /// The certificate for new connections.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the files again each time they change. Never ends by itself.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut refused = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = Arc::clone(&self);
            let looked = spawn_blocking(move || tls.look(refused)).await;
            refused = looked.unwrap_or_default();
        }
    }

    /// Loads the files if they changed; returns the version that was refused.
    fn look(&self, refused: Option<Seen>) -> Option<Seen> {
        let seen = seen(&self.certificate, &self.key).unwrap_or_default();
        if seen == self.current().seen || Some(seen) == refused {
            return refused;
        }
        match load(&self.certificate, &self.key) {
            Ok(loaded) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
                tracing::info!(certificate = %self.certificate.display(), "new connections have the new certificate");
                None
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "the new certificate can't be taken, the one before stays");
                Some(seen)
            }
        }
    }
}

impl Loaded {
    /// Begins TLS with a client that requested it.
    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(socket).await
    }

    /// The same with a client that did not: it has to announce the protocol within TLS.
    pub(crate) async fn accept_direct(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.acceptor.accept(socket).await?;
        if stream.get_ref().1.alpn_protocol() == Some(PROTOCOL) {
            return Ok(stream);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "direct TLS without the protocol \"postgresql\""))
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Loaded> {
    let seen = seen(certificate, key)?;
    let chain = read(certificate, "certificate")?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| no_pem(certificate, "certificate"))?;
    let endpoint = chain.first().ok_or_else(|| no_pem(certificate, "certificate")).map(|first| endpoint(first))?;
    must_be_private(key)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key, "private key")?).map_err(|_| no_pem(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|versions| versions.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| unfit(certificate, key, error))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), endpoint, seen })
}

fn seen(certificate: &Path, key: &Path) -> Result<Seen> {
    let of = |path: &Path, what: &str| {
        let file = fs::metadata(path).map_err(|error| unreadable(path, what, error))?;
        Ok::<_, Error>((file.ino(), file.ctime(), file.ctime_nsec(), file.len()))
    };
    Ok([of(certificate, "certificate")?, of(key, "private key")?])
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let bytes = fs::metadata(path).map_err(|error| unreadable(path, what, error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(no_pem(path, what));
    }
    fs::read(path).map_err(|error| unreadable(path, what, error))
}

fn must_be_private(key: &Path) -> Result<()> {
    let mode = fs::metadata(key).context(format_args!("look at {}", key.display()))?.permissions().mode();
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!("everybody on this machine can read the private key {}", key.display()))
        .with_hint(format!("chmod 600 {}", key.display())))
}

fn unreadable(path: &Path, what: &str, error: io::Error) -> Error {
    Error::invalid(format!("can't read the {what} {}: {error}", path.display()))
        .with_source(error)
        .with_hint("[postgres] tls_certificate and tls_key name files from the folder of lacus.toml")
}

fn no_pem(path: &Path, what: &str) -> Error {
    Error::invalid(format!("there is no {what} in {}", path.display()))
        .with_hint("it has to be PEM: text that begins with -----BEGIN")
}

fn unfit(certificate: &Path, key: &Path, error: rustls::Error) -> Error {
    let (certificate, key) = (certificate.display(), key.display());
    let message = match &error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the private key {key} is not that of the certificate {certificate}")
        }
        _ => format!("can't use the certificate {certificate} with the private key {key}: {error}"),
    };
    Error::invalid(message).with_source(error)
}

/// The hash of a certificate by its signature algorithm: `tls-server-end-point` of RFC 5929.
fn endpoint(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let (fields, _) = element(certificate)?;
    let (_, fields) = element(fields)?; // what is signed
    let (algorithm, _) = element(fields)?;
    let (name, _) = element(algorithm)?;
    let (last, family) = name.split_last()?;
    match (family, last) {
        // For MD5 and SHA-1, SHA-256 is used.
        (family, 4 | 5 | 11) if family == RSA => Some(Sha256::digest(certificate).to_vec()),
        (family, 12) if family == RSA => Some(Sha384::digest(certificate).to_vec()),
        (family, 13) if family == RSA => Some(Sha512::digest(certificate).to_vec()),
        (family, 2) if family == ECDSA => Some(Sha256::digest(certificate).to_vec()),
        (family, 3) if family == ECDSA => Some(Sha384::digest(certificate).to_vec()),
        (family, 4) if family == ECDSA => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The content of the first DER element, and the bytes after it.
fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, length], rest) = bytes.split_first_chunk::<2>()?;
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if digits.len() > 4 {
        return None;
    }
    let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
