//! Functions of text. Positions count from one, in characters.

mod format;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, ListBuilder, StringBuilder};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;

use crate::catalog::{
    Family::{Inner, Strings},
    Function, built_in, refused, scalar,
};
use crate::lists;
use crate::scalar::{
    BOOL, BYTES, Body, Bool, Bytes, Call, Given, INT, Int, TEXT, Text, Types, array_of, bad, column, each, exactly,
    is_text, map1, map2, map3,
};

/// The longest padded or repeated text, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub(crate) const FUNCTIONS: &[Function] = &[
    built_in(Strings, &["lower"], "lower(text) → varchar", "In small letters"),
    built_in(Strings, &["upper"], "upper(text) → varchar", "In capitals"),
    built_in(Strings, &["length"], "length(text) → bigint", "How many characters it has"),
    built_in(
        Strings,
        &["trim", "ltrim", "rtrim"],
        "trim(text) → varchar",
        "Without spaces around it, before it, after it",
    ),
    built_in(Strings, &["starts_with"], "starts_with(text, prefix) → boolean", "Whether it begins with `prefix`"),
    built_in(Strings, &["concat_ws"], "concat_ws(separator, text, …) → varchar", "Texts joined, nulls left out"),
    built_in(
        Strings,
        &["translate"],
        "translate(text, from, to) → varchar",
        "Each character of `from` replaced by that of `to`",
    ),
    built_in(Strings, &["chr"], "chr(n) → varchar", "The character with this code"),
    scalar(
        Strings,
        &["concat"],
        "concat(value, …) → varchar, array or varbinary",
        "Joined; null if any is null",
        Body::new(concat_types, concat_all),
    )
    .in_trino(),
    scalar(
        Strings,
        &["substr", "substring"],
        "substr(text, start[, length]) → varchar",
        "Part of a text; a negative start counts from the end",
        Body::new(|g| exactly(g, &[TEXT, INT, INT], 2, TEXT), substr),
    )
    .in_trino(),
    scalar(
        Strings,
        &["split"],
        "split(text, separator[, limit]) → array(varchar)",
        "The parts between separators",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT], 2, array_of(TEXT)), split),
    ),
    scalar(
        Strings,
        &["split_part"],
        "split_part(text, separator, n) → varchar",
        "The part number `n`; null if there are fewer",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT], 3, TEXT), split_part),
    )
    .in_trino(),
    scalar(
        Strings,
        &["strpos"],
        "strpos(text, part[, instance]) → bigint",
        "Where `part` is the first (or `instance`th) time; 0 if it is not",
        Body::new(|g| exactly(g, &[TEXT, TEXT, INT], 2, INT), strpos),
    )
    .in_trino(),
    scalar(
        Strings,
        &["lpad"],
        "lpad(text, size, padding) → varchar",
        "Filled up on the left, or cut, to `size` characters",
        Body::new(|g| exactly(g, &[TEXT, INT, TEXT], 3, TEXT), |call| pad(call, true)),
    )
    .in_trino(),
    scalar(
        Strings,
        &["rpad"],
        "rpad(text, size, padding) → varchar",
        "Filled up on the right, or cut, to `size` characters",
        Body::new(|g| exactly(g, &[TEXT, INT, TEXT], 3, TEXT), |call| pad(call, false)),
    )
    .in_trino(),
    scalar(
        Strings,
        &["replace"],
        "replace(text, what[, with]) → varchar",
        "All `what` replaced, or removed",
        Body::new(|g| exactly(g, &[TEXT, TEXT, TEXT], 2, TEXT), replace),
    ),
    scalar(
        Inner,
        &["replace_all"],
        "replace_all(text, what, with)",
        "`replace` as in PostgreSQL: nothing is replaced where `what` is empty",
        Body::new(|g| exactly(g, &[TEXT, TEXT, TEXT], 3, TEXT), replace_all),
    ),
    scalar(Strings, &["reverse"], "reverse(text or array) → same", "Back to front", Body::new(reverse_types, reverse)),
    scalar(
        Strings,
        &["codepoint"],
        "codepoint(character) → bigint",
        "The code of a character",
        Body::new(|g| exactly(g, &[TEXT], 1, INT), codepoint),
    ),
    scalar(
        Strings,
        &["levenshtein_distance"],
        "levenshtein_distance(a, b) → bigint",
        "How many characters to change to get from one to the other",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, INT), levenshtein),
    ),
    scalar(
        Strings,
        &["hamming_distance"],
        "hamming_distance(a, b) → bigint",
        "In how many places texts of one length differ",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, INT), hamming),
    ),
    scalar(
        Strings,
        &["luhn_check"],
        "luhn_check(digits) → boolean",
        "Whether the last digit is the check digit of the others",
        Body::new(|g| exactly(g, &[TEXT], 1, BOOL), luhn),
    ),
    scalar(
        Strings,
        &["normalize"],
        "normalize(text[, form]) → varchar",
        "In Unicode form NFC, NFD, NFKC or NFKD",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 1, TEXT), normalize),
    ),
    scalar(
        Strings,
        &["soundex"],
        "soundex(text) → varchar",
        "A code for how an English word sounds",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), soundex),
    ),
    scalar(
        Strings,
        &["to_utf8"],
        "to_utf8(text) → varbinary",
        "Its bytes",
        Body::new(
            |g| exactly(g, &[TEXT], 1, BYTES),
            |call| map1::<Text, Bytes>(call, |text| Ok(Some(text.as_bytes().to_vec()))),
        ),
    ),
    scalar(
        Strings,
        &["from_utf8"],
        "from_utf8(bytes[, replacement]) → varchar",
        "Bytes as text; what is no UTF-8 is replaced",
        Body::new(|g| exactly(g, &[BYTES, TEXT], 1, TEXT), from_utf8),
    ),
    scalar(
        Strings,
        &["format"],
        "format(pattern, value, …) → varchar",
        "Values in a pattern such as `%s`, `%,d`, `%.2f`",
        Body::new(format::types, format::format),
    ),
    refused(Strings, &["word_stem"], "lower(text) and a dictionary table are nearest"),
];

