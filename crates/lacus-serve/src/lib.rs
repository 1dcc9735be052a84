//! Every way to ask: Postgres wire and HTTP.
//!
//! This crate knows wire formats and no SQL: statements go to [`lacus_query`] and answers are streamed out as they come.
//! It opens no socket: whoever starts a server hands a listener in.

pub mod http;
pub mod postgres;

#[cfg(test)]
mod testing;
