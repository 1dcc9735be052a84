//! The users on disk: `users.json`, replaced whole and durably, readable by its owner only.
//!
//! A file that does not match its checksum is not believed: a verifier with a flipped bit is one of a password that nobody has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lacus_core::{Context, Error, Result, StatementLimits, random};
use lacus_stream::replace_private;
use serde::{Deserialize, Serialize};

const FILE: &str = "users.json";
/// The format that is written. In the first one users had no limits; it is still read.
const FORMAT: u32 = 2;
const FORMAT_FIRST: u32 = 1;
const SECRET_BYTES: usize = 32;

/// The stored users.
pub(super) struct Store {
    path: PathBuf,
    content: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUsers {
    format: u32,
    /// CRC-32 of `content` as compact JSON.
    crc32: u32,
    content: Content,
}

/// What files of every format have.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The secret for users who do not exist, in base64.
    secret: String,
    users: Vec<StoredUser>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredUser {
    pub(super) name: String,
    /// µs since the epoch.
    pub(super) created_at: i64,
    /// A verifier or a hash, as PostgreSQL writes them.
    pub(super) password: String,
    #[serde(default, skip_serializing_if = "is_unlimited")]
    pub(super) limits: StatementLimits,
}

/// Whether there are no limits: then none are written, as in the first format.
fn is_unlimited(limits: &StatementLimits) -> bool {
    *limits == StatementLimits::default()
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let content = match fs::read(&path) {
            Ok(text) => read(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = random::<SECRET_BYTES>()?;
                Content { secret: BASE64.encode(secret), users: Vec::new() }
            }
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        Ok(Self { path, content })
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.content.secret.as_bytes()
    }

    pub(super) fn users(&self) -> &[StoredUser] {
        &self.content.users
    }

    /// Replaces all users.
    pub(super) fn replace(&mut self, users: Vec<StoredUser>) -> Result<()> {
        let content = Content { users, ..self.content.clone() };
        let stored = StoredUsers { format: FORMAT, crc32: checksum(&content)?, content };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| Error::internal(error.to_string()))?;
        replace_private(&self.path, &text)?;
        self.content = stored.content;
        Ok(())
    }
}

fn read(path: &Path, text: &[u8]) -> Result<Content> {
    let damaged = |how: &str| {
        Error::corrupt(format!("{} is damaged: {how}", path.display()))
            .with_hint("restore it from a backup, or remove it and make the users anew")
    };
    // The parser's error is not shown: it may contain secrets.
    let AnyFormat { format } = serde_json::from_slice(text).map_err(|_| damaged("it is no list of users"))?;
    if !(FORMAT_FIRST..=FORMAT).contains(&format) {
        let message = format!("{} has format {format}, this lacus knows {FORMAT} and before", path.display());
        return Err(Error::invalid(message).with_hint("open it with the lacus that wrote it, or a newer one"));
    }
    let stored: StoredUsers = serde_json::from_slice(text).map_err(|_| damaged("it is no list of users"))?;
    if stored.crc32 != checksum(&stored.content)? {
        return Err(damaged("its checksum does not match"));
    }
    Ok(stored.content)
}

fn checksum(content: &Content) -> Result<u32> {
    let text = serde_json::to_vec(content).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(&text))
}
