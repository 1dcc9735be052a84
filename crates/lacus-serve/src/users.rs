//! The users: who may ask over the Postgres protocol.
//!
//! They live in `.lacus/users.json`, replaced whole with each change, and a change is known to the next who connects. Of a
//! password there is what PostgreSQL would store (see `password`), never itself. What a session's statements may take, its
//! user's limits say from its beginning to its end. Who asks for a user that is not there can't tell: the exchange is as
//! that of one of the users, with a salt made of a secret.

mod limits;
mod password;
mod refusals;
pub(crate) mod scram;
mod store;
pub(crate) mod throttle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lacus_core::{Clock, Error, Kind, Result, StatementLimits, Timestamp, random};

use self::password::Shape;
use self::refusals::Refusals;
use self::store::{Store, StoredUser};
use self::throttle::Throttle;

pub use self::limits::{Change, LimitChanges};
pub(crate) use self::password::{Known, Md5Hash};

/// The most users of a project.
pub const USERS_MAX: usize = 1000;
/// The longest name in bytes, as in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;
/// The randomness of a generated password: 24 letters.
const PASSWORD_RANDOM_BYTES: usize = 18;

/// A user as others may see it: without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The name.
    pub name: String,
    /// Whether the password is requested by MD5, for clients that know nothing else.
    pub md5: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// The limits of the user's statements.
    pub limits: StatementLimits,
}

/// A password for a user.
#[derive(Clone)]
pub struct NewPassword {
    /// The password, or the verifier that a PostgreSQL stores of one. None: a password is generated.
    pub password: Option<String>,
    /// Whether its MD5 hash is stored, for clients that know nothing else. None: as for the password before, and not for a
    /// new user.
    pub md5: Option<bool>,
}

/// A user whose password was just set.
pub struct Changed {
    /// The user.
    pub info: UserInfo,
    /// The generated password: this is the only time that it is shown.
    pub made_password: Option<String>,
}

/// All users of a project.
pub struct Users {
    store: Mutex<Store>,
    known: RwLock<BTreeMap<String, (UserInfo, Known)>>,
    secret: Vec<u8>,
    clock: Arc<dyn Clock>,
    pub(crate) throttle: Throttle,
    pub(crate) refusals: Refusals,
}