fn concat_types(given: &Given) -> Result<Types> {
    let Some(first) = given.types.iter().find(|kind| !kind.is_null()) else { return given.refuse() };
    if given.types.iter().any(lists::is_list) {
        let element = lists::common_element(given)?;
        let list = array_of(element.clone());
        let types = given
            .types
            .iter()
            .map(|kind| if lists::is_list(kind) || kind.is_null() { list.clone() } else { element.clone() });
        return Ok(Types::new(types.collect(), list));
    }
    let kind = if is_text(first) { TEXT } else { BYTES };
    exactly(given, &vec![kind.clone(); given.types.len()], 1, kind)
}

fn concat_all(call: &Call) -> Result<ArrayRef> {
    match call.returns.data_type() {
        DataType::List(_) => concat_lists(call),
        DataType::Binary => {
            let columns = (0..call.args.len()).map(|index| column::<Bytes>(call, index)).collect::<Result<Vec<_>>>()?;
            each::<Bytes>(call.rows, |row| {
                let parts: Option<Vec<&[u8]>> = columns.iter().map(|c| c.is_valid(row).then(|| c.value(row))).collect();
                Ok(parts.map(|parts| parts.concat()))
            })
        }
        _ => {
            let columns = (0..call.args.len()).map(|index| column::<Text>(call, index)).collect::<Result<Vec<_>>>()?;
            each::<Text>(call.rows, |row| {
                let parts: Option<Vec<&str>> = columns.iter().map(|c| c.is_valid(row).then(|| c.value(row))).collect();
                Ok(parts.map(|parts| parts.concat()))
            })
        }
    }
}

fn concat_lists(call: &Call) -> Result<ArrayRef> {
    let element = lists::element(call.returns.data_type())?;
    let mut flat = Vec::new();
    for array in &call.args {
        flat.push(match array.data_type() {
            DataType::List(_) => Arc::clone(lists::list(array)?.values()),
            _ => Arc::clone(array),
        });
    }
    let starts: Vec<usize> = flat.iter().scan(0, |at, array| Some(std::mem::replace(at, *at + array.len()))).collect();
    let references: Vec<&dyn Array> = flat.iter().map(AsRef::as_ref).collect();
    let all = concat(&references)?;
    lists::pick(&all, &element, call.rows, |row, picks| {
        for (array, start) in call.args.iter().zip(&starts) {
            match array.as_list_opt::<i32>() {
                Some(list) if list.is_null(row) => return Ok(false),
                Some(list) => picks.extend(lists::range(list, row).map(|index| Some(start + index))),
                None => picks.push(Some(start + row)),
            }
        }
        Ok(true)
    })
}

fn substr(call: &Call) -> Result<ArrayRef> {
    let part = |text: &str, start: i64, length: i64| {
        let count = text.chars().count() as i64;
        let first = match start {
            0 => return String::new(),
            1.. => start - 1,
            _ => count + start,
        };
        if first < 0 || length <= 0 {
            return String::new();
        }
        text.chars().skip(first as usize).take(length as usize).collect()
    };
    if call.args.len() == 2 {
        return map2::<Text, Int, Text>(call, |text, start| Ok(Some(part(text, start, i64::MAX))));
    }
    map3::<Text, Int, Int, Text>(call, |text, start, length| Ok(Some(part(text, start, length))))
}

