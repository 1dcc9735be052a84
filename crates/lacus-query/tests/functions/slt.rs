//! Runs `tests/slt/<dialect>/*.slt`: statements and what they must answer, in sqllogictest's format.
//!
//! ```text
//! query
//! SELECT split_part('a,b', ',', 2)
//! ----
//! b
//!
//! statement error division by zero
//! SELECT 1 / 0
//! ```

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use lacus_core::{SystemClock, settings};
use lacus_lake::Lake;
use lacus_query::{Dialect, Engine, Session};

/// One statement of a file.
#[derive(Debug)]
struct Record {
    line: usize,
    /// Comments and the like, as they stand.
    head: String,
    sql: String,
    expected: Expected,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Rows(String),
    Error(String),
}

#[tokio::test]
async fn athena_answers_as_trino_documents() {
    check(Dialect::Athena).await;
}

#[tokio::test]
async fn lacus_has_the_functions_it_lacked_and_keeps_its_own() {
    check(Dialect::Lacus).await;
}

async fn check(dialect: Dialect) {
    let directory = tempfile::tempdir().unwrap();
    let lake = Lake::open(directory.path(), Arc::new(SystemClock)).await.unwrap();
    let lake = Arc::new(lake);
    let engine = Engine::new(Arc::clone(&lake), lake, &settings::Query::default()).unwrap();
    let session = engine.session(dialect);
    let folder = super::root().join("tests/slt").join(dialect.as_str());
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    let mut wrong = String::new();
    let mut count = 0;
    for file in files {
        let mut records = records(&std::fs::read_to_string(&file).unwrap());
        count += records.len();
        for record in &mut records {
            let answer = ask(&session, &record.sql).await;
            if !agree(&answer, &record.expected) {
                let name = file.file_name().unwrap().to_string_lossy();
                let (line, sql) = (record.line, &record.sql);
                writeln!(wrong, "{name}:{line}: {sql}\n  expected {:?}\n  answered {answer:?}", record.expected)
                    .unwrap();
                record.expected = answer;
            }
        }
        if super::is_blessing() {
            write_back(&file, &records);
        }
    }
    let failures = wrong.matches("  answered ").count();
    assert!(wrong.is_empty() || super::is_blessing(), "{failures} of {count} are wrong:\n{wrong}");
}

fn agree(answer: &Expected, expected: &Expected) -> bool {
    match (answer, expected) {
        (Expected::Error(message), Expected::Error(part)) => message.contains(part.as_str()),
        (answer, expected) => answer == expected,
    }
}

async fn ask(session: &Session, sql: &str) -> Expected {
    let answered = async {
        let mut answer = session.query(sql, &[]).await?;
        let names: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok::<_, lacus_query::SqlError>((names, answer.read_all().await?))
    };
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f %:z"));
    match answered.await {
        Err(error) => Expected::Error(error.message().to_owned()),
        Ok((_, batches)) => {
            let mut rows = Vec::new();
            for batch in &batches {
                let columns: Vec<_> =
                    batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
                for row in 0..batch.num_rows() {
                    let values: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                    rows.push(values.join(" "));
                }
            }
            Expected::Rows(rows.join("\n"))
        }
    }
}

fn records(text: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut head = String::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let error = line.strip_prefix("statement error ");
        if error.is_none() && !line.starts_with("query") {
            head.push_str(line);
            head.push('\n');
            continue;
        }
        let (mut sql, mut rows, mut has_answer) = (Vec::new(), Vec::new(), false);
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
            match (line, has_answer) {
                ("----", false) => has_answer = true,
                (line, false) => sql.push(line),
                (line, true) => rows.push(line),
            }
        }
        let expected = match error {
            Some(part) => Expected::Error(part.to_owned()),
            None => Expected::Rows(rows.join("\n")),
        };
        let head = std::mem::take(&mut head);
        records.push(Record { line: index + 1, head, sql: sql.join("\n"), expected });
    }
    records
}

fn write_back(file: &Path, records: &[Record]) {
    let mut text = String::new();
    for Record { head, sql, expected, .. } in records {
        text.push_str(head);
        match expected {
            Expected::Rows(rows) if rows.is_empty() => writeln!(text, "query\n{sql}\n----").unwrap(),
            Expected::Rows(rows) => writeln!(text, "query\n{sql}\n----\n{rows}").unwrap(),
            Expected::Error(part) => writeln!(text, "statement error {part}\n{sql}").unwrap(),
        }
    }
    std::fs::write(file, text).unwrap();
}
