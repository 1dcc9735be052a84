//! Who may connect, and how: the settings of the door, its users and its certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use lacus_core::settings::{self, Passwords};
use lacus_core::{Error, Kind, Result};

use crate::postgres::tls::Tls;
use crate::users::Users;

/// Who may connect, and how.
pub struct Door {
    passwords: Passwords,
    is_only_here: bool,
    pub(crate) tls_required: bool,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) users: Arc<Users>,
}

impl Door {
    /// Opens the door at `address` for the project in `root`. `is_only_here` says whether it can be reached from this machine
    /// only.
    ///
    /// # Errors
    /// If others than those of this machine could come in without a password and the settings do not say so, or if the
    /// certificate can't be used.
    pub fn open(
        settings: &settings::Postgres,
        root: &Path,
        users: Arc<Users>,
        address: SocketAddr,
        is_only_here: bool,
    ) -> Result<Self> {
        if !is_only_here && settings.passwords == Passwords::Auto && users.is_empty() {
            return Err(Error::new(
                Kind::Denied,
                format!("refusing to listen on {address}: there is no user yet, so anybody who reaches this address could read and write everything"),
            )
            .with_hint(
                "make one: lacus user create NAME; or say in [postgres] what you want: passwords = \"always\" or \"never\"",
            ));
        }
        let tls = match (&settings.tls_certificate, &settings.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Tls::open(root.join(certificate), root.join(key))?)),
            _ => None,
        };
        if !address.ip().is_loopback() && tls.is_none() {
            tracing::warn!(%address, "Postgres without TLS where others reach it: what is asked and answered can be read on its way");
        }
        Ok(Self { passwords: settings.passwords, is_only_here, tls_required: settings.tls_required, tls, users })
    }

    /// Whether a client that connects now needs a password.
    pub(crate) fn asks(&self) -> bool {
        match self.passwords {
            // A door that other machines reach does not open when its last user is dropped.
            Passwords::Auto => !self.is_only_here || !self.users.is_empty(),
            Passwords::Always => true,
            Passwords::Never => false,
        }
    }
}
