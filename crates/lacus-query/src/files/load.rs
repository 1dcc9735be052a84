//! `COPY table FROM 'location'`: files, or what a client sent, as rows of a table, in one commit.
//!
//! They are read piece by piece on a thread that may wait for them, and go to the lake as the rows of an `INSERT` do. The
//! first line that does not fit ends it, and nothing has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::sql::sqlparser::tokenizer::Token;
use lacus_core::{Kind, TableName};
use lacus_lake::schema::{OFFSET, PARTITION, RECEIVED_AT, RESCUED};
use lacus_lake::{Compression, OUTSIDE_FILES_MAX, OutsideFile, Piece, Table, TableSchema, TableState, Target};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::columns::Columns;
use super::options::{Advice, FORMS, Form, How, Quotes, TextForm, character, switch, take_access};
use super::refused;
use super::source::{Input, Outlet, read_input};
use super::words::Words;
use super::writer::of_lake;
use crate::answer::Answer;
use crate::error::SqlError;
use crate::session::Session;
use crate::stated_name::StatedName;
use crate::writing::{Limits, of_write, table_to_write};

/// Pieces that wait for the lake.
const PIECES_AHEAD: usize = 2;
/// How often to read the files again when the table changed meanwhile.
const TRIES_MAX: u32 = 3;
/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// What is said of what does not fit.
const ADVICE: Advice = Advice {
    value: "nothing was loaded",
    fields: "check DELIMITER and IGNOREHEADER, or name the columns: COPY t (a, b) FROM …",
};

/// Where the rows of a statement come from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// Files whose path begins so.
    Files(String),
    /// The client, over the Postgres port: `STDIN`.
    Client,
}

/// A statement that reads files into a table.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) table: StatedName,
    /// The columns that the files have, if the statement names them.
    pub(super) columns: Option<Vec<String>>,
    pub(super) origin: Origin,
    pub(super) how: How,
    manifest: bool,
}

impl Load {
    /// Reads what follows `COPY`.
    ///
    /// # Errors
    /// For what is wrong with it.
    pub(super) fn read(words: &mut Words<'_>) -> Result<Self, SqlError> {
        let table = words.table()?;
        let columns = if words.take("FROM") {
            None
        } else {
            let columns = words.names()?;
            words.must("FROM")?;
            Some(columns)
        };
        let origin = if words.take("STDIN") { Origin::Client } else { Origin::Files(words.text()?) };
        let form = Form::Text(TextForm { null: "\\N".to_owned(), ..TextForm::delimited() });
        let mut load = Self { table, columns, origin, how: How::new(form, ADVICE), manifest: false };
        let said = load.read_options(words)?;
        load.apply(&said)?;
        Ok(load)
    }

    fn is_from_client(&self) -> bool {
        matches!(self.origin, Origin::Client)
    }

    fn read_options(&mut self, words: &mut Words<'_>) -> Result<Said, SqlError> {
        let mut said = Said::default();
        let is_from_client = self.is_from_client();
        words.take("WITH");
        let in_parentheses = words.symbol(&Token::LParen);
        loop {
            if take_access(words)? || in_parentheses && words.symbol(&Token::Comma) {
                continue;
            }
            if is_from_client && take_postgres(words, &mut said)? {
                continue;
            }
            if words.take("FORMAT") {
                words.take("AS");
                said.form = Some(words.one_of(&FORMS).ok_or_else(|| words.expected("CSV, JSON or PARQUET"))?);
                must_be_auto(&said, words)?;
            } else if let Some(form) = words.one_of(&FORMS) {
                said.form = Some(form);
                must_be_auto(&said, words)?;
            } else if words.take("QUOTE") {
                said.quote = Some(character(&words.text_as()?)?);
            } else if words.take("DELIMITER") {
                said.delimiter = Some(character(&words.text_as()?)?);
            } else if words.take("NULL") {
                said.null = Some(words.text_as()?);
            } else if words.take("IGNOREHEADER") {
                words.take("AS");
                self.how.lines_ignored = words.number()? as u64;
            } else if words.take("HEADER") {
                self.how.lines_ignored = u64::from(switch(words));
            } else if words.take("MAXERROR") {
                words.take("AS");
                if words.number()? > 0.0 {
                    return Err(refused("MAXERROR", "COPY loads all rows or none: correct the line that it names"));
                }
            } else if words.one_of(&["COMPUPDATE", "STATUPDATE"]).is_some() {
                words.take("PRESET");
                switch(words);
            } else if words.one_of(&["DATEFORMAT", "TIMEFORMAT"]).is_some() {
                let format = words.text_as()?;
                if !["auto", "yyyy-mm-dd", "yyyy-mm-dd hh:mi:ss"].contains(&format.to_lowercase().as_str()) {
                    return Err(refused(
                        &format!("the format '{format}'"),
                        "dates and times are as in 2026-11-21 10:00:00",
                    ));
                }
            } else if words.take("ENCODING") {
                let encoding = words.text_if_any().or_else(|| {
                    words.take("AS");
                    words.text_if_any()
                });
                words.one_of(&["UTF8"]);
                if encoding.is_some_and(|encoding| !encoding.to_lowercase().replace('-', "").eq("utf8")) {
                    return Err(refused("another ENCODING", "files are UTF-8"));
                }
            } else if let Some(flag) = words.one_of(&FLAGS) {
                said.flags.push(flag);
            } else {
                break;
            }
        }
        if in_parentheses {
            words.must_symbol(&Token::RParen)?;
        }
        Ok(said)
    }

