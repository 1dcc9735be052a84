//! Statements: what is read as SQL, and which of it lacus does.
//!
//! Done are queries, `EXPLAIN`, `SHOW`, `SET`, `ALTER TABLE`, `CREATE VIEW`, `DROP VIEW`, statements that write
//! ([`crate::writing`]), `UNLOAD`, `COPY … FROM` and external tables ([`crate::files`]), cursors ([`crate::cursors`]) and
//! transaction blocks ([`crate::transactions`]); in a block, too, each statement sees one state and is committed by itself. All
//! else is refused by name. What the parser lets through in a form not named here is refused when its plan would write or
//! define something.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, ObjectType, Set, Statement as Ast, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use trino_functions::syntax::{SqlDialect, quote_types};

use crate::alter::Alteration;
use crate::array_types::write_array_types;
use crate::bare_values::put_brackets;
use crate::comments;
use crate::cursors::{self, Around, CopyFormat, Execution, Preparation, Read};
use crate::declared::Declared;
use crate::depth::{must_be_shallow, must_stay_small};
use crate::dialect::Dialect;
use crate::error::{Names, SqlError, explain};
use crate::files::{self, External, Load, Unload};
use crate::naming::ColumnNames;
use crate::postgres::{asks_the_catalog_alone, rewrite as rewrite_catalog_question};
use crate::rewrite::{leave_out_advice, must_be_understood, rewrite, spell_out};
use crate::spelling::Spellings;
use crate::time_travel::{self, Moment};
use crate::transactions::Transaction;
use crate::views::{CreateView, DropViews};
use crate::writing::{Write, plainly, question_of, quote_partitions, read_external_schema, write_no_data, write_types};

/// The longest SQL text, in bytes.
pub const SQL_BYTES_MAX: usize = 1 << 20;

/// The statements that `PREPARE` takes and `EXECUTE` runs, as in PostgreSQL.
pub(crate) const EXECUTED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];

/// How deep expressions and subqueries may be nested.
const DEPTH_MAX: usize = 64;

/// One statement.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) kind: StatementKind,
    /// The whole text it was parsed from: positions count in it.
    pub(crate) sql: Arc<str>,
    /// Its place among the statements of that text.
    index: usize,
    /// The dialect it was read in.
    dialect: Dialect,
    /// The names of its answer's columns.
    pub(crate) names: ColumnNames,
    /// The versions of tables that it asks for.
    pub(crate) moments: Arc<[Moment]>,
    /// Whether it was rewritten as a question to `pg_catalog`.
    is_catalog_question: bool,
    /// The declared types of its parameters.
    pub(crate) declared: Declared,
    /// If it is the query for the values of an `EXECUTE`: the types they are cast to.
    wanted: Declared,
}

