//! Every way in: HTTP today, more doors to come.
