//! Every way to ask: Postgres wire and HTTP.
