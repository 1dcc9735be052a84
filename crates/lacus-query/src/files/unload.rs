//! `UNLOAD`: the rows of a query as files.
//!
//! It runs as a query does, with its limits, and writes what comes piece by piece. Files get their names at the end, all of
//! them; who stops it before that leaves none.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::tokenizer::Token;
use lacus_core::Kind;
use lacus_lake::{Compression, Existing, Outside, Prefix, Unloaded};
use tokio::sync::oneshot;

use super::options::{FORMS, Form, Quotes, TextForm, character, size, switch, take_access, values};
use super::words::Words;
use super::writer::{Writer, of_lake};
use super::{Reading, refused, statement_in};
use crate::allowance::Allowance;
use crate::answer::Answer;
use crate::engine::Shared;
use crate::error::{SqlError, explain};
use crate::large_joins::physical_plan;
use crate::running::RunningPlan;
use crate::session::{Session, filled, plan};
use crate::statement::Statement;

/// The least and the most that `MAXFILESIZE` may be, in bytes; the most is what it is without.
const FILE_BYTES: (u64, u64) = (5 << 20, 6348 << 20);

/// A statement that writes files.
#[derive(Debug, Clone)]
pub(crate) struct Unload {
    pub(crate) question: Box<Statement>,
    positions: Positions,
    to: String,
    pub(super) form: Form,
    pub(super) compression: Compression,
    /// Of the pages within Parquet.
    pub(super) snappy: bool,
    pub(super) header: bool,
    existing: Existing,
    pub(super) partition: Vec<String>,
    /// Whether the columns of the partition are in the files, too.
    pub(super) include: bool,
    /// Whether files are called `000`, and not `0000_part_00`.
    pub(super) one_by_one: bool,
    pub(super) file_bytes_max: u64,
    pub(super) extension: Option<String>,
    manifest: bool,
    is_folder: bool,
}

/// What positions in the query are in the statement around it.
#[derive(Debug, Clone, Copy)]
enum Positions {
    Same,
    /// So many characters on.
    Behind(usize),
    /// A quote in it is two in the statement.
    Unknown,
}

impl Unload {
    /// Reads what follows `UNLOAD`.
    ///
    /// # Errors
    /// For what is wrong with it.
    pub(super) fn read(words: &mut Words<'_>, reading: &Reading<'_>) -> Result<Self, SqlError> {
        words.must_symbol(&Token::LParen)?;
        let first = words.character();
        let (text, positions) = match (words.text_if_any(), first) {
            (Some(text), Some(first)) if !text.contains('\'') => (text, Positions::Behind(first)),
            (Some(text), _) => (text, Positions::Unknown),
            (None, _) => (words.inside()?, Positions::Same),
        };
        let question = statement_in(&text, reading).map_err(|error| moved(error, positions))?;
        words.must_symbol(&Token::RParen)?;
        words.must("TO")?;
        let to = words.text()?;
        let mut unload = Self {
            question: Box::new(question),
            positions,
            to,
            form: Form::Text(TextForm::delimited()),
            compression: Compression::None,
            snappy: true,
            header: false,
            existing: Existing::Refused,
            partition: Vec::new(),
            include: false,
            one_by_one: false,
            file_bytes_max: FILE_BYTES.1,
            extension: None,
            manifest: false,
            is_folder: false,
        };
        while take_access(words)? {}
        if words.take("WITH") {
            unload.read_properties(words)?;
        } else {
            unload.read_options(words)?;
        }
        if !unload.partition.is_empty() {
            unload.is_folder = true;
            if let Existing::Deleted { parts } = &mut unload.existing {
                *parts = true;
            }
        }
        Ok(unload)
    }

