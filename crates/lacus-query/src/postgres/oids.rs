//! The numbers that Postgres clients know databases and tables by.
//!
//! One is given when a name is seen first, and stays with the name as long as the server runs. Clients ask for a number in one
//! question and use it in the next.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first OID that is not reserved for Postgres' own objects.
const FIRST: i32 = 16_384;
/// The first OID of those system tables whose numbers nobody knows by heart.
const FIRST_OF_SYSTEM: i32 = 12_000;
/// The most names that are kept.
const NAMES_MAX: usize = 1_000_000;

/// What clients know by heart.
const FIXED: [(&str, i32); 12] = [
    ("lake", 5),
    ("pg_catalog", 11),
    ("information_schema", 13_000),
    ("pg_catalog.pg_type", 1247),
    ("pg_catalog.pg_attribute", 1249),
    ("pg_catalog.pg_proc", 1255),
    ("pg_catalog.pg_class", 1259),
    ("pg_catalog.pg_authid", 1260),
    ("pg_catalog.pg_database", 1262),
    ("pg_catalog.pg_constraint", 2606),
    ("pg_catalog.pg_description", 2609),
    ("pg_catalog.pg_namespace", 2615),
];

/// The numbers of an engine.
#[derive(Default)]
pub(crate) struct Oids(Mutex<Given>);

#[derive(Default)]
struct Given {
    by_name: BTreeMap<String, i32>,
    by_oid: BTreeMap<i32, About>,
    next_of_system: i32,
    next: i32,
}

/// What is behind a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// Its database.
    pub(crate) namespace: String,
    /// Its name; none for a database.
    pub(crate) name: Option<String>,
    /// What a view asks.
    pub(crate) definition: Option<String>,
}

impl Oids {
    /// The OID of a database, or of a table in it.
    pub(crate) fn of(&self, about: About) -> i32 {
        let mut given = self.given();
        let name = match &about.name {
            Some(name) => format!("{}.{name}", about.namespace),
            None => about.namespace.clone(),
        };
        let known = given.by_name.get(&name).copied();
        let fixed = || FIXED.iter().find(|(fixed, _)| *fixed == name).map(|(_, oid)| *oid);
        let oid = known.or_else(fixed).unwrap_or_else(|| {
            let is_system = ["pg_catalog", "information_schema"].contains(&about.namespace.as_str());
            let given = &mut *given;
            let (next, first) =
                if is_system { (&mut given.next_of_system, FIRST_OF_SYSTEM) } else { (&mut given.next, FIRST) };
            *next += 1;
            first + *next - 1
        });
        if known.is_none() && given.by_name.len() < NAMES_MAX {
            given.by_name.insert(name, oid);
        }
        if given.by_oid.len() < NAMES_MAX || given.by_oid.contains_key(&oid) {
            given.by_oid.insert(oid, about);
        }
        oid
    }

    /// The object of an OID that was given out.
    pub(crate) fn about(&self, oid: i32) -> Option<About> {
        self.given().by_oid.get(&oid).cloned()
    }

    /// The OID of `database.table`, if one was given out.
    pub(crate) fn named(&self, name: &str) -> Option<i32> {
        self.given().by_name.get(name).copied()
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        // A name without its number is given another one: a panic leaves nothing that misleads.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_with_their_names() {
        let oids = Oids::default();
        let of = |namespace: &str, name: Option<&str>| {
            oids.of(About { namespace: namespace.into(), name: name.map(str::to_owned), definition: None })
        };
        let (main, clicks) = (of("main", None), of("main", Some("clicks")));
        assert_eq!((main, clicks), (16_384, 16_385));
        assert_eq!((of("main", Some("clicks")), of("pg_catalog", Some("pg_class"))), (clicks, 1259));
        assert_eq!(oids.about(clicks).unwrap().name.as_deref(), Some("clicks"));
        assert_eq!(of("pg_catalog", Some("pg_views")), 12_000);
        assert_eq!(oids.about(7), None);
    }
}
