//! `lacus user …`: makes, shows, limits and drops the users who ask over the Postgres protocol.

use std::io::{IsTerminal, Read};

use axum::http::Method;
use lacus_core::settings::{Passwords, Settings};
use lacus_core::{Context, Error, Result, StatementLimits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Cell, to_the_second};
use crate::cli::{AnotherPassword, Limits, LimitsOf, NewUser, User};
use crate::door::Door;
use crate::run::Invocation;

/// The most bytes of stdin that are read for a password.
const STDIN_BYTES_MAX: u64 = 4096;
const NOBODY_IS_ASKED: &str = "Nobody is asked for a password: [postgres] passwords = \"never\".";

/// A user, as `/v1/users` answers it; the password only when it was generated. Not `Debug`: passwords are in no log.
#[derive(Serialize, Deserialize)]
struct Told {
    name: String,
    method: String,
    created_at: String,
    limits: StatementLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<Told>,
}

/// Runs one of the commands.
pub(crate) async fn run(command: User, invocation: &Invocation) -> Result<()> {
    // Before the project is opened: reading stdin may take long.
    let given = match &command {
        User::Create(NewUser { user, .. }) | User::Password(AnotherPassword { user, .. }) if user.password_stdin => {
            Some(read_password()?)
        }
        _ => None,
    };
    let door = Door::open(invocation).await?;
    let done = match command {
        User::Create(new) => create(&door, &new, given, invocation).await,
        User::List => list(&door, invocation).await,
        User::Password(another) => set_password(&door, &another, given, invocation).await,
        User::Limit(changed) => set_limits(&door, &changed, invocation).await,
        User::Drop { name } => drop_user(&door, &name, invocation).await,
    };
    door.close().await?;
    done
}

async fn create(door: &Door, new: &NewUser, given: Option<String>, invocation: &Invocation) -> Result<()> {
    let NewUser { user, limits } = new;
    let asked = json!({"name": user.name, "password": given, "md5": user.md5, "limits": told(limits)});
    let made: Told = door.call(Method::POST, "/v1/users", Some(asked)).await?;
    if invocation.json {
        return invocation.terminal.say_json(&made);
    }
    say_password(&made, invocation)?;
    let Users { users } = door.call(Method::GET, "/v1/users", None).await?;
    if users.len() > 1 {
        return Ok(());
    }
    invocation.terminal.note(&first(&invocation.project()?.settings))
}

/// What changes with the first user.
fn first(settings: &Settings) -> String {
    let address = settings.server.postgres;
    match settings.postgres.passwords {
        Passwords::Never => format!("This is the first user. {NOBODY_IS_ASKED}"),
        Passwords::Auto if settings.server.is_only_here(address) => {
            "This is the first user: from now on the Postgres protocol asks for a password.".to_owned()
        }
        Passwords::Auto | Passwords::Always => {
            format!("This is the first user: without one nobody can ask over the Postgres protocol at {address}.")
        }
    }
}

/// What changes when the last user is gone.
fn last(settings: &Settings) -> String {
    let address = settings.server.postgres;
    match settings.postgres.passwords {
        Passwords::Never => format!("It was the last user. {NOBODY_IS_ASKED}"),
        Passwords::Auto if settings.server.is_only_here(address) => {
            "It was the last user: everybody on this machine may ask without a password again.".to_owned()
        }
        Passwords::Auto => format!(
            "It was the last user: nobody can ask over the Postgres protocol at {address} now, and lacus does not start there until there is another."
        ),
        Passwords::Always => {
            "It was the last user: nobody can ask over the Postgres protocol until there is another.".to_owned()
        }
    }
}

async fn set_password(
    door: &Door,
    another: &AnotherPassword,
    given: Option<String>,
    invocation: &Invocation,
) -> Result<()> {
    let is_told = another.user.md5 || another.scram;
    let asked = json!({"password": given, "md5": is_told.then_some(another.user.md5)});
    let path = format!("{}/password", path(&another.user.name)?);
    let set: Told = door.call(Method::POST, &path, Some(asked)).await?;
    if invocation.json {
        return invocation.terminal.say_json(&set);
    }
    say_password(&set, invocation)?;
    let as_before = if is_told { "" } else { ", as before" };
    invocation.terminal.note(&format!(
        "It is asked for by {}{as_before}. The password before is not good any more. Sessions that have begun go on.",
        set.method
    ))
}

