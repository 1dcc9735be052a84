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

/// Memory goes back to the system after a peak of load, and threads share what is free. The compressors of Parquet and of the raw
/// zone are C: they have their memory from here, too (a feature of this crate, set for the workspace).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    run::main()
}
