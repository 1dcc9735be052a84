//! Errors as the protocol sends them.

use lacus_core::Kind;
use lacus_query::SqlError;
use pgwire::error::{ErrorInfo, PgWireError};

/// The fields of an error.
pub(crate) fn info(error: &SqlError) -> ErrorInfo {
    if matches!(error.kind(), Kind::Internal | Kind::Corrupt) {
        tracing::error!(error = ?error, "a query failed");
    }
    let mut info = plain("ERROR", error.sqlstate(), error.message());
    info.hint = error.hint().map(without_nul);
    info.position = error.position().map(|position| position.to_string());
    info
}

/// An error that ends the statement.
pub(crate) fn wire(error: &SqlError) -> PgWireError {
    PgWireError::UserError(Box::new(info(error)))
}

/// An error that ends the connection.
pub(crate) fn fatal(sqlstate: &str, message: &str, hint: Option<&str>) -> PgWireError {
    let mut info = plain("FATAL", sqlstate, message);
    info.hint = hint.map(str::to_owned);
    PgWireError::UserError(Box::new(info))
}

fn plain(severity: &str, sqlstate: &str, message: &str) -> ErrorInfo {
    let mut info = ErrorInfo::new(severity.to_owned(), sqlstate.to_owned(), without_nul(message));
    info.severity_nonlocalized = Some(severity.to_owned());
    info
}

/// The text with a sign in place of each zero byte, which would end it in the protocol.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// The error of a statement in a failed transaction.
pub(crate) fn aborted() -> SqlError {
    SqlError::invalid("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}
