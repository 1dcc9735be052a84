//! The settings of the lake: where its files and its catalog are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Glue, Secret};
use crate::error::{Error, Result};

/// Tables and raw events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// Where the files of tables and raw events are: `s3://bucket/prefix`. Without it, in `.lacus/lake`. It is set before the
    /// first start and never changes.
    pub location: Option<Location>,
    /// Serves the files in `.lacus/lake` to engines on other machines, as a bucket of this name, over the protocol of S3 on
    /// the HTTP port: tables then are at `s3://<bucket>/…`. It is set before the first start and never changes.
    pub bucket: Option<String>,
    /// The address at which engines on other machines find the files of `bucket`, if it is not the one at which they found
    /// the catalog: `https://lake.example.com`.
    pub address: Option<String>,
    /// The PostgreSQL database with the catalog: `postgres://user@host/database`. It may hold a password, so it is never shown
    /// and may stand in the environment: `LACUS__LAKE__CATALOG`. `?sslmode=verify-full&sslrootcert=/path/to/ca.crt` at its end
    /// asks for TLS with this very server. Without it, the catalog is `.lacus/catalog.db`.
    pub catalog: Secret,
    /// How to reach the bucket of `location`.
    pub s3: S3,
    /// The mirror of the tables in AWS Glue.
    pub glue: Glue,
}

/// How to reach a store that speaks the protocol of S3. What is not set here is taken from the variables that AWS tools read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// The address of the store: `https://minio.internal:9000`. Without it, or `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`,
    /// Amazon's.
    pub endpoint: Option<String>,
    /// The region of the bucket. Without it, or `AWS_REGION` or `AWS_DEFAULT_REGION`, `us-east-1`.
    pub region: Option<String>,
    /// Whose access. Without it, `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub access_key_id: Option<String>,
    /// Its secret, never shown: better in the environment.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Secret,
    /// Asks the machine (EC2) for the credentials of its role, instead of a key.
    pub instance_role: bool,
}

/// A bucket, and the part of it that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What all names in it begin with, without slashes around it; may be empty.
    pub prefix: String,
}

impl Lake {
    /// The URL of the catalog, if it is not in the project's folder.
    #[must_use]
    pub fn catalog_url(&self) -> Option<&Secret> {
        (!self.catalog.is_empty()).then_some(&self.catalog)
    }

    pub(super) fn check(&self) -> Result<()> {
        self.check_served()?;
        self.glue.check(self.location.as_ref())?;
        match self.catalog_url().map(|url| url.reveal().split_once("://")) {
            None | Some(Some(("postgres" | "postgresql", _))) => {}
            Some(_) => {
                return Err(Error::invalid("lake.catalog is no URL of a PostgreSQL database")
                    .with_hint("lake.catalog = \"postgres://user@host:5432/database\""));
            }
        }
        match self.s3.endpoint.as_ref().map(|endpoint| endpoint.split_once("://")) {
            None | Some(Some(("http" | "https", _))) => Ok(()),
            Some(_) => Err(Error::invalid("lake.s3.endpoint is no address of a store")
                .with_hint("lake.s3.endpoint = \"https://minio.internal:9000\"")),
        }
    }
}

impl Lake {
    fn check_served(&self) -> Result<()> {
        if self.bucket.is_some() && self.location.is_some() {
            return Err(Error::invalid(
                "lake.bucket serves the files of a folder, and lake.location says that they are elsewhere",
            )
            .with_hint("engines find files in a bucket by themselves: leave lake.bucket out"));
        }
        if let Some(wrong) = self.bucket.as_ref().filter(|name| !is_bucket(name)) {
            return Err(Error::invalid(format!("lake.bucket = \"{wrong}\" is no name of a bucket")).with_hint(
                "3 to 63 lowercase letters, digits and -, such as \"lake\"; not what the HTTP port has already",
            ));
        }
        match self.address.as_ref().map(|address| address.split_once("://")) {
            None => Ok(()),
            Some(Some(("http" | "https", host))) if !host.is_empty() && !host.contains(['/', '?', '#', '@']) => Ok(()),
            Some(_) => Err(Error::invalid("lake.address is no address of a server")
                .with_hint("lake.address = \"https://lake.example.com\", without a path")),
        }
    }
}

/// What the HTTP port has already below its root, and a bucket would hide.
const TAKEN_BUCKETS: [&str; 4] = ["iceberg", "livez", "metrics", "readyz"];

/// As Amazon has them, without dots.
fn is_bucket(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(of_name)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.starts_with("xn--")
        && !TAKEN_BUCKETS.contains(&name)
}

