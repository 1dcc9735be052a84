//! `to_char(x, 'YYYY-MM-DD')`, `to_date`, `to_timestamp`, with the formats of PostgreSQL and Redshift.
//!
//! The engine's functions of these names take another kind of format (`%Y-%m-%d`), and write a text without `%` as it is. A
//! format that is a literal is translated for `format_datetime` and `parse_datetime`.

use datafusion::sql::sqlparser::ast::{Expr, FunctionArguments};

use super::{call, expression, plain, quoted, text_of};

/// The names of format parts, and what `format_datetime` calls them. Of names with a common beginning the longest is first.
/// Names in lowercase with a blank after each other are missing: nothing writes a month in capitals only.
const PARTS: [(&str, &str); 20] = [
    ("YYYY", "yyyy"),
    ("IYYY", "xxxx"),
    ("HH24", "HH"),
    ("HH12", "hh"),
    ("FMMonth", "MMMM"),
    ("FMDay", "EEEE"),
    ("FMMM", "M"),
    ("FMDD", "d"),
    ("FMHH24", "H"),
    ("Mon", "MMM"),
    ("DDD", "DDD"),
    ("YY", "yy"),
    ("IW", "ww"),
    ("MM", "MM"),
    ("DD", "dd"),
    ("Dy", "EEE"),
    ("HH", "hh"),
    ("MI", "mm"),
    ("SS", "ss"),
    ("MS", "SSS"),
];
/// Those with more digits than three, and halves of days.
const MORE_PARTS: [(&str, &str); 3] = [("US", "SSSSSS"), ("AM", "a"), ("PM", "a")];
/// A pattern letter that `format_datetime` refuses by name.
const UNKNOWN: char = 'Q';

/// A call with such a format, translated; none for other calls.
pub(super) fn reworded(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let [part] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let [value, format] = list.args.as_slice() else { return None };
    let (value, format) = (plain(value)?, text_of(plain(format)?)?);
    if format.contains('%') {
        return None;
    }
    let args = vec![value.clone(), quoted(&pattern(format))];
    match part.as_ident()?.value.to_lowercase().as_str() {
        "to_char" => Some(call("format_datetime", args)),
        "to_timestamp" => Some(call("parse_datetime", args)),
        "to_date" => {
            let mut day = expression("CAST(NULL AS date)");
            if let Expr::Cast { expr, .. } = &mut day {
                **expr = call("parse_datetime", args);
            }
            Some(day)
        }
        _ => None,
    }
}

fn pattern(format: &str) -> String {
    let (mut rest, mut pattern) = (format, String::new());
    while let Some(letter) = rest.chars().next() {
        if let Some((text, behind)) = rest.strip_prefix('"').and_then(|inside| inside.split_once('"')) {
            pattern.push_str(&format!("'{}'", text.replace('\'', "''")));
            rest = behind;
            continue;
        }
        let known = PARTS.iter().chain(&MORE_PARTS).find_map(|(name, word)| Some((word, strip(rest, name)?)));
        if let Some((word, behind)) = known {
            // Two parts of one letter would be read as another part: of `MMMM` as the name of the month.
            let is_longer = pattern.chars().next_back().is_some_and(|last| word.starts_with(last));
            if is_longer {
                pattern.push(UNKNOWN);
            } else {
                pattern.push_str(word);
            }
            rest = behind;
            continue;
        }
        match letter {
            '\'' => pattern.push_str("''"),
            letter if letter.is_ascii_alphabetic() => pattern.push(UNKNOWN),
            letter => pattern.push(letter),
        }
        rest = &rest[letter.len_utf8()..];
    }
    pattern
}

/// What follows a part. Parts for numbers match in any case, those for names in exactly theirs.
fn strip<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.get(..name.len())?;
    let is_name = name.bytes().any(|letter| letter.is_ascii_lowercase());
    let is_half = matches!(name, "AM" | "PM");
    let is_same = if is_name || is_half { start == name } else { start.eq_ignore_ascii_case(name) };
    is_same.then(|| &text[name.len()..])
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn formats_are_said_in_other_words() {
        for (format, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "yyyy-MM-dd HH:mm:ss"),
            ("yyyymmdd", "yyyyMMdd"),
            ("Mon FMDD, YYYY", "MMM d, yyyy"),
            ("YYYY-MM-DD\"T\"HH24:MI:SS.MS", "yyyy-MM-dd'T'HH:mm:ss.SSS"),
            ("HH12:MI AM", "hh:mm a"),
            ("Q", "Q"),
            ("Day", "QQQ"),
            ("MMMM", "MMQ"),
            ("SSSS", "ssQ"),
            ("MonMM", "MMMQ"),
            ("HH24MISSMS", "HHmmssSSS"),
        ] {
            assert_eq!(pattern(format), expected);
        }
    }
}
