//! `lacus init`: a folder becomes a project.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use lacus_core::{Context, Error, Kind, Result};
use serde_json::json;

use crate::project::SETTINGS_FILE;
use crate::run::Invocation;

const SETTINGS: &str = include_str!("init/lacus.toml");
const GITIGNORE: &str = "# The data of this project: the log, the lake and its catalog.\n.lacus/\n";

/// Writes `lacus.toml` and `.gitignore`; overwrites nothing.
pub(crate) fn run(dir: &Path, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    fs::create_dir_all(dir).context(format_args!("make the folder {}", dir.display()))?;
    let settings = dir.join(SETTINGS_FILE);
    if !write_new(&settings, SETTINGS)? {
        return Err(Error::new(Kind::Exists, format!("{} exists already", settings.display()))
            .with_hint("it is a project; serve it with lacus up"));
    }
    let gitignore = dir.join(".gitignore");
    let ignored = write_new(&gitignore, GITIGNORE)?;
    if invocation.json {
        return terminal.say(&json!({"project": dir, "settings": settings}).to_string());
    }
    terminal.say(&format!("Made {}: every setting is in it, with its default.", settings.display()))?;
    if !ignored {
        terminal.note(&format!("{} was there already: see that it has a line .lacus/", gitignore.display()))?;
    }
    terminal.say(&format!("Next: {}", invocation.in_folder(dir).command_line("up")))
}

/// Writes a file that is not there yet, all of it or nothing, and says whether it did.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<bool> {
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        created => created.context(format_args!("write {}", path.display()))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file would be there already when the user tries again. The first error counts.
        fs::remove_file(path).ok();
    }
    written.context(format_args!("write {}", path.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use lacus_core::{Settings, settings};

    use super::*;

    #[test]
    fn the_file_shows_every_setting_with_its_default() {
        let is_setting = |line: &&str| line.starts_with("#[") || line.contains(" = ") && !line.starts_with("# ");
        let shown: String = SETTINGS
            .lines()
            .filter(|line| line.starts_with('[') || is_setting(line))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        assert_eq!(Settings::load(SETTINGS, []).unwrap(), Settings::default());
        let shown: toml::Table = shown.parse().unwrap();
        // What has no default is shown with an example.
        let mut expected = Settings::default();
        let text = |text: &str| Some(text.to_owned());
        let clicks = settings::Source {
            partition_key: text("user_id"),
            id: text("event_id"),
            partitions: Some(1),
            schema: text("schemas/clicks.json"),
            tables: settings::TablesOf::ByEvent,
            event: text("event_name"),
            ..Default::default()
        };
        let webhook = settings::Webhook {
            header: "x-hub-signature-256".to_owned(),
            prefix: "sha256=".to_owned(),
            signed: text("{timestamp}.{body}"),
            timestamp_header: text("x-timestamp"),
            id_header: text("x-github-delivery"),
            ..Default::default()
        };
        let github = settings::Source { webhook: Some(webhook), ..Default::default() };
        expected.sources = [("clicks".to_owned(), clicks), ("github".to_owned(), github)].into();
        let clicks = settings::Table {
            partition: Some(vec!["day(_received_at)".parse().unwrap(), "country".parse().unwrap()]),
            sort: Some(vec!["user_id".parse().unwrap(), "_received_at desc".parse().unwrap()]),
            contract: settings::Contract::Evolve,
        };
        expected.tables = [("clicks".to_owned(), clicks)].into();
        expected.postgres.tls_certificate = text("tls/server.crt");
        expected.postgres.tls_key = text("tls/server.key");
        expected.lake.location = Some("s3://bucket/prefix".to_owned().try_into().unwrap());
        expected.lake.bucket = text("lake");
        expected.lake.address = text("https://lake.example.com");
        expected.lake.s3.endpoint = text("https://minio.internal:9000");
        expected.lake.s3.region = text("us-east-1");
        expected.lake.s3.access_key_id = text("AKIA0123456789ABCDEF");
        expected.lake.glue.database = text("lake");
        expected.lake.glue.region = text("eu-west-1");
        expected.lake.glue.endpoint = text("https://glue.eu-west-1.amazonaws.com");
        let mut expected = toml::Table::try_from(expected).unwrap();
        // A secret is not written, and of a source that is shown for its webhook the rest is not.
        let mut shown = shown;
        shown["sources"]["github"]["webhook"]["secret"] = "***".into();
        shown["lake"]["catalog"] = "***".into();
        shown["lake"]["s3"]["secret_access_key"] = "***".into();
        shown["lake"]["s3"]["session_token"] = "***".into();
        let github = expected["sources"]["github"].as_table_mut().unwrap();
        github.retain(|name, _| name == "webhook");
        assert_eq!(shown, expected);
    }
}
