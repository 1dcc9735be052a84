//! Statements about external tables: creating and describing them, and Hive's about partitions.
//!
//! Folders are listed by each query, so there is nothing to add or repair; but whoever asks for it is told if queries would not
//! find them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::tokenizer::Token;
use lacus_core::{Kind, TableName};
use lacus_lake::Lake;
use lacus_lake::views::{SqlView, View};

use super::definition::Definition;
use super::listing::{Listing, folder_of};
use super::{DIALECT, statement_of};
use crate::answer::Answer;
use crate::error::SqlError;
use crate::files::refused;
use crate::files::words::Words;
use crate::files::writer::of_lake;
use crate::session::Session;
use crate::stated_name::StatedName;
use crate::statement::tokens;

/// A statement about an external table.
#[derive(Debug, Clone)]
pub(crate) enum External {
    /// `CREATE EXTERNAL TABLE`.
    Create(Box<Creation>),
    /// `ALTER TABLE … ADD PARTITION`.
    AddPartitions { table: StatedName, added: Vec<Partition> },
    /// `MSCK REPAIR TABLE`.
    Repair(StatedName),
    /// `SHOW CREATE TABLE`.
    ShowCreate(StatedName),
    /// `SHOW PARTITIONS`.
    ShowPartitions(StatedName),
}

/// A table that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    name: StatedName,
    unless_there: bool,
    definition: Definition,
    sql: String,
}

/// A partition that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    values: Vec<(String, String)>,
    location: Option<String>,
}

/// Each of the statements contains one of these words.
const WORDS: [&str; 4] = ["external", "msck", "show", "partition"];

/// Whether a text may be such a statement.
pub(crate) fn may_be(sql: &str) -> bool {
    let has = |word: &str| sql.as_bytes().windows(word.len()).any(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()));
    WORDS.into_iter().any(has)
}

/// Parses such a statement; nothing for any other.
///
/// # Errors
/// For what is wrong with it.
pub(crate) fn read(words: &mut Words<'_>, sql: &str) -> Result<Option<External>, SqlError> {
    Ok(Some(if words.takes_two("CREATE", "EXTERNAL") {
        if !words.take("TABLE") {
            return Ok(None);
        }
        External::Create(Box::new(creation(words, sql)?))
    } else if words.takes_two("MSCK", "REPAIR") {
        words.must("TABLE")?;
        let table = words.table()?;
        if words.one_of(&["ADD", "DROP", "SYNC"]).is_some() {
            words.must("PARTITIONS")?;
        }
        External::Repair(table)
    } else if words.takes_two("SHOW", "CREATE") {
        if !words.take("TABLE") {
            return Ok(None);
        }
        External::ShowCreate(words.table()?)
    } else if words.takes_two("SHOW", "PARTITIONS") {
        External::ShowPartitions(words.table()?)
    } else if words.takes_two("ALTER", "TABLE") {
        return add_partitions(words);
    } else {
        return Ok(None);
    }))
}

fn creation(words: &mut Words<'_>, sql: &str) -> Result<Creation, SqlError> {
    let unless_there = words.take("IF");
    if unless_there {
        words.must("NOT")?;
        words.must("EXISTS")?;
    }
    let name = words.table()?;
    let definition = Definition::read(words, sql)?;
    let sql = sql.trim().trim_end_matches(';').trim_end().to_owned();
    Ok(Creation { name, unless_there, definition, sql })
}

fn add_partitions(words: &mut Words<'_>) -> Result<Option<External>, SqlError> {
    // Whoever parses it next says what is wrong.
    let Ok(table) = words.table() else { return Ok(None) };
    if !words.take("ADD") {
        return Ok(None);
    }
    if words.take("IF") && !words.takes_two("NOT", "EXISTS") {
        return Ok(None);
    }
    let mut added = Vec::new();
    while words.take("PARTITION") {
        if !words.symbol(&Token::LParen) {
            return Ok(None);
        }
        let mut values = Vec::new();
        loop {
            let (name, _) = words.name()?;
            words.must_symbol(&Token::Eq)?;
            let value = match words.text_if_any() {
                Some(text) => text,
                None => words.number()?.to_string(),
            };
            values.push((name, value));
            if !words.symbol(&Token::Comma) {
                break;
            }
        }
        words.must_symbol(&Token::RParen)?;
        let location = if words.take("LOCATION") { Some(words.text()?) } else { None };
        added.push(Partition { values, location });
    }
    Ok((!added.is_empty()).then_some(External::AddPartitions { table, added }))
}

/// The definition in the statement that made an external table.
///
/// # Errors
/// If it is none.
pub(super) fn definition(sql: &str) -> Result<Definition, SqlError> {
    let no_statement = || SqlError::invalid("42601", "its SQL is no CREATE EXTERNAL TABLE");
    let mut words = Words::new(sql, tokens(sql).map_err(|_| no_statement())?);
    match read(&mut words, sql)? {
        Some(External::Create(creation)) if words.is_at_end() => Ok(creation.definition),
        _ => Err(no_statement()),
    }
}

/// Whether an external table has this name.
pub(crate) fn is_external(lake: &Lake, name: &TableName) -> bool {
    lake.view(name).is_some_and(|view| statement_of(&view).is_some())
}

/// Refuses to write to an external table.
///
/// # Errors
/// If an external table has this name.
pub(crate) fn must_not_be_external(lake: &Lake, name: &TableName) -> Result<(), SqlError> {
    if !is_external(lake, name) {
        return Ok(());
    }
    Err(SqlError::invalid("42809", format!("\"{name}\" is an external table: its files are only read"))
        .with_hint("write files to its folder (UNLOAD does), or DROP TABLE and make it again: its files stay"))
}

