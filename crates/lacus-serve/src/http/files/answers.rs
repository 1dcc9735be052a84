//! What is answered to requests for files whose signature is right. What is not here is answered `NotImplemented`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lacus_core::{Error, Kind};
use lacus_lake::{Listing, Served, ServedFile};
use s3s::auth::Credentials;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition,
    Error as FailedObject, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, Timestamp, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::sync::Semaphore;

use super::body::{Said, read, receive};
use super::sums::Sums;
use crate::engines::folder_of;

/// Names that one request may delete, as at Amazon.
const DELETES_MAX: usize = 1_000;
/// Names of a page, as at Amazon.
const PAGE_MAX: i32 = 1_000;

/// The most files that are read at the same time. Each has a few pieces in memory until its client takes them.
const READS_MAX: usize = 256;

/// The files, for whoever signed.
pub(super) struct Files {
    served: Arc<Served>,
    reads: Arc<Semaphore>,
}

impl Files {
    pub(super) fn new(served: Arc<Served>) -> Self {
        Self { served, reads: Arc::new(Semaphore::new(READS_MAX)) }
    }

    fn must_be_here(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.served.bucket() {
            return Ok(());
        }
        let why = format!("there is one bucket here, {}", self.served.bucket());
        Err(S3Error::with_message(S3ErrorCode::NoSuchBucket, why))
    }

    /// Refuses a name that a key does not give access to.
    fn may_reach(&self, credentials: Option<&Credentials>, bucket: &str, name: &str) -> S3Result<()> {
        self.must_be_here(bucket)?;
        let denied = |why: &'static str| Err(S3Error::with_message(S3ErrorCode::AccessDenied, why));
        let Some(credentials) = credentials else { return denied("the request is not signed") };
        let Some(folder) = folder_of(&credentials.access_key) else { return Ok(()) };
        match name.strip_prefix(&folder) {
            Some(rest) if rest.starts_with('/') => Ok(()),
            _ => denied("these credentials are for the files of another table"),
        }
    }
}

impl Files {
    /// Compares the parts of an upload with the checksums that were announced. An upload that was completed with these parts
    /// before was compared then.
    async fn compare(&self, sums: Sums, name: &str, upload: &str, parts: &[(u32, String)]) -> S3Result<()> {
        if self.served.completed(name, upload, parts).await.map_err(refused)?.is_some() {
            return Ok(());
        }
        let compared = self.compare_parts(sums, name, upload, parts).await;
        // The same request may have completed it meanwhile, so that its parts are gone.
        if compared.is_err() && self.served.completed(name, upload, parts).await.map_err(refused)?.is_some() {
            return Ok(());
        }
        compared
    }

    async fn compare_parts(&self, mut sums: Sums, name: &str, upload: &str, parts: &[(u32, String)]) -> S3Result<()> {
        for (number, tag) in parts {
            let part = self.served.open_part(name, upload, *number, tag).await.map_err(refused_upload)?;
            sums = sums.with_part(part).await?;
        }
        sums.check()
    }
}

/// The lake's error as one of S3.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
pub(super) fn refused(error: Error) -> S3Error {
    let code = match error.kind() {
        Kind::NotFound => S3ErrorCode::NoSuchKey,
        Kind::Denied => S3ErrorCode::AccessDenied,
        Kind::Exists => S3ErrorCode::PreconditionFailed,
        Kind::Invalid => S3ErrorCode::InvalidArgument,
        Kind::Conflict => S3ErrorCode::InvalidPart,
        Kind::Limited => S3ErrorCode::SlowDown,
        Kind::Unavailable => S3ErrorCode::ServiceUnavailable,
        Kind::Corrupt | Kind::Internal => S3ErrorCode::InternalError,
    };
    if matches!(error.kind(), Kind::Unavailable | Kind::Corrupt | Kind::Internal) {
        tracing::error!(error = %error.chain(), "a request for a file failed");
    }
    let message = error.hint().map_or_else(|| error.chain(), |hint| format!("{}; {hint}", error.chain()));
    S3Error::with_message(code, message)
}

