//! `lacus doctor`: looks at the machine and the project, and says for each thing whether it is well.
//!
//! What needs the whole project (the log's checksums, the catalog) is looked at only while no server has it open.

mod checks;

use lacus_core::{Error, Kind, Result};
use serde::Serialize;

use crate::run::Invocation;
use crate::terminal::harmless;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    name: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
enum Outcome {
    /// It is well.
    Good { detail: String },
    /// It could not be looked at now.
    Skipped { detail: String },
    /// It is not well.
    Bad {
        detail: String,
        hint: Option<String>,
        #[serde(skip)]
        kind: Kind,
    },
}

/// Looks at everything, shows it, and fails if something is not well.
pub(crate) async fn run(invocation: &Invocation) -> Result<()> {
    let checks = checks::all(invocation).await;
    if invocation.json {
        for check in &checks {
            invocation.terminal.say_json(check)?;
        }
    } else {
        for check in &checks {
            show(check, invocation)?;
        }
    }
    verdict(&checks)
}

fn show(check: &Check, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    let (sign, detail, hint) = match &check.outcome {
        Outcome::Good { detail } => ("✓", detail, None),
        Outcome::Skipped { detail } => ("–", detail, None),
        Outcome::Bad { detail, hint, .. } => ("✗", detail, hint.as_ref()),
    };
    terminal.say(&format!("{sign} {:<11} {}", check.name, harmless(detail)))?;
    if let Some(hint) = hint {
        terminal.say(&format!("  {:<11} hint: {}", "", harmless(hint)))?;
    }
    Ok(())
}

/// Fails with the worst kind found: damage before what a user can fix.
fn verdict(checks: &[Check]) -> Result<()> {
    let kinds: Vec<Kind> = checks
        .iter()
        .filter_map(|check| if let Outcome::Bad { kind, .. } = check.outcome { Some(kind) } else { None })
        .collect();
    let Some(worst) = kinds.iter().copied().min_by_key(|kind| (*kind != Kind::Corrupt, kind.exit_code())) else {
        return Ok(());
    };
    Err(Error::new(worst, format!("{} of {} checks failed", kinds.len(), checks.len())))
}

impl Check {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Good { detail: detail.into() } }
    }

    fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Skipped { detail: detail.into() } }
    }

    fn bad(name: &'static str, error: &Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { name, outcome: Outcome::Bad { detail: error.message().to_owned(), hint, kind: error.kind() } }
    }

    /// Good with what was found, or bad with the error.
    fn of(name: &'static str, found: Result<String>) -> Self {
        match found {
            Ok(detail) => Self::good(name, detail),
            Err(error) => Self::bad(name, &error),
        }
    }
}
