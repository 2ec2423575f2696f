//! A table of somebody else's, read from one end to the other as JSON: what an import needs, and no more.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType};
use aws_types::SdkConfig;
use serde_json::{Map, Number, Value};

use super::client::Item;
use super::trouble::told;
use crate::{Error, TableTrouble};

/// A table that is only read.
pub struct TableScan {
    client: Client,
    table: String,
    /// Where the next page begins; `None` at the end.
    next: Option<Option<Item>>,
    /// About how many items it has: AWS counts anew every six hours.
    about: u64,
}

impl TableScan {
    /// Looks whether the table is there and has these keys.
    pub async fn open(config: &SdkConfig, table: &str, hash: &str, range: &str) -> Result<Self, Error> {
        let client = super::client(config);
        let trouble = |trouble| Error::Table { table: table.to_owned(), trouble };
        let sent = client.describe_table().table_name(table).send().await;
        let found = sent.map_err(|e| match told(table, &e) {
            Error::Table { trouble: TableTrouble::Missing { .. }, .. } => trouble(TableTrouble::NotThere),
            error => error,
        })?;
        let found = found.table.ok_or_else(|| trouble(TableTrouble::NotThere))?;
        let key = |kind: &KeyType| {
            let element = found.key_schema().iter().find(|it| it.key_type() == kind);
            element.map(|it| it.attribute_name().to_owned()).unwrap_or_default()
        };
        let keys = (key(&KeyType::Hash), key(&KeyType::Range));
        if keys != (hash.to_owned(), range.to_owned()) {
            let detail =
                format!("its keys are `{}` and `{}` where `{hash}` and `{range}` are wanted", keys.0, keys.1);
            return Err(trouble(TableTrouble::Shape { detail }));
        }
        let about = found.item_count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        Ok(Self { client, table: table.to_owned(), next: Some(None), about })
    }

    /// About how many items it has.
    #[must_use]
    pub fn about(&self) -> u64 {
        self.about
    }

    /// The next page, which may be empty; nothing at the end. Items of the same hash key follow on each other by their range key.
    pub async fn page(&mut self) -> Result<Option<Vec<Value>>, Error> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let scan = self.client.scan().table_name(&self.table).set_exclusive_start_key(from);
        let answer = scan.send().await.map_err(|e| told(&self.table, &e))?;
        self.next = answer.last_evaluated_key.filter(|key| !key.is_empty()).map(Some);
        Ok(Some(answer.items.unwrap_or_default().into_iter().map(object).collect()))
    }
}

fn object(item: Item) -> Value {
    Value::Object(item.into_iter().map(|(name, value)| (name, json(value))).collect::<Map<_, _>>())
}

/// As JSON would have it. Numbers stay what they are as far as JSON's go; bytes have no place in it.
fn json(value: AttributeValue) -> Value {
    let numbers = |all: Vec<String>| Value::Array(all.iter().map(|it| number(it)).collect());
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(text) => number(&text),
        AttributeValue::Bool(it) => Value::Bool(it),
        AttributeValue::M(fields) => object(fields),
        AttributeValue::L(items) => Value::Array(items.into_iter().map(json).collect()),
        AttributeValue::Ss(texts) => Value::Array(texts.into_iter().map(Value::String).collect()),
        AttributeValue::Ns(texts) => numbers(texts),
        _ => Value::Null,
    }
}

fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Number::from);
    whole.or_else(|| Number::from_f64(text.parse().ok()?)).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as wanted;

    #[test]
    fn attributes_become_json() {
        let item = Item::from([
            ("s".to_owned(), AttributeValue::S("text".to_owned())),
            ("n".to_owned(), AttributeValue::N("15.038184".to_owned())),
            ("i".to_owned(), AttributeValue::N("1760667123".to_owned())),
            ("big".to_owned(), AttributeValue::N("1E+125".to_owned())),
            ("null".to_owned(), AttributeValue::Null(true)),
            ("b".to_owned(), AttributeValue::B(vec![1].into())),
            (
                "l".to_owned(),
                AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::N("-1".to_owned())]),
            ),
            (
                "m".to_owned(),
                AttributeValue::M(Item::from([("x".to_owned(), AttributeValue::Ns(vec!["2".to_owned()]))])),
            ),
        ]);
        let expected = wanted!({
            "s": "text", "n": 15.038184, "i": 1_760_667_123, "big": 1e125, "null": null, "b": null, "l": [true, -1], "m": {"x": [2]},
        });
        assert_eq!(object(item), expected);
    }
}
