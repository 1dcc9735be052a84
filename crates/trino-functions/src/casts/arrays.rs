//! Arrays in texts, as PostgreSQL writes them: `{a,"b c",NULL}`.

use std::str::Chars;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Field;
use datafusion::error::Result;

use crate::lists;
use crate::scalar::{TEXT, bad};

/// The arrays of texts that texts are read as. DataFusion makes an array of each text itself.
pub(super) fn of_texts(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(array, &TEXT)?;
    let (mut values, mut lengths) = (Vec::new(), Vec::with_capacity(texts.len()));
    for text in texts.as_string::<i32>() {
        let Some(text) = text else {
            lengths.push(None);
            continue;
        };
        let Some(elements) = elements_of_text(text) else {
            return Err(bad(format!("malformed array literal: \"{text}\"")));
        };
        lengths.push(Some(elements.len()));
        values.extend(elements);
    }
    let values: ArrayRef = Arc::new(values.into_iter().collect::<StringArray>());
    lists::lists_of(&values, &lengths, &Arc::new(Field::new_list_field(TEXT, true)))
}

/// The elements of a text that PostgreSQL reads as an array, as `{a,"b c",NULL}`; none if it is no array, or a nested one.
#[must_use]
pub fn elements_of_text(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if inside.trim().is_empty() {
        return Some(elements);
    }
    let mut letters = inside.chars();
    loop {
        let (element, is_last) = element(&mut letters)?;
        elements.push(element);
        if is_last {
            return Some(elements);
        }
    }
}

/// The next element, and whether it is the last. Blanks around it don't belong to it, those in quotes do.
fn element(letters: &mut Chars<'_>) -> Option<(Option<String>, bool)> {
    let (mut element, mut is_quoted, mut in_quotes, mut is_last) = (String::new(), false, false, true);
    while let Some(letter) = letters.next() {
        match letter {
            '"' if in_quotes => in_quotes = false,
            '"' if is_quoted || !element.trim().is_empty() => return None,
            '"' => {
                element.clear();
                (is_quoted, in_quotes) = (true, true);
            }
            '\\' if in_quotes || !is_quoted => element.push(letters.next()?),
            letter if in_quotes => element.push(letter),
            ',' => {
                is_last = false;
                break;
            }
            '{' | '}' => return None,
            letter if is_quoted && !letter.is_whitespace() => return None,
            _ if is_quoted => {}
            letter => element.push(letter),
        }
    }
    let plain = element.trim();
    match is_quoted {
        true if in_quotes => None,
        true => Some((Some(element), is_last)),
        false if plain.is_empty() => None,
        false if plain.eq_ignore_ascii_case("null") => Some((None, is_last)),
        false => Some((Some(plain.to_owned()), is_last)),
    }
}

#[cfg(test)]
mod tests {
    use super::elements_of_text;

    #[test]
    fn arrays_in_text_are_read() {
        let read = |text: &str| {
            elements_of_text(text)
                .map(|read| read.into_iter().map(|one| one.unwrap_or("-".to_owned())).collect::<Vec<_>>().join("|"))
        };
        for (text, expected) in [
            ("{}", Some("")),
            ("{1,2,3}", Some("1|2|3")),
            (" { a , b } ", Some("a|b")),
            (r#"{"a,b","c\"d",NULL,"NULL",""}"#, Some("a,b|c\"d|-|NULL|")),
            ("{{1},{2}}", None),
            ("{1,}", None),
            (r#"{"a" , " b" ,c }"#, Some("a| b|c")),
            (r#"{"a"b}"#, None),
            (r#"{a"b"}"#, None),
            ("{\"a}", None),
            ("1,2", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }
}
