//! What the emulator never does, done by a server that says what it is told to: answers in parts, too much to do, no
//! permission. Each is read to its end, tried again, or told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use aws_types::SdkConfig;

use super::client::{Ask, Item, Refused, Table, number, s};
use super::plan::{Plan, When, key};
use super::{client, make_table};
use crate::TableTrouble;

/// Answers one request after the other with these; says what was asked for.
pub(super) fn server(answers: Vec<(u16, String)>) -> (SdkConfig, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut length, mut target) = (0, String::new());
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    match line.trim_end() {
                        "" => break,
                        _ => continue,
                    }
                };
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.parse().unwrap(),
                    "x-amz-target" => target = value.rsplit('.').next().unwrap().to_owned(),
                    _ => {}
                }
            }
            let mut request = vec![0; length];
            reader.read_exact(&mut request).unwrap();
            heard.lock().unwrap().push(format!("{target} {}", String::from_utf8_lossy(&request)));
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len()
            );
            let mut stream = reader.into_inner();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    (super::emulator(&endpoint), asked)
}

fn refusal(code: &str, message: &str) -> String {
    format!(r#"{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "{message}"}}"#)
}

pub(super) fn ok(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

fn item(pk: &str, value: u64) -> String {
    format!(r#"{{"pk": {{"S": "{pk}"}}, "sk": {{"S": "-"}}, "value": {{"N": "{value}"}}}}"#)
}

#[tokio::test]
async fn pages_and_unprocessed_keys_are_read_to_their_end() {
    let again = r#""UnprocessedKeys": {"t01": {"Keys": [{"pk": {"S": "b"}, "sk": {"S": "-"}}]}}"#;
    let (config, asked) = server(vec![
        ok(&format!(r#"{{"Responses": {{"t01": [{}]}}, {again}}}"#, item("a", 1))),
        ok(&format!(r#"{{"Responses": {{"t01": [{}]}}, "UnprocessedKeys": {{}}}}"#, item("b", 2))),
        ok(&format!(
            r#"{{"Items": [{}], "Count": 1, "LastEvaluatedKey": {{"pk": {{"S": "q"}}, "sk": {{"S": "1"}}}}}}"#,
            item("q", 1)
        )),
        ok(&format!(r#"{{"Items": [{}], "Count": 1}}"#, item("q", 2))),
        ok(
            r#"{"UnprocessedItems": {"t01": [{"DeleteRequest": {"Key": {"pk": {"S": "w"}, "sk": {"S": "-"}}}}]}}"#,
        ),
        ok(r#"{"UnprocessedItems": {}}"#),
    ]);
    let table = Table::new(client(&config), "t01".to_owned());
    let both = table.get_all(&[key("a", "-"), key("b", "-"), key("c", "-")]).await.unwrap();
    let values: Vec<_> = both.values().map(|item| number::<u64>(item, "value")).collect();
    assert_eq!(values, [Some(1), Some(2)]);
    assert_eq!(table.query(Ask::table("q")).await.unwrap().len(), 2);
    table.write_all(Vec::new(), vec![key("v", "-"), key("w", "-")]).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    assert!(asked[1].starts_with("BatchGetItem") && !asked[1].contains(r#""a""#), "{asked:?}");
    assert!(asked[3].starts_with("Query") && asked[3].contains("ExclusiveStartKey"), "{asked:?}");
    assert!(asked[5].starts_with("BatchWriteItem") && !asked[5].contains(r#""v""#), "{asked:?}");
    assert_eq!(table.used().requests, 6);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_a_condition_is_told() {
    let cancelled = |reason: &str| {
        let reasons = format!(r#""CancellationReasons": [{{"Code": "None"}}, {{"Code": "{reason}"}}]"#);
        (400, format!(r#"{{"__type": "x#TransactionCanceledException", "message": "cancelled", {reasons}}}"#))
    };
    let busy = (400, refusal("ProvisionedThroughputExceededException", "slow down"));
    let (config, asked) = server(vec![
        cancelled("TransactionConflict"),
        busy.clone(),
        cancelled("ThrottlingError"),
        ok("{}"),
        cancelled("ConditionalCheckFailed"),
        cancelled("ItemCollectionSizeLimitExceeded"),
    ]);
    let table = Table::new(client(&config), "t01".to_owned());
    let items = || {
        let mut plan = Plan::default();
        plan.put(key("a", "-"), Item::from([("x".to_owned(), s("y"))]), When::Absent);
        plan.items("t01").unwrap()
    };
    assert!(table.transact(items()).await.is_ok());
    assert_eq!(asked.lock().unwrap().len(), 4);
    assert!(matches!(table.transact(items()).await, Err(Refused::Condition)));
    assert!(matches!(table.transact(items()).await, Err(Refused::Told(_))));
}

#[tokio::test]
async fn each_refusal_is_told_with_what_to_do() {
    let lasting = |code: &str, message: &str, status| vec![(status, refusal(code, message)); 20];
    for (answers, advice) in [
        (
            lasting("ExpiredTokenException", "The security token included in the request is expired", 400),
            "renew",
        ),
        (lasting("UnrecognizedClientException", "The security token is invalid", 400), "AWS_PROFILE"),
        (
            lasting("AccessDeniedException", "not authorized to perform dynamodb:Query", 400),
            "docs/dynamodb.md",
        ),
        (lasting("ProvisionedThroughputExceededException", "slow down", 400), "fewer writers"),
        (lasting("InternalServerError", "oops", 500), "failed: InternalServerError: oops"),
    ] {
        let (config, _) = server(answers);
        let said = make_table(&config, "t01").await.unwrap_err().to_string();
        assert!(said.contains(advice) && said.contains("`t01`"), "{said}");
    }
}

#[tokio::test]
async fn a_table_of_another_is_left_alone() {
    let keys = |hash: &str| {
        format!(
            r#"{{"Table": {{"TableName": "t01", "TableStatus": "ACTIVE",
                "KeySchema": [{{"AttributeName": "{hash}", "KeyType": "HASH"}}, {{"AttributeName": "sk", "KeyType": "RANGE"}}]}}}}"#
        )
    };
    for (hash, why) in
        [("experiment_id", "its keys are `experiment_id`"), ("pk", "it lacks our index `newest`")]
    {
        let (config, asked) = server(vec![ok(&keys(hash))]);
        let error = make_table(&config, "t01").await.unwrap_err();
        assert!(
            matches!(&error, crate::Error::Table { trouble: TableTrouble::Shape { .. }, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(why) && error.is_store_failure(), "{error}");
        assert_eq!(asked.lock().unwrap().len(), 1, "nothing but a look");
    }
}
