//! The SQL a session speaks.
//!
//! The dialects share one grammar. `athena` answers as Amazon Athena (Trino) does wherever the two disagree, by the
//! `trino-functions` crate; the others have its functions too, where the engine has none of that name.
//!
//! | | `lacus` | `redshift` | `athena` |
//! |---|---|---|---|
//! | `ORDER BY x DESC` puts nulls | first | first | last |
//! | `1.5` is | double | double | decimal |
//! | `concat('a', NULL)` is | `a` | `a` | null |
//! | `count(*)` is called | `count(*)` | `count(*)` | `_col0` |
//! | the first element is | `a[1]` | `a[0]` | `a[1]` |

use std::fmt;
use std::str::FromStr;

use datafusion::config::ConfigOptions;
use lacus_core::Error;
use trino_functions::Semantics;

/// The SQL a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Postgres-like: the default.
    #[default]
    Lacus,
    /// As Amazon Athena (Trino) does it: nulls last in every order, `1.5` is a decimal.
    Athena,
    /// As Amazon Redshift does it: Postgres-like, with Redshift's functions, and arrays that begin at 0.
    Redshift,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lacus, Self::Athena, Self::Redshift];

    /// Its name in SQL and settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lacus => "lacus",
            Self::Athena => "athena",
            Self::Redshift => "redshift",
        }
    }

    /// Whose functions and operators it has.
    pub(crate) fn semantics(self) -> Semantics {
        match self {
            Self::Athena => Semantics::Trino,
            Self::Lacus | Self::Redshift => Semantics::DataFusion,
        }
    }

    pub(crate) fn apply(self, options: &mut ConfigOptions) {
        let athena = self == Self::Athena;
        options.sql_parser.default_null_ordering = if athena { "nulls_last" } else { "nulls_max" }.to_owned();
        options.sql_parser.parse_float_as_decimal = athena;
        // A timestamp with a zone is one in UTC, as in tables.
        options.execution.time_zone = Some("+00:00".to_owned());
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|dialect| text.eq_ignore_ascii_case(dialect.as_str())).ok_or_else(|| {
            Error::invalid(format!("there is no SQL dialect \"{text}\""))
                .with_hint("dialects are lacus, athena and redshift")
        })
    }
}