#[derive(Debug, Clone)]
pub(crate) enum StatementKind {
    /// Anything that has a plan.
    Query {
        command: &'static str,
        parsed: Box<Parsed>,
    },
    /// `SET name = value`; without a value for `SET name = DEFAULT` and `RESET name`.
    Set {
        name: String,
        value: Option<String>,
        /// Whether it ends with the transaction.
        is_local: bool,
    },
    Transaction(Transaction),
    /// A cursor, or `COPY (…) TO STDOUT`.
    Around(Around),
    /// `RESET ALL`, `DISCARD ALL`.
    ResetAll(&'static str),
    /// `SHOW name`, or `SHOW ALL`.
    Show(Option<String>),
    /// `ALTER TABLE`.
    Alter(Box<Alteration>),
    /// Anything else that writes.
    Write(Box<Write>),
    /// `CREATE VIEW`. Its query is taken from the text.
    CreateView(Box<CreateView>),
    DropViews(Box<DropViews>),
    /// `UNLOAD`: files with the rows of a query.
    Unload(Box<Unload>),
    /// `COPY … FROM`: rows of files.
    Load(Box<Load>),
    /// About an external table.
    External(Box<External>),
    /// `EXPLAIN COST` of a query.
    Cost(Box<Statement>),
    /// Accepted; nothing to do.
    Nothing(&'static str),
}

impl Statement {
    /// The statement of a text without any.
    fn nothing(sql: Arc<str>, dialect: Dialect) -> Self {
        Self {
            kind: StatementKind::Nothing(""),
            sql,
            index: 0,
            dialect,
            names: ColumnNames::default(),
            moments: Arc::default(),
            is_catalog_question: false,
            declared: Declared::default(),
            wanted: Declared::default(),
        }
    }

    /// The same with declared types of parameters.
    pub(crate) fn declaring(mut self, declared: &Declared) -> Self {
        self.declared = declared.clone();
        let inside = match &mut self.kind {
            StatementKind::Around(Around::Declare { query, .. } | Around::Copy { query, .. }) => query,
            StatementKind::Unload(unload) => &mut unload.question,
            StatementKind::Cost(question) => question,
            _ => return self,
        };
        **inside = Self::clone(inside).declaring(declared);
        self
    }

    /// The query for the values of `EXECUTE`, cast to these types.
    ///
    /// # Errors
    /// For texts that are no values of their types, where that is known before it is asked.
    pub fn wanting(mut self, wanted: &Declared) -> Result<Self, SqlError> {
        if let Some(question) = self.question() {
            wanted.must_be_of(question)?;
        }
        self.wanted = wanted.clone();
        Ok(self)
    }

    /// Casts its parameters and columns to the types that are declared or wanted.
    pub(crate) fn put_types(&self, question: &mut Parsed) {
        self.declared.put(question);
        self.wanted.put_around(question, self.dialect);
    }

    /// The text that it was parsed from, including the statements beside it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.sql
    }

    /// What it does, in Postgres' words: `SELECT`, `SET`, `BEGIN` …
    #[must_use]
    pub fn command(&self) -> &'static str {
        match &self.kind {
            StatementKind::Query { command, .. }
            | StatementKind::ResetAll(command)
            | StatementKind::Nothing(command) => command,
            StatementKind::Set { value: Some(_), .. } => "SET",
            StatementKind::Set { value: None, .. } => "RESET",
            StatementKind::Show(_) => "SHOW",
            StatementKind::Transaction(transaction) => transaction.command(),
            StatementKind::Around(around) => around.command(),
            StatementKind::Alter(_) => "ALTER TABLE",
            StatementKind::Write(write) => write.command(),
            StatementKind::CreateView(_) => "CREATE VIEW",
            StatementKind::DropViews(_) => "DROP VIEW",
            StatementKind::Unload(_) => "UNLOAD",
            StatementKind::Load(_) => "COPY",
            StatementKind::External(external) => external.command(),
            StatementKind::Cost(_) => "EXPLAIN",
        }
    }

    /// Whether it changes the lake.
    #[must_use]
    pub fn writes(&self) -> bool {
        use StatementKind::{Alter, CreateView, DropViews, External, Load, Write};
        match &self.kind {
            External(external) => external.writes(),
            kind => matches!(kind, Write(_) | Alter(_) | CreateView(_) | DropViews(_) | Load(_)),
        }
    }

    /// The part of it that reads tables of the lake, if there is one.
    pub(crate) fn question(&self) -> Option<&Parsed> {
        match &self.kind {
            StatementKind::Query { parsed, .. } => Some(parsed),
            StatementKind::Write(write) => write.question(),
            StatementKind::Around(around) => around.query().and_then(Self::question),
            StatementKind::Unload(unload) => unload.question.question(),
            StatementKind::Cost(question) => question.question(),
            _ => None,
        }
    }

    /// How to write its rows, if it is `COPY (…) TO STDOUT`.
    #[must_use]
    pub fn copy_format(&self) -> Option<&CopyFormat> {
        match &self.kind {
            StatementKind::Around(Around::Copy { format, .. }) => Some(format),
            _ => None,
        }
    }

    /// The prepared statement to forget, if it is `DEALLOCATE`; all if it names none. `DISCARD ALL` counts, too.
    #[must_use]
    pub fn deallocates(&self) -> Option<Option<&str>> {
        match &self.kind {
            StatementKind::Around(Around::Deallocate(name)) => Some(name.as_deref()),
            StatementKind::ResetAll("DISCARD ALL") => Some(None),
            _ => None,
        }
    }

