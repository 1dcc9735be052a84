//! AWS Glue's API, as far as the mirror needs it: JSON over HTTPS, signed as the requests to the bucket are.
//!
//! Signing, credentials (those of a machine's role too) and TLS are `object_store`'s, which has them for S3. Requests are not
//! tried again here: the mirror does that, at its own pace.

use std::collections::BTreeMap;

use futures::StreamExt;
use lacus_core::{Error, Kind, Result, settings};
use object_store::HeaderValue;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponseBody, ReqwestConnector};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::s3;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How many tables are requested at once, with all their columns.
const TABLES_AT_ONCE: u32 = 25;
/// How many databases are requested at once.
const DATABASES_AT_ONCE: u32 = 100;
/// The most pages of a list that are read: a longer one is taken to be endless.
const PAGES_MAX: usize = 4_000;
/// The most characters of a refusal that are shown.
const REFUSAL_CHARS_MAX: usize = 300;

/// A client of AWS Glue.
pub(super) struct Client {
    http: HttpClient,
    /// Where Glue is: a whole URL.
    address: String,
    region: String,
    credentials: AwsCredentialProvider,
}

/// A table in Glue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Found {
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) parameters: BTreeMap<String, String>,
    /// The number of this version: an update is refused if there is a newer one.
    pub(super) version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneTable {
    table: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tables {
    #[serde(default)]
    table_list: Vec<Found>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Databases {
    #[serde(default)]
    database_list: Vec<Database>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Database {
    name: String,
}

/// Why Glue refuses.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(rename = "__type", default)]
    name: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Client {
    /// A client with the credentials of the lake's bucket.
    ///
    /// # Errors
    /// `Invalid` if there are none, or the address is none.
    pub(super) fn new(location: &settings::Location, settings: &settings::Lake) -> Result<Self> {
        let region = settings.glue.region.as_deref().unwrap_or_else(|| s3::region(&settings.s3)).to_owned();
        let address = settings.glue.endpoint.clone().unwrap_or_else(|| address_in(&region));
        let wrong = || Error::invalid(format!("lake.glue.endpoint = \"{address}\" is no address of AWS Glue"));
        let url = Url::parse(&address).map_err(|error| wrong().with_source(error))?;
        if !url.has_host() {
            return Err(wrong());
        }
        let http = ReqwestConnector::default().connect(&s3::client_options());
        let http = http.map_err(|error| Error::internal("make a client for AWS Glue").with_source(error))?;
        let credentials = s3::client(location, &settings.s3)?.credentials().clone();
        Ok(Self { http, address: url.into(), region, credentials })
    }

    /// The names of all databases.
    pub(super) async fn databases(&self) -> Result<Vec<String>> {
        let (mut names, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let asked = json!({"MaxResults": DATABASES_AT_ONCE, "NextToken": token});
            let page: Databases = self.ask("AWSGlue.GetDatabases", asked).await?;
            names.extend(page.database_list.into_iter().map(|database| database.name));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(names);
            }
        }
        Err(unending("databases"))
    }

    /// All tables of a database.
    pub(super) async fn tables(&self, database: &str) -> Result<Vec<Found>> {
        let (mut tables, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let asked = json!({"DatabaseName": database, "MaxResults": TABLES_AT_ONCE, "NextToken": token});
            let page: Tables = self.ask("AWSGlue.GetTables", asked).await?;
            tables.extend(page.table_list);
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(tables);
            }
        }
        Err(unending("tables"))
    }

    /// A table, if it is there.
    pub(super) async fn table(&self, database: &str, table: &str) -> Result<Option<Found>> {
        match self.ask::<OneTable>("AWSGlue.GetTable", json!({"DatabaseName": database, "Name": table})).await {
            Ok(found) => Ok(Some(found.table)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a database.
    pub(super) async fn create_database(&self, database: &Value) -> Result<()> {
        self.call("AWSGlue.CreateDatabase", json!({"DatabaseInput": database})).await.map(drop)
    }

    /// Makes a table. `NotFound` is about the database.
    pub(super) async fn create_table(&self, database: &str, table: &Value) -> Result<()> {
        self.call("AWSGlue.CreateTable", json!({"DatabaseName": database, "TableInput": table})).await.map(drop)
    }

    /// Updates a table that is still at this version. Glue keeps no older versions: each would count towards a limit, and the
    /// lake has its own.
    pub(super) async fn update_table(&self, database: &str, table: &Value, version_id: Option<&str>) -> Result<()> {
        let asked =
            json!({"DatabaseName": database, "TableInput": table, "SkipArchive": true, "VersionId": version_id});
        self.call("AWSGlue.UpdateTable", asked).await.map(drop)
    }

    /// Deletes a table, but none of its files.
    pub(super) async fn delete_table(&self, database: &str, table: &str) -> Result<()> {
        self.call("AWSGlue.DeleteTable", json!({"DatabaseName": database, "Name": table})).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, operation: &'static str, asked: Value) -> Result<T> {
        let answer = self.call(operation, asked).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            Error::unavailable(format!("what {} answers is not from AWS Glue", self.address)).with_source(error)
        })
    }

    /// Sends one request and returns the body of its answer.
    async fn call(&self, operation: &'static str, asked: Value) -> Result<Vec<u8>> {
        let request = self.signed(operation, &without_nulls(asked)).await?;
        let answer = self.http.execute(request).await.map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        let body = self.whole(answer.into_body()).await?;
        if status == 200 { Ok(body) } else { Err(refused(operation, status, &body)) }
    }

    async fn signed(&self, operation: &'static str, asked: &Value) -> Result<HttpRequest> {
        let credential = self.credentials.get_credential().await;
        let credential = credential
            .map_err(|error| Error::unavailable("there are no credentials for AWS Glue").with_source(error))?;
        let mut request = HttpRequest::new(asked.to_string().into());
        *request.method_mut() = "POST".parse().expect("it is a method");
        *request.uri_mut() = self.address.parse().map_err(|error| {
            Error::invalid(format!("lake.glue.endpoint = \"{}\" is no address", self.address)).with_source(error)
        })?;
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
        request.headers_mut().insert("x-amz-target", HeaderValue::from_static(operation));
        AwsAuthorizer::new(&credential, "glue", &self.region).authorize(&mut request, None);
        Ok(request)
    }

    async fn whole(&self, body: HttpResponseBody) -> Result<Vec<u8>> {
        let (mut pieces, mut whole) = (body.bytes_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece.map_err(|error| self.unreachable(error))?);
            if whole.len() > ANSWER_BYTES_MAX {
                let message = format!("an answer of AWS Glue has more than {ANSWER_BYTES_MAX} bytes");
                return Err(Error::unavailable(message));
            }
        }
        Ok(whole)
    }

    fn unreachable(&self, error: HttpError) -> Error {
        Error::unavailable(format!("AWS Glue at {} does not answer", self.address))
            .with_hint("look at lake.glue.endpoint and lake.glue.region, and at the network")
            .with_source(error)
    }
}

/// Where Glue is in a region.
fn address_in(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://glue.{region}.amazonaws.com{suffix}/")
}

/// Glue accepts no null for a missing value.
fn without_nulls(mut asked: Value) -> Value {
    if let Some(fields) = asked.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    asked
}

fn or_none<'de, D: serde::Deserializer<'de>>(parameters: D) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(parameters).map(Option::unwrap_or_default)
}

