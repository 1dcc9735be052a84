//! `# comments`, which end with their line, where a dialect has them: elsewhere `#` is an operator.

use std::borrow::Cow;

use crate::dialect::Dialect;

/// The text with blanks for such comments: all else keeps its place.
pub(crate) fn blanked(sql: &str, dialect: Dialect) -> Cow<'_, str> {
    if dialect != Dialect::Athena || !sql.contains('#') {
        return Cow::Borrowed(sql);
    }
    let mut text = String::with_capacity(sql.len());
    let mut letters = sql.chars().peekable();
    let mut inside = Inside::Statement;
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        inside = match (inside, letter) {
            (Inside::Statement, '#') => Inside::Hash,
            (Inside::Statement, quote @ ('\'' | '"' | '`')) => Inside::Quotes(quote),
            (Inside::Statement, '-') if next == Some('-') => Inside::Line,
            (Inside::Statement, '/') if next == Some('*') => Inside::Block,
            (Inside::Quotes(quote), letter) if letter == quote => Inside::Statement,
            (Inside::Line | Inside::Hash, '\n') => Inside::Statement,
            (Inside::Block, '*') if next == Some('/') => Inside::BlockEnd,
            (Inside::BlockEnd, '/') => Inside::Statement,
            (inside, _) => inside,
        };
        text.push(if matches!(inside, Inside::Hash) { ' ' } else { letter });
    }
    Cow::Owned(text)
}

/// What a letter is in.
#[derive(Clone, Copy)]
enum Inside {
    Statement,
    Quotes(char),
    /// A comment that begins with `--`.
    Line,
    Hash,
    Block,
    /// The `*` of its `*/`.
    BlockEnd,
}

#[cfg(test)]
mod tests {
    use super::blanked;
    use crate::dialect::Dialect;

    #[test]
    fn only_comments_are_blanked() {
        for (sql, expected) in [
            ("a # b\nc", "a    \nc"),
            ("'#' # x", "'#'    "),
            ("\"#\", `#` -- # don't\n#don't\n1", "\"#\", `#` -- # don't\n      \n1"),
            ("/* # */ 1 #", "/* # */ 1  "),
            ("#é\n", "  \n"),
        ] {
            assert_eq!(blanked(sql, Dialect::Athena), expected);
        }
        assert_eq!(blanked("5 # 3", Dialect::Lacus), "5 # 3");
    }
}
