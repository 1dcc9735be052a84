//! Requests as AWS clients make them.
