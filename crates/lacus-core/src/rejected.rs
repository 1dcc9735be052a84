//! An event that a door takes although it is against the schema of its source, as the log keeps it: with the reason in
//! front, so that its delivery puts it into quarantine.
//!
//! Doors that take any bytes take such a record, too, from whoever writes one. It is no JSON and would be in quarantine
//! anyway: its sender chooses what is said of it, and no byte is lost by that.

use bytes::Bytes;

/// No JSON begins like this: nothing takes the record for an event.
const MARK: &[u8] = b"\0rejected ";

/// An event, and what a door found wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEvent {
    /// What is wrong, on one line.
    pub reason: String,
    /// The event's own bytes.
    pub event: Bytes,
}

impl RejectedEvent {
    /// What its record has beside the reason and the event.
    pub const MORE_BYTES: usize = MARK.len() + 1;

    /// The bytes of its record: `\0rejected <reason>\n<event>`.
    #[must_use]
    pub fn record(reason: &str, event: &[u8]) -> Bytes {
        [MARK, reason.as_bytes(), b"\n", event].concat().into()
    }

    /// Reads a record; none if it is another one.
    #[must_use]
    pub fn of(record: &Bytes) -> Option<Self> {
        let rest = record.strip_prefix(MARK)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        // No door of ours writes another reason, and of another one bytes would be lost.
        let reason = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
        Some(Self { reason, event: record.slice_ref(&rest[end + 1..]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rejected_is_read_as_it_was_written() {
        let record = RejectedEvent::record("price is no number", b"{\"price\":\n\"x\"}");
        assert_eq!(record, &b"\0rejected price is no number\n{\"price\":\n\"x\"}"[..]);
        let read = RejectedEvent::of(&record).unwrap();
        assert_eq!((read.reason.as_str(), &read.event[..]), ("price is no number", &b"{\"price\":\n\"x\"}"[..]));
        assert_eq!(record.len(), read.reason.len() + read.event.len() + RejectedEvent::MORE_BYTES);
        for other in [&b"{}"[..], b"", b"\0rejected without an end", b"rejected a\nb", b"\0rejected \xff\n{}"] {
            assert_eq!(RejectedEvent::of(&Bytes::from(other)), None, "{}", other.escape_ascii());
        }
    }
}
