//! Files and tables: raw zone, Parquet, one Iceberg commit that carries data and log offsets together. No DataFusion.
//!
//! A [`Table`] has one immutable [`TableState`]: committed files, and the hot tail beyond them. Every reader takes
//! the whole state at once, so an event is never in both and never in neither.
//!
//! To follow an event: [`decode`](mod@decode) makes rows and discovers columns ([`schema`]), [`table`] shows them in the hot tail,
//! and `raw` keeps the event as it came. `commit` publishes rows, raw events and offsets: `layout` and `arrange` say which rows go
//! to which file, `data_file` and `bloom_filters` write Parquet, `kernel`, `manifests` and `expiry` plan Iceberg's metadata,
//! `catalog` moves the pointers, and `store` is the disk, or `s3` a bucket.
//!
//! What happens to tables later is a commit too: `change` is one that replaces files and delivers nothing, as `compact`, `erase`,
//! `refill`, `replay` and `write` ask for; `alter` and `rollback` change metadata only.

// An event on its way to a table.
mod arrange;
mod bloom_filters;
mod bounds;
mod commit;
pub mod conform;
mod data_file;
pub mod decode;
mod file_stats;
mod lake;
mod layout;
mod of_partition;
mod raw;
pub mod schema;
pub mod table;

// Iceberg's metadata.
mod by_name;
mod deletes;
mod expiry;
mod history;
mod kernel;
mod manifests;
mod partition_types;

// The catalog, and where files are.
mod catalog;
mod durable;
mod leftovers;
mod pieces;
mod s3;
mod store;
mod warehouse;

// What happens to tables later.
mod alter;
mod change;
mod compact;
mod erase;
mod proposals;
mod refill;
mod replay;
mod rollback;
mod write;

// What is shared with other engines.
pub mod foreign;
mod glue;
mod other_names;
mod served;
pub mod views;

// Beside the tables: files that SQL reads and writes, copies and checks of the lake.
mod backup;
mod check;
mod outside;

#[cfg(test)]
mod fixture;

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