impl External {
    /// What it does, in Postgres' words.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Create(_) => "CREATE TABLE",
            Self::AddPartitions { .. } => "ALTER TABLE",
            Self::Repair(_) => "MSCK REPAIR TABLE",
            Self::ShowCreate(_) | Self::ShowPartitions(_) => "SHOW",
        }
    }

    /// Whether it changes the lake.
    pub(crate) fn writes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::AddPartitions { .. })
    }

    /// The columns of its answer.
    pub(crate) fn schema(&self) -> SchemaRef {
        let column = |name: &str| Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]));
        match self {
            Self::ShowCreate(_) => column("createtab_stmt"),
            Self::ShowPartitions(_) => column("partition"),
            _ => Arc::new(Schema::empty()),
        }
    }

    fn texts(&self, texts: Vec<String>) -> Result<Answer, SqlError> {
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let rows = RecordBatch::try_new(self.schema(), vec![texts])
            .map_err(|error| SqlError::new(Kind::Internal, "XX000", "tell what there is").with_source(error))?;
        Ok(Answer::ready("SHOW", self.schema(), vec![rows]))
    }
}

impl Session {
    /// Runs a statement about an external table.
    pub(crate) async fn external(&self, external: &External) -> Result<Answer, SqlError> {
        match external {
            External::Create(creation) => self.create_external_table(creation, external.command()).await,
            External::AddPartitions { table, added } => {
                self.must_be_allowed("ALTER TABLE")?;
                let (name, view) = self.external_table(table)?;
                let definition = of_view(&view)?;
                added.iter().try_for_each(|partition| must_be_found(partition, &name, &definition))?;
                Ok(Answer::done(external.command()))
            }
            External::Repair(table) => {
                self.list(table).await?;
                Ok(Answer::done(external.command()))
            }
            External::ShowCreate(table) => {
                let (_, view) = self.external_table(table)?;
                external.texts(statement_of(&view).map(str::to_owned).into_iter().collect())
            }
            External::ShowPartitions(table) => external.texts(self.list(table).await?.folders),
        }
    }

    async fn create_external_table(&self, creation: &Creation, command: &'static str) -> Result<Answer, SqlError> {
        self.must_be_allowed("CREATE EXTERNAL TABLE")?;
        let lake = self.lake()?;
        let name = self.meant_new(&creation.name)?;
        if lake.table(&name).is_some() || lake.view(&name).is_some() {
            if creation.unless_there {
                return Ok(Answer::done(command));
            }
            return Err(SqlError::new(Kind::Exists, "42P07", format!("\"{name}\" exists"))
                .with_hint("drop it first, or take another name"));
        }
        if !lake.is_database(name.database()) {
            let message = format!("there is no database \"{}\"", name.database());
            return Err(
                SqlError::new(Kind::NotFound, "3F000", message).with_hint(format!("CREATE SCHEMA {}", name.database()))
            );
        }
        lake.outside().to_read(&creation.definition.location).map_err(of_lake)?;
        let database = name.database().to_owned();
        let (sql, columns) = (creation.sql.clone(), Arc::clone(&creation.definition.schema));
        let view = lake.view_of(SqlView { name, sql, dialect: DIALECT, database, columns })?;
        lake.create_view(view).await?;
        Ok(Answer::done(command))
    }

    fn external_table(&self, stated: &StatedName) -> Result<(TableName, Arc<View>), SqlError> {
        let lake = self.lake()?;
        let name = self.meant(stated)?;
        let view = lake.view(&name);
        if let Some(view) = view.as_ref().filter(|view| statement_of(view).is_some()) {
            return Ok((name, Arc::clone(view)));
        }
        if let Some(damage) = lake.damage_of(&name) {
            return Err(damage.into());
        }
        if view.is_some() || lake.table(&name).is_some() {
            return Err(SqlError::invalid("42809", format!("\"{name}\" is no external table"))
                .with_hint("DESCRIBE lists the columns of any table; docs/reference/layout.md has how tables of the lake are laid out"));
        }
        Err(SqlError::new(Kind::NotFound, "42P01", format!("there is no table \"{name}\""))
            .with_hint("SHOW TABLES lists those that are there"))
    }

    /// The files of an external table.
    async fn list(&self, stated: &StatedName) -> Result<Listing, SqlError> {
        let (_, view) = self.external_table(stated)?;
        let definition = of_view(&view)?;
        let outside = Arc::clone(self.lake()?.outside());
        let mut turn = self.turn_to_write().await?;
        turn.limits.within(Listing::of(&outside, &definition)).await?
    }
}

fn of_view(view: &View) -> Result<Definition, SqlError> {
    definition(statement_of(view).unwrap_or_default())
}

/// Refuses a partition whose folder queries would not look into.
///
/// # Errors
/// If its folder is not the one that they look into.
fn must_be_found(partition: &Partition, name: &TableName, definition: &Definition) -> Result<(), SqlError> {
    let columns = &definition.folders;
    let mut folders = Vec::with_capacity(columns.len());
    for column in columns {
        let value = partition.values.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        folders.extend(value.map(|(_, value)| folder_of(&column.name, value)));
    }
    if columns.is_empty() || folders.len() != columns.len() || partition.values.len() != columns.len() {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let message = format!("a partition of \"{name}\" has values of these columns: {}", names.join(", "));
        return Err(SqlError::invalid("42601", message).with_hint("they are those of PARTITIONED BY"));
    }
    let found = format!("{}/{}", definition.location.trim_end_matches('/'), folders.join("/"));
    match &partition.location {
        Some(location) if location.trim_end_matches('/') != found => Err(refused(
            &format!("a partition of \"{name}\" in another folder than {found}/"),
            "move its files there, or make an external table for that folder and put both together with UNION ALL in a view",
        )),
        _ => Ok(()),
    }
}
