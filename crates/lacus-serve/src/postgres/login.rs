//! Who the client is: SCRAM-SHA-256, bound to the TLS connection where there is one, or MD5 for users who have that.
//!
//! Who asks for a user that is not there goes through the same, and fails as one with a wrong password does. Nothing of a
//! session exists before this is over.

use std::fmt::Debug;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::SinkExt;
use lacus_core::random;
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::Authentication;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::postgres::errors::fatal;
use crate::postgres::socket::Wire;
use crate::users::scram::{Exchange, Failed, SCRAM, SCRAM_PLUS, Verifier};
use crate::users::throttle::Who;
use crate::users::{Known, Md5Hash, Users};

/// The longest message with a password, or a proof of one.
const ANSWER_BYTES_MAX: usize = 10_000;
/// The kind of those messages.
const ANSWER: u8 = b'p';
const NONCE_BYTES: usize = 18;
/// Characters of a name that are logged: as many as a user's name may have.
const NAME_CHARACTERS_TOLD: usize = 63;

/// Lets the client in as `user`, if it proves that it has the password. `endpoint` is what it may bind its proof to.
///
/// # Errors
/// Why it is not let in, as it is told.
pub(crate) async fn log_in<S>(
    socket: &mut Wire<S>,
    users: &Users,
    user: &str,
    from: IpAddr,
    endpoint: Option<&[u8]>,
) -> PgWireResult<()> {
    if user.is_empty() {
        return Err(fatal("28000", "no PostgreSQL user name specified in startup packet", None));
    }
    let (known, is_there) = users.known_of(user);
    let login = Login { users, user, from, who: Who::new(from, user) };
    let is_proved = match known {
        Known::Scram(verifier) => login.by_scram(socket, verifier, endpoint).await?,
        Known::Md5(hash) => login.by_md5(socket, &hash).await?,
    };
    if is_proved && is_there {
        users.throttle.refund(&login.who);
        return Ok(());
    }
    login.tell(if is_there { "a wrong password" } else { "there is no such user" });
    Err(fatal("28P01", &format!("password authentication failed for user \"{user}\""), None))
}

struct Login<'a> {
    users: &'a Users,
    user: &'a str,
    from: IpAddr,
    who: Who,
}

impl Login<'_> {
    async fn by_scram<S>(
        &self,
        socket: &mut Wire<S>,
        verifier: Verifier,
        endpoint: Option<&[u8]>,
    ) -> PgWireResult<bool> {
        let plus = endpoint.map(|_| SCRAM_PLUS.to_owned());
        ask(socket, Authentication::SASL(plus.into_iter().chain([SCRAM.to_owned()]).collect())).await?;
        let answer = read_answer(socket).await?;
        let (mechanism, first) = initial(&answer).ok_or_else(|| broken("malformed SCRAM message"))?;
        let nonce = BASE64.encode(random::<NONCE_BYTES>().map_err(unable)?);
        let exchange = Exchange::begin(verifier, mechanism, first, endpoint, &nonce);
        let exchange = exchange.map_err(|failed| self.failed(failed))?;
        ask(socket, Authentication::SASLContinue(exchange.challenge().to_owned().into())).await?;
        let last = read_answer(socket).await?;
        self.users.throttle.admit(&self.who).await;
        match exchange.prove(&last) {
            Ok(ours) => {
                socket.feed(PgWireBackendMessage::Authentication(Authentication::SASLFinal(ours.into()))).await?;
                Ok(true)
            }
            Err(Failed::Proof) => Ok(false),
            Err(failed) => Err(self.failed(failed)),
        }
    }

    async fn by_md5<S>(&self, socket: &mut Wire<S>, hash: &Md5Hash) -> PgWireResult<bool> {
        let salt = random().map_err(unable)?;
        ask(socket, Authentication::MD5Password(salt.to_vec())).await?;
        let answer = read_answer(socket).await?;
        self.users.throttle.admit(&self.who).await;
        Ok(hash.is_answered_by(answer.strip_suffix(b"\0").unwrap_or(&answer), salt))
    }

    /// The error of a failed exchange.
    fn failed(&self, failed: Failed) -> PgWireError {
        if failed == Failed::Binding {
            self.tell("the channel binding does not fit");
        }
        refused(failed)
    }

    /// Logs who was not let in, and why.
    fn tell(&self, reason: &str) {
        let Some(untold) = self.users.refusals.count(Instant::now()) else { return };
        if untold > 0 {
            tracing::info!(untold, "more were refused to log in than the log has");
        }
        let user: String = self.user.chars().take(NAME_CHARACTERS_TOLD).collect();
        tracing::info!(user, from = %self.from, reason, "refused to log in");
    }
}

async fn ask<S>(socket: &mut Wire<S>, asked: Authentication) -> PgWireResult<()> {
    Ok(socket.send(PgWireBackendMessage::Authentication(asked)).await?)
}

/// Reads the client's answer: no byte beyond it, and no other message.
async fn read_answer<S>(socket: &mut Wire<S>) -> PgWireResult<Vec<u8>> {
    let socket = socket.get_mut();
    let mut head = [0; 5];
    socket.read_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let body = bytes.checked_sub(length.len()).filter(|body| kind == ANSWER && *body <= ANSWER_BYTES_MAX);
    let mut answer = vec![0; body.ok_or_else(|| broken("expected an answer to the authentication request"))?];
    socket.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The mechanism and the message in a client's first answer.
fn initial(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.iter().position(|byte| *byte == 0)?;
    let mechanism = std::str::from_utf8(&answer[..end]).ok()?;
    let (length, message) = answer[end + 1..].split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (message.len() == length).then_some((mechanism, message))
}

fn broken(what: &str) -> PgWireError {
    fatal("08P01", what, None)
}

fn refused(failed: Failed) -> PgWireError {
    match failed {
        Failed::Malformed(what) => broken(&format!("malformed SCRAM message: {what}")),
        Failed::Binding => fatal(
            "28000",
            "SCRAM channel binding check failed",
            Some("somebody may be between client and server, or the client has another certificate than the server"),
        ),
        Failed::Proof => broken("the proof does not fit"),
    }
}

fn unable(error: impl Debug) -> PgWireError {
    tracing::error!(?error, "nobody can log in");
    fatal("57P03", "the server can't check passwords now", None)
}