async fn set_limits(door: &Door, changed: &LimitsOf, invocation: &Invocation) -> Result<()> {
    let path = format!("{}/limits", path(&changed.name)?);
    let user: Told = door.call(Method::POST, &path, Some(told(&changed.limits))).await?;
    if invocation.json {
        return invocation.terminal.say_json(&user);
    }
    let limits = user.limits.to_string();
    let limits = if limits.is_empty() { "what [query] in lacus.toml says" } else { limits.as_str() };
    invocation.terminal.say(&format!("A statement of {} may take: {limits}.", user.name))?;
    invocation
        .terminal
        .note("It holds for sessions that begin now. Those that have begun keep the limits that they had.")
}

/// The limits that are given, as `/v1/users` takes them.
fn told(limits: &Limits) -> Value {
    let Limits { scan_max, rows_max, time_max, memory_max } = limits;
    let all = [
        ("scan_max", scan_max.map(|told| json!(told.0))),
        ("rows_max", rows_max.map(|told| json!(told.0))),
        ("time_max", time_max.map(|told| json!(told.0))),
        ("memory_max", memory_max.map(|told| json!(told.0))),
    ];
    let told = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(told.collect::<Map<_, _>>())
}

/// How to use a password that was made, and what else was done.
fn say_password(user: &Told, invocation: &Invocation) -> Result<()> {
    let name = &user.name;
    let terminal = invocation.terminal;
    let Some(password) = &user.password else {
        return terminal.say(&format!("User {name} has this password now."));
    };
    let postgres = invocation.project()?.settings.server.postgres;
    let (ip, port) = (postgres.ip(), postgres.port());
    terminal.say(&format!(
        "user      {name}\npassword  {password}\n\npsql      PGPASSWORD={password} psql -h {ip} -p {port} -U {name} lake"
    ))?;
    terminal.note("The password is not shown again. lacus user password makes another.")
}

async fn list(door: &Door, invocation: &Invocation) -> Result<()> {
    let Users { users } = door.call(Method::GET, "/v1/users", None).await?;
    if invocation.json {
        return users.iter().try_for_each(|user| invocation.terminal.say_json(user));
    }
    if users.is_empty() {
        return invocation.terminal.say("No users yet. Make one with lacus user create.");
    }
    let row = |user: &Told| {
        let made = to_the_second(&user.created_at);
        [user.name.clone(), user.method.clone(), made, user.limits.to_string()].map(Cell::Text).to_vec()
    };
    let columns = ["name", "password", "made", "limits"].map(str::to_owned).to_vec();
    let table = Answer { columns, rows: users.iter().map(row).collect(), ..Answer::default() };
    invocation.terminal.write(&table.draw(invocation.terminal.width()))
}

async fn drop_user(door: &Door, name: &str, invocation: &Invocation) -> Result<()> {
    let dropped: Told = door.call(Method::DELETE, &path(name)?, None).await?;
    if invocation.json {
        return invocation.terminal.say_json(&dropped);
    }
    invocation.terminal.say(&format!("Dropped {name}. Sessions that have begun go on."))?;
    let Users { users } = door.call(Method::GET, "/v1/users", None).await?;
    if !users.is_empty() {
        return Ok(());
    }
    invocation.terminal.note(&last(&invocation.project()?.settings))
}

fn path(name: &str) -> Result<String> {
    let is_known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte));
    if is_known && name.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(format!("/v1/users/{name}"));
    }
    Err(Error::invalid(format!("\"{name}\" is no name of a user")).with_hint("lacus user list shows all"))
}

/// The first line of stdin.
fn read_password() -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::invalid("stdin is a terminal, which would show the password while it is typed").with_hint(
            "leave out --password-stdin to have one made; or: read -rs P && echo \"$P\" | lacus user create NAME --password-stdin",
        ));
    }
    let mut text = String::new();
    stdin.take(STDIN_BYTES_MAX).read_to_string(&mut text).context("read the password from stdin")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Error::invalid("there is no password on stdin").with_hint("write it in its first line"));
    }
    Ok(line.to_owned())
}