    /// What to prepare, if it is `PREPARE`.
    #[must_use]
    pub fn prepares(&self) -> Option<&Preparation> {
        match &self.kind {
            StatementKind::Around(Around::Prepare(preparation)) => Some(preparation),
            _ => None,
        }
    }

    /// What to execute, if it is `EXECUTE`.
    #[must_use]
    pub fn executes(&self) -> Option<&Execution> {
        match &self.kind {
            StatementKind::Around(Around::Execute(execution)) => Some(execution),
            _ => None,
        }
    }

    /// Whether `EXECUTE` may run it.
    #[must_use]
    pub fn can_be_executed(&self) -> bool {
        EXECUTED.contains(&self.command())
    }

    /// Whether a failed transaction goes on after it: `ROLLBACK TO`.
    #[must_use]
    pub fn mends_transaction(&self) -> bool {
        matches!(self.kind, StatementKind::Transaction(Transaction::RollbackTo(_)))
    }

    /// Whether a transaction ends with it.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        matches!(self.kind, StatementKind::Transaction(Transaction::Commit | Transaction::Rollback))
    }

    /// Whether a transaction begins with it.
    #[must_use]
    pub fn begins_transaction(&self) -> bool {
        matches!(self.kind, StatementKind::Transaction(Transaction::Begin { .. }))
    }

    /// Its place among the statements of its text.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The dialect it was read in.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether its answer, or the columns of the view that it makes, may come from tables of the lake.
    #[must_use]
    pub fn reads(&self) -> bool {
        let reads = self.question().is_some() && !self.is_catalog_question;
        reads || matches!(self.kind, StatementKind::CreateView(_))
    }

    /// The statement with names spelled as in the tables; none if there is nothing to replace.
    pub(crate) fn spelled(&self, spellings: &Spellings) -> Result<Option<Parsed>, DataFusionError> {
        if spellings.is_empty() || self.is_catalog_question {
            return Ok(None);
        }
        let mut tokens = tokens(&self.sql)?;
        if !self.moments.is_empty() {
            time_travel::take(&mut tokens)?;
        }
        if !spellings.apply(&mut tokens) {
            return Ok(None);
        }
        let mut spelled = parser(&self.sql, tokens, self.dialect)?.parse_statements()?.into_iter().nth(self.index);
        spelled.iter_mut().for_each(|statement| rewrite(statement, self.dialect));
        Ok(spelled.map(question_of))
    }
}

/// Reads statements. An empty text has none.
pub(crate) fn parse(
    sql: &str,
    dialect: Dialect,
    postgres: &PostgresCompatibilityParser,
    names: &dyn Names,
) -> Result<Vec<Statement>, SqlError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(SqlError::invalid("54000", format!("the statement is longer than {SQL_BYTES_MAX} bytes")));
    }
    let sql = &*comments::blanked(sql, dialect);
    // A statement around a query can't contain another one of its kind.
    let read_others = |sql: &str| parse_single(sql.into(), dialect, postgres, names);
    if let Some(found) = cursors::parse(sql, |sql| tokens(sql).ok(), &read_others)? {
        return Ok(found.into_iter().flat_map(|read| around(read, sql, dialect)).collect());
    }
    parse_single(sql.into(), dialect, postgres, names)
}

/// The same for all but cursors.
fn parse_single(
    text: Arc<str>,
    dialect: Dialect,
    postgres: &PostgresCompatibilityParser,
    names: &dyn Names,
) -> Result<Vec<Statement>, SqlError> {
    let own = match files::read(&text, &files::Reading { dialect, postgres, names })? {
        None => read_external_schema(&text)?,
        found => found,
    };
    if let Some(kind) = own {
        return Ok(vec![Statement { kind, ..Statement::nothing(text, dialect) }]);
    }
    parse_plain(text, dialect, postgres, names)
}

