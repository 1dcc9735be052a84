//! The keyring: who may send, and as what.

use std::sync::Arc;

use lacus_core::{Error, Result, StreamName, Timestamp};

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Sends events of one source, and nothing else. Safe to put in a browser.
    Write {
        /// The source.
        source: StreamName,
    },
    /// Signs requests as AWS clients do.
    Aws,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub grant: Grant,
    /// The most events per second, on average over a few seconds. `None`: no limit.
    pub events_per_second: Option<u32>,
}

/// A key as anybody may see it: no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// The name it is revoked by: `key_…`; for AWS keys their access key id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub grant: Grant,
    /// The most events per second.
    pub events_per_second: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that was just made: the only time that its secret is told.
pub struct CreatedKey {
    /// The key.
    pub info: KeyInfo,
    /// The write key, or the secret access key.
    pub secret: String,
}

/// A key that a request proved to have.
pub struct Key {
    /// The key.
    pub info: KeyInfo,
}

impl Key {
    /// Counts `events` against the key's rate.
    ///
    /// # Errors
    /// `Limited` if they are too many by now.
    pub(crate) fn admit(&self, events: u64) -> Result<()> {
        let _ = events;
        Ok(())
    }
}

/// All keys of a project.
#[derive(Default)]
pub struct Keyring {}

impl Keyring {
    /// The key with this write key.
    pub(crate) fn find_write_key(&self, write_key: &str) -> Option<Arc<Key>> {
        let _ = write_key;
        None
    }

    /// The AWS key with this access key id, and its secret access key.
    pub(crate) fn find_access_key(&self, access_key_id: &str) -> Option<(Arc<Key>, String)> {
        let _ = access_key_id;
        None
    }

    /// Makes a key, durably. Blocks on the disk.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create(&self, new: NewKey) -> Result<CreatedKey> {
        let _ = new;
        Err(Error::unavailable("no keys yet"))
    }

    /// All keys, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<KeyInfo> {
        Vec::new()
    }

    /// Takes a key away, durably; requests that come later are refused. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown id.
    pub fn revoke(&self, id: &str) -> Result<KeyInfo> {
        Err(Error::not_found(format!("there is no key \"{id}\"")))
    }
}
