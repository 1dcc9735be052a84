//! SQL over table states: files and hot tail as one.
//!
//! An [`Engine`] answers for one lake; each connection has a [`Session`]; a query gives an [`Answer`], a stream of
//! Arrow batches that stops working when it is dropped. Every query sees each table in one immutable state.
//!
//! It writes no file and no log: what statements that write ask for, the lake does. No SQL can make it read a file that is
//! not a table's. It knows no wire format.

mod adapt;
mod alter;
mod answer;
mod catalog;
mod depth;
mod dialect;
mod engine;
mod error;
pub mod json;
mod leaves;
mod metadata;
mod naming;
mod null_joins;
mod numbered;
mod parameters;
mod places;
mod pruning;
mod reads;
mod rewrite;
mod session;
mod spelling;
mod statement;
mod table;
mod tail;
mod time_travel;
mod users;
mod variables;
mod views;
mod writing;

#[cfg(test)]
mod tests;

pub use answer::{Answer, QueryStats};
pub use depth::STACK_BYTES;
pub use dialect::Dialect;
pub use engine::Engine;
pub use error::SqlError;
pub use places::Found;
pub use session::{Prepared, Session};
pub use statement::{SQL_BYTES_MAX, Statement};
pub use table::LakeTable;
pub use variables::SERVER_VERSION;
