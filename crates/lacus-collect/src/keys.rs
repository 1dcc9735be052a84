//! The keyring: who may send, and as what.
//!
//! A write key sends events of one source and nothing else; it may stand in a browser. An AWS key signs requests as AWS
//! clients do, to send events. A lake key opens the catalog and the files of tables to engines on other machines, and sends
//! nothing. Keys live in `.lacus/keys.json`, replaced whole with each change: of a write key there is its digest only,
//! the secret of the others is encrypted (see `secret`). Any number of keys may be for one source, so that a new one
//! is handed out before an old one is revoked.

mod rate;
mod secret;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lacus_core::{Clock, Error, Kind, Result, StreamName, Timestamp};

use self::rate::Bucket;
use self::secret::Digest;
use self::store::{Store, StoredKey, StoredKind};

pub use self::secret::MasterKey;

/// The most keys of a project.
pub const KEYS_MAX: usize = 10_000;
/// The longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Sends events of one source, and nothing else.
    Write {
        /// The source.
        source: StreamName,
    },
    /// Signs requests as AWS clients do.
    Aws,
    /// Reads and writes tables with other engines.
    Lake,
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

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// The name it is revoked by: `key_…`; for AWS and lake keys their access key id.
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

/// A new key: the only time that its secret is shown.
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
    /// The secret access key of an AWS or lake key; none when the master key does not open it.
    secret: Option<String>,
    rate: Option<Mutex<Bucket>>,
    clock: Arc<dyn Clock>,
}

/// All keys of a project.
pub struct Keyring {
    store: Option<Mutex<Store>>,
    clock: Arc<dyn Clock>,
    keys: RwLock<Keys>,
}

#[derive(Default)]
struct Keys {
    write: BTreeMap<Digest, Arc<Key>>,
    aws: BTreeMap<String, Arc<Key>>,
    lake: BTreeMap<String, Arc<Key>>,
}

impl Keyring {
    /// Opens the keys in `directory` (`.lacus`). Secrets are encrypted with `master_key`; without one, with a key that is
    /// generated and stored beside them.
    ///
    /// # Errors
    /// If the files can't be read, or are damaged.
    pub fn open(directory: &Path, master_key: Option<MasterKey>, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(directory, master_key)?;
        let mut keys = Keys::default();
        for stored in store.keys() {
            keys.add(stored, store.reveal(stored), &clock)?;
        }
        let sealed = keys.aws.values().chain(keys.lake.values()).filter(|key| key.secret.is_none()).count();
        if sealed > 0 {
            tracing::warn!(keys = sealed, "the master key is not the one that these AWS or lake keys were made with");
        }
        Ok(Self { store: Some(Mutex::new(store)), clock, keys: RwLock::new(keys) })
    }

    /// A keyring without keys, that none can be added to.
    #[must_use]
    pub fn empty(clock: Arc<dyn Clock>) -> Self {
        Self { store: None, clock, keys: RwLock::default() }
    }

