//! One file per command. Each takes what it needs, writes to the terminal it is handed, and returns why it failed.

pub(crate) mod backup;
pub(crate) mod doctor;
pub(crate) mod erase;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod misfits;
pub(crate) mod schema;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod up;
pub(crate) mod user;