/// The same for a statement that can't contain others of its kind.
pub(crate) fn parse_plain(
    text: Arc<str>,
    dialect: Dialect,
    postgres: &PostgresCompatibilityParser,
    names: &dyn Names,
) -> Result<Vec<Statement>, SqlError> {
    let sql = &*text;
    let tokens = tokens(sql).map_err(|error| explain(error, sql, names))?;
    must_be_shallow(&tokens)?;
    let question = catalog_question(sql, postgres);
    let is_catalog_question = question.is_some();
    let (parsed, moments) = match question {
        Some(parsed) => (parsed, Vec::new()),
        None => read(sql, tokens, dialect).map_err(|error| explain(error, sql, names))?,
    };
    let moments: Arc<[Moment]> = moments.into();
    let sql = text;
    let mut statements = Vec::with_capacity(parsed.len());
    for (index, mut parsed) in parsed.into_iter().enumerate() {
        must_stay_small(&parsed)?;
        must_be_understood(&parsed)?;
        let names = if is_catalog_question { ColumnNames::default() } else { ColumnNames::of(&parsed, dialect) };
        rewrite(&mut parsed, dialect);
        let kind = classify(parsed)?;
        let (sql, moments) = (Arc::clone(&sql), Arc::clone(&moments));
        let plain = Statement::nothing(sql, dialect);
        statements.push(Statement { kind, index, names, moments, is_catalog_question, ..plain });
    }
    Ok(statements)
}

/// Statements around a query, and the others in the same text.
fn around(read: Read, sql: &str, dialect: Dialect) -> Vec<Statement> {
    let (kind, inside) = match read {
        Read::Other(statements) => return statements,
        Read::Nothing(command) => (StatementKind::Nothing(command), None),
        Read::Around(around) => {
            let inside = around.query().cloned();
            (StatementKind::Around(around), inside)
        }
    };
    vec![Statement { kind, ..inside.unwrap_or_else(|| Statement::nothing(sql.into(), dialect)) }]
}

fn read(
    sql: &str,
    mut tokens: Vec<TokenWithSpan>,
    dialect: Dialect,
) -> Result<(VecDeque<Parsed>, Vec<Moment>), DataFusionError> {
    let moments = if time_travel::may_travel(sql) { time_travel::take(&mut tokens)? } else { Vec::new() };
    let statements = parser(sql, tokens, dialect)?.parse_statements()?;
    time_travel::must_be_tables(&statements, &moments)?;
    Ok((statements, moments))
}

pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, DataFusionError> {
    Tokenizer::new(&SqlDialect, sql)
        .tokenize_with_location()
        .map_err(|error| DataFusionError::SQL(Box::new(error.into()), None))
}

fn parser(sql: &str, mut tokens: Vec<TokenWithSpan>, dialect: Dialect) -> Result<DFParser<'_>, DataFusionError> {
    leave_out_advice(&mut tokens);
    spell_out(&mut tokens);
    if dialect == Dialect::Athena {
        put_brackets(&mut tokens);
    }
    write_array_types(&mut tokens);
    quote_types(&mut tokens);
    write_types(&mut tokens);
    quote_partitions(&mut tokens);
    write_no_data(&mut tokens);
    let mut parser = DFParserBuilder::new(sql).with_dialect(&SqlDialect).with_recursion_limit(DEPTH_MAX).build()?;
    parser.parser = Parser::new(&SqlDialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    Ok(parser)
}

/// Questions to `pg_catalog` are rewritten until the engine understands them. That loses positions in the text, and features
/// that questions about rows need, so no statement that reads or changes a table goes this way.
fn catalog_question(sql: &str, postgres: &PostgresCompatibilityParser) -> Option<VecDeque<Parsed>> {
    let lower = sql.to_ascii_lowercase();
    if !POSTGRES_WORDS.iter().any(|word| lower.contains(word)) {
        return None;
    }
    let as_it_came = Parser::parse_sql(&PostgreSqlDialect {}, sql);
    if as_it_came.is_ok_and(|statements| !statements.iter().all(asks_the_catalog_alone)) {
        return None;
    }
    let mut statements = postgres.parse(sql).ok()?;
    statements.iter_mut().for_each(rewrite_catalog_question);
    Some(statements.into_iter().map(|statement| Parsed::Statement(Box::new(statement))).collect())
}