    /// Makes a key, durably. Blocks on the disk.
    ///
    /// # Errors
    /// `Invalid` for a name that is too long or a rate of nothing, `Limited` for more than [`KEYS_MAX`] keys, or if it
    /// can't be written.
    pub fn create(&self, new: NewKey) -> Result<CreatedKey> {
        if new.name.len() > NAME_BYTES_MAX || new.name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("the name of a key has {NAME_BYTES_MAX} bytes of text at most")));
        }
        if new.grant == Grant::Lake && new.events_per_second.is_some() {
            return Err(Error::invalid("a lake key sends no events, so it has no rate"));
        }
        if new.events_per_second == Some(0) {
            return Err(
                Error::invalid("a key may send 1 event per second at least").with_hint("revoke a key to stop it")
            );
        }
        let mut store = self.store()?;
        if store.keys().len() >= KEYS_MAX {
            return Err(Error::new(Kind::Limited, format!("there are {KEYS_MAX} keys already"))
                .with_hint("revoke some that are not used any more"));
        }
        let (id, secret, kind) = match new.grant {
            Grant::Write { source } => {
                let secret = secret::write_key()?;
                let digest = Digest::of(&secret);
                (secret::key_id()?, secret, StoredKind::Write { source: source.to_string(), sha256: digest })
            }
            Grant::Aws | Grant::Lake => {
                let (id, secret) = (secret::access_key_id()?, secret::secret_access_key()?);
                let sealed = store.seal(&id, &secret)?;
                let is_aws = new.grant == Grant::Aws;
                let kind =
                    if is_aws { StoredKind::Aws { secret: sealed } } else { StoredKind::Lake { secret: sealed } };
                (id, secret, kind)
            }
        };
        let NewKey { name, events_per_second, .. } = new;
        let created_at = self.clock.now().as_micros();
        let stored = StoredKey { id, name, created_at, events_per_second, kind };
        store.add(stored.clone())?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let info = keys.add(&stored, Some(secret.clone()), &self.clock)?;
        Ok(CreatedKey { info, secret })
    }

    /// All keys, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<KeyInfo> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let all = keys.write.values().chain(keys.aws.values()).chain(keys.lake.values());
        let mut all: Vec<KeyInfo> = all.map(|key| key.info.clone()).collect();
        all.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        all
    }

    /// Revokes a key, durably: later requests with it are refused. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown id, or if it can't be written: then it is still good.
    pub fn revoke(&self, id: &str) -> Result<KeyInfo> {
        let found = self.list().into_iter().find(|key| key.id == id);
        let found = found.ok_or_else(|| {
            let shown: String = id.chars().take(60).collect();
            Error::not_found(format!("there is no key \"{shown}\"")).with_hint("lacus key list shows all")
        })?;
        self.store()?.remove(id)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.write.retain(|_, key| key.info.id != id);
        keys.aws.remove(id);
        keys.lake.remove(id);
        Ok(found)
    }

    /// The key with this write key.
    pub(crate) fn find_write_key(&self, write_key: &str) -> Option<Arc<Key>> {
        // Looked up by digest: the time that takes reveals nothing about existing keys.
        let digest = Digest::of(write_key);
        self.keys.read().unwrap_or_else(PoisonError::into_inner).write.get(&digest).cloned()
    }

    /// The AWS key with this access key id.
    pub(crate) fn find_access_key(&self, access_key_id: &str) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).aws.get(access_key_id).cloned()
    }

    /// The secret of the lake key with this access key id; none too when the master key does not open it.
    #[must_use]
    pub fn lake_secret(&self, access_key_id: &str) -> Option<String> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).lake.get(access_key_id)?.secret.clone()
    }

    /// Whether there is any lake key.
    #[must_use]
    pub fn has_lake_keys(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).lake.is_empty()
    }

    fn store(&self) -> Result<std::sync::MutexGuard<'_, Store>> {
        let store = self.store.as_ref().ok_or_else(|| Error::unavailable("keys can't be changed here"))?;
        Ok(store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The write key that a request presents: `Authorization: Bearer KEY`, or `Basic` with the key as the user, as SDKs do. What
/// is malformed there is presented as it is, and so refused: a sender that means to have a key must not pass as one without.
/// Other schemes are meant for others.
pub(crate) fn presented(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let user = decoded.as_deref().map_or(value, |decoded| decoded.split_once(':').map_or(decoded, |(user, _)| user));
    // A browser with its key in the body sends this.
    Some(user.to_owned()).filter(|user| !user.is_empty())
}

impl Keys {
    fn add(&mut self, stored: &StoredKey, secret: Option<String>, clock: &Arc<dyn Clock>) -> Result<KeyInfo> {
        let grant = match &stored.kind {
            StoredKind::Write { source, .. } => Grant::Write { source: StreamName::new(source)? },
            StoredKind::Aws { .. } => Grant::Aws,
            StoredKind::Lake { .. } => Grant::Lake,
        };
        let info = KeyInfo {
            id: stored.id.clone(),
            name: stored.name.clone(),
            grant,
            events_per_second: stored.events_per_second,
            created_at: Timestamp::from_micros(stored.created_at),
        };
        let rate = info.events_per_second.map(|rate| Mutex::new(Bucket::new(rate, clock.now())));
        let mut key = Key { info: info.clone(), secret: None, rate, clock: Arc::clone(clock) };
        match &stored.kind {
            StoredKind::Write { sha256, .. } => {
                self.write.insert(*sha256, Arc::new(key));
            }
            StoredKind::Aws { .. } => {
                key.secret = secret;
                self.aws.insert(info.id.clone(), Arc::new(key));
            }
            StoredKind::Lake { .. } => {
                key.secret = secret;
                self.lake.insert(info.id.clone(), Arc::new(key));
            }
        }
        Ok(info)
    }
}

impl Key {
    /// The source of a write key.
    pub(crate) fn source(&self) -> Option<&StreamName> {
        match &self.info.grant {
            Grant::Write { source } => Some(source),
            Grant::Aws | Grant::Lake => None,
        }
    }

    /// The secret access key of an AWS key.
    ///
    /// # Errors
    /// `Unavailable` when the master key does not open it.
    pub(crate) fn secret_access_key(&self) -> Result<&str> {
        self.secret.as_deref().ok_or_else(|| {
            Error::unavailable(format!("the secret of key {} can't be decrypted with this master key", self.info.id))
                .with_hint("start lacus with the LACUS_MASTER_KEY that the key was made with, or make a new key")
        })
    }

    /// Counts `events` against the key's rate.
    ///
    /// # Errors
    /// `Limited` if they are too many by now, with when to come again.
    pub(crate) fn admit(&self, events: u64) -> Result<()> {
        let Some(bucket) = &self.rate else { return Ok(()) };
        let now = self.clock.now();
        let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(events, now);
        taken.map_err(|seconds| {
            let rate = self.info.events_per_second.unwrap_or_default();
            let id = &self.info.id;
            Error::new(Kind::Limited, format!("key {id} may send {rate} events per second, these are too many"))
                .with_hint(format!("send it again in {} s", seconds.ceil()))
        })
    }
}

#[cfg(test)]
impl Keyring {
    /// A keyring with one AWS key, for signatures that are the same in every run.
    pub(crate) fn with_access_key(id: &str, secret: &str) -> Self {
        Self::with_stored_key(id, Some(secret.to_owned()))
    }

    /// The same, with a master key that does not open it.
    pub(crate) fn with_sealed_access_key(id: &str) -> Self {
        Self::with_stored_key(id, None)
    }

    fn with_stored_key(id: &str, secret: Option<String>) -> Self {
        let keyring = Self::empty(Arc::new(lacus_core::SystemClock));
        let kind = StoredKind::Aws { secret: String::new() };
        let stored = StoredKey { id: id.to_owned(), name: String::new(), created_at: 0, events_per_second: None, kind };
        let mut keys = keyring.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.add(&stored, secret, &keyring.clock).unwrap();
        drop(keys);
        keyring
    }
}
