//! Engines that show who they are: with a lake key they get a token for the catalog, and keys for the files of one table.
//!
//! Nothing of what is handed out is kept. A token says whose it is and until when, and is signed with the secret of the
//! lake key; the secret of a lent key is made of its id in the same way. So all of it ends when its time is over, or when the
//! lake key is revoked, and holds when the server is started anew.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use lacus_core::{Clock, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long a token, or a lent key, is valid.
pub(crate) const LENT_SECONDS: u32 = 12 * 60 * 60;
/// What a token begins with.
const TOKEN: &str = "lake-token";
/// The prefix of lent keys' ids. No id of a lake key has it.
const LENT: &str = "LENT";

/// Returns the secret of the lake key with an id.
type SecretOf = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The lake keys of a project, wherever they are kept.
pub struct Engines {
    secret_of: SecretOf,
    are_there: Box<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
}

/// A temporary key for the files of one table.
pub(crate) struct Lent {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) ends_at: Timestamp,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    Unknown,
    Ended,
}

impl Engines {
    /// `secret_of` returns the secret of the lake key with an id; `are_there` tells whether there are any lake keys.
    #[must_use]
    pub fn new(
        secret_of: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        are_there: impl Fn() -> bool + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { secret_of: Box::new(secret_of), are_there: Box::new(are_there), clock }
    }

    /// Whether there is any lake key.
    pub(crate) fn are_there(&self) -> bool {
        (self.are_there)()
    }

    /// Whether this is a lake key and its secret.
    pub(crate) fn is_key(&self, id: &str, secret: &str) -> bool {
        (self.secret_of)(id).is_some_and(|own| own.as_bytes().ct_eq(secret.as_bytes()).into())
    }

    /// A token for the holder of a lake key.
    pub(crate) fn token(&self, id: &str) -> Option<String> {
        let said = format!("{TOKEN}.{id}.{}", self.end().as_micros());
        Some(format!("{said}.{}", sign(&(self.secret_of)(id)?, &said)))
    }

    /// The holder of a token; none if it is not valid.
    pub(crate) fn holder(&self, token: &str) -> Option<String> {
        let (said, signature) = token.rsplit_once('.')?;
        let (id, end) = said.strip_prefix(TOKEN)?.strip_prefix('.')?.split_once('.')?;
        let signed = sign(&(self.secret_of)(id)?, said);
        let is_good = bool::from(signed.as_bytes().ct_eq(signature.as_bytes())) && !self.is_over(end)?;
        is_good.then(|| id.to_owned())
    }

    /// A key for the files below `folder`, for the holder of a lake key.
    pub(crate) fn lend(&self, id: &str, folder: &str) -> Option<Lent> {
        let ends_at = self.end();
        let access_key_id = format!("{LENT}.{id}.{}.{}", ends_at.as_micros(), BASE64.encode(folder));
        let secret_access_key = sign(&(self.secret_of)(id)?, &access_key_id);
        Some(Lent { access_key_id, secret_access_key, ends_at })
    }

    /// The secret of a lake key, or of one that was lent.
    pub(crate) fn secret(&self, access_key_id: &str) -> Result<String, Locked> {
        let Some(lent) = lent(access_key_id) else {
            return (self.secret_of)(access_key_id).ok_or(Locked::Unknown);
        };
        let (id, end, _) = lent.ok_or(Locked::Unknown)?;
        let secret = (self.secret_of)(id).ok_or(Locked::Unknown)?;
        match self.is_over(end) {
            None => Err(Locked::Unknown),
            Some(true) => Err(Locked::Ended),
            Some(false) => Ok(sign(&secret, access_key_id)),
        }
    }

    fn end(&self) -> Timestamp {
        self.clock.now().plus_ms(u64::from(LENT_SECONDS) * 1_000)
    }

    fn is_over(&self, end: &str) -> Option<bool> {
        let end: i64 = end.parse().ok()?;
        Some(self.clock.now() >= Timestamp::from_micros(end))
    }
}

