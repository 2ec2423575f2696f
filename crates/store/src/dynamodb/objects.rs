//! Large logs as objects of a bucket in S3, for all hosts to read. Each stands under its content's address and a mark of
//! whoever wrote it, so that one that is removed is never one that somebody has just begun to refer to.

use std::collections::HashMap;
use std::path::Path as File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential};
use object_store::path::Path;
use object_store::{
    ClientOptions, CredentialProvider, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::logs::{holds, private_folder};
use crate::{AwsTrouble, Error, LogId, LogPlace, ObjectTrouble};

/// What is larger goes in parts, a few at a time.
const WHOLE: usize = 8 << 20;
const AT_ONCE: usize = 4;
const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte more.
const SILENCE: Duration = Duration::from_secs(30);
/// With all its tries.
const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: usize = 3;
/// Credentials are asked for anew when they end so soon, and those that say no end after so long.
const SOON: Duration = Duration::from_secs(120);
const ANEW: Duration = Duration::from_secs(300);

/// Whoever the AWS configuration says that we are. Remembered for a while, since asking may be a request itself.
struct Who {
    provider: Option<SharedCredentialsProvider>,
    known: tokio::sync::Mutex<Option<(Credentials, SystemTime)>>,
}

impl std::fmt::Debug for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Who").finish_non_exhaustive()
    }
}

impl Who {
    async fn credentials(&self) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        let mut known = self.known.lock().await;
        let now = SystemTime::now();
        if let Some((credentials, until)) = &*known
            && now < *until
        {
            return Ok(credentials.clone());
        }
        let provider = self.provider.as_ref().ok_or("no credentials are configured")?;
        let credentials = provider.provide_credentials().await?;
        *known = Some((credentials.clone(), good_until(&credentials, now)));
        Ok(credentials)
    }
}

fn good_until(credentials: &Credentials, now: SystemTime) -> SystemTime {
    credentials.expiry().map_or(now + ANEW, |ends| ends - SOON)
}

#[async_trait::async_trait]
impl CredentialProvider for Who {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let it = self
            .credentials()
            .await
            .map_err(|source| object_store::Error::Unauthenticated { path: "S3".to_owned(), source })?;
        Ok(Arc::new(AwsCredential {
            key_id: it.access_key_id().to_owned(),
            secret_key: it.secret_access_key().to_owned(),
            token: it.session_token().map(str::to_owned),
        }))
    }
}

/// Logs with the names of their objects.
type Named = BoxStream<'static, Result<(LogId, String), Error>>;

/// The buckets that are written to and read from.
pub(super) struct Objects {
    config: SdkConfig,
    who: Arc<Who>,
    /// Where what is new goes; the folder of this machine if nowhere.
    into: Option<LogPlace>,
    /// Two tables in one bucket must not share their logs: cleaning up one would remove the other's.
    of: String,
    opened: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl Objects {
    pub(super) fn new(config: &SdkConfig, into: Option<LogPlace>, of: String) -> Self {
        // what asks for a TLS implementation takes ours
        _ = rustls::crypto::ring::default_provider().install_default();
        let who =
            Arc::new(Who { provider: config.credentials_provider(), known: tokio::sync::Mutex::default() });
        Self { config: config.clone(), who, into, of, opened: Mutex::default() }
    }

    /// Do large logs go into a bucket?
    pub(super) fn are_wanted(&self) -> bool {
        self.into.is_some()
    }

    /// What the names of our objects begin with.
    fn home(&self) -> Option<String> {
        self.into.as_ref().map(|into| format!("{into}/{}", self.of))
    }

    /// An emulator's address, or another that stands in for AWS.
    fn endpoint(&self) -> Option<String> {
        let key =
            ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let of_s3 = || self.config.service_config()?.load_config(key.build().ok()?);
        of_s3().or_else(|| self.config.endpoint_url().map(str::to_owned))
    }

    fn bucket(&self, name: &str) -> Result<Arc<AmazonS3>, object_store::Error> {
        if let Some(known) = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(known));
        }
        // a large log over a slow line takes its time, as long as it comes
        let options = ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled();
        let options = options.with_read_timeout(SILENCE);
        let retry = RetryConfig { max_retries: TRIES, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_credentials(self.who.clone())
            .with_client_options(options)
            .with_retry(retry);
        if let Some(region) = self.config.region() {
            builder = builder.with_region(region.as_ref());
        }
        if let Some(endpoint) = self.endpoint() {
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        let made = Arc::new(builder.build()?);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(opened.entry(name.to_owned()).or_insert(made)))
    }

    /// Bucket and path of what an item names.
    fn find(&self, object: &str) -> Result<(Arc<AmazonS3>, Path), Error> {
        let (bucket, path) =
            object.strip_prefix("s3://").and_then(|it| it.split_once('/')).unwrap_or_default();
        let told = |e| failed(object, e);
        Ok((self.bucket(bucket).map_err(told)?, Path::parse(path).map_err(|e| told(e.into()))?))
    }

