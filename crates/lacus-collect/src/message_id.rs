//! The identity of a message: a digest of what its sender calls it.

use lacus_core::MessageId;
use sha2::{Digest, Sha256};

use crate::json;

/// The first 128 bits of the SHA-256 of `namespace` and `parts`, each preceded by its length. Ids of two doors never collide.
pub(crate) fn message_id(namespace: &str, parts: &[&[u8]]) -> MessageId {
    let mut hash = Sha256::new_with_prefix(namespace.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (half, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
    MessageId(u128::from_be_bytes(*half))
}

/// The identity of an event that has it in the field at `path`. An empty text is none: all events with it would be the same.
pub(crate) fn event_id(event: &[u8], path: &str) -> Option<MessageId> {
    json::value(event, path).filter(|id| !id.is_empty()).map(|id| message_id("event", &[&id]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They must never change: a changed id would let a retry in twice.
    #[test]
    fn ids_stay_the_same_and_apart() {
        assert_eq!(format!("{:?}", message_id("segment", &[b"m-1"])), "MessageId(106dc167da91e6866043f52abfc7cd5a)");
        assert_ne!(message_id("a", &[b"bc"]), message_id("ab", &[b"c"]));
        assert_ne!(message_id("a", &[b"b", b"c"]), message_id("a", &[b"bc"]));
    }

    #[test]
    fn an_empty_text_is_no_id_and_types_make_no_difference() {
        for event in [r#"{"n":""}"#, r#"{"n":null}"#, r#"{"n":[1]}"#, "{}"] {
            assert_eq!(event_id(event.as_bytes(), "n"), None, "{event}");
        }
        for (one, other) in [(r#"{"n":7}"#, r#"{"n":"7"}"#), (r#"{"n":true}"#, r#"{"n":"true"}"#)] {
            let id = event_id(one.as_bytes(), "n");
            assert!(id.is_some() && id == event_id(other.as_bytes(), "n"), "{one} and {other}");
        }
        assert!(event_id(br#"{"n":" "}"#, "n").is_some(), "only what is empty");
    }
}
