//! Files and tables: raw zone, Parquet, one Iceberg commit that carries data and log offsets together. No DataFusion.
//!
//! A [`Table`] has one immutable [`TableState`]: committed files, and the hot tail beyond them. Every reader takes
//! the whole state at once, so an event is never in both and never in neither.
//!
//! To read it in the order of an event: [`decode`](mod@decode) makes rows and discovers columns ([`schema`]); [`table`]
//! shows them; `raw` keeps the event as it came; `commit` publishes rows, raw events and offsets, with `layout` and `arrange`
//! for which rows go to which file, `data_file` and `bloom_filters` for Parquet, `kernel`, `manifests` and `expiry` for Iceberg's metadata,
//! `catalog` for the pointers and `store` for the disk, or `s3` for a bucket; `change` commits files without a delivery; `alter` changes columns;
//! `compact` makes large files of small ones; `refill` puts misfits into columns that came later, `proposals` says which;
//! `replay` takes rows out of quarantine; [`views`] are queries that engines share; `history` finds what tables were, `rollback` names it and returns to it;
//! `glue` mirrors where tables are in AWS Glue; `write` is for statements of SQL that write, and `outside` has the files that they unload and load; `leftovers` deletes what nothing references; `backup` copies a lake that is in use; `check` looks whether all of it is as it should be.

pub mod conform;
pub mod decode;
pub mod foreign;
pub mod schema;
pub mod table;
pub mod views;

mod alter;
mod arrange;
mod backup;
mod bloom_filters;
mod bounds;
mod catalog;
mod change;
mod check;
mod commit;
mod compact;
mod data_file;
mod deletes;
mod durable;
mod erase;
mod expiry;
mod file_stats;
#[cfg(test)]
mod fixture;
mod glue;
mod history;
mod kernel;
mod lake;
mod layout;
mod leftovers;
mod manifests;
mod other_names;
mod outside;
mod pieces;
mod proposals;
mod raw;
mod refill;
mod replay;
mod rollback;
mod s3;
mod served;
mod store;
mod warehouse;
mod write;

pub use alter::AlterTables;
pub use backup::{BackedUp, back_up_lake};
pub use check::Finding;
pub use compact::{CompactionReport, FileSizes};
pub use deletes::{DeleteFile, DeletedRows};
pub use erase::{Erased, ErasedRaw, ErasedRows, Places};
pub use file_stats::{Bound, BucketOf, ColumnStats, FileStats, ValueOf, buckets_of};
pub use glue::{Glue, GlueStatus};
pub use history::Version;
pub use lake::{Commit, CommitReport, Lake, LakeStats, TableAppend};
pub use layout::LayoutField;
pub use outside::{
    Compression, Existing, OUTSIDE_FILES_MAX, Outside, OutsideFile, Prefix, READERS_MAX, Readers, UnloadFile, Unloaded,
    Unloading,
};
pub use proposals::{Misfitting, Proposal};
pub use raw::{RawFile, RawWriter};
pub use refill::RefillReport;
pub use replay::{Replay, ReplayedRows};
pub use rollback::RollbackReport;
pub use schema::{Column, ColumnType, SchemaChange, TableSchema};
pub use served::{Incoming, Listed, Listing, Served, ServedFile};
pub use table::{Counts, LiveFile, Manifest, Reference, Snapshot, Table, TableState, TailBatch};
pub use write::{FileRows, FilesStay, Piece, RowPlace, Target, Written, partition_value};