fn unending(what: &str) -> Error {
    Error::unavailable(format!("the list of {what} of AWS Glue does not end"))
}

/// The error that Glue means by a status and a body.
fn refused(operation: &str, status: u16, body: &[u8]) -> Error {
    let operation = operation.trim_start_matches("AWSGlue.");
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    // It may come as `com.amazonaws.glue#Name` or `Name:http://…`.
    let name = refusal.name.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let name = if name.is_empty() { format!("status {status}") } else { name.to_owned() };
    let message = if refusal.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { refusal.message };
    let message: String = message.chars().take(REFUSAL_CHARS_MAX).collect();
    let error = Error::new(kind_of(&name, status), format!("AWS Glue refuses {operation}: {name}: {message}"));
    if error.kind() == Kind::Denied {
        return error.with_hint(
            "the credentials of the lake need glue:GetDatabases, glue:GetTables, glue:GetTable, glue:CreateDatabase, glue:CreateTable, glue:UpdateTable and glue:DeleteTable",
        );
    }
    error
}

fn kind_of(name: &str, status: u16) -> Kind {
    match (name, status) {
        ("EntityNotFoundException", _) => Kind::NotFound,
        ("AlreadyExistsException", _) => Kind::Exists,
        ("ConcurrentModificationException" | "VersionMismatchException", _) => Kind::Conflict,
        ("OperationTimeoutException", _) | (_, 408) => Kind::Unavailable,
        ("ResourceNumberLimitExceededException" | "TooManyRequestsException", _) | (_, 429) => Kind::Limited,
        (name, _) if name.starts_with("Throttl") => Kind::Limited,
        (
            "AccessDeniedException"
            | "ExpiredTokenException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "UnrecognizedClientException",
            _,
        )
        | (_, 401 | 403) => Kind::Denied,
        (_, 400..500) => Kind::Invalid,
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_glue_refuses_says_what_to_do() {
        let told = |name: &str, status| {
            let body = json!({"__type": name, "Message": "because"}).to_string();
            refused("AWSGlue.GetTable", status, body.as_bytes())
        };
        let cases = [
            ("EntityNotFoundException", 400, Kind::NotFound),
            ("com.amazonaws.glue#AlreadyExistsException", 400, Kind::Exists),
            ("ConcurrentModificationException:http://internal.amazon.com/", 400, Kind::Conflict),
            ("InvalidInputException", 400, Kind::Invalid),
            ("ThrottlingException", 400, Kind::Limited),
            ("ExpiredTokenException", 400, Kind::Denied),
            ("SomethingElse", 403, Kind::Denied),
            ("GlueEncryptionException", 400, Kind::Invalid),
            ("OperationTimeoutException", 400, Kind::Unavailable),
            ("InternalServiceException", 500, Kind::Unavailable),
        ];
        for (name, status, kind) in cases {
            let error = told(name, status);
            assert_eq!(error.kind(), kind, "{name}");
            assert!(
                error.message().starts_with("AWS Glue refuses GetTable: ") && error.message().ends_with(": because")
            );
        }
        assert!(told("AccessDeniedException", 400).hint().is_some_and(|hint| hint.contains("glue:GetDatabases")));
        let error = refused("AWSGlue.GetTable", 502, "<html>".repeat(1000).as_bytes());
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().len() < 400, "{error}");
    }

    #[test]
    fn each_region_has_its_address() {
        assert_eq!(address_in("eu-west-1"), "https://glue.eu-west-1.amazonaws.com/");
        assert_eq!(address_in("cn-north-1"), "https://glue.cn-north-1.amazonaws.com.cn/");
    }
}
