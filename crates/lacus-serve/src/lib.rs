//! Every way to ask: Postgres wire and HTTP; and who may.
//!
//! This crate knows wire formats and no SQL: statements go to [`lacus_query`] and answers are streamed out as they come.
//! It opens no socket: whoever starts a server hands a listener in.

use std::time::Duration;

pub mod engines;
pub mod http;
pub mod postgres;
pub mod users;

/// How long a query waits for what was acknowledged before it. Usually that is visible within milliseconds; when deliveries
/// are behind, the query sees what is visible by then.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod testing;
