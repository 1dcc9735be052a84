//! The keyring on disk: `keys.json`, replaced whole and durably, readable by its owner only.
//!
//! A file that does not match its checksum is not believed: a digest with a flipped bit would be a key that nobody has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lacus_core::{Context, Error, Result};
use lacus_stream::replace_private;
use serde::{Deserialize, Serialize};

use super::secret::{Digest, MasterKey};

const KEYS_FILE: &str = "keys.json";
const MASTER_FILE: &str = "master.key";
const FORMAT: u32 = 1;

/// The stored keys.
pub(super) struct Store {
    directory: PathBuf,
    master: Option<MasterKey>,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    format: u32,
    /// CRC-32 of `keys` as compact JSON.
    crc32: u32,
    keys: Vec<StoredKey>,
}

/// What files of every format have.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredKey {
    pub(super) id: String,
    pub(super) name: String,
    /// µs since the epoch.
    pub(super) created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) events_per_second: Option<u32>,
    #[serde(flatten)]
    pub(super) kind: StoredKind,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum StoredKind {
    Write { source: String, sha256: Digest },
    Aws { secret: String },
    Lake { secret: String },
}

impl Store {
    pub(super) fn open(directory: &Path, master: Option<MasterKey>) -> Result<Self> {
        let path = directory.join(KEYS_FILE);
        let keys = match fs::read(&path) {
            Ok(text) => read(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        let master = match master {
            Some(master) => Some(master),
            None => stored_master(directory)?,
        };
        Ok(Self { directory: directory.to_owned(), master, keys })
    }

    pub(super) fn keys(&self) -> &[StoredKey] {
        &self.keys
    }

    /// Encrypts the secret of a key.
    pub(super) fn seal(&mut self, id: &str, secret: &str) -> Result<String> {
        if self.master.is_none() {
            let master = MasterKey::new()?;
            replace_private(&self.directory.join(MASTER_FILE), master.to_hex().as_bytes())?;
            self.master = Some(master);
        }
        self.master.as_ref().expect("made above").seal(id, secret)
    }

    /// The secret of a key, if the master key opens it.
    pub(super) fn reveal(&self, key: &StoredKey) -> Option<String> {
        let (StoredKind::Aws { secret } | StoredKind::Lake { secret }) = &key.kind else { return None };
        self.master.as_ref()?.open(&key.id, secret)
    }

    pub(super) fn add(&mut self, key: StoredKey) -> Result<()> {
        let mut keys = self.keys.clone();
        keys.push(key);
        self.replace(keys)
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<()> {
        let keys = self.keys.iter().filter(|key| key.id != id).cloned().collect();
        self.replace(keys)
    }

    fn replace(&mut self, keys: Vec<StoredKey>) -> Result<()> {
        let stored = StoredKeys { format: FORMAT, crc32: checksum(&keys)?, keys };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| Error::internal(error.to_string()))?;
        replace_private(&self.directory.join(KEYS_FILE), &text)?;
        self.keys = stored.keys;
        Ok(())
    }
}

fn read(path: &Path, text: &[u8]) -> Result<Vec<StoredKey>> {
    let damaged = |how: &str| {
        Error::corrupt(format!("{} is damaged: {how}", path.display()))
            .with_hint("restore it from a backup, or remove it and make new keys")
    };
    // Not with the error of the parser: it may show what it found, and that may be a secret.
    let AnyFormat { format } = serde_json::from_slice(text).map_err(|_| damaged("it is no keyring"))?;
    if format != FORMAT {
        let message = format!("{} has format {format}, this lacus knows {FORMAT}", path.display());
        return Err(Error::invalid(message).with_hint("open it with the lacus that wrote it, or a newer one"));
    }
    let stored: StoredKeys = serde_json::from_slice(text).map_err(|_| damaged("it is no list of keys"))?;
    if stored.crc32 != checksum(&stored.keys)? {
        return Err(damaged("its checksum does not match"));
    }
    Ok(stored.keys)
}

fn checksum(keys: &[StoredKey]) -> Result<u32> {
    let text = serde_json::to_vec(keys).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(&text))
}

fn stored_master(directory: &Path) -> Result<Option<MasterKey>> {
    let path = directory.join(MASTER_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => MasterKey::parse(&text).map(Some).map_err(|_| {
            Error::corrupt(format!("{} is damaged: it is no master key", path.display()))
                .with_hint("restore it from a backup; if there is none, remove it and make new AWS and lake keys")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("read {}", path.display())),
    }
}