    /// Redshift's options.
    fn read_options(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        let mut said = Said::default();
        loop {
            if take_access(words)? {
                continue;
            }
            if words.take("FORMAT") {
                words.take("AS");
                said.form = Some(words.one_of(&FORMS).ok_or_else(|| words.expected("CSV, JSON or PARQUET"))?);
            } else if let Some(form) = words.one_of(&FORMS) {
                said.form = Some(form);
            } else if words.take("PARTITION") {
                words.must("BY")?;
                self.partition = words.names()?;
                self.include = words.take("INCLUDE");
            } else if words.take("DELIMITER") {
                said.delimiter = Some(character(&words.text_as()?)?);
            } else if words.take("NULL") {
                said.null = Some(words.text_as()?);
            } else if words.take("PARALLEL") {
                self.one_by_one = !switch(words);
            } else if words.take("MAXFILESIZE") {
                self.file_bytes_max = size(words)?;
                if !(FILE_BYTES.0..=FILE_BYTES.1).contains(&self.file_bytes_max) {
                    return Err(SqlError::invalid("22023", "MAXFILESIZE is between 5 MB and 6.2 GB"));
                }
            } else if words.take("ROWGROUPSIZE") {
                // Row groups are 32 MB, the least that it may ask for.
                size(words)?;
            } else if words.take("EXTENSION") {
                self.extension = Some(extension(&words.text_as()?)?);
            } else if words.take("MANIFEST") {
                self.manifest = true;
                if words.take("VERBOSE") {
                    return Err(refused("MANIFEST VERBOSE", "MANIFEST lists the files with their sizes"));
                }
            } else if let Some(flag) = words.one_of(&FLAGS) {
                said.flags.push(flag);
            } else {
                break;
            }
        }
        self.apply(&said)
    }

    fn apply(&mut self, said: &Said) -> Result<(), SqlError> {
        let has = |flag: &str| said.flags.contains(&flag);
        let unsupported =
            said.flags.iter().find(|flag| ["FIXEDWIDTH", "ENCRYPTED", "KMS_KEY_ID", "BZIP2"].contains(flag));
        if let Some(flag) = unsupported {
            return Err(refused(&format!("UNLOAD with {flag}"), "CSV, JSON and Parquet, with GZIP or ZSTD"));
        }
        let form = said.form.unwrap_or("text");
        let never: &[&str] = match form {
            "CSV" => &["ADDQUOTES", "ESCAPE"],
            "JSON" => &["ADDQUOTES", "ESCAPE", "HEADER", "DELIMITER", "NULL AS"],
            "PARQUET" => &["ADDQUOTES", "ESCAPE", "HEADER", "DELIMITER", "NULL AS", "GZIP", "ZSTD"],
            _ => &[],
        };
        let is_said = |option: &str| match option {
            "DELIMITER" => said.delimiter.is_some(),
            "NULL AS" => said.null.is_some(),
            flag => has(flag),
        };
        if let Some(both) = never.iter().find(|option| is_said(option)) {
            return Err(SqlError::invalid("42601", format!("{form} can't be used with {both}")));
        }
        let alone = [("GZIP", "ZSTD"), ("ALLOWOVERWRITE", "CLEANPATH")];
        if let Some((one, other)) = alone.into_iter().find(|(one, other)| has(one) && has(other)) {
            return Err(SqlError::invalid("42601", format!("{one} can't be used with {other}")));
        }
        self.form = match form {
            "JSON" => Form::Json,
            "PARQUET" => Form::Parquet,
            _ => {
                let mut text = if form == "CSV" { TextForm::csv() } else { TextForm::delimited() };
                text.delimiter = said.delimiter.unwrap_or(text.delimiter);
                text.null = said.null.clone().unwrap_or_default();
                text.escape = has("ESCAPE");
                if has("ADDQUOTES") {
                    text.quotes = Quotes::Each;
                }
                Form::Text(text)
            }
        };
        self.header = has("HEADER");
        self.compression = match (has("GZIP"), has("ZSTD")) {
            (true, _) => Compression::Gzip,
            (_, true) => Compression::Zstd,
            _ => Compression::None,
        };
        self.existing = match (has("ALLOWOVERWRITE"), has("CLEANPATH")) {
            (true, _) => Existing::Replaced,
            (_, true) => Existing::Deleted { parts: false },
            _ => Existing::Refused,
        };
        Ok(())
    }

