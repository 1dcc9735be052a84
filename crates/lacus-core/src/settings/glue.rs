//! The settings of the mirror in AWS Glue.

use serde::{Deserialize, Serialize};

use super::Location;
use super::lake::variable;
use crate::error::{Error, Result};
use crate::units::Millis;

/// The mirror of the tables in AWS Glue, where Athena and Redshift find them. It has the credentials of `lake.s3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Glue {
    /// The database in Glue that has the tables of `main`; those of another one, `web`, are in `<database>_web`. Without it there is no
    /// mirror. The lake has to be in a bucket.
    pub database: Option<String>,
    /// The region of Glue. Without it, that of the bucket.
    pub region: Option<String>,
    /// The address of Glue: `https://glue.eu-west-1.amazonaws.com`. Without it, or `AWS_ENDPOINT_URL_GLUE` or
    /// `AWS_ENDPOINT_URL`, Amazon's in the region.
    pub endpoint: Option<String>,
    /// A table is changed there once in this time at most.
    pub update_every: Millis,
}

/// Glue has room for 255 bytes: this, `_`, and the name of a database of ours.
const DATABASE_BYTES_MAX: usize = 100;

impl Default for Glue {
    fn default() -> Self {
        Self { database: None, region: None, endpoint: None, update_every: Millis::seconds(10) }
    }
}

impl Glue {
    /// Takes what is not set from the variables that AWS tools read, if there is a mirror.
    pub(super) fn fill_from(&mut self, environment: &[(String, String)]) {
        if self.database.is_some() && self.endpoint.is_none() {
            self.endpoint = variable(environment, &["AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL"]);
        }
    }

    pub(super) fn check(&self, location: Option<&Location>) -> Result<()> {
        let Some(database) = &self.database else {
            if *self == Self::default() {
                return Ok(());
            }
            return Err(Error::invalid("[lake.glue] does not say in which database tables are mirrored")
                .with_hint("database = \"lake\""));
        };
        if location.is_none() {
            return Err(Error::invalid("lake.glue mirrors tables that are in a bucket, and lake.location names none")
                .with_hint(
                    "lake.location = \"s3://bucket/prefix\": what reads tables by Glue opens their files there",
                ));
        }
        if !is_database(database) {
            return Err(Error::invalid(format!("lake.glue.database = \"{database}\" is no name of a database"))
                .with_hint(format!("lowercase letters, digits and _, {DATABASE_BYTES_MAX} at most: \"lake\"")));
        }
        match self.endpoint.as_ref().map(|endpoint| endpoint.split_once("://")) {
            None | Some(Some(("http" | "https", _))) => Ok(()),
            Some(_) => Err(Error::invalid("lake.glue.endpoint is no address of AWS Glue")
                .with_hint("lake.glue.endpoint = \"https://glue.eu-west-1.amazonaws.com\"")),
        }
    }
}

/// As Athena has them without quotes.
fn is_database(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=DATABASE_BYTES_MAX).contains(&name.len()) && name.bytes().all(of_name)
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::units::Millis;

    const BUCKET: &str = "[lake]\nlocation = \"s3://events/lake\"\n";

    #[test]
    fn a_mirror_is_of_a_bucket() {
        let text = format!("{BUCKET}[lake.glue]\ndatabase = \"lake\"\nupdate_every = \"1m\"\n");
        let glue = Settings::load(&text, []).unwrap().lake.glue;
        assert_eq!((glue.database.as_deref(), glue.update_every), (Some("lake"), Millis::seconds(60)));
        let wrong = [
            ("[lake.glue]\ndatabase = \"lake\"\n".to_owned(), "lake.location names none"),
            (format!("{BUCKET}[lake.glue]\nregion = \"eu-west-1\"\n"), "in which database"),
            (format!("{BUCKET}[lake.glue]\ndatabase = \"My-Lake\"\n"), "no name of a database"),
            (format!("{BUCKET}[lake.glue]\ndatabase = \"\"\n"), "no name of a database"),
            (format!("{BUCKET}[lake.glue]\ndatabase = \"lake\"\nendpoint = \"glue\"\n"), "no address"),
            (format!("{BUCKET}[lake.glue]\ndatabse = \"lake\"\n"), "databse"),
        ];
        for (text, told) in wrong {
            let error = Settings::load(&text, []).unwrap_err();
            assert!(error.message().contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn its_address_may_be_in_the_environment() {
        let environment = |name: &str| vec![(name.to_owned(), "http://127.0.0.1:5000".to_owned())];
        let text = format!("{BUCKET}[lake.glue]\ndatabase = \"lake\"\n");
        for name in ["AWS_ENDPOINT_URL_GLUE", "AWS_ENDPOINT_URL"] {
            let glue = Settings::load(&text, environment(name)).unwrap().lake.glue;
            assert_eq!(glue.endpoint.as_deref(), Some("http://127.0.0.1:5000"), "{name}");
        }
        let without = Settings::load(BUCKET, environment("AWS_ENDPOINT_URL_GLUE")).unwrap().lake.glue;
        assert_eq!(without.endpoint, None);
    }
}
