//! Names as Segment's warehouses have them: `Product Viewed` and `productViewed` are both `product_viewed`.

/// Appends the letters and digits of a name to `snake`, in lowercase, with words joined by `_`. A word ends before a capital
/// that follows a lowercase letter, and at any other character.
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

/// What tables are named after.
pub(crate) struct Naming {
    /// The kind of thing that is named: `event`. It is added where the name alone can't be a table's.
    pub(crate) kind: &'static str,
    /// Names that are taken.
    pub(crate) taken: &'static [&'static str],
    /// The longest name, in bytes: at least 24.
    pub(crate) bytes_max: usize,
}

/// The table name of an event, or of another thing that a sender names. A text that can't be a table's name is changed:
/// `Users` is `users_event` where `users` is taken, `2 Fast` is `event_2_fast`; a name without ASCII letters, or with too
/// many, ends in a hash of the text.
pub(crate) fn table_name(text: &str, naming: &Naming) -> String {
    let Naming { kind, taken, bytes_max } = *naming;
    let mut name = String::with_capacity(text.len() + 4);
    push_snake_case(text, &mut name);
    let is_empty = name.is_empty();
    if taken.contains(&name.as_str()) {
        name.push('_');
        name.push_str(kind);
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        name.insert_str(0, if is_empty { "" } else { "_" });
        name.insert_str(0, kind);
    }
    if is_empty || name.len() > bytes_max {
        let hash = format!("_{:016x}", fnv_1a(text.as_bytes()));
        name.truncate(bytes_max - hash.len());
        name.truncate(name.trim_end_matches('_').len());
        name.push_str(&hash);
    }
    name
}

/// The 64-bit FNV-1a hash: it must be the same in every release, and collisions are harmless.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