/// Words that questions to `pg_catalog` contain, and others hardly ever.
const POSTGRES_WORDS: [&str; 6] = ["pg_", "svv_", "::reg", "current_user", "session_user", "current_schema"];

fn classify(parsed: Parsed) -> Result<StatementKind, SqlError> {
    match parsed {
        Parsed::Statement(ast) => classify_ast(*ast),
        Parsed::Explain(explain) => match classify((*explain.statement).clone())? {
            StatementKind::Query { .. } => {
                Ok(StatementKind::Query { command: "EXPLAIN", parsed: Box::new(Parsed::Explain(explain)) })
            }
            _ => Err(SqlError::invalid("0A000", "EXPLAIN is for queries")),
        },
        Parsed::Reset(reset) => match reset {
            datafusion::sql::parser::ResetStatement::Variable(name) if plain(&name) == "all" => {
                Ok(StatementKind::ResetAll("RESET"))
            }
            datafusion::sql::parser::ResetStatement::Variable(name) => {
                Ok(StatementKind::Set { name: plain(&name), value: None, is_local: false })
            }
        },
        Parsed::CreateExternalTable(_) => {
            Err(refused("CREATE EXTERNAL TABLE among other statements").with_hint("send it alone"))
        }
        Parsed::CopyTo(_) => Err(refused("COPY")),
    }
}

fn classify_ast(statement: Ast) -> Result<StatementKind, SqlError> {
    match plainly(statement) {
        statement @ Ast::Query(_) => Ok(query("SELECT", statement)),
        statement @ (Ast::ShowTables { .. }
        | Ast::ShowColumns { .. }
        | Ast::ShowFunctions { .. }
        | Ast::ExplainTable { .. }) => Ok(query("SHOW", statement)),
        Ast::ShowVariable { variable } => Ok(StatementKind::Show(shown_variable(&variable))),
        Ast::Set(set) => set_variable(set),
        Ast::Reset(reset) => Ok(match reset.reset {
            ast::Reset::ALL => StatementKind::ResetAll("RESET"),
            ast::Reset::ConfigurationParameter(name) => {
                StatementKind::Set { name: plain(&name), value: None, is_local: false }
            }
        }),
        Ast::Discard { object_type: ast::DiscardObject::ALL } => Ok(StatementKind::ResetAll("DISCARD ALL")),
        Ast::Discard { .. } => Ok(StatementKind::Nothing("DISCARD")),
        Ast::StartTransaction { modes, .. } => {
            Ok(StatementKind::Transaction(Transaction::Begin { read_only: access(&modes) == Some(true) }))
        }
        Ast::Commit { .. } => Ok(StatementKind::Transaction(Transaction::Commit)),
        Ast::Rollback { savepoint: None, .. } => Ok(StatementKind::Transaction(Transaction::Rollback)),
        Ast::Rollback { savepoint: Some(name), .. } => {
            Ok(StatementKind::Transaction(Transaction::RollbackTo(name.value)))
        }
        Ast::Savepoint { name } => Ok(StatementKind::Transaction(Transaction::Savepoint(name.value))),
        Ast::ReleaseSavepoint { name } => Ok(StatementKind::Transaction(Transaction::Release(name.value))),
        Ast::AlterTable(alter) => Ok(StatementKind::Alter(Box::new(Alteration::of(alter)?))),
        Ast::CreateView(view) => Ok(StatementKind::CreateView(Box::new(CreateView::of(&view)?))),
        Ast::Drop { object_type: ObjectType::View, if_exists, names, .. } => {
            Ok(StatementKind::DropViews(Box::new(DropViews::of(&names, if_exists)?)))
        }
        Ast::Use(_) => Err(SqlError::invalid("0A000", "USE is not supported").with_hint(
            "write the database before the table: web.tracks; a Postgres session may SET search_path = web",
        )),
        other => match Write::of(other)? {
            Ok(write) => Ok(StatementKind::Write(Box::new(write))),
            Err(other) => Err(refused(&first_words(&other.to_string()))),
        },
    }
}

fn query(command: &'static str, statement: Ast) -> StatementKind {
    StatementKind::Query { command, parsed: Box::new(Parsed::Statement(Box::new(statement))) }
}

