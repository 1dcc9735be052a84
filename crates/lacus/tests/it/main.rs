//! Stories of the real binary: real processes, real files, real sockets on free ports.

mod cli;
