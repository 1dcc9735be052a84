//! Names as Segment's warehouses have them: `Product Viewed` and `productViewed` are both `product_viewed`.

use lacus_core::names::NAME_BYTES_MAX;

use super::TABLES;

/// The letters and digits of a name in lowercase, its words joined by `_`. A word ends before a capital that follows a
/// lowercase letter, and at whatever is no ASCII letter or digit. Appended to `snake`.
pub(crate) fn push_snake_case(name: &str, snake: &mut String) {
    let begin = snake.len();
    let (mut is_apart, mut has_lower) = (false, false);
    for letter in name.bytes() {
        if !letter.is_ascii_alphanumeric() {
            is_apart = true;
            continue;
        }
        let begins_word = is_apart || (letter.is_ascii_uppercase() && has_lower);
        if begins_word && snake.len() > begin {
            snake.push('_');
        }
        has_lower = letter.is_ascii_lowercase() || (has_lower && !begins_word);
        is_apart = false;
        snake.push(char::from(letter.to_ascii_lowercase()));
    }
}

/// The table of an event. What can't be a table's name as it is gets one that can: `Users` is `users_event`,
/// `2 Fast` is `event_2_fast`; names without an ASCII letter, or with too many, end in a hash of the event's name.
pub(crate) fn event_table(event: &str) -> String {
    let mut name = String::with_capacity(event.len() + 4);
    push_snake_case(event, &mut name);
    let is_empty = name.is_empty();
    if TABLES.contains(&name.as_str()) {
        name.push_str("_event");
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.insert_str(0, if is_empty { "event" } else { "event_" });
    }
    if is_empty || name.len() > NAME_BYTES_MAX {
        let hash = format!("_{:016x}", fnv_1a(event.as_bytes()));
        name.truncate(NAME_BYTES_MAX - hash.len());
        name.truncate(name.trim_end_matches('_').len());
        name.push_str(&hash);
    }
    name
}

/// The 64-bit FNV-1a hash: names must be the same in every release, and nothing depends on nobody finding collisions.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