    fn apply(&mut self, said: &Said) -> Result<(), SqlError> {
        let has = |flag: &str| said.flags.contains(&flag);
        if has("BZIP2") || has("LZOP") {
            return Err(refused("this compression", "GZIP and ZSTD"));
        }
        let text = said.delimiter.is_some() || said.null.is_some() || has("ESCAPE") || has("REMOVEQUOTES");
        let form = said.form.unwrap_or("text");
        if text && matches!(form, "JSON" | "PARQUET") {
            return Err(SqlError::invalid("42601", format!("{form} can't be used with options for text")));
        }
        if form == "CSV" && (has("ESCAPE") || has("REMOVEQUOTES")) {
            return Err(SqlError::invalid("42601", "CSV can't be used with ESCAPE or REMOVEQUOTES"));
        }
        if self.is_from_client() {
            self.must_be_for_client(said)?;
        }
        self.how.form = match form {
            "JSON" => Form::Json,
            "PARQUET" => Form::Parquet,
            "BINARY" => Form::Binary,
            _ => {
                let mut text = self.usual(form);
                text.delimiter = said.delimiter.unwrap_or(text.delimiter);
                text.quote = said.quote.unwrap_or(text.quote);
                text.null = said.null.clone().unwrap_or(text.null);
                text.escape |= has("ESCAPE");
                if has("REMOVEQUOTES") {
                    text.quotes = Quotes::Each;
                }
                Form::Text(text)
            }
        };
        self.how.compression = match (has("GZIP"), has("ZSTD")) {
            (true, _) => Some(Compression::Gzip),
            (_, true) => Some(Compression::Zstd),
            _ => None,
        };
        self.how.empty_is_null = has("EMPTYASNULL");
        self.how.blank_is_null = has("BLANKSASNULL");
        self.how.blank_lines_ignored = has("IGNOREBLANKLINES");
        self.how.fills_records = has("FILLRECORD");
        self.manifest = has("MANIFEST");
        Ok(())
    }
}

impl Load {
    /// The text form if no option says otherwise.
    fn usual(&self, form: &str) -> TextForm {
        match (self.is_from_client(), form) {
            (true, "CSV") => TextForm::csv(),
            (true, _) => TextForm::postgres(),
            (false, "CSV") => TextForm { null: "\\N".to_owned(), ..TextForm::csv() },
            (false, _) => TextForm { null: "\\N".to_owned(), ..TextForm::delimited() },
        }
    }

    /// Refuses what only files can be.
    fn must_be_for_client(&self, said: &Said) -> Result<(), SqlError> {
        if said.form == Some("PARQUET") || ["GZIP", "ZSTD", "MANIFEST"].iter().any(|flag| said.flags.contains(flag)) {
            return Err(refused("this with STDIN", "put the file where query.copy_from allows, and name it"));
        }
        if said.form == Some("BINARY") && self.is_about_text(said) {
            return Err(SqlError::invalid("42601", "the binary format can't be used with options for text"));
        }
        let quote = said.quote.unwrap_or(b'"');
        if said.escape.is_some_and(|escape| said.form != Some("CSV") || escape != quote) {
            return Err(refused("this ESCAPE", "quotes in values of CSV are doubled"));
        }
        Ok(())
    }

    /// Whether an option about text or lines was given.
    fn is_about_text(&self, said: &Said) -> bool {
        let characters = [said.delimiter, said.quote, said.escape];
        let flags = ["ESCAPE", "REMOVEQUOTES", "EMPTYASNULL", "BLANKSASNULL", "IGNOREBLANKLINES", "FILLRECORD"];
        self.how.lines_ignored > 0
            || said.null.is_some()
            || characters.iter().any(Option::is_some)
            || flags.iter().any(|flag| said.flags.contains(flag))
    }
}

