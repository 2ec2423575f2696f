//! The queue of AWS: standard queues of SQS, with their dead letters where they have some.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Region;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use aws_types::SdkConfig;
use coroner_store::AwsTrouble;
use coroner_store::dynamodb::Said;
use serde_json::Value;

use super::{Counts, Held, Job, Queue, QueueError, QueueTrouble};

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than the longest that we wait for a message.
const ANSWER: Duration = Duration::from_secs(40);
/// What SQS waits, holds back and hides at most.
const LONGEST_WAIT: u64 = 20;
const LONGEST_DELAY: u64 = 900;
const LONGEST_HIDDEN: u64 = 12 * 3600;
/// A dead letter that we have looked at is hidden so long, so that others are seen too.
const LOOKED_AT: i32 = 600;

/// A queue of SQS.
#[derive(Debug, Clone)]
pub struct Sqs {
    client: Client,
    name: String,
    url: String,
    /// Its dead letters.
    dead: Option<String>,
    /// After so many times the engine moves a message there by itself.
    most: Option<u32>,
}

impl Sqs {
    /// The queue that is written so behind `sqs:`, a name or a whole address; it must be there.
    pub async fn open(config: &SdkConfig, place: &str) -> Result<Self, QueueError> {
        let address = |why: &str| QueueError {
            queue: place.chars().filter(|c| !c.is_control()).take(200).collect(),
            trouble: QueueTrouble::Address(why.to_owned()),
        };
        let is_url = place.starts_with("https://") || place.starts_with("http://");
        let name = place.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 80 || !name.chars().all(plain) || !is_url && place != name {
            return Err(address("its name has 1 to 80 letters, digits, - and _"));
        }
        if name.ends_with(".fifo") {
            return Err(address(
                "it is a FIFO queue, and the order of candidates is of no importance: take a standard queue",
            ));
        }
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build();
        let mut builder = aws_sdk_sqs::config::Builder::from(config)
            .timeout_config(timeouts)
            .http_client(coroner_store::dynamodb::http_client());
        // an address says in which region it is
        if let Some(region) =
            place.strip_prefix("https://sqs.").and_then(|rest| rest.split_once(".amazonaws.com"))
        {
            builder = builder.region(Region::new(region.0.to_owned()));
        } else if let Some((scheme, rest)) = place.split_once("://").filter(|_| is_url) {
            // somebody else's, an emulator's for instance
            builder =
                builder.endpoint_url(format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()));
        }
        let client = Client::from_conf(builder.build());
        let mut queue = Self { client, name: name.to_owned(), url: place.to_owned(), dead: None, most: None };
        if !is_url {
            let found = queue.client.get_queue_url().queue_name(name).send().await;
            let url = found.map_err(|e| queue.told(&e))?.queue_url;
            queue.url = url.ok_or_else(|| queue.other("it has no address"))?;
        }
        let wanted = queue.client.get_queue_attributes().queue_url(&queue.url);
        let wanted = wanted.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes = wanted.map_err(|e| queue.told(&e))?.attributes.unwrap_or_default();
        if let Some(policy) = attributes.get(&QueueAttributeName::RedrivePolicy) {
            queue.read_policy(policy).await?;
        }
        Ok(queue)
    }

    /// How often the engine lets a message be taken before it moves it to the dead letters itself.
    #[must_use]
    pub fn most_times(&self) -> Option<u32> {
        self.most
    }

    async fn read_policy(&mut self, policy: &str) -> Result<(), QueueError> {
        let policy: Value = serde_json::from_str(policy).unwrap_or_default();
        // written as a number, or as text
        let most = &policy["maxReceiveCount"];
        self.most = most.as_u64().or_else(|| most.as_str()?.parse().ok()).and_then(|n| u32::try_from(n).ok());
        let arn: Vec<&str> = policy["deadLetterTargetArn"].as_str().unwrap_or_default().split(':').collect();
        if let [.., account, name] = arn.as_slice() {
            let found = self.client.get_queue_url().queue_name(*name).queue_owner_aws_account_id(*account);
            self.dead = found.send().await.map_err(|e| self.told(&e))?.queue_url;
        }
        Ok(())
    }

    fn other(&self, text: &str) -> QueueError {
        QueueError { queue: self.name.clone(), trouble: QueueTrouble::Other(text.to_owned()) }
    }

    fn told<E>(&self, error: &SdkError<E>) -> QueueError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let said = Said::by(error);
        let trouble = said.trouble.map_or_else(|| trouble_of(&said.code, &said.detail), Into::into);
        QueueError { queue: self.name.clone(), trouble }
    }

    /// A receipt that is no good any more means that the message is another's by now, or gone: nothing to be told.
    fn unless_gone<T, E>(&self, result: Result<T, SdkError<E>>) -> Result<(), QueueError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_gone(error.code().unwrap_or_default()) => Ok(()),
            Err(error) => Err(self.told(&error)),
        }
    }
}

