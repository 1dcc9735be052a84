//! SQL over table states made by hand: files written by the Parquet writer, tails of Arrow batches.

mod asked_after;
mod cost;
mod databases;
mod errors;
mod evolution;
mod files;
mod lake;
mod late;
mod metadata;
mod names;
mod partitions;
mod postgres;
mod pruning;
mod reading;
mod sessions;
mod time_travel;
mod views;
mod writing;