/// The folder whose files a key is for; none for a lake key, which is for all. A malformed id is for no folder: such a key
/// has no secret.
pub(crate) fn folder_of(access_key_id: &str) -> Option<String> {
    let (_, _, folder) = lent(access_key_id)?.unwrap_or_default();
    let folder = BASE64.decode(folder).ok().and_then(|folder| String::from_utf8(folder).ok());
    Some(folder.unwrap_or_default())
}

/// The parts of a lent key's id: lake key, end, folder. None if it is no lent key, `Some(None)` if it is malformed.
fn lent(access_key_id: &str) -> Option<Option<(&str, &str, &str)>> {
    let parts = access_key_id.strip_prefix(LENT)?.strip_prefix('.')?;
    let mut parts = parts.splitn(3, '.');
    Some(parts.next().zip(parts.next()).zip(parts.next()).map(|((id, end), folder)| (id, end, folder)))
}

fn sign(secret: &str, said: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    hmac.update(said.as_bytes());
    BASE64.encode(hmac.finalize().into_bytes())
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engines(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct SetClock(Mutex<Timestamp>);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    fn engines() -> (Engines, Arc<SetClock>) {
        let clock = Arc::new(SetClock(Mutex::new(Timestamp::from_micros(1_000_000))));
        let keys = |id: &str| (id == "LACUONE").then(|| "correct horse".to_owned());
        (Engines::new(keys, || true, Arc::clone(&clock) as _), clock)
    }

    fn later(clock: &SetClock) {
        let mut now = clock.0.lock().unwrap();
        *now = now.plus_ms(u64::from(LENT_SECONDS) * 1_000);
    }

    #[test]
    fn a_token_is_good_for_its_holder_and_its_time() {
        let (engines, clock) = engines();
        assert!(engines.is_key("LACUONE", "correct horse"));
        assert!(!engines.is_key("LACUONE", "correct hors") && !engines.is_key("LACUTWO", "correct horse"));
        let token = engines.token("LACUONE").unwrap();
        assert!(!token.contains("horse") && engines.token("LACUTWO").is_none());
        assert_eq!(engines.holder(&token).as_deref(), Some("LACUONE"));
        let longer = token.replacen(".43201000000.", ".99943201000000.", 1);
        assert_ne!(longer, token);
        for wrong in ["", "anybody", "lake-token", "lake-token..", &token[1..], &token[..token.len() - 1], &longer] {
            assert_eq!(engines.holder(wrong), None, "{wrong}");
        }
        later(&clock);
        assert_eq!(engines.holder(&token), None);
    }

    #[test]
    fn a_lent_key_is_for_one_folder_and_a_while() {
        let (engines, clock) = engines();
        let lent = engines.lend("LACUONE", "shop/orders").unwrap();
        assert_eq!(engines.secret(&lent.access_key_id).unwrap(), lent.secret_access_key);
        assert_eq!(folder_of(&lent.access_key_id).as_deref(), Some("shop/orders"));
        assert_eq!((folder_of("LACUONE"), engines.secret("LACUONE").as_deref()), (None, Ok("correct horse")));
        let other = lent.access_key_id.replace(&BASE64.encode("shop/orders"), &BASE64.encode("main/clicks"));
        assert_ne!(engines.secret(&other).unwrap(), lent.secret_access_key);
        for wrong in ["LENT", "LENT.", "LENT.LACUONE", "LENT.LACUONE.x.x", "LENT.LACUTWO.99999999999999.x"] {
            assert_eq!(engines.secret(wrong), Err(Locked::Unknown), "{wrong}");
        }
        // A token opens no file, and a lent key no catalog.
        assert_eq!(engines.holder(&format!("{}.{}", lent.access_key_id, lent.secret_access_key)), None);
        assert_eq!(engines.secret(&engines.token("LACUONE").unwrap()), Err(Locked::Unknown));
        later(&clock);
        assert_eq!(engines.secret(&lent.access_key_id), Err(Locked::Ended));
    }
}