/// Takes an option that Postgres has, and Redshift has not or has differently; whether there was one.
fn take_postgres(words: &mut Words<'_>, said: &mut Said) -> Result<bool, SqlError> {
    if words.take("ESCAPE") {
        said.escape = Some(character(&words.text_as()?)?);
    } else if words.take("FREEZE") {
        switch(words);
    } else if words.takes_two("FORMAT", "TEXT") || words.take("TEXT") {
        said.form = None;
    } else if words.takes_two("FORMAT", "BINARY") || words.take("BINARY") {
        said.form = Some("BINARY");
    } else if let Some(form) = words.text_after("FORMAT") {
        said.form = match form.to_lowercase().as_str() {
            "csv" => Some("CSV"),
            "json" => Some("JSON"),
            "text" => None,
            "binary" => Some("BINARY"),
            _ => return Err(SqlError::invalid("22023", format!("there is no format '{form}'"))),
        };
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// What the options said.
#[derive(Default)]
struct Said {
    form: Option<&'static str>,
    delimiter: Option<u8>,
    quote: Option<u8>,
    /// The escape character, as Postgres takes it.
    escape: Option<u8>,
    null: Option<String>,
    flags: Vec<&'static str>,
}

/// Options without a value. Texts keep their length: there is nothing to truncate.
const FLAGS: [&str; 13] = [
    "GZIP",
    "ZSTD",
    "BZIP2",
    "LZOP",
    "ESCAPE",
    "REMOVEQUOTES",
    "EMPTYASNULL",
    "BLANKSASNULL",
    "IGNOREBLANKLINES",
    "FILLRECORD",
    "MANIFEST",
    "TRUNCATECOLUMNS",
    "TRIMBLANKS",
];

/// `JSON 'auto'`: fields go to the columns of the same names. Nothing else is supported.
fn must_be_auto(said: &Said, words: &mut Words<'_>) -> Result<(), SqlError> {
    if said.form != Some("JSON") {
        return Ok(());
    }
    words.take("AS");
    match words.text_if_any() {
        None => Ok(()),
        Some(how) if ["auto", "auto ignorecase"].contains(&how.as_str()) => Ok(()),
        Some(how) => Err(refused(&format!("JSON '{how}'"), "JSON 'auto': fields go to the columns of their names")),
    }
}

impl Session {
    /// Reads files into a table.
    pub(crate) async fn load(&self, load: &Load) -> Result<Answer, SqlError> {
        let Origin::Files(from) = &load.origin else {
            return Err(refused("COPY … FROM STDIN here", "a Postgres client sends rows, such as psql with \\copy"));
        };
        self.must_be_allowed("COPY")?;
        let mut turn = self.turn_to_write().await?;
        let files = turn.limits.within(self.files_of(load, from)).await??;
        self.load_all(load, files.into_iter().map(Input::File).collect(), &mut turn.limits).await
    }

    /// Loads all of these files into a table, or none.
    pub(super) async fn load_all(
        &self,
        load: &Load,
        inputs: Vec<Input>,
        limits: &mut Limits,
    ) -> Result<Answer, SqlError> {
        let inputs = Arc::new(inputs);
        let name = self.meant(&load.table)?;
        let mut tries = 1;
        loop {
            match self.load_once(load, &name, &inputs, limits).await {
                Err(error) if error.kind() == Kind::Conflict && tries < TRIES_MAX => tries += 1,
                loaded => return Ok(Answer::wrote("COPY", loaded?)),
            }
        }
    }

    async fn files_of(&self, load: &Load, from: &str) -> Result<Vec<OutsideFile>, SqlError> {
        let outside = self.lake()?.outside();
        let files = outside.to_read(from).map_err(of_lake)?.files().await.map_err(of_lake)?;
        if !load.manifest {
            return Ok(files);
        }
        let [manifest] = files.as_slice() else {
            return Err(SqlError::invalid(
                "58P01",
                format!("a MANIFEST is one file, and {} begin with {from}", files.len()),
            ));
        };
        let (mut listed, mut names) = (Vec::new(), HashSet::new());
        for url in urls(manifest).await? {
            let at = outside.to_read(&url).map_err(of_lake)?.files().await.map_err(of_lake)?;
            let named = at.into_iter().find(|file| file.name == url || file.name.ends_with(&url));
            let named =
                named.ok_or_else(|| SqlError::new(Kind::NotFound, "58P01", format!("there is no file {url}")))?;
            if !names.insert(named.name.clone()) {
                return Err(SqlError::invalid("22023", format!("{} lists {url} twice", manifest.name))
                    .with_hint("its rows would be loaded twice: list each file once"));
            }
            listed.push(named);
        }
        Ok(listed)
    }

    async fn load_once(
        &self,
        load: &Load,
        name: &TableName,
        inputs: &Arc<Vec<Input>>,
        limits: &mut Limits,
    ) -> Result<u64, SqlError> {
        let table = table_to_write(self.shared(), name)?;
        if let Some((_, altering)) = &self.shared().altering
            && table.is_delivered()
        {
            // The columns of rows in the hot tail must be committed.
            limits.within(altering.flush(name)).await??;
        }
        let state = table.state();
        let columns = columns_of(load, name, &table, &state)?;
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let (end, mut ended) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let _stop = SetOnDrop(Arc::clone(&stop));
        let (inputs, columns) = (Arc::clone(inputs), Arc::new(columns));
        let job = Job { how: load.how.clone(), inputs, columns, schema: Arc::clone(&state.schema) };
        let _task = self.shared().workers.spawn(job.run(send, end));
        let target = Target::Old { table, state, may_repeat: false };
        let mut writing = std::pin::pin!(self.lake()?.write(target, pieces, Arc::clone(&stop)));
        let written = tokio::select! {
            written = &mut writing => written,
            why = limits.over() => {
                stop.store(true, Ordering::Relaxed);
                return match writing.await {
                    // It was too late to stop it.
                    Ok(written) => Ok(written.added),
                    // Nobody knows whether the commit happened.
                    Err(error) if error.kind() == Kind::Internal => Err(of_write(error)),
                    Err(_) => Err(why),
                };
            }
        };
        match (written, ended.try_recv()) {
            (Ok(written), _) => Ok(written.added),
            (Err(_), Ok(Err(error))) => Err(error),
            (Err(error), _) => Err(of_write(error)),
        }
    }
}

/// The columns that the files have, for the table as it is.
pub(super) fn columns_of(
    load: &Load,
    name: &TableName,
    table: &Table,
    state: &TableState,
) -> Result<Columns, SqlError> {
    Columns::new(name, state, load.columns.as_deref(), |column| is_taken(table, column))
}

/// Whether a column says which event a row is from: nobody else may set it.
fn is_taken(table: &Table, name: &str) -> bool {
    table.is_delivered() && [RESCUED, RECEIVED_AT, PARTITION, OFFSET].contains(&name)
}

/// Sets a flag when it goes.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Rows on their way to the lake.
struct Job {
    how: How,
    inputs: Arc<Vec<Input>>,
    columns: Arc<Columns>,
    schema: Arc<TableSchema>,
}

impl Job {
    async fn run(self, send: mpsc::Sender<Piece>, end: oneshot::Sender<Result<(), SqlError>>) {
        // The lake writes what comes at once, and has its own bound.
        let read = self.read(&Outlet::uncounted(send.clone())).await;
        let is_whole = read.is_ok();
        // Nobody listens once the statement is stopped.
        let _gone = end.send(read);
        if is_whole {
            // If the lake has stopped already, it says why.
            let _gone = send.send(Piece::End).await;
        }
    }

    async fn read(&self, out: &Outlet) -> Result<(), SqlError> {
        for index in 0..self.inputs.len() {
            read_input(&self.how, &self.inputs, index, &self.columns, &self.schema, out).await?;
        }
        Ok(())
    }
}

/// The files that a manifest lists: `{"entries":[{"url":"s3://…"}]}`.
async fn urls(manifest: &OutsideFile) -> Result<Vec<String>, SqlError> {
    #[derive(Deserialize)]
    struct Manifest {
        entries: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        url: String,
    }
    let wrong = |why: String| SqlError::invalid("22023", format!("{} is no manifest: {why}", manifest.name));
    if manifest.bytes > MANIFEST_BYTES_MAX {
        return Err(wrong(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
    }
    let (store, path) = manifest.object().map_err(of_lake)?;
    let read = async { object_store::ObjectStoreExt::get(&*store, &path).await?.bytes().await };
    let bytes = read.await.map_err(|error| wrong(error.to_string()))?;
    let read: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if read.entries.len() > OUTSIDE_FILES_MAX {
        let message = format!("{} lists more than {OUTSIDE_FILES_MAX} files", manifest.name);
        return Err(SqlError::new(Kind::Limited, "54000", message).with_hint("load them with more than one statement"));
    }
    Ok(read.entries.into_iter().map(|entry| entry.url).collect())
}
