//! What SQL answers: the files of `tests/slt`, in sqllogictest's format, asked over the Postgres wire.
//!
//! Each dialect has a folder. The files of `portable` are asked of a real PostgreSQL, too: there and here the answer is what the
//! file says. `BLESS=1` writes the answers into the files, PostgreSQL's into `portable`: read the difference.
//!
//! ```text
//! query
//! SELECT split_part('a,b', ',', 2)
//! ----
//! b
//!
//! statement count 2
//! INSERT INTO t VALUES (1), (2)
//!
//! statement error (22012)
//! SELECT 1 / 0
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lacus_testkit::environment::setting;
use lacus_testkit::{Database, Project};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// The longest value of which all is shown.
const SHOWN_CHARACTERS_MAX: usize = 2000;

#[tokio::test]
async fn athena_answers_as_trino_documents() {
    ask_lacus("athena", "athena").await;
}

#[tokio::test]
async fn redshift_answers_as_redshift_documents() {
    ask_lacus("redshift", "redshift").await;
}

#[tokio::test]
async fn lacus_has_functions_of_both_and_its_own_answers() {
    ask_lacus("lacus", "lacus").await;
}

#[tokio::test]
async fn portable_sql_is_answered_as_postgresql_answers_it() {
    let postgresql = Database::start();
    let mut config: Config = postgresql.url().parse().expect("a URL");
    ask(config.options("-c TimeZone=UTC"), "PostgreSQL", "portable", is_blessing()).await;
    ask_lacus("lacus", "portable").await;
}

/// Asks a new server all that is in a folder.
async fn ask_lacus(dialect: &str, folder: &str) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let address = server.postgres_address();
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("lacus").dbname("lake");
    config.options(format!("-c dialect={dialect}"));
    ask(&config, "lacus", folder, is_blessing() && folder != "portable").await;
    assert!(server.stop().success());
}

async fn ask(config: &Config, server: &str, folder: &str, is_blessing: bool) {
    let (mut count, mut failures, mut wrong) = (0, 0, String::new());
    for file in files(folder) {
        let (client, connection) = config.connect(NoTls).await.expect("connect");
        // It ends with the client, who is told why.
        drop(tokio::spawn(connection));
        let text = std::fs::read_to_string(&file).expect("read the file");
        let mut records = records(&text);
        count += records.len();
        for record in &mut records {
            let answer = answer(&client, &record.sql).await;
            if record.expected.agrees(&answer) {
                continue;
            }
            failures += 1;
            let (name, line) = (file.file_name().expect("it has a name").display(), record.line);
            let (sql, expected) = (&record.sql, record.expected.text());
            let told: String = answer.text().chars().take(SHOWN_CHARACTERS_MAX).collect();
            writeln!(wrong, "{name}:{line}: {sql}\n  expected {expected}\n  answered {told}").expect("text");
            record.bless(answer);
        }
        if is_blessing {
            let text: String = records.iter().map(Record::text).collect();
            std::fs::write(&file, text).expect("write the file");
        }
    }
    assert!(is_blessing || failures == 0, "{server}: {failures} of {count} are wrong:\n{wrong}");
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt").join(folder);
    let entries = folder.read_dir().expect("list the files");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("list the files").path()).collect();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    files.sort();
    files
}

fn is_blessing() -> bool {
    setting("BLESS", 0) != 0
}

/// One statement of a file.
struct Record {
    line: usize,
    /// Comments and empty lines before it, as they stand.
    before: String,
    sql: String,
    expected: Expected,
}

enum Expected {
    /// `query`, or `query sorted` where the order of rows is not said.
    Rows { rows: Vec<String>, are_sorted: bool },
    /// `statement ok`
    Done,
    /// `statement count 2`
    Count(u64),
    /// `statement error (22012)`
    State(String),
    /// `statement error division by zero`: a part of the message.
    Message(String),
}

enum Answer {
    Rows(Vec<String>),
    Done(u64),
    Error { state: String, message: String },
}

impl Expected {
    fn read(head: &str, rows: Vec<String>) -> Self {
        match head.split_once("error ").map(|(_, error)| error) {
            None if head.starts_with("query") => Self::Rows { rows, are_sorted: head.ends_with(" sorted") },
            None => match head.strip_prefix("statement count ") {
                Some(count) => Self::Count(count.parse().unwrap_or_else(|_| panic!("{head}: {count} is no number"))),
                None => Self::Done,
            },
            Some(error) => match error.strip_prefix('(').and_then(|state| state.strip_suffix(')')) {
                Some(state) => Self::State(state.to_owned()),
                None => Self::Message(error.to_owned()),
            },
        }
    }