impl S3 {
    /// Takes what is not set from the variables that AWS tools read. A key comes whole: never one's id with another's secret.
    pub(super) fn fill_from(&mut self, environment: &[(String, String)]) {
        let variable = |names: &[&str]| variable(environment, names);
        let or_variable = |setting: &mut Option<String>, names: &[&str]| {
            if setting.is_none() {
                *setting = variable(names);
            }
        };
        or_variable(&mut self.endpoint, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        or_variable(&mut self.region, &["AWS_REGION", "AWS_DEFAULT_REGION"]);
        if self.access_key_id.is_none() && self.secret_access_key.is_empty() {
            self.access_key_id = variable(&["AWS_ACCESS_KEY_ID"]);
            self.secret_access_key = variable(&["AWS_SECRET_ACCESS_KEY"]).unwrap_or_default().into();
            self.session_token = variable(&["AWS_SESSION_TOKEN"]).unwrap_or_default().into();
        }
    }
}

/// The first of these variables that is set and not empty.
pub(super) fn variable(environment: &[(String, String)], names: &[&str]) -> Option<String> {
    let found = names.iter().find_map(|name| environment.iter().find(|(key, value)| key == name && !value.is_empty()));
    found.map(|(_, value)| value.clone())
}

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no place for a lake: it is like s3://bucket/prefix");
        let (bucket, prefix) = {
            let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
            rest.split_once('/').unwrap_or((rest, ""))
        };
        let is_name = |part: &str| {
            let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(of_name)
        };
        let prefix = prefix.trim_end_matches('/');
        if !is_name(bucket) || !prefix.is_empty() && !prefix.split('/').all(is_name) {
            return Err(wrong());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    const BUCKET: &str = "[lake]\nlocation = \"s3://events/lake/one/\"\n";

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_place_is_a_bucket_and_a_prefix() {
        let lake = Settings::load(BUCKET, []).unwrap().lake;
        assert_eq!(lake.location.unwrap().to_string(), "s3://events/lake/one");
        for wrong in ["", "events", "gs://events", "s3://", "s3:///x", "s3://events/../x", "s3://events//x", "s3://a b"]
        {
            let error = Settings::load(&format!("[lake]\nlocation = \"{wrong}\"\n"), []).unwrap_err();
            assert!(error.message().contains("s3://bucket/prefix"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_served_lake_has_a_name_that_buckets_may_have() {
        let lake = Settings::load("[lake]\nbucket = \"lake\"\naddress = \"https://lake.example.com:8484\"\n", [])
            .unwrap()
            .lake;
        assert_eq!(lake.bucket.as_deref(), Some("lake"));
        for wrong in ["", "v1", "Lake", "iceberg", "-lake", "la.ke", "la/ke", "xn--lake"] {
            let error = Settings::load(&format!("[lake]\nbucket = \"{wrong}\"\n"), []).unwrap_err();
            assert!(error.message().contains("no name of a bucket"), "{wrong}: {error}");
        }
        let error = Settings::load(&format!("{BUCKET}bucket = \"lake\"\n"), []).unwrap_err();
        assert!(error.message().contains("elsewhere"), "{error}");
        for wrong in ["", "lake.example.com", "ftp://lake", "http://lake/path", "http://"] {
            let error = Settings::load(&format!("[lake]\nbucket = \"lake\"\naddress = \"{wrong}\"\n"), []).unwrap_err();
            assert!(error.message().contains("no address"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_variables_of_aws_tools_fill_what_is_not_set() {
        let environment = variables(&[
            ("AWS_ACCESS_KEY_ID", "them"),
            ("AWS_SECRET_ACCESS_KEY", "theirs"),
            ("AWS_REGION", "eu-west-1"),
            ("LACUS__LAKE__S3__ENDPOINT", "http://127.0.0.1:9000"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ]);
        let s3 = Settings::load(BUCKET, environment.clone()).unwrap().lake.s3;
        assert_eq!((s3.access_key_id.as_deref(), s3.secret_access_key.reveal()), (Some("them"), "theirs"));
        assert_eq!(s3.region.as_deref(), Some("eu-west-1"));
        assert_eq!(s3.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert!(!format!("{s3:?}").contains("theirs"));
        let set = format!("{BUCKET}[lake.s3]\naccess_key_id = \"us\"\nsecret_access_key = \"ours\"\n");
        let s3 = Settings::load(&set, environment.clone()).unwrap().lake.s3;
        assert_eq!((s3.access_key_id.as_deref(), s3.secret_access_key.reveal()), (Some("us"), "ours"));
        assert_eq!(Settings::load("", environment[..3].to_vec()).unwrap(), Settings::default(), "without a bucket");
    }
}
