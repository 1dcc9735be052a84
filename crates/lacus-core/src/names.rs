//! Names of streams and tables: checked once at the edge, right everywhere after.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest name of a stream or table, in bytes.
pub const NAME_BYTES_MAX: usize = 120;

/// What the table of rows that could not be decoded adds to its table's name.
const QUARANTINE_SUFFIX: &str = "__quarantine";

/// What stands between a table's name and that of an array of it, in the name of the table of its elements.
const ELEMENTS_MARK: &str = "__";

/// The name of a stream: a lowercase letter, then lowercase letters, digits and `_`; no `__`, at most
/// [`NAME_BYTES_MAX`] bytes. Events posted with `?source=clicks` go to stream `clicks`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid), with a name that would do as the hint.
    pub fn new(name: &str) -> Result<Self> {
        if is_valid(name) {
            return Ok(Self(name.into()));
        }
        let error = Error::invalid(format!(
            "\"{}\" is not a stream name: use a lowercase letter, then lowercase letters, digits and single underscores, {NAME_BYTES_MAX} bytes at most",
            shortened(name)
        ));
        let closest = closest_valid(name);
        Err(if is_valid(&closest) { error.with_hint(format!("try \"{closest}\"")) } else { error })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name nearest to `text` that can be one: `My-Stream` gives `my_stream`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) when nothing of `text` can be in a name.
    pub fn nearest(text: &str) -> Result<Self> {
        Self::new(&closest_valid(text))
    }

    /// The table that this stream is delivered to when it has one table: of its own name, in database `main`.
    #[must_use]
    pub fn table(&self) -> TableName {
        TableName(Arc::clone(&self.0))
    }

    /// A table of the database that this stream has for itself: `web.tracks`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) if `table` can't be a name, or the stream's can't be that of a database:
    /// `main` and a few others are taken.
    pub fn table_in(&self, table: &str) -> Result<TableName> {
        let name = TableName::new(&format!("{}.{table}", self.0))?;
        if self.as_str() == MAIN_DATABASE { Err(taken_database(MAIN_DATABASE)) } else { Ok(name) }
    }
}

/// The name of a table. `clicks` is in database `main` and is fed by stream `clicks`; `web.tracks` is in database `web`,
/// whose tables are all fed by stream `web`. Either may have a `…__quarantine` beside it, and tables of the elements of its
/// arrays: `clicks__items`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);

/// The database of tables whose stream has one table.
pub const MAIN_DATABASE: &str = "main";

/// Names that a stream's own database can't have: SQL has databases of its own, and `lake/raw/` is the raw zone.
const TAKEN_DATABASES: [&str; 3] = ["information_schema", "pg_catalog", "raw"];

impl TableName {
    /// Checks a name: each part as for a stream, and the derived `…__quarantine` too. Tables and databases that somebody makes
    /// may begin with a digit, and have `-` in their names: `"data-sandbox"."2021"`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid).
    pub fn new(name: &str) -> Result<Self> {
        let (database, table) = name.split_once('.').map_or((None, name), |(database, table)| (Some(database), table));
        database.map(must_be_part).transpose()?;
        if let Some(taken) = database.filter(|database| TAKEN_DATABASES.contains(database)) {
            return Err(taken_database(taken));
        }
        let own = table.strip_suffix(QUARANTINE_SUFFIX).unwrap_or(table);
        let (parent, elements) = own.split_once(ELEMENTS_MARK).map_or((own, None), |(parent, of)| (parent, Some(of)));
        must_be_part(parent)?;
        elements.map(must_be_part).transpose()?;
        if own.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("the name of table \"{own}\" has more than {NAME_BYTES_MAX} bytes")));
        }
        if database == Some(MAIN_DATABASE) { Ok(Self(table.into())) } else { Ok(Self(name.into())) }
    }

    /// The whole name as text, with its database unless that is `main`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &str {
        self.0.split_once('.').map_or(MAIN_DATABASE, |(database, _)| database)
    }

    /// Its name within its database.
    #[must_use]
    pub fn table(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(_, table)| table)
    }

    /// The stream that feeds this table.
    #[must_use]
    pub fn stream(&self) -> StreamName {
        let owner = self.0.split_once('.').map_or(&*self.0, |(database, _)| database);
        StreamName(owner.split_once(ELEMENTS_MARK).map_or(owner, |(parent, _)| parent).into())
    }

    /// The table of the elements of one of its arrays: `clicks` has `clicks__items`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) if `array` can't be in a name, or makes it too long.
    pub fn elements(&self, array: &str) -> Result<Self> {
        let name = format!("{}{ELEMENTS_MARK}{array}", self.0);
        if name.ends_with(QUARANTINE_SUFFIX) {
            return Err(Error::invalid(format!("table \"{name}\" is the quarantine of \"{self}\"")));
        }
        Self::new(&name)
    }

    /// The table that keeps what this table could not: `clicks` has `clicks__quarantine`.
    #[must_use]
    pub fn quarantine(&self) -> Self {
        Self(format!("{}{QUARANTINE_SUFFIX}", self.0).into())
    }

    /// Whether this is the table of the elements of an array of another one.
    #[must_use]
    pub fn is_of_elements(&self) -> bool {
        !self.is_quarantine() && self.0.contains(ELEMENTS_MARK)
    }

    /// Whether this is the quarantine of another table.
    #[must_use]
    pub fn is_quarantine(&self) -> bool {
        self.0.ends_with(QUARANTINE_SUFFIX)
    }
}

