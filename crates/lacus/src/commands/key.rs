//! `lacus key …`: makes, shows and revokes the keys of senders and engines.

use axum::http::Method;
use lacus_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Cell};
use crate::cli::{CreateKey, Key};
use crate::door::Door;
use crate::run::Invocation;

/// A key, as `/v1/keys` answers it; its secret only when it is made. Not `Debug`: secrets are in no log.
#[derive(Serialize, Deserialize)]
struct Told {
    id: String,
    name: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_per_second: Option<u32>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Told>,
}

/// Runs one of the commands.
pub(crate) async fn run(command: Key, invocation: &Invocation) -> Result<()> {
    let door = Door::open(invocation).await?;
    let done = match command {
        Key::Create(key) => create(&door, key, invocation).await,
        Key::List => list(&door, invocation).await,
        Key::Revoke { id } => revoke(&door, &id, invocation).await,
    };
    door.close().await?;
    done
}

async fn create(door: &Door, key: CreateKey, invocation: &Invocation) -> Result<()> {
    let CreateKey { source, aws, lake, name, events_per_second } = key;
    let asked =
        json!({"name": name, "source": source, "aws": aws, "lake": lake, "events_per_second": events_per_second});
    let made: Told = door.call(Method::POST, "/v1/keys", Some(asked)).await?;
    if invocation.json {
        return invocation.terminal.say_json(&made);
    }
    let base = match door {
        Door::Server { base, .. } => base.clone(),
        Door::Folder { .. } => format!("http://{}", invocation.project()?.settings.server.http),
    };
    let here = reached_here(&base);
    invocation.terminal.say(&how_to_use(&made, &here))?;
    invocation.terminal.note("The secret is not shown again. Revoke the key with lacus key revoke.")?;
    if made.kind == "write" {
        invocation.terminal.note("The source takes Segment messages or plain events: what comes first decides.")?;
    }
    if made.kind == "lake" {
        invocation.terminal.note("The catalog asks every engine for a lake key now, on this machine, too.")?;
        if here != base {
            invocation.terminal.note("On another machine, write the name of this one in the addresses.")?;
        }
    }
    Ok(())
}

/// The address for clients on this machine: a server that listens on all addresses is at none of them.
fn reached_here(base: &str) -> String {
    base.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
}

fn how_to_use(key: &Told, base: &str) -> String {
    if let (Some(id), Some(secret)) = (&key.access_key_id, &key.secret_access_key) {
        if key.kind == "lake" {
            return format!(
                "access key id      {id}\nsecret access key  {secret}\n\npyiceberg  RestCatalog(\"lacus\", uri=\"{base}/iceberg\", credential=\"{id}:{secret}\")\nDuckDB     CREATE SECRET lacus (TYPE iceberg, CLIENT_ID '{id}', CLIENT_SECRET '{secret}', OAUTH2_SERVER_URI '{base}/iceberg/v1/oauth/tokens');\n           ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{base}/iceberg', SECRET lacus, DEFAULT_SCHEMA 'main');"
            );
        }
        return format!(
            "export AWS_ACCESS_KEY_ID={id}\nexport AWS_SECRET_ACCESS_KEY={secret}\nexport AWS_DEFAULT_REGION=us-east-1\nexport AWS_ENDPOINT_URL_KINESIS={base}\nexport AWS_ENDPOINT_URL_FIREHOSE={base}"
        );
    }
    let write_key = key.write_key.as_deref().unwrap_or_default();
    let source = key.source.as_deref().unwrap_or_default();
    format!(
        "write key   {write_key}\nsource      {source}\n\nSegment SDK  writeKey: {write_key}, host: {base}\nor HTTP      curl {base}/v1/events -H 'authorization: Bearer {write_key}' -d '{{\"event_name\":\"Search\"}}'"
    )
}

async fn list(door: &Door, invocation: &Invocation) -> Result<()> {
    let Keys { keys } = door.call(Method::GET, "/v1/keys", None).await?;
    if invocation.json {
        return keys.iter().try_for_each(|key| invocation.terminal.say_json(key));
    }
    if keys.is_empty() {
        return invocation.terminal.say("No keys yet. Make one with lacus key create.");
    }
    let columns = ["id", "kind", "source", "name", "events/s", "made"];
    let row = |key: &Told| {
        vec![
            Cell::Text(key.id.clone()),
            Cell::Text(key.kind.clone()),
            Cell::Text(key.source.clone().unwrap_or_default()),
            Cell::Text(key.name.clone()),
            key.events_per_second.map_or(Cell::Text(String::new()), |rate| Cell::count(rate.into())),
            Cell::time(&key.created_at),
        ]
    };
    let rows = keys.iter().map(row).collect();
    let table = Answer { columns: columns.map(str::to_owned).to_vec(), rows, ..Answer::default() };
    invocation.terminal.write(&table.draw(invocation.terminal.width()))
}

async fn revoke(door: &Door, id: &str, invocation: &Invocation) -> Result<()> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_id {
        return Err(Error::invalid(format!("\"{id}\" is no id of a key")).with_hint("lacus key list shows all"));
    }
    let revoked: Told = door.call(Method::DELETE, &format!("/v1/keys/{id}"), None).await?;
    if invocation.json {
        return invocation.terminal.say_json(&revoked);
    }
    invocation.terminal.say(&format!("Revoked {id}: requests with it are refused from now on."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_all_addresses() {
        assert_eq!(reached_here("http://0.0.0.0:8484"), "http://127.0.0.1:8484");
        assert_eq!(reached_here("http://[::]:8484"), "http://[::1]:8484");
        assert_eq!(reached_here("http://10.0.0.5:8484"), "http://10.0.0.5:8484");
    }
}
