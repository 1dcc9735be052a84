//! `# comments`, which end with their line, where a dialect has them: elsewhere `#` is an operator.

use std::borrow::Cow;

use crate::dialect::Dialect;

/// The text with blanks in place of such comments: all else keeps its position.
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
            (Inside::Statement, '/') if next == Some('*') => Inside::Opening(0),
            (Inside::Block(depth), '/') if next == Some('*') => Inside::Opening(depth),
            (Inside::Opening(depth), _) => Inside::Block(depth + 1),
            (Inside::Quotes(quote), letter) if letter == quote => Inside::Statement,
            (Inside::Line | Inside::Hash, '\n') => Inside::Statement,
            (Inside::Block(depth), '*') if next == Some('/') => Inside::Closing(depth - 1),
            (Inside::Closing(0), _) => Inside::Statement,
            (Inside::Closing(depth), _) => Inside::Block(depth),
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
    /// In a comment that begins with `/*`, nested this deep.
    Block(usize),
    /// The `/` of `/*`, and how many are around it.
    Opening(usize),
    /// The `*` of `*/`, and how many are left.
    Closing(usize),
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
            ("/* a /* # */ # */ 1 #/**/", "/* a /* # */ # */ 1      "),
            ("/*/ # */1#*/", "/*/ # */1   "),
            ("#é\n", "  \n"),
        ] {
            assert_eq!(blanked(sql, Dialect::Athena), expected);
        }
        assert_eq!(blanked("5 # 3", Dialect::Lacus), "5 # 3");
    }
}
