//! For tests only: fault loops, spawned servers, small clients, seeds.
//!
//! Everything here works on real processes, real files and real sockets. It knows what every test of lacus needs and
//! nothing of lacus's inside: no crate of ours is a dependency, so a change to the product never rebuilds it.

pub mod environment;
pub mod faults;
mod shim;
mod timed;

pub use faults::{Fault, FaultLoop, Mode, Trial};
pub use timed::{Finished, run_for};