fn is_gone(code: &str) -> bool {
    ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"]
        .iter()
        .any(|word| code.contains(word))
}

fn trouble_of(code: &str, detail: &str) -> QueueTrouble {
    match code {
        code if code.contains("NonExistentQueue") || code.contains("QueueDoesNotExist") => {
            QueueTrouble::Missing
        }
        code if code.contains("AccessDenied") => QueueTrouble::Forbidden(AwsTrouble::shortened(detail)),
        _ => QueueTrouble::Other(AwsTrouble::shortened(detail)),
    }
}

fn whole_seconds(duration: Duration, most: u64) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000).min(u128::from(most))).unwrap_or(0)
}

#[async_trait]
impl Queue for Sqs {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, job: &Job, after: Duration) -> Result<(), QueueError> {
        let body = serde_json::to_string(job).map_err(|e| self.other(&e.to_string()))?;
        let asked = self.client.send_message().queue_url(&self.url).message_body(body);
        let sent = asked.delay_seconds(whole_seconds(after, LONGEST_DELAY)).send().await;
        sent.map(drop).map_err(|e| self.told(&e))
    }

    async fn take(&self, wait: Duration, hidden: Duration) -> Result<Option<Held>, QueueError> {
        let asked = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(1)
            .wait_time_seconds(whole_seconds(wait, LONGEST_WAIT))
            .visibility_timeout(whole_seconds(hidden, LONGEST_HIDDEN))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = asked.send().await.map_err(|e| self.told(&e))?;
        let Some(message) = answer.messages.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let body = message.body.unwrap_or_default();
        let times = message.attributes.as_ref();
        let times = times.and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
        Ok(Some(Held {
            job: serde_json::from_str(&body).map_err(|e| format!("its message is no job ({e})")),
            body,
            times: times.and_then(|times| times.parse().ok()).unwrap_or(1),
            receipt: message.receipt_handle.unwrap_or_default(),
        }))
    }

    async fn hide(&self, held: &Held, hidden: Duration) -> Result<(), QueueError> {
        let asked = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(&held.receipt)
            .visibility_timeout(whole_seconds(hidden, LONGEST_HIDDEN));
        self.unless_gone(asked.send().await)
    }

    async fn done(&self, held: &Held) -> Result<(), QueueError> {
        let asked = self.client.delete_message().queue_url(&self.url).receipt_handle(&held.receipt);
        self.unless_gone(asked.send().await)
    }

    async fn bury(&self, held: &Held, why: &str) -> Result<(), QueueError> {
        if let Some(dead) = &self.dead {
            let why = MessageAttributeValue::builder().data_type("String").string_value(why).build();
            let sent = self.client.send_message().queue_url(dead).message_body(&held.body);
            let sent = sent.message_attributes("why", why.map_err(|e| self.other(&e.to_string()))?);
            sent.send().await.map_err(|e| self.told(&e))?;
        }
        self.done(held).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let asked = self.client.get_queue_attributes().queue_url(&self.url);
        let asked = asked.attribute_names(ApproximateNumberOfMessages);
        let asked = asked.attribute_names(ApproximateNumberOfMessagesNotVisible);
        let answer = asked.send().await.map_err(|e| self.told(&e))?;
        let all = answer.attributes.unwrap_or_default();
        let of = |name| all.get(&name).and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok(Counts {
            waiting: of(ApproximateNumberOfMessages),
            held: of(ApproximateNumberOfMessagesNotVisible),
        })
    }

    async fn buried(&self) -> Result<Vec<Job>, QueueError> {
        let Some(dead) = &self.dead else { return Ok(Vec::new()) };
        let asked = self.client.receive_message().queue_url(dead).max_number_of_messages(10);
        let answer = asked.visibility_timeout(LOOKED_AT).send().await.map_err(|e| self.told(&e))?;
        let bodies = answer.messages.unwrap_or_default().into_iter().filter_map(|message| message.body);
        Ok(bodies.filter_map(|body| serde_json::from_str(&body).ok()).collect())
    }
}

