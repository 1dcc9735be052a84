//! SQL over table states: files and hot tail as one.
//!
//! An [`Engine`] answers for one lake; each connection has a [`Session`]; a query gives an [`Answer`], a stream of
//! Arrow batches that stops working when it is dropped. Every query sees each table in one immutable state.
//!
//! To follow a statement: `statement` parses it and `rewrite` says it in the engine's words; `session` plans it, with the
//! tables of `catalog` and `views`; `table` makes the scan of files (`pruning`, `adapt`) and hot tail (`tail`);
//! `running` runs the plan within its `allowance`, or `reuse` gives an earlier answer again; `answer` is what comes out.
//!
//! This crate writes no table and no log: statements that write (`writing`) say what the lake is to do. Files that are not the
//! lake's are read by `COPY` and external tables and written by `UNLOAD`, and by nothing else (`files`), where the lake lets
//! them. It knows the types of Postgres, and no wire format.

// From the text of a statement to a plan.
mod array_types;
mod ast;
mod bare_values;
mod comments;
mod declared;
mod depth;
mod dialect;
mod identifiers;
mod naming;
mod parameters;
mod rewrite;
mod search_path;
mod spelling;
mod stated_name;
mod statement;
mod time_travel;
mod views;

// The tables that plans read.
mod adapt;
mod catalog;
mod counted_files;
mod metadata;
mod numbered;
mod places;
mod postgres;
mod pruning;
mod runs;
mod table;
mod tail;
mod users;

// Running a plan, within limits, and its answer.
mod activity;
mod allowance;
mod answer;
mod cost;
mod cursors;
mod engine;
mod error;
pub mod json;
mod memory;
mod pieces;
mod reads;
mod reuse;
mod running;
mod session;
mod transactions;
mod variables;

// Statements that do more than answer.
mod alter;
mod files;
mod writing;

// Types and functions that the engine lacks.
mod array_of_rows;
mod elements;
mod intervals;
mod series;
mod uuids;

// Where the engine (DataFusion 54.1) fails or answers wrongly: each mends one such place, and is to go once the engine does it
// right. `engine` and `session` say when each of them comes.
mod array_order;
mod array_texts;
mod asked_after;
mod asked_order;
mod beside_distinct;
mod beside_rows;
mod coalesced;
mod correlated;
mod dependencies;
mod drawn;
mod exceptions;
mod filter_stop;
mod first_rows;
mod found_first;
mod frames;
mod key_bounds;
mod large_joins;
mod late;
mod leaves;
mod lists_apart;
mod lone_laterals;
mod mixed_numbers;
mod named_casts;
mod needed_keys;
mod null_joins;
mod offset_order;
mod once;
mod one_partition;
mod one_row;
mod one_sided_joins;
mod opaque;
mod outer_nulls;
mod own_rows;
mod parts;
mod peer_frames;
mod recursions;
mod rows;
mod same;
mod set_order;
mod set_types;
mod stop;
mod subquery_order;
mod totals;
mod whole_order;
mod whole_union;
mod yielding_joins;

#[cfg(test)]
mod tests;

pub use activity::{Signal, Waiting};
pub use answer::{Answer, QueryStats};
pub use cursors::{CopyFormat, CopyKind, Execution, Preparation, must_be_short};
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
