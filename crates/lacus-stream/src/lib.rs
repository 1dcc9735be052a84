//! The durable partitioned log. It knows no schema.