/// A queue of the emulator, for tests.
#[cfg(test)]
pub(super) mod emulated {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Client, QueueAttributeName, SdkConfig};

    pub(crate) struct Emulated {
        pub(crate) config: SdkConfig,
        pub(crate) endpoint: String,
        client: Client,
    }

    impl Emulated {
        /// Nothing, said aloud, where there is none.
        pub(crate) async fn here(test: &str) -> Option<Self> {
            let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty())
            else {
                println!(
                    "skipped: queue::{test}: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
                );
                return None;
            };
            let config = coroner_store::dynamodb::emulator(&endpoint);
            let own = aws_sdk_sqs::config::Builder::from(&config)
                .http_client(coroner_store::dynamodb::http_client());
            let client = Client::from_conf(own.build());
            Some(Self { config, endpoint, client })
        }

        /// A new queue, with dead letters if it is said after how many times.
        pub(crate) async fn queue(&self, most: Option<u32>) -> String {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("lab-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let mut made = self.client.create_queue().queue_name(&name);
            if let Some(most) = most {
                let dead =
                    self.client.create_queue().queue_name(format!("{name}-dead")).send().await.unwrap();
                let asked = self.client.get_queue_attributes().queue_url(dead.queue_url.unwrap());
                let asked = asked.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
                let arn = asked.attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
                let policy =
                    serde_json::json!({"deadLetterTargetArn": arn, "maxReceiveCount": most.to_string()});
                made = made.attributes(QueueAttributeName::RedrivePolicy, policy.to_string());
            }
            made.send().await.unwrap();
            name
        }

        pub(crate) async fn send(&self, queue: &str, body: &str) {
            let url = format!("{}/000000000000/{queue}", self.endpoint);
            self.client.send_message().queue_url(url).message_body(body).send().await.unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::retry::RetryConfig;
    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};

    use super::*;

    #[test]
    fn each_trouble_has_its_advice() {
        for (code, detail, advice) in [
            (
                "AWS.SimpleQueueService.NonExistentQueue",
                "The specified queue does not exist",
                "check AWS_REGION",
            ),
            ("AccessDeniedException", "not authorized to perform: sqs:receivemessage", "docs/fleet.md"),
            ("InternalError", "we had a problem", "we had a problem"),
        ] {
            let said =
                QueueError { queue: "tests".to_owned(), trouble: trouble_of(code, detail) }.to_string();
            assert!(said.contains(advice) && said.contains("`tests`"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_told() {
        let keys = || SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"));
        let base =
            || SdkConfig::builder().endpoint_url("http://127.0.0.1:9").retry_config(RetryConfig::disabled());
        let region = Region::new("eu-central-1");
        for (config, advice) in [
            (base().credentials_provider(keys()), "no region is set"),
            (base().region(region.clone()), "no credentials that AWS takes"),
            (base().region(region).credentials_provider(keys()), "can't be reached (Connection refused"),
        ] {
            let said = Sqs::open(&config.build(), "tests").await.unwrap_err().to_string();
            assert!(said.starts_with("the queue `tests` can't be ") && said.contains(advice), "{said}");
            assert!(!said.contains(" { "), "{said}");
        }
    }
}