impl Users {
    /// Opens the users in `directory` (`.lacus`).
    ///
    /// # Errors
    /// If the file can't be read, or is damaged.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(directory)?;
        let known = RwLock::new(known(store.users())?);
        let secret = store.secret().to_vec();
        let (throttle, refusals) = (Throttle::default(), Refusals::default());
        Ok(Self { store: Mutex::new(store), known, secret, clock, throttle, refusals })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All users, by name.
    #[must_use]
    pub fn list(&self) -> Vec<UserInfo> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|(info, _)| info.clone()).collect()
    }

    /// Makes a user, durably. Blocks on the disk.
    ///
    /// # Errors
    /// `Invalid` for an impossible name, password or limit, `Exists`, `Limited` for more than [`USERS_MAX`] users, or if it
    /// can't be written.
    pub fn create(&self, name: &str, new: &NewPassword, limits: StatementLimits) -> Result<Changed> {
        check_name(name)?;
        limits.check()?;
        let created_at = self.clock.now().as_micros();
        self.set_password_of(name, new, |users| {
            if users.iter().any(|user| user.name == name) {
                let exists = Error::new(Kind::Exists, format!("user \"{name}\" exists already"));
                return Err(exists.with_hint("lacus user password gives a user another password"));
            }
            if users.len() >= USERS_MAX {
                return Err(Error::new(Kind::Limited, format!("there are {USERS_MAX} users already"))
                    .with_hint("drop some that are not used any more"));
            }
            users.push(StoredUser { name: name.to_owned(), created_at, password: String::new(), limits });
            Ok(())
        })
    }

    /// Changes the password of a user, durably. Sessions that have begun go on. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for no user, `Invalid` for an impossible password, or if it can't be written.
    pub fn set_password(&self, name: &str, new: &NewPassword) -> Result<Changed> {
        self.set_password_of(name, new, |users| {
            if users.iter().any(|user| user.name == name) { Ok(()) } else { Err(not_found(name)) }
        })
    }

    /// Changes the limits of a user, durably. Sessions that have begun keep the old ones. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for no user, `Invalid` for an impossible limit, or if it can't be written.
    pub fn set_limits(&self, name: &str, changes: &LimitChanges) -> Result<UserInfo> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut users = store.users().to_vec();
        let user = users.iter_mut().find(|user| user.name == name).ok_or_else(|| not_found(name))?;
        user.limits = changes.apply(user.limits);
        user.limits.check()?;
        self.replace(&mut store, users)?;
        Ok(self.list().into_iter().find(|user| user.name == name).expect("found above"))
    }

    /// The limits of a user's statements; none for unknown users.
    pub(crate) fn limits_of(&self, name: &str) -> StatementLimits {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).map(|(user, _)| user.limits).unwrap_or_default()
    }

    /// Removes a user, durably. Sessions that have begun go on. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for no user, or if it can't be written: then the user is there while lacus runs, and after that, too, unless
    /// the file was replaced and only its name could not be synced.
    pub fn remove(&self, name: &str) -> Result<UserInfo> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.list().into_iter().find(|user| user.name == name).ok_or_else(|| not_found(name))?;
        let users = store.users().iter().filter(|user| user.name != name).cloned().collect();
        self.replace(&mut store, users)?;
        Ok(found)
    }

    /// The stored form of a user's password. For an unknown user it is made up, and matches no password.
    pub(crate) fn known_of(&self, name: &str) -> (Known, bool) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Computed for existing users, too, so that both take the same time.
        let shapes: BTreeSet<Shape> = known.values().map(|(_, password)| password.shape()).collect();
        let mock = Known::mock(&self.secret, name, &shapes);
        match known.get(name) {
            Some((_, password)) => (password.clone(), true),
            None => (mock, false),
        }
    }

    /// Where the time is taken from.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn keeps_md5(&self, name: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).is_some_and(|(user, _)| user.md5)
    }

    fn set_password_of(
        &self,
        name: &str,
        new: &NewPassword,
        find_or_make: impl FnOnce(&mut Vec<StoredUser>) -> Result<()>,
    ) -> Result<Changed> {
        let made_password = if new.password.is_none() { Some(make_password()?) } else { None };
        let given = new.password.as_ref().or(made_password.as_ref()).expect("given, or made above");
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let password = password::stored(name, given, new.md5.unwrap_or_else(|| self.keeps_md5(name)))?;
        let mut users = store.users().to_vec();
        find_or_make(&mut users)?;
        for user in users.iter_mut().filter(|user| user.name == name) {
            user.password.clone_from(&password);
        }
        self.replace(&mut store, users)?;
        let info = self.list().into_iter().find(|user| user.name == name).expect("found or made above");
        Ok(Changed { info, made_password })
    }

    fn replace(&self, store: &mut Store, users: Vec<StoredUser>) -> Result<()> {
        let changed = known(&users)?;
        store.replace(users)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok(())
    }
}

fn known(users: &[StoredUser]) -> Result<BTreeMap<String, (UserInfo, Known)>> {
    let known = |user: &StoredUser| {
        let password = Known::parse(&user.password).ok_or_else(|| {
            Error::corrupt(format!("what is stored of the password of user \"{}\" is none", user.name))
        })?;
        let created_at = Timestamp::from_micros(user.created_at);
        let limits = user.limits;
        let info = UserInfo { name: user.name.clone(), md5: password.is_md5(), created_at, limits };
        Ok((user.name.clone(), (info, password)))
    };
    users.iter().map(known).collect()
}

fn check_name(name: &str) -> Result<()> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
    let is_known = name.bytes().all(|byte| is_letter(byte) || b"_-.@".contains(&byte));
    if name.len() <= NAME_BYTES_MAX && is_known && name.bytes().any(is_letter) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Error::invalid(format!("\"{}\" is no name of a user", shown.escape_debug()))
        .with_hint(format!("letters and digits, with _ - . @ among them, {NAME_BYTES_MAX} at most")))
}

fn not_found(name: &str) -> Error {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Error::not_found(format!("there is no user \"{}\"", shown.escape_debug())).with_hint("lacus user list shows all")
}

fn make_password() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<PASSWORD_RANDOM_BYTES>()?))
}

#[cfg(test)]
mod tests;