    /// Athena's `WITH (format = 'PARQUET', …)`.
    fn read_properties(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        let (mut form, mut compression, mut delimiter) = (None, None, None);
        words.must_symbol(&Token::LParen)?;
        while !words.symbol(&Token::RParen) {
            let (name, _) = words.name()?;
            words.must_symbol(&Token::Eq)?;
            let mut values = values(words)?;
            let only = values.last().cloned().unwrap_or_default();
            match name.as_str() {
                "format" => form = Some(only.to_uppercase()),
                "compression" => compression = Some(only.to_uppercase()),
                "field_delimiter" => delimiter = Some(character(&only)?),
                "partitioned_by" => self.partition.append(&mut values),
                "compression_level" => {}
                _ => {
                    return Err(SqlError::invalid("22023", format!("UNLOAD has no property \"{name}\"")).with_hint(
                        "it has format, compression, compression_level, field_delimiter and partitioned_by",
                    ));
                }
            }
            if !words.symbol(&Token::Comma) {
                words.must_symbol(&Token::RParen)?;
                break;
            }
        }
        self.form = match form.as_deref() {
            None | Some("PARQUET") => Form::Parquet,
            Some("JSON") => Form::Json,
            Some("TEXTFILE") => {
                let null = "\\N".to_owned();
                let delimiter = delimiter.unwrap_or(1);
                Form::Text(TextForm { delimiter, null, long_booleans: true, escape: true, ..TextForm::delimited() })
            }
            Some(other) => return Err(refused(&format!("format '{other}'"), "format is PARQUET, JSON or TEXTFILE")),
        };
        let is_parquet = matches!(self.form, Form::Parquet);
        self.snappy = compression.as_deref() == Some("SNAPPY");
        self.compression = match (compression.as_deref(), is_parquet) {
            (None | Some("ZSTD" | "SNAPPY"), true) | (Some("NONE"), false) => Compression::None,
            (None | Some("GZIP"), false) => Compression::Gzip,
            (Some("ZSTD"), false) => Compression::Zstd,
            (Some(other), _) => {
                let hint = if is_parquet { "Parquet is ZSTD or SNAPPY" } else { "text is GZIP, ZSTD or NONE" };
                return Err(refused(&format!("compression '{other}'"), hint));
            }
        };
        self.is_folder = true;
        Ok(())
    }
}

/// What the options of Redshift said.
#[derive(Default)]
struct Said {
    form: Option<&'static str>,
    delimiter: Option<u8>,
    null: Option<String>,
    flags: Vec<&'static str>,
}

/// Options that are one word. What follows those that are not supported is never read.
const FLAGS: [&str; 11] = [
    "HEADER",
    "GZIP",
    "ZSTD",
    "BZIP2",
    "ADDQUOTES",
    "ESCAPE",
    "ALLOWOVERWRITE",
    "CLEANPATH",
    "FIXEDWIDTH",
    "ENCRYPTED",
    "KMS_KEY_ID",
];

fn extension(text: &str) -> Result<String, SqlError> {
    let of_name = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let text = text.trim_start_matches('.').to_owned();
    if !text.is_empty() && text.chars().all(of_name) && !text.contains("..") {
        return Ok(text);
    }
    Err(SqlError::invalid("22023", format!("\"{text}\" is no extension of a file")))
}

/// The error with its place in the whole statement.
fn moved(error: SqlError, positions: Positions) -> SqlError {
    let position = match positions {
        Positions::Same => error.position(),
        Positions::Behind(first) => error.position().map(|position| first + position),
        Positions::Unknown => None,
    };
    error.with_position(position)
}

/// What `UNLOAD` answers with.
pub(crate) fn answer_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, false),
        Field::new("bytes", DataType::Int64, false),
    ]))
}

impl Session {
    /// Writes the rows of a query as files.
    pub(crate) async fn unload(&self, unload: &Unload, parameters: &[ScalarValue]) -> Result<Answer, SqlError> {
        self.must_be_allowed("UNLOAD")?;
        let outside = Arc::clone(self.lake()?.outside());
        let prefix = outside.to_write(&unload.to).map_err(of_lake)?;
        let mut turn = self.turn_to_write().await?;
        let limits = &mut turn.limits;
        let job = Job {
            shared: Arc::clone(self.shared()),
            state: self.state_now(),
            unload: unload.clone(),
            outside,
            prefix: if unload.is_folder { prefix.as_folder() } else { prefix },
            parameters: parameters.to_vec(),
            allowance: turn.allowance.clone(),
        };
        // Who goes has the job stop by itself, and delete what it has.
        let (go_on, stop) = oneshot::channel();
        let (tell, mut told) = oneshot::channel();
        let _task = self.shared().workers.spawn(async move {
            // Nobody listens once the session is gone.
            let _gone = tell.send(job.run(stop).await);
        });
        let ended = tokio::select! {
            ended = &mut told => ended,
            why = limits.over() => {
                drop(go_on);
                match told.await {
                    // It was too late to stop it.
                    Ok(Ok(files)) => Ok(Ok(files)),
                    _ => return Err(why),
                }
            }
        };
        let files = ended.map_err(|_| SqlError::new(Kind::Internal, "XX000", "UNLOAD ended unexpectedly"))?;
        answer(&files.map_err(|error| moved(error, unload.positions))?)
    }
}

