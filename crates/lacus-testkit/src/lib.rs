//! For tests only: fault loops, spawned servers, small clients, seeds.
//!
//! Everything here works on real processes, real files and real sockets. It knows what every test of lacus needs and
//! nothing of lacus's inside: no crate of ours is a dependency, so a change to the product never rebuilds it.

pub mod buckets;
pub mod certificates;
pub mod database;
pub mod environment;
pub mod faults;
pub mod http;
pub mod ledger;
pub mod postgres;
pub mod proxy;
pub mod server;
mod shim;
mod timed;

pub use buckets::Buckets;
pub use certificates::make_certificates;
pub use database::Database;
pub use faults::{Fault, FaultLoop, Mode, Trial};
pub use http::Http;
pub use postgres::Postgres;
pub use proxy::LossyProxy;
pub use server::{Project, Server};
pub use timed::{Finished, run_for};
