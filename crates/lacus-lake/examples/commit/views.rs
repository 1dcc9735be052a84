//! Changes views, one step after the other, and goes on where an earlier run ended. Prints `step N` for each that is done, or
//! `refused N: error`; a refused one is tried again.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use lacus_core::{Error, Result, TableName};
use lacus_lake::Lake;
use lacus_lake::views::{NewView, SqlView};

use crate::{ATTEMPTS_MAX, say};

/// What views there are after each step: one is made, gets another query, a second one is made and renamed, the first goes.
const STATES: [&str; 6] = [
    "",
    "a: SELECT 1 AS n",
    "a: SELECT 2 AS n",
    "a: SELECT 2 AS n, b: SELECT 3 AS n",
    "a: SELECT 2 AS n, c: SELECT 3 AS n",
    "c: SELECT 3 AS n",
];

pub(crate) async fn change_all(lake: &Lake) -> Result<()> {
    for done in steps_done(lake)?..STATES.len() - 1 {
        for _ in 0..ATTEMPTS_MAX {
            match change(lake, done).await {
                Ok(()) => break,
                Err(error) => say(&format!("refused {done}: {}", error.chain())),
            }
        }
        if steps_done(lake)? != done + 1 {
            return Err(Error::unavailable("a change of views was refused too often"));
        }
        say(&format!("step {}", done + 1));
    }
    Ok(())
}

/// After how many steps there are the views that there are.
pub(crate) fn steps_done(lake: &Lake) -> Result<usize> {
    let views: Vec<String> =
        lake.views().iter().map(|view| format!("{}: {}", view.name, view.statements()[0].1)).collect();
    let views = views.join(", ");
    let found = STATES.iter().position(|state| *state == views);
    found.ok_or_else(|| Error::corrupt(format!("after no step there are these views: {views}")))
}

async fn change(lake: &Lake, done: usize) -> Result<()> {
    match done {
        0 => lake.create_view(view(lake, "a", 1)?).await.map(drop),
        1 => lake.create_or_replace_view(view(lake, "a", 2)?).await.map(drop),
        2 => lake.create_view(view(lake, "b", 3)?).await.map(drop),
        3 => lake.rename_view(&TableName::new("b")?, &TableName::new("c")?).await,
        _ => lake.drop_view(&TableName::new("a")?).await,
    }
}

fn view(lake: &Lake, name: &str, number: u32) -> Result<NewView> {
    lake.view_of(SqlView {
        name: TableName::new(name)?,
        sql: format!("SELECT {number} AS n"),
        dialect: "lacus",
        database: "main".to_owned(),
        columns: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])),
    })
}