fn answer(files: &[Unloaded]) -> Result<Answer, SqlError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let names: ArrayRef = Arc::new(files.iter().map(|file| Some(file.name.as_str())).collect::<StringArray>());
    let rows: ArrayRef = Arc::new(files.iter().map(|file| Some(number(file.rows))).collect::<Int64Array>());
    let bytes: ArrayRef = Arc::new(files.iter().map(|file| Some(number(file.bytes))).collect::<Int64Array>());
    let batch = RecordBatch::try_new(answer_schema(), vec![names, rows, bytes])
        .map_err(|error| SqlError::new(Kind::Internal, "XX000", "list the files").with_source(error))?;
    let rows = files.iter().map(|file| file.rows).sum();
    Ok(Answer::unloaded(answer_schema(), vec![batch], rows))
}

/// An `UNLOAD` on its way through the engine's threads.
struct Job {
    shared: Arc<Shared>,
    state: SessionState,
    unload: Unload,
    outside: Arc<Outside>,
    prefix: Prefix,
    parameters: Vec<ScalarValue>,
    allowance: Allowance,
}

impl Job {
    async fn run(self, mut stop: oneshot::Receiver<()>) -> Result<Vec<Unloaded>, SqlError> {
        let (plan, mut writer) = tokio::select! {
            biased;
            _ = &mut stop => return Err(was_stopped()),
            begun = self.begin() => begun?,
        };
        match self.write(plan, &mut writer, &mut stop).await {
            Ok(()) => writer.publish(self.unload.manifest).await,
            Err(error) => {
                writer.abandon().await;
                Err(error)
            }
        }
    }

    /// The plan, and who writes its rows.
    async fn begin(&self) -> Result<(Arc<dyn ExecutionPlan>, Writer), SqlError> {
        let (plan, names) = self.plan().await?;
        let mut writer = Writer::new(&self.unload, &plan.schema(), &names)?;
        let unloading = self.outside.begin_unload(self.prefix.clone(), self.unload.existing).await.map_err(of_lake)?;
        writer.begin(unloading);
        Ok((plan, writer))
    }

    async fn write(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        writer: &mut Writer,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<(), SqlError> {
        let explained = |error| self.explained(error);
        let mut rows = RunningPlan::begin(plan, &self.state, &self.allowance).map_err(explained)?;
        loop {
            let batch = tokio::select! {
                biased;
                _ = &mut *stop => return Err(was_stopped()),
                batch = rows.next(explained) => batch?,
            };
            match batch {
                Some(batch) => writer.add(&batch).await?,
                None => return writer.end().await,
            }
        }
    }

    /// The plan, and what its columns are called.
    async fn plan(&self) -> Result<(Arc<dyn ExecutionPlan>, Vec<String>), SqlError> {
        let question = &self.unload.question;
        let plan = plan(&self.state, question).await.map_err(|error| self.explained(error))?;
        let named = question.names.apply(plan.schema().inner());
        let names: Vec<String> = named.fields().iter().map(|field| field.name().clone()).collect();
        let plan = self.by_partition(plan, &names)?;
        let plan = filled(&self.state, plan, &self.parameters).map_err(|error| self.explained(error))??;
        let plan = physical_plan(&self.state, &plan).await.map_err(|error| self.explained(error))?;
        Ok((plan, names))
    }

    /// Rows of a partition come one after the other: so one file is open at a time, however many there are.
    fn by_partition(&self, plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan, SqlError> {
        if self.unload.partition.is_empty() {
            return Ok(plan);
        }
        let mut sort = Vec::new();
        for name in &self.unload.partition {
            let index = place(names, name)?;
            sort.push(Expr::Column(Column::from(plan.schema().qualified_field(index))).sort(true, true));
        }
        let sorted = LogicalPlanBuilder::from(plan).sort(sort).and_then(LogicalPlanBuilder::build);
        sorted.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: DataFusionError) -> SqlError {
        explain(error, &self.unload.question.sql, &*self.shared)
    }
}

fn was_stopped() -> SqlError {
    SqlError::cancelled("UNLOAD was stopped")
}

/// The place of a column of the query.
pub(super) fn place(names: &[String], name: &str) -> Result<usize, SqlError> {
    let found = names.iter().position(|other| other == name);
    let found = found.or_else(|| names.iter().position(|other| other.eq_ignore_ascii_case(name)));
    found.ok_or_else(|| {
        SqlError::invalid("42703", format!("the query has no column \"{name}\" to partition by"))
            .with_hint(format!("it has {}", names.join(", ")))
    })
}
