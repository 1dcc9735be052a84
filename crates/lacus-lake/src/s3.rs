//! Files in a bucket of S3, or of any store that speaks its protocol.
//!
//! A write that was answered is durable: that is what S3 promises. Objects are written once. Where the store offers it, a
//! name that exists is refused; elsewhere it is safe all the same, because every name has a random part and a lake has one
//! writer. Every request is tried a bounded number of times; a store that is down costs time, never rows.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lacus_core::{Error, Kind, Result, settings};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::SpawnedReqwestConnector;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RetryConfig,
    WriteMultipart,
};
use tokio::runtime::Handle;
use uuid::Uuid;

/// The longest that connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest that one request may take, with its body.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a request is retried, and for how long. After that, deliveries retry whole commits.
const RETRIES_MAX: usize = 3;
const RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// Larger files are uploaded in parts of this size: each takes no longer than one request may on a slow line.
const PART_BYTES: usize = 8 << 20;
/// Parts that are written side by side.
const PARTS_AT_ONCE: usize = 4;
/// The region for stores without regions.
const REGION: &str = "us-east-1";

/// The part of a bucket that a lake has.
#[derive(Debug)]
pub(crate) struct Bucket {
    files: PrefixStore<AmazonS3>,
    /// Whether the store can refuse to overwrite a name.
    refuses_existing: bool,
}

impl Bucket {
    /// Opens the place of a lake, and writes and deletes one file there, to report problems now.
    ///
    /// # Errors
    /// `Denied` for refused credentials, `NotFound` for a bucket that is not there, `Unavailable` when nobody answers.
    pub(crate) async fn open(location: &settings::Location, s3: &settings::S3) -> Result<Self> {
        let client = client(location, s3)?;
        let mut bucket = Self { files: PrefixStore::new(client, location.prefix.as_str()), refuses_existing: true };
        bucket.try_out().await.map_err(|error| explain(error, location, s3))?;
        Ok(bucket)
    }

    /// Writes and deletes a file, and finds out whether the store can refuse to overwrite a name.
    async fn try_out(&mut self) -> object_store::Result<()> {
        let path = Path::from(format!("opening-{}", Uuid::now_v7()));
        match self.put_new(&path, "lacus".into()).await {
            // The store does not implement the condition: it has to do without.
            Err(error) if error.to_string().contains("501") => {
                self.refuses_existing = false;
                self.put_new(&path, "lacus".into()).await?;
            }
            written => drop(written?),
        }
        self.files.delete(&path).await
    }

    async fn put_new(&self, location: &Path, payload: PutPayload) -> object_store::Result<PutResult> {
        let mode = if self.refuses_existing { PutMode::Create } else { PutMode::Overwrite };
        let put = self.files.put_opts(location, payload.clone(), mode.into()).await;
        match put {
            // The answer to our own first attempt may have been lost.
            Err(exists @ object_store::Error::AlreadyExists { .. }) => {
                let found = self.files.get(location).await?.bytes().await?;
                if payload.iter().flatten().eq(found.iter()) {
                    return Ok(PutResult { e_tag: None, version: None });
                }
                Err(exists)
            }
            put => put,
        }
    }

    async fn put_parts(&self, location: &Path, payload: PutPayload) -> object_store::Result<PutResult> {
        let upload = self.files.put_multipart(location).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for piece in payload {
            writer.wait_for_capacity(PARTS_AT_ONCE).await?;
            writer.put(piece);
        }
        // When this fails it aborts the upload itself.
        writer.finish().await
    }
}

/// The configured region, or the one for stores without regions.
pub(crate) fn region(s3: &settings::S3) -> &str {
    s3.region.as_deref().unwrap_or(REGION)
}

/// How requests are sent, to the store and to services beside it.
pub(crate) fn client_options() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT_TIME_MAX).with_timeout(REQUEST_TIME_MAX).with_allow_http(true)
}

/// What engines have to know of the store: everything but the credentials, which are for lacus alone.
pub(crate) fn client_properties(s3: &settings::S3) -> BTreeMap<String, String> {
    let region = region(s3);
    let mut properties = BTreeMap::from([("s3.region", region), ("client.region", region)]);
    if let Some(endpoint) = &s3.endpoint {
        properties.extend([("s3.endpoint", endpoint.as_str()), ("s3.path-style-access", "true")]);
    }
    properties.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A client for a bucket.
///
/// # Errors
/// If there are no credentials for it.
pub(crate) fn client(location: &settings::Location, s3: &settings::S3) -> Result<AmazonS3> {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_region(region(s3))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(client_options())
        .with_retry(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX })
        // The threads of queries may be busy for long: connections live elsewhere.
        .with_http_connector(SpawnedReqwestConnector::new(Handle::current()));
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if !s3.instance_role {
        let id = s3.access_key_id.as_deref().filter(|_| !s3.secret_access_key.is_empty()).ok_or_else(no_credentials)?;
        builder = builder.with_access_key_id(id).with_secret_access_key(s3.secret_access_key.reveal());
        if !s3.session_token.is_empty() {
            builder = builder.with_token(s3.session_token.reveal());
        }
    }
    builder.build().map_err(|error| Error::invalid("the settings of lake.s3 can't be used").with_source(error))
}

fn no_credentials() -> Error {
    Error::invalid("there are no credentials for the bucket").with_hint(
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or lake.s3.instance_role = true on a machine of AWS that has a role",
    )
}

/// What is wrong with the place of a lake, in the words of its settings.
fn explain(error: object_store::Error, location: &settings::Location, s3: &settings::S3) -> Error {
    let endpoint = s3.endpoint.as_deref().unwrap_or("Amazon S3");
    let explained = match error {
        object_store::Error::NotFound { .. } => {
            Error::new(Kind::NotFound, format!("there is no bucket \"{}\" at {endpoint}", location.bucket))
                .with_hint("make the bucket, or correct lake.location, lake.s3.endpoint or lake.s3.region")
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Error::new(Kind::Denied, format!("the credentials may not write to {location}"))
                .with_hint("they need s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket on it")
        }
        _ => Error::unavailable(format!("{location} at {endpoint} can't be written"))
            .with_hint("look at lake.s3.endpoint and lake.s3.region, and whether the store runs"),
    };
    explained.with_source(error)
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if payload.content_length() > PART_BYTES {
            return self.put_parts(location, payload).await;
        }
        self.put_new(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[cfg(test)]
mod tests;