fn split(call: &Call) -> Result<ArrayRef> {
    let (texts, separators) = (column::<Text>(call, 0)?, column::<Text>(call, 1)?);
    let limits = (call.args.len() == 3).then(|| column::<Int>(call, 2)).transpose()?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        if texts.is_null(row) || separators.is_null(row) || limits.is_some_and(|limits| limits.is_null(row)) {
            lists.append_null();
            continue;
        }
        let limit = limits.map_or(usize::MAX, |limits| usize::try_from(limits.value(row)).unwrap_or(0));
        if limit == 0 {
            return Err(bad("split: the limit must be positive"));
        }
        for part in parts(texts.value(row), separators.value(row), limit)? {
            lists.values().append_value(part);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn parts<'a>(text: &'a str, separator: &'a str, limit: usize) -> Result<impl Iterator<Item = &'a str>> {
    if separator.is_empty() {
        return Err(bad("the separator must not be empty"));
    }
    Ok(text.splitn(limit, separator))
}

fn split_part(call: &Call) -> Result<ArrayRef> {
    map3::<Text, Text, Int, Text>(call, |text, separator, n| {
        let Some(index) = n.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return Err(bad("split_part: the index must be greater than zero"));
        };
        if separator.is_empty() {
            return Ok(text.chars().nth(index).map(String::from));
        }
        Ok(text.split(separator).nth(index).map(str::to_owned))
    })
}

fn strpos(call: &Call) -> Result<ArrayRef> {
    let position = |text: &str, part: &str, instance: i64| {
        let at = match instance {
            _ if part.is_empty() => Some(0),
            1.. => starts(text, part).nth(instance as usize - 1),
            0 => return Err(bad("strpos: the instance must not be zero")),
            _ => {
                let all: Vec<usize> = starts(text, part).collect();
                all.iter().rev().nth(instance.unsigned_abs() as usize - 1).copied()
            }
        };
        Ok(Some(at.map_or(0, |at| text[..at].chars().count() as i64 + 1)))
    };
    if call.args.len() == 2 {
        return map2::<Text, Text, Int>(call, |text, part| position(text, part, 1));
    }
    map3::<Text, Text, Int, Int>(call, position)
}

/// The byte offsets of `part` in `text`, overlapping ones too.
fn starts<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(part)?;
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        Some(at)
    })
}

fn pad(call: &Call, is_left: bool) -> Result<ArrayRef> {
    map3::<Text, Int, Text, Text>(call, |text, size, padding| {
        let size = usize::try_from(size).ok().filter(|size| *size <= TEXT_BYTES_MAX);
        let Some(size) = size else {
            return Err(bad(format!("{}: the size must be between 0 and {TEXT_BYTES_MAX}", call.name)));
        };
        if padding.is_empty() {
            return Err(bad(format!("{}: the padding must not be empty", call.name)));
        }
        let length = text.chars().count();
        if size <= length {
            return Ok(Some(text.chars().take(size).collect()));
        }
        let filling: String = padding.chars().cycle().take(size - length).collect();
        Ok(Some(if is_left { filling + text } else { text.to_owned() + &filling }))
    })
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let between = |text: &str, with: &str| {
        // An empty `what` is found before each character and at the end.
        with.to_owned() + &text.chars().flat_map(|letter| [letter.to_string(), with.to_owned()]).collect::<String>()
    };
    if call.args.len() == 2 {
        return map2::<Text, Text, Text>(call, |text, what| {
            Ok(Some(if what.is_empty() { text.to_owned() } else { text.replace(what, "") }))
        });
    }
    map3::<Text, Text, Text, Text>(call, |text, what, with| {
        Ok(Some(if what.is_empty() { between(text, with) } else { text.replace(what, with) }))
    })
}

fn replace_all(call: &Call) -> Result<ArrayRef> {
    map3::<Text, Text, Text, Text>(call, |text, what, with| {
        Ok(Some(if what.is_empty() { text.to_owned() } else { text.replace(what, with) }))
    })
}

fn reverse_types(given: &Given) -> Result<Types> {
    match given.types {
        [kind] if lists::is_list(kind) => {
            let list = lists::plain(kind);
            Ok(Types::new(vec![list.clone()], list))
        }
        _ => exactly(given, &[TEXT], 1, TEXT),
    }
}

fn reverse(call: &Call) -> Result<ArrayRef> {
    let Some(list) = call.args[0].as_list_opt::<i32>() else {
        return map1::<Text, Text>(call, |text| Ok(Some(text.chars().rev().collect())));
    };
    pick_rows(list, |row, picks| picks.extend(lists::range(list, row).rev().map(Some)))
}