    fn agrees(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Rows { rows, are_sorted: false }, Answer::Rows(answered)) => rows == answered,
            (Self::Rows { rows, are_sorted: true }, Answer::Rows(answered)) => *rows == sorted(answered),
            (Self::Done, Answer::Rows(_) | Answer::Done(_)) => true,
            (Self::Count(count), Answer::Done(changed)) => count == changed,
            (Self::State(expected), Answer::Error { state, .. }) => expected == state,
            (Self::Message(part), Answer::Error { message, .. }) => message.contains(part),
            _ => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Rows { rows, .. } => rows.join("\n"),
            Self::Done => "ok".to_owned(),
            Self::Count(count) => format!("{count} rows changed"),
            Self::State(text) | Self::Message(text) => format!("error {text}"),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        match self {
            Self::Rows(rows) => rows.join("\n"),
            Self::Done(count) => format!("{count} rows changed"),
            Self::Error { state, message } => format!("error ({state}) {message}"),
        }
    }
}

impl Record {
    /// Takes an answer for the right one. What is an error by its SQLSTATE stays one.
    fn bless(&mut self, answer: Answer) {
        let are_sorted = matches!(self.expected, Expected::Rows { are_sorted: true, .. });
        self.expected = match (answer, &self.expected) {
            (Answer::Rows(rows), _) if are_sorted => Expected::Rows { rows: sorted(&rows), are_sorted },
            (Answer::Rows(rows), _) => Expected::Rows { rows, are_sorted },
            (Answer::Done(count), _) => Expected::Count(count),
            (Answer::Error { state, .. }, Expected::State(_)) => Expected::State(state),
            (Answer::Error { message, .. }, _) => Expected::Message(message),
        };
    }

    fn text(&self) -> String {
        let Self { before, sql, expected, .. } = self;
        match expected {
            Expected::Rows { rows, are_sorted } => {
                let head = if *are_sorted { "query sorted" } else { "query" };
                let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
                format!("{before}{head}\n{sql}\n----\n{rows}")
            }
            Expected::Done => format!("{before}statement ok\n{sql}\n"),
            Expected::Count(count) => format!("{before}statement count {count}\n{sql}\n"),
            Expected::State(state) => format!("{before}statement error ({state})\n{sql}\n"),
            Expected::Message(part) => format!("{before}statement error {part}\n{sql}\n"),
        }
    }
}

fn records(text: &str) -> Vec<Record> {
    let (mut records, mut before) = (Vec::new(), String::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, head)) = lines.next() {
        if head.is_empty() || head.starts_with('#') {
            before.push_str(head);
            before.push('\n');
            continue;
        }
        let is_known = head.starts_with("query") || head.starts_with("statement ");
        assert!(is_known, "line {}: a record begins with query or statement, not {head}", index + 1);
        let (mut sql, mut rows, mut has_answer) = (Vec::new(), Vec::new(), false);
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
            match (line, has_answer) {
                ("----", false) => has_answer = true,
                (line, false) => sql.push(line),
                (line, true) => rows.push(line.to_owned()),
            }
        }
        let expected = Expected::read(head, rows);
        records.push(Record { line: index + 1, before: std::mem::take(&mut before), sql: sql.join("\n"), expected });
    }
    records
}

fn sorted(rows: &[String]) -> Vec<String> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}

async fn answer(client: &Client, sql: &str) -> Answer {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => {
            let Some(told) = error.as_db_error() else { panic!("{sql}: {error:?}") };
            let (state, message) = (told.code().code().to_owned(), told.message().to_owned());
            return Answer::Error { state, message };
        }
    };
    let (mut has_columns, mut rows, mut changed) = (false, Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => has_columns = true,
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|place| text(row.get(place))).collect();
                rows.push(values.join(" "));
            }
            SimpleQueryMessage::CommandComplete(count) => changed = count,
            _ => {}
        }
    }
    if has_columns { Answer::Rows(rows) } else { Answer::Done(changed) }
}

/// A value as it stands in a file.
fn text(value: Option<&str>) -> &str {
    match value {
        None => "NULL",
        Some("") => "(empty)",
        Some(text) => text,
    }
}
