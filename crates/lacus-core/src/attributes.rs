//! What doors tell deliveries about a stream: attributes that the log keeps for them. As long as a log lives, so do these
//! texts.

/// The format of a stream of messages of the Segment API. Without a format, records are JSON objects.
pub const SEGMENT_FORMAT: &str = "segment";
/// The attribute that says: commit when this many bytes wait.
pub const COMMIT_BYTES: &str = "commit_bytes";
/// The attribute that says: commit when the oldest event has waited this long.
pub const COMMIT_AFTER_MS: &str = "commit_after_ms";