    /// Makes a file an object; says under which name.
    pub(super) async fn put(&self, id: &LogId, file: &File) -> Result<String, Error> {
        let (hex, mark) = (id.to_string(), uuid::Uuid::now_v7().simple().to_string());
        let home = self.home().unwrap_or_default();
        let object = format!("{home}/{}/{}.{}.zst", &hex[..2], &hex[2..], &mark[20..]);
        let (bucket, path) = self.find(&object)?;
        let told = |e| failed(&object, e);
        let unread = |e| Error::log_file(file, e);
        let mut from = tokio::fs::File::open(file).await.map_err(unread)?;
        let mut chunk = Vec::with_capacity(64 * 1024);
        (&mut from).take(WHOLE as u64).read_to_end(&mut chunk).await.map_err(unread)?;
        if chunk.len() < WHOLE {
            bucket.put(&path, chunk.into()).await.map_err(told)?;
            return Ok(object);
        }
        let upload = bucket.put_multipart(&path).await.map_err(told)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, WHOLE);
        while !chunk.is_empty() {
            upload.wait_for_capacity(AT_ONCE).await.map_err(told)?;
            upload.write(&chunk);
            chunk.clear();
            (&mut from).take(WHOLE as u64).read_to_end(&mut chunk).await.map_err(unread)?;
        }
        upload.finish().await.map_err(told)?;
        Ok(object)
    }

    /// Makes an object a file, if it is the log that it should be.
    pub(super) async fn fetch(&self, object: &str, file: &File, id: LogId) -> Result<(), Error> {
        let (bucket, path) = self.find(object)?;
        let told = |e| failed(object, e);
        let found = bucket.get(&path).await.map_err(told)?;
        let unwritten = |e| Error::log_file(file, e);
        let folder = file.parent().unwrap_or(file);
        private_folder(folder).map_err(unwritten)?;
        // several may fetch the same: each has its own until it is whole
        let partial = folder.join(format!("{}.part", uuid::Uuid::now_v7()));
        let mut stream = found.into_stream();
        let write = async {
            let mut open = tokio::fs::OpenOptions::new();
            let open = open.write(true).create_new(true).mode(0o600);
            let mut to = open.open(&partial).await.map_err(unwritten)?;
            while let Some(bytes) = stream.try_next().await.map_err(told)? {
                to.write_all(&bytes).await.map_err(unwritten)?;
            }
            to.flush().await.map_err(unwritten)?;
            let whole = partial.clone();
            let whole = tokio::task::spawn_blocking(move || holds(&whole, &id)).await;
            if !whole.unwrap_or(Ok(false)).map_err(unwritten)? {
                return Err(Error::Object { object: object.to_owned(), trouble: ObjectTrouble::Damaged });
            }
            tokio::fs::rename(&partial, file).await.map_err(unwritten)
        };
        let done = write.await;
        if done.is_err() {
            _ = tokio::fs::remove_file(&partial).await;
        }
        done
    }

    pub(super) async fn remove(&self, object: &str) -> Result<(), Error> {
        let (bucket, path) = self.find(object)?;
        match bucket.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed(object, e)),
        }
    }

    /// Logs of this table that were written before this moment, with the names of their objects: what is ours by its name.
    pub(super) fn older(&self, before: Timestamp) -> Result<Named, Error> {
        let Some(home) = self.home() else { return Ok(futures_util::stream::empty().boxed()) };
        let (bucket, prefix) = self.find(&home)?;
        let name = self.into.as_ref().map(|into| into.bucket.clone()).unwrap_or_default();
        let ours = move |object: object_store::ObjectMeta| {
            if object.last_modified.timestamp_millis() >= before.as_millisecond() {
                return None;
            }
            let mut parts = object.location.as_ref().rsplit('/');
            let (file, folder) = (parts.next()?, parts.next()?);
            let id = LogId::parse(&format!("{folder}{}", file.split('.').next()?))?;
            Some((id, format!("s3://{name}/{}", object.location)))
        };
        let found = bucket.list(Some(&prefix)).map_err(move |e| failed(&home, e));
        Ok(found.try_filter_map(move |object| std::future::ready(Ok(ours(object)))).boxed())
    }

    /// Whether the bucket that logs go into may be looked at.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.older(Timestamp::UNIX_EPOCH)?.try_next().await.map(drop)
    }
}

fn failed(object: &str, error: object_store::Error) -> Error {
    Error::Object { object: object.to_owned(), trouble: trouble_of(&error) }
}

