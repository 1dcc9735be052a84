//! Every way to ask: the Postgres wire protocol and HTTP.
//!
//! Only this crate and collect know wire formats. Whoever asks gets rows as they come; nothing here holds an answer whole.

pub mod http;
