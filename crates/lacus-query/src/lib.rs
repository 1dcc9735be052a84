//! SQL over table states: files and hot tail as one.