/// The same for an upload in parts: what is missing is the upload.
fn refused_upload(error: Error) -> S3Error {
    let is_missing = error.kind() == Kind::NotFound;
    let mut refused = refused(error);
    if is_missing {
        refused.set_code(S3ErrorCode::NoSuchUpload);
    }
    refused
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

fn tag_of(file: &ServedFile) -> ETag {
    ETag::Strong(file.tag.clone())
}

/// Conditional headers of a request: HEAD and GET have different types with the same fields.
macro_rules! conditions {
    ($input:expr) => {
        Conditions {
            is: $input.if_match.as_ref(),
            is_not: $input.if_none_match.as_ref(),
            since: $input.if_modified_since.as_ref(),
            not_since: $input.if_unmodified_since.as_ref(),
        }
    };
}

/// The version of a file that a client knows, and whether it is still current.
struct Conditions<'a> {
    is: Option<&'a ETagCondition>,
    is_not: Option<&'a ETagCondition>,
    since: Option<&'a Timestamp>,
    not_since: Option<&'a Timestamp>,
}

impl Conditions<'_> {
    /// In the order of RFC 9110, 13.2.2.
    fn check(&self, file: &ServedFile) -> S3Result<()> {
        let holds = |condition: &ETagCondition| condition.as_etag().is_none_or(|tag| tag.value() == file.tag);
        let failed = || Err(S3Error::new(S3ErrorCode::PreconditionFailed));
        let unchanged = || Err(S3Error::new(S3ErrorCode::NotModified));
        // HTTP knows seconds.
        let seconds = file.modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let modified = Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let is_newer = |time: &Timestamp| modified > *time;
        match (self.is, self.not_since) {
            (Some(is), _) if !holds(is) => return failed(),
            (None, Some(time)) if is_newer(time) => return failed(),
            _ => {}
        }
        match (self.is_not, self.since) {
            (Some(is_not), _) if holds(is_not) => unchanged(),
            (None, Some(time)) if !is_newer(time) => unchanged(),
            _ => Ok(()),
        }
    }
}

/// Whether a file may be written only if it does not exist. Other conditions are about overwriting.
fn only_new(is_not: Option<&ETagCondition>, is: Option<&ETagCondition>) -> S3Result<bool> {
    match (is_not, is) {
        (None, None) => Ok(false),
        (Some(ETagCondition::Any), None) => Ok(true),
        _ => Err(S3Error::with_message(
            S3ErrorCode::NotImplemented,
            "of conditions, a file is written with If-None-Match: * alone",
        )),
    }
}

