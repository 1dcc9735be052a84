//! For tests only: fault loops, invariants, spawned servers.
