//! The event lake in one binary. Everything is built in [`run`] and handed down from there.

mod answer;
mod cli;
mod commands;
mod demo;
mod door;
mod http;
mod lock;
mod metrics;
mod project;
mod run;
mod server;
mod terminal;

use std::process::ExitCode;

/// Gives memory back to the system after a peak of load, and lets threads share free memory. The compressors of Parquet and
/// of the raw zone, which are C, use it, too (a feature of this crate, set for the workspace).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    run::main()
}