fn taken_database(name: &str) -> Error {
    Error::invalid(format!("no stream can have a database \"{name}\" of its own: the name is taken"))
        .with_hint("give the stream another name")
}

/// Checks a part of a table's name.
fn must_be_part(name: &str) -> Result<()> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    if name.len() <= NAME_BYTES_MAX
        && begins_well
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
        && !name.contains("__")
    {
        return Ok(());
    }
    let error = Error::invalid(format!(
        "\"{}\" is no name of a table or database: use a lowercase letter or digit, then lowercase letters, digits, - and single underscores, {NAME_BYTES_MAX} bytes at most",
        shortened(name)
    ));
    let closest = closest_valid(name);
    Err(if is_valid(&closest) { error.with_hint(format!("try \"{closest}\"")) } else { error })
}

fn is_valid(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.contains("__")
}

fn closest_valid(name: &str) -> String {
    let mut closest = String::new();
    for letter in name.chars().take(NAME_BYTES_MAX) {
        match letter.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => closest.push(letter),
            _ if closest.ends_with('_') => {}
            _ => closest.push('_'),
        }
    }
    closest.trim_matches(|edge: char| !edge.is_ascii_lowercase() && !edge.is_ascii_digit()).to_owned()
}

fn shortened(name: &str) -> String {
    let mut text: String = name.chars().take(60).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

macro_rules! shown_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}
shown_as_text!(StreamName, TableName);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(name: &str, hint: Option<&str>) {
        let error = StreamName::new(name).unwrap_err();
        assert_eq!(error.hint(), hint, "{error}");
    }

    #[test]
    fn names_are_lowercase_words() {
        for name in ["clicks", "a", "page_views_2"] {
            assert_eq!(StreamName::new(name).unwrap().as_str(), name);
        }
        check_refused("My Clicks", Some("try \"my_clicks\""));
        check_refused("web-events", Some("try \"web_events\""));
        check_refused("a__b", Some("try \"a_b\""));
        check_refused("9lives", None);
        check_refused("", None);
        check_refused("../../etc/passwd", Some("try \"etc_passwd\""));
        check_refused(&"x".repeat(121), Some(&format!("try \"{}\"", "x".repeat(120))));
    }

    #[test]
    fn only_derived_tables_may_have_two_underscores() {
        let clicks = StreamName::new("clicks").unwrap().table();
        assert_eq!(clicks.quarantine().as_str(), "clicks__quarantine");
        assert!(TableName::new("clicks__quarantine").unwrap().is_quarantine());
        assert_eq!(clicks.quarantine().stream().as_str(), "clicks");
        let items = clicks.elements("line_items").unwrap();
        assert_eq!((items.as_str(), items.stream().as_str()), ("clicks__line_items", "clicks"));
        assert!(clicks.elements("quarantine").is_err() && clicks.elements(&"x".repeat(113)).is_err());
        assert!(!items.is_quarantine() && items.is_of_elements() && !clicks.quarantine().is_of_elements());
        let items = StreamName::new("web").unwrap().table_in("sold").unwrap().elements("items").unwrap();
        assert_eq!((items.as_str(), items.stream().as_str()), ("web.sold__items", "web"));
        for wrong in ["clicks__", "clicks__a__b", "__a", "clicks___a"] {
            assert!(TableName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_that_somebody_makes_may_be_called_as_in_other_catalogs() {
        let name = TableName::new("data-sandbox.2021").unwrap();
        assert_eq!((name.database(), name.table()), ("data-sandbox", "2021"));
        for wrong in ["-a", "a b", "A", "data-sandbox.", "../a", "a/b", "é"] {
            assert!(TableName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stream_may_have_a_database_of_tables() {
        let tracks = StreamName::new("web").unwrap().table_in("tracks").unwrap();
        assert_eq!((tracks.as_str(), tracks.database(), tracks.table()), ("web.tracks", "web", "tracks"));
        assert_eq!(tracks.quarantine().as_str(), "web.tracks__quarantine");
        assert_eq!(tracks.quarantine().stream().as_str(), "web");
        assert_eq!(TableName::new("main.clicks").unwrap().as_str(), "clicks");
        assert_eq!(TableName::new("clicks").unwrap().database(), "main");
        assert!(TableName::new("a.b.c").is_err());
        for taken in ["main", "raw", "pg_catalog", "information_schema"] {
            assert!(StreamName::new(taken).unwrap().table_in("tracks").is_err(), "{taken}");
        }
    }

    #[test]
    fn other_systems_names_have_a_nearest_one() {
        assert_eq!(StreamName::nearest("My-Stream.v2").unwrap().as_str(), "my_stream_v2");
        assert!(StreamName::nearest("---").is_err());
    }
}
