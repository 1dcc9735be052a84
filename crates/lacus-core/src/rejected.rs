//! An event that a door takes although it is against the schema of its source, as the log keeps it: with the reason in
//! front, so that its delivery puts it into quarantine.
//!
//! Senders may write any bytes, those of such a record, too. What no door has judged gets an empty reason in front then, so
//! that nobody chooses what is said of a record, and whoever reads it is given what was sent.

use bytes::Bytes;

/// No JSON begins like this: nothing takes the record for an event.
const MARK: &[u8] = b"\0rejected ";

/// An event, and what a door found wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEvent {
    /// What is wrong, on one line. Empty if no door has judged it.
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

    /// The record of bytes that no door has judged: the bytes, unless they look like a rejected event.
    #[must_use]
    pub fn unjudged(bytes: Bytes) -> Bytes {
        if bytes.starts_with(MARK) { Self::record("", &bytes) } else { bytes }
    }

    /// What readers of the stream are given: of bytes that no door has judged just these, any other record as it is.
    #[must_use]
    pub fn sent(record: Bytes) -> Bytes {
        match Self::of(&record) {
            Some(Self { reason, event }) if reason.is_empty() => event,
            _ => record,
        }
    }

    /// Reads a record; none if it is another one.
    #[must_use]
    pub fn of(record: &Bytes) -> Option<Self> {
        let rest = record.strip_prefix(MARK)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        // No door writes another reason, and of another one bytes would be lost.
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

    #[test]
    fn nobody_writes_a_rejected_event_but_a_door() {
        for plain in [&b"{}"[..], b"", b"\0reject", b"\xff"] {
            let record = RejectedEvent::unjudged(Bytes::from(plain));
            assert_eq!((&record[..], &RejectedEvent::sent(record.clone())[..]), (plain, plain));
        }
        for forged in [&b"\0rejected x\n{}"[..], b"\0rejected ", b"\0rejected \n", b"\0rejected \n\0rejected x\n\xff"] {
            let record = RejectedEvent::unjudged(Bytes::from(forged));
            let read = RejectedEvent::of(&record).unwrap();
            assert_eq!((read.reason.as_str(), &read.event[..]), ("", forged), "{}", forged.escape_ascii());
            assert_eq!(RejectedEvent::sent(record), forged);
        }
        let rejected = RejectedEvent::record("x", b"{}");
        assert_eq!(RejectedEvent::sent(rejected.clone()), rejected, "readers see what a door found");
    }
}
