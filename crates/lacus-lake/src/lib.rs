//! Files and tables: raw zone, Parquet, one Iceberg commit that carries data and log offsets together. No DataFusion.
//!
//! A [`Table`] has one immutable [`TableState`]: committed files, and the hot tail beyond them. Every reader takes
//! the whole state at once, so an event is never in both and never in neither.
//!
//! To read it in the order of an event: [`decode`](mod@decode) makes rows and discovers columns ([`schema`]); [`table`]
//! shows them; `raw` keeps the event as it came; `commit` publishes rows, raw events and offsets, with `data_file` for
//! Parquet, `kernel`, `manifests` and `expiry` for Iceberg's metadata, `catalog` for the pointers and `store` for the
//! disk; `change` commits files without a delivery; `compact` makes large files of small ones; `leftovers` deletes what nothing references; `check` looks whether all of it is as it should be.

pub mod conform;
pub mod decode;
pub mod schema;
pub mod table;

mod bounds;
mod catalog;
mod change;
mod check;
mod commit;
mod compact;
mod data_file;
mod expiry;
#[cfg(test)]
mod fixture;
mod kernel;
mod lake;
mod leftovers;
mod manifests;
mod raw;
mod store;
mod warehouse;

pub use check::Finding;
pub use compact::{CompactionReport, FileSizes};
pub use lake::{Commit, CommitReport, Lake, LakeStats, TableAppend};
pub use raw::{RawFile, RawWriter};
pub use schema::{Column, ColumnType, TableSchema};
pub use table::{LiveFile, Snapshot, Table, TableState, TailBatch};
