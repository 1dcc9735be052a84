//! The vocabulary of lacus: names, records, units, layouts, settings, errors, time, randomness.
//!
//! Every other crate speaks in these words. Nothing here reads a file, opens a socket or knows a wire format,
//! and nothing here depends on arrow, DataFusion or a runtime: it compiles in seconds because all else waits for it.

pub mod attributes;
mod budget;
pub mod clock;
pub mod error;
pub mod layout;
pub mod limits;
pub mod names;
mod randomness;
pub mod record;
mod rejected;
pub mod settings;
pub mod units;

pub use budget::{Budget, Share};
pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{Context, Error, Kind, Result};
pub use limits::StatementLimits;
pub use names::{MAIN_DATABASE, StreamName, TableName};
pub use randomness::random;
pub use record::{MessageId, NewRecord, Offset, Offsets, Partition, Position, Record};
pub use rejected::RejectedEvent;
pub use settings::Settings;