fn refused(what: &str) -> SqlError {
    SqlError::invalid("0A000", format!("{what} is not supported"))
        .with_hint("docs/reference/sql-writing.md has the statements that write; events come by POST /v1/events")
}

/// `INSERT`, `CREATE TABLE`, `DROP VIEW`: the words that name the statement.
fn first_words(sql: &str) -> String {
    let mut words = sql.split_whitespace().map(str::to_uppercase);
    let first = words.next().unwrap_or_default();
    match (first.as_str(), words.next()) {
        ("CREATE" | "DROP" | "ALTER" | "SHOW", Some(second)) => format!("{first} {second}"),
        _ => first,
    }
}

/// `SHOW dialect`, `SHOW TIME ZONE`, `SHOW TRANSACTION ISOLATION LEVEL`, `SHOW ALL`.
fn shown_variable(words: &[Ident]) -> Option<String> {
    let name: Vec<String> = words.iter().map(|word| word.value.to_lowercase()).collect();
    match name.join(" ").as_str() {
        "all" => None,
        "time zone" => Some("timezone".to_owned()),
        "transaction isolation level" => Some("transaction_isolation".to_owned()),
        other => Some(other.to_owned()),
    }
}

fn set_variable(set: Set) -> Result<StatementKind, SqlError> {
    match set {
        Set::SingleAssignment { variable, values, scope, .. } => {
            let value = values.iter().map(setting).collect::<Result<Vec<_>, _>>()?.join(", ");
            let is_default = matches!(values.as_slice(), [Expr::Identifier(word)] if is_default(word));
            let is_local = scope == Some(ast::ContextModifier::Local);
            Ok(StatementKind::Set { name: plain(&variable), value: (!is_default).then_some(value), is_local })
        }
        Set::SetTimeZone { value, local } => {
            let is_default = matches!(&value, Expr::Identifier(word) if is_default(word));
            let value = if is_default { None } else { Some(setting(&value)?) };
            Ok(StatementKind::Set { name: "timezone".to_owned(), value, is_local: local })
        }
        Set::SetNames { charset_name, .. } => {
            let (name, value) = ("client_encoding".to_owned(), Some(charset_name.value));
            Ok(StatementKind::Set { name, value, is_local: false })
        }
        Set::SetTransaction { modes, session, .. } => Ok(match access(&modes) {
            None => StatementKind::Nothing("SET"),
            Some(is_on) => {
                let name = if session { "default_transaction_read_only" } else { "transaction_read_only" };
                let value = Some(if is_on { "on" } else { "off" }.to_owned());
                StatementKind::Set { name: name.to_owned(), value, is_local: !session }
            }
        }),
        other => Err(refused(&format!("{other}"))),
    }
}

/// Whether a transaction is read-only, if its modes say so.
fn access(modes: &[ast::TransactionMode]) -> Option<bool> {
    modes.iter().rev().find_map(|mode| match mode {
        ast::TransactionMode::AccessMode(access) => Some(*access == ast::TransactionAccessMode::ReadOnly),
        ast::TransactionMode::IsolationLevel(_) => None,
    })
}

fn is_default(word: &Ident) -> bool {
    word.quote_style.is_none()
        && (word.value.eq_ignore_ascii_case("default") || word.value.eq_ignore_ascii_case("local"))
}

/// The value of a setting as text: `'x'`, `x`, `1`, `-1`, `on`.
fn setting(value: &Expr) -> Result<String, SqlError> {
    match value {
        Expr::Identifier(word) => Ok(word.value.clone()),
        Expr::Value(ValueWithSpan { value, .. }) => Ok(match value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            Value::Boolean(true) => "on".to_owned(),
            Value::Boolean(false) => "off".to_owned(),
            other => other.to_string(),
        }),
        Expr::UnaryOp { .. } | Expr::CompoundIdentifier(_) => Ok(value.to_string()),
        other => Err(SqlError::invalid("22023", format!("\"{other}\" is no value for a session variable"))),
    }
}

fn plain(name: &ObjectName) -> String {
    name.to_string().replace('"', "").to_lowercase()
}
