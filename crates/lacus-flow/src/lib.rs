//! What must keep happening: deliveries from the log to tables.