fn part_number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[async_trait::async_trait]
impl S3 for Files {
    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = Bucket { name: Some(self.served.bucket().to_owned()), ..Bucket::default() };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.must_be_here(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.must_be_here(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = &request.input;
        self.may_reach(request.credentials.as_ref(), &input.bucket, &input.key)?;
        let file = self.served.look(&input.key).await.map_err(refused)?;
        conditions!(input).check(&file)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(file.bytes),
            e_tag: Some(tag_of(&file)),
            last_modified: Some(file.modified.into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &request.input;
        self.may_reach(request.credentials.as_ref(), &input.bucket, &input.key)?;
        let permit = Arc::clone(&self.reads).try_acquire_owned();
        let busy = |_| S3Error::with_message(S3ErrorCode::SlowDown, format!("{READS_MAX} files are read already"));
        let permit = permit.map_err(busy)?;
        let (file, bytes) = self.served.open_file(&input.key).await.map_err(refused)?;
        conditions!(input).check(&file)?;
        let range = match &input.range {
            Some(range) => range.check(file.bytes)?,
            None => 0..file.bytes,
        };
        let content_range =
            input.range.map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), file.bytes));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: length(range.end - range.start),
            content_range,
            e_tag: Some(tag_of(&file)),
            last_modified: Some(file.modified.into()),
            body: Some(read(bytes, range, permit)),
            ..GetObjectOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input { bucket, continuation_token, delimiter, max_keys, prefix, start_after, .. } =
            request.input;
        let from = prefix.clone().unwrap_or_default();
        self.may_reach(request.credentials.as_ref(), &bucket, &from)?;
        let by_folder = match delimiter.as_deref() {
            None | Some("") => false,
            Some("/") => true,
            Some(_) => return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "the delimiter is /, or none")),
        };
        let page = max_keys.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
        // The token is the last name of the previous page.
        let after = continuation_token.clone().or_else(|| start_after.clone()).unwrap_or_default();
        let listing = Listing { prefix: from, after, by_folder, page: usize::try_from(page).unwrap_or_default() };
        let listed = self.served.list(listing).await.map_err(refused)?;
        let object = |(name, file): (String, ServedFile)| Object {
            e_tag: Some(tag_of(&file)),
            size: length(file.bytes),
            last_modified: Some(file.modified.into()),
            key: Some(name),
            ..Object::default()
        };
        let count = listed.files.len() + listed.folders.len();
        let folders: Vec<CommonPrefix> =
            listed.folders.into_iter().map(|folder| CommonPrefix { prefix: Some(folder) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            prefix,
            max_keys: Some(page),
            key_count: i32::try_from(count).ok(),
            continuation_token,
            is_truncated: Some(listed.is_cut),
            next_continuation_token: listed.is_cut.then_some(listed.last),
            contents: Some(listed.files.into_iter().map(object).collect()),
            common_prefixes: Some(folders),
            delimiter,
            // No name contains characters that XML lacks: so names are never encoded, even on request.
            encoding_type: None,
            start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { input, headers, credentials, trailing_headers, .. } = request;
        self.may_reach(credentials.as_ref(), &input.bucket, &input.key)?;
        let only_new = only_new(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let said = Said::of(&headers, input.content_length)?;
        if said.bytes == Some(0) && self.served.is_mark(&input.key).await.map_err(refused)? {
            return Ok(S3Response::new(PutObjectOutput::default()));
        }
        let mut incoming = self.served.take_in(&input.key, said.bytes).await.map_err(refused)?;
        receive(input.body, said, trailing_headers, &mut incoming).await?;
        let file = self.served.keep(&input.key, incoming, only_new).await.map_err(refused)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(tag_of(&file)), ..PutObjectOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = request.input;
        self.may_reach(request.credentials.as_ref(), &bucket, &key)?;
        let upload = self.served.begin_parts(&key).await.map_err(refused)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request { input, headers, credentials, trailing_headers, .. } = request;
        self.may_reach(credentials.as_ref(), &input.bucket, &input.key)?;
        let said = Said::of(&headers, input.content_length)?;
        let number = part_number(input.part_number);
        let incoming = self.served.take_part_in(&input.key, &input.upload_id, number, said.bytes).await;
        let mut incoming = incoming.map_err(refused_upload)?;
        receive(input.body, said, trailing_headers, &mut incoming).await?;
        let tag = self.served.keep_part(&input.upload_id, number, incoming).await.map_err(refused_upload)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(tag)), ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let S3Request { input, headers, credentials, .. } = request;
        let CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, .. } = input;
        let (kind, bytes) = (input.checksum_type, input.mpu_object_size);
        self.may_reach(credentials.as_ref(), &bucket, &key)?;
        let only_new = only_new(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let told = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let sums = Sums::of(&headers, kind, bytes, &told);
        let mut parts = Vec::with_capacity(told.len());
        for part in told {
            let (Some(number), Some(tag)) = (part.part_number, part.e_tag) else {
                return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "a part has a PartNumber and an ETag"));
            };
            parts.push((part_number(number), tag.into_value()));
        }
        if !parts.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(S3Error::new(S3ErrorCode::InvalidPartOrder));
        }
        if !sums.are_none() {
            self.compare(sums, &key, &upload_id, &parts).await?;
        }
        let file = self.served.complete_parts(&key, &upload_id, &parts, only_new).await.map_err(refused_upload)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(tag_of(&file)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
        self.may_reach(request.credentials.as_ref(), &bucket, &key)?;
        self.served.abort_parts(&key, &upload_id).await.map_err(refused_upload)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, .. } = request.input;
        self.may_reach(request.credentials.as_ref(), &bucket, &key)?;
        self.served.delete(&key).await.map_err(refused)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        self.must_be_here(&bucket)?;
        if delete.objects.len() > DELETES_MAX {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "a request deletes 1,000 files at most"));
        }
        let is_quiet = delete.quiet.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        let failed = |key: String, error: &S3Error| FailedObject {
            code: Some(error.code().as_str().to_owned()),
            message: error.message().map(str::to_owned),
            key: Some(key),
            ..FailedObject::default()
        };
        for key in delete.objects.into_iter().map(|object| object.key) {
            let gone = match self.may_reach(request.credentials.as_ref(), &bucket, &key) {
                Ok(()) => self.served.delete(&key).await.map_err(refused),
                denied => denied,
            };
            match gone {
                Ok(()) if is_quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..DeletedObject::default() }),
                Err(error) => errors.push(failed(key, &error)),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }
}
