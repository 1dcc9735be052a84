//! SQL over table states: files and hot tail as one.
//!
//! An [`Engine`] answers for one lake; each connection has a [`Session`]; a query gives an [`Answer`], a stream of
//! Arrow batches that stops working when it is dropped. Every query sees each table in one immutable state.
//!
//! It writes no table and no log: what statements that write ask for, the lake does. Files that are not the lake's are read by
//! `COPY` and external tables and written by `UNLOAD`, and by nothing else ([`files`]), where the lake lets them. It knows the types
//! that Postgres has, and no wire format.

mod activity;
mod adapt;
mod allowance;
mod alter;
mod answer;
mod array_of_rows;
mod array_types;
mod asked_order;
mod bare_values;
mod beside_distinct;
mod catalog;
mod comments;
mod correlated;
mod cost;
mod counted_files;
mod cursors;
mod declared;
mod dependencies;
mod depth;
mod dialect;
mod elements;
mod engine;
mod error;
mod exceptions;
mod files;
mod filter_stop;
mod first_rows;
mod found_first;
mod frames;
mod intervals;
pub mod json;
mod large_joins;
mod late;
mod leaves;
mod lone_laterals;
mod memory;
mod metadata;
mod named_casts;
mod naming;
mod null_joins;
mod numbered;
mod offset_order;
mod once;
mod one_partition;
mod one_row;
mod one_sided_joins;
mod opaque;
mod parameters;
mod parts;
mod pieces;
mod places;
mod postgres;
mod pruning;
mod reads;
mod reuse;
mod rewrite;
mod rows;
mod running;
mod same;
mod search_path;
mod series;
mod session;
mod spelling;
mod stated_name;
mod statement;
mod stop;
mod subquery_order;
mod table;
mod tail;
mod time_travel;
mod totals;
mod transactions;
mod users;
mod uuids;
mod variables;
mod views;
mod whole_order;
mod whole_union;
mod writing;
mod yielding_joins;

#[cfg(test)]
mod tests;

pub use activity::{Signal, Waiting};
pub use answer::{Answer, QueryStats};
pub use cursors::{CopyFormat, CopyKind, Execution, Preparation};
pub use declared::Declared;
pub use depth::STACK_BYTES;
pub use dialect::Dialect;
pub use engine::Engine;
pub use error::SqlError;
pub use files::{CopyIn, DecodeBinary};
pub use places::Found;
pub use postgres::{postgres_type, type_modifier};
pub use session::{Prepared, Session};
pub use statement::{SQL_BYTES_MAX, Statement};
pub use table::LakeTable;
pub use trino_functions::{moment_of_text, text_of_double, text_of_real};
pub use variables::SERVER_VERSION;
