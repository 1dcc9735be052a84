//! The settings of the Postgres door: who may connect, and how.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Who may connect over the Postgres wire protocol, and how. Its address is `server.postgres`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Whether clients are asked for a password: `auto`, `always` or `never`.
    pub passwords: Passwords,
    /// A file with the certificate for TLS, and then those that signed it, as PEM: from the folder of `lacus.toml`, or
    /// absolute. When it changes, new connections have the new one. Without it there is no TLS.
    pub tls_certificate: Option<String>,
    /// The file with the private key of the certificate, as PEM. Nobody but its owner and group may read it.
    pub tls_key: Option<String>,
    /// Whether clients without TLS are refused.
    pub tls_required: bool,
}

/// Whether clients are asked for a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Passwords {
    /// Once there is a user (`lacus user create`). While there is none, everybody on this machine is let in, and lacus does
    /// not listen where others could reach it.
    #[default]
    Auto,
    /// Always. While there is no user, nobody is let in.
    Always,
    /// Never: whoever reaches the port is who they say.
    Never,
}

impl Postgres {
    pub(super) fn check(&self) -> Result<()> {
        let hint = "set both: tls_certificate = \"tls/server.crt\" and tls_key = \"tls/server.key\"";
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => Err(Error::invalid("[postgres] has a tls_certificate and no tls_key").with_hint(hint)),
            (None, Some(_)) => Err(Error::invalid("[postgres] has a tls_key and no tls_certificate").with_hint(hint)),
            (None, None) if self.tls_required => {
                Err(Error::invalid("[postgres] tls_required = true, and there is no certificate").with_hint(hint))
            }
            _ => Ok(()),
        }
    }
}