/// By the code in the answer of S3, or where there was none, by what kind of failure it was.
fn trouble_of(error: &object_store::Error) -> ObjectTrouble {
    let (mut said, mut network) = (error.to_string(), None);
    let mut beneath = std::error::Error::source(error);
    while let Some(reason) = beneath {
        let text = reason.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        if reason.is::<object_store::client::HttpError>() {
            network = Some(text);
        } else if network.is_some() {
            // the last says what it was
            network = Some(text);
        }
        beneath = reason.source();
    }
    let part = |name: &str| {
        let (_, rest) = said.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(part, _)| part)
    };
    let code = part("Code").unwrap_or_default();
    let detail = part("Message").map_or_else(|| said.clone(), |message| format!("{code}: {message}"));
    if let Some(trouble) =
        Some(code).filter(|code| !code.is_empty()).and_then(|code| AwsTrouble::of(code, &detail))
    {
        return trouble.into();
    }
    let detail = AwsTrouble::shortened(&detail);
    match (code, error) {
        ("NoSuchBucket", _) => ObjectTrouble::NoBucket,
        // which kind of failure the client makes of these depends on what was asked
        ("AccessDenied", _) => ObjectTrouble::Forbidden { detail },
        ("SlowDown" | "ServiceUnavailable" | "InternalError" | "RequestTimeout", _) => {
            ObjectTrouble::Busy { detail }
        }
        (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        ) => ObjectTrouble::Region { detail },
        ("", _) if said.contains("incorrectly configured region") => {
            ObjectTrouble::Region { detail: "S3 sends us elsewhere".to_owned() }
        }
        ("" | "NoSuchKey", object_store::Error::NotFound { .. }) => ObjectTrouble::Gone,
        ("", object_store::Error::Unauthenticated { .. }) => AwsTrouble::Credentials { detail }.into(),
        (_, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
            ObjectTrouble::Forbidden { detail }
        }
        _ => match network {
            Some(detail) => AwsTrouble::Unreachable { detail: AwsTrouble::shortened(&detail) }.into(),
            None => ObjectTrouble::Other { detail },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_advice() {
        let answered = |code: &str| format!("<Error><Code>{code}</Code><Message>It is so.</Message></Error>");
        let generic = |source: String| object_store::Error::Generic { store: "S3", source: source.into() };
        let gone = |source: String| object_store::Error::NotFound {
            path: "ab/cd".to_owned(),
            source: source.into(),
        };
        let denied = |source: String| object_store::Error::PermissionDenied {
            path: "ab".to_owned(),
            source: source.into(),
        };
        for (error, advice) in [
            (gone(answered("NoSuchKey")), "is not in its bucket"),
            (gone(String::new()), "is not in its bucket"),
            (gone(answered("NoSuchBucket")), "name another with CORONER_LOGS"),
            (generic(answered("PermanentRedirect")), "another region"),
            (generic(answered("AuthorizationHeaderMalformed")), "(AuthorizationHeaderMalformed: It is so.)"),
            (denied(answered("AccessDenied")), "docs/dynamodb.md"),
            (generic(answered("AccessDenied")), "docs/dynamodb.md"),
            (denied("no body".to_owned()), "docs/dynamodb.md"),
            (denied(answered("InvalidAccessKeyId")), "AWS_PROFILE"),
            (denied(answered("RequestTimeTooSkewed")), "clock"),
            (generic(answered("ExpiredToken")), "aws sso login"),
            (generic(answered("SlowDown")), "(SlowDown: It is so.); try again"),
            (generic("something else".to_owned()), "something else"),
        ] {
            let said = failed("s3://logs/ab", error).to_string();
            assert!(said.contains(advice) && said.starts_with("the log s3://logs/ab "), "{said}");
        }
    }

    fn objects(provider: Option<SharedCredentialsProvider>) -> Objects {
        let config = SdkConfig::builder()
            .region(aws_types::region::Region::new("eu-central-1"))
            .endpoint_url("http://127.0.0.1:9");
        let config = match provider {
            Some(provider) => config.credentials_provider(provider),
            None => config,
        };
        Objects::new(&config.build(), Some("s3://logs/lab".parse().unwrap()), "lab-1".to_owned())
    }

    #[tokio::test]
    async fn nobody_answers_and_nobody_is_known() {
        let keys = Credentials::new("test", "test", None, None, "test");
        let said = objects(Some(SharedCredentialsProvider::new(keys))).check().await.unwrap_err().to_string();
        assert!(
            said.contains("AWS_ENDPOINT_URL") && said.starts_with("the log s3://logs/lab/lab-1 "),
            "{said}"
        );
        let said = objects(None).check().await.unwrap_err().to_string();
        assert!(said.contains("AWS_PROFILE") && said.contains("no credentials are configured"), "{said}");
    }

    #[tokio::test]
    async fn credentials_are_remembered_until_shortly_before_they_end() {
        let now = SystemTime::now();
        let lasting = |seconds| {
            let ends = Some(now + Duration::from_secs(seconds));
            good_until(&Credentials::new("key", "secret", None, ends, "test"), now)
        };
        assert!(lasting(60) < now, "asked for anew at once");
        assert_eq!(lasting(3600), now + Duration::from_secs(3480));
        let who = objects(Some(SharedCredentialsProvider::new(Credentials::new(
            "key", "secret", None, None, "test",
        ))))
        .who;
        assert_eq!(who.get_credential().await.unwrap().key_id, "key");
        assert!(who.known.lock().await.as_ref().is_some_and(|(_, until)| *until > now));
        assert!(!format!("{who:?}").contains("secret"));
    }
}