fn pick_rows(list: &ListArray, mut f: impl FnMut(usize, &mut Vec<Option<usize>>)) -> Result<ArrayRef> {
    let element = lists::element(list.data_type())?;
    lists::pick(list.values(), &element, list.len(), |row, picks| {
        f(row, picks);
        Ok(list.is_valid(row))
    })
}

fn codepoint(call: &Call) -> Result<ArrayRef> {
    map1::<Text, Int>(call, |text| {
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(Some(i64::from(u32::from(letter)))),
            _ => Err(bad("codepoint: the text must be a single character")),
        }
    })
}

/// The longest texts that are compared letter by letter: the work grows with their product.
const COMPARED_LETTERS_MAX: usize = 10_000;

fn levenshtein(call: &Call) -> Result<ArrayRef> {
    map2::<Text, Text, Int>(call, |a, b| {
        let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
        if a.len().max(b.len()) > COMPARED_LETTERS_MAX {
            return Err(bad(format!("levenshtein_distance: a text is longer than {COMPARED_LETTERS_MAX} characters")));
        }
        let mut costs: Vec<usize> = (0..=b.len()).collect();
        for (i, left) in a.iter().enumerate() {
            let mut diagonal = std::mem::replace(&mut costs[0], i + 1);
            for (j, right) in b.iter().enumerate() {
                let change = diagonal + usize::from(left != right);
                diagonal = costs[j + 1];
                costs[j + 1] = change.min(diagonal + 1).min(costs[j] + 1);
            }
        }
        Ok(costs.last().map(|cost| *cost as i64))
    })
}

fn hamming(call: &Call) -> Result<ArrayRef> {
    map2::<Text, Text, Int>(call, |a, b| {
        if a.chars().count() != b.chars().count() {
            return Err(bad("hamming_distance: the texts must have the same length"));
        }
        Ok(Some(a.chars().zip(b.chars()).filter(|(a, b)| a != b).count() as i64))
    })
}

fn luhn(call: &Call) -> Result<ArrayRef> {
    map1::<Text, Bool>(call, |text| {
        let digits: Option<Vec<u32>> = text.chars().map(|letter| letter.to_digit(10)).collect();
        let Some(digits) = digits else { return Err(bad("luhn_check: the text must have digits only")) };
        let sum: u32 = digits
            .iter()
            .rev()
            .enumerate()
            .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
            .sum();
        Ok(Some(!digits.is_empty() && sum.is_multiple_of(10)))
    })
}

fn normalize(call: &Call) -> Result<ArrayRef> {
    if call.args.len() == 1 {
        return map1::<Text, Text>(call, |text| Ok(Some(text.nfc().collect())));
    }
    map2::<Text, Text, Text>(call, |text, form| {
        Ok(Some(match form.to_ascii_uppercase().as_str() {
            "NFC" => text.nfc().collect(),
            "NFD" => text.nfd().collect(),
            "NFKC" => text.nfkc().collect(),
            "NFKD" => text.nfkd().collect(),
            _ => return Err(bad(format!("normalize: \"{form}\" is none of NFC, NFD, NFKC, NFKD"))),
        }))
    })
}

fn soundex(call: &Call) -> Result<ArrayRef> {
    let code = |letter: char| match letter {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        _ => '0',
    };
    map1::<Text, Text>(call, |text| {
        let letters: Vec<char> =
            text.chars().filter(char::is_ascii_alphabetic).map(|l| l.to_ascii_uppercase()).collect();
        let Some(&first) = letters.first() else { return Ok(Some(String::new())) };
        let mut sounds = String::from(first);
        let mut last = code(first);
        for &letter in &letters[1..] {
            let sound = code(letter);
            if sound != '0' && sound != last && sounds.len() < 4 {
                sounds.push(sound);
            }
            // H and W do not separate two letters with the same code.
            if !matches!(letter, 'H' | 'W') {
                last = sound;
            }
        }
        Ok(Some(format!("{sounds:0<4}")))
    })
}

fn from_utf8(call: &Call) -> Result<ArrayRef> {
    if call.args.len() == 1 {
        return map1::<Bytes, Text>(call, |bytes| Ok(Some(String::from_utf8_lossy(bytes).into_owned())));
    }
    map2::<Bytes, Text, Text>(call, |bytes, with| {
        if with.chars().count() > 1 {
            return Err(bad("from_utf8: the replacement must be one character or none"));
        }
        let text =
            bytes.utf8_chunks().flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { with }]);
        Ok(Some(text.collect()))
    })
}
