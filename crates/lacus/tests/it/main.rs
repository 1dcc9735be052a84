//! Stories of the real binary: real processes, real files, real sockets on free ports.

mod backup;
mod bad_input;
mod bucket;
mod cli;
mod clients;
mod conformance;
mod differential;
mod drift;
mod elsewhere;
mod erase;
mod event_types;
mod faults;
mod files;
mod freshness;
mod history;
mod hostile;
mod kill;
mod openapi;
mod postgres;
mod postgres_portals;
mod postgres_users;
mod raw_zone;
mod retries;
mod senders;
mod shapes;
mod writing;
