//! The table: its keys and indexes, how it is made, and how another's is told from ours.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification,
    TimeToLiveStatus,
};

use super::client::{Ask, Table, n, s};
use super::plan::key;
use super::trouble::told;
use crate::{Error, TableTrouble};

/// Name, partition and sort key; all of text, and of nothing but keys.
pub(super) const INDEXES: [(&str, &str, &str); 6] = [
    ("newest", "a", "k"),
    ("words", "w", "k"),
    ("wall", "w", "t"),
    ("cost", "w", "c"),
    ("signature", "g", "gk"),
    ("names", "n", "nk"),
];
/// The version of what stands in the table.
pub(super) const SCHEMA: i64 = 2;
/// A table is made within a few seconds.
const PATIENCE: u32 = 120;

/// What `init` found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It made the table.
    New,
    /// The table was there already, and is one of ours.
    Known,
}

fn other(table: &str, detail: impl ToString) -> Error {
    let trouble = TableTrouble::Other { detail: detail.to_string() };
    Error::Table { table: table.to_owned(), trouble }
}

async fn describe(client: &Client, table: &str) -> Result<Option<TableDescription>, Error> {
    match client.describe_table().table_name(table).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) => match told(table, &error) {
            Error::Table { trouble: TableTrouble::Missing { .. }, .. } => Ok(None),
            told => Err(told),
        },
    }
}

/// Makes the table if it is not there.
pub(super) async fn make(client: &Client, table: &str) -> Result<Made, Error> {
    if let Some(found) = describe(client, table).await? {
        is_ours(table, &found)?;
        return match is_empty(client, table).await? {
            // made by a template, or by us and not to the end
            true => begin(client, table).await.map(|()| Made::New),
            false => check_version(client, table).await.map(|()| Made::Known),
        };
    }
    let incomplete = |e: aws_sdk_dynamodb::error::BuildError| other(table, e);
    let attributes: BTreeSet<&str> =
        INDEXES.iter().flat_map(|(_, hash, range)| [*hash, *range]).chain(["pk", "sk"]).collect();
    let keys = |hash: &str, range: &str| {
        let element =
            |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        Ok::<_, Error>(vec![
            element(hash, KeyType::Hash).map_err(incomplete)?,
            element(range, KeyType::Range).map_err(incomplete)?,
        ])
    };
    let mut create = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(keys("pk", "sk")?));
    for name in attributes {
        let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(text.build().map_err(incomplete)?);
    }
    for (name, hash, range) in INDEXES {
        let only_keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(name)
            .set_key_schema(Some(keys(hash, range)?))
            .projection(only_keys);
        create = create.global_secondary_indexes(index.build().map_err(incomplete)?);
    }
    create.send().await.map_err(|e| told(table, &e))?;
    for _ in 0..PATIENCE {
        let status = describe(client, table).await?.and_then(|it| it.table_status);
        if status == Some(TableStatus::Active) {
            return begin(client, table).await.map(|()| Made::New);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(other(table, "AWS is still making it; wait a minute and say it again"))
}

/// The partition that holds a table's version and whatever is numbered: without it nothing was ever kept.
async fn is_empty(client: &Client, table: &str) -> Result<bool, Error> {
    let about = Ask::table("#").first(1);
    Ok(Table::new(client.clone(), table.to_owned()).query(about).await?.is_empty())
}

/// Has a table that is there forget what has outlived its time, and writes down whose it is.
async fn begin(client: &Client, table: &str) -> Result<(), Error> {
    if !forgets(client, table).await? {
        let ttl = TimeToLiveSpecification::builder().attribute_name("ttl").enabled(true);
        let ttl = ttl.build().map_err(|e| other(table, e))?;
        let set = client.update_time_to_live().table_name(table).time_to_live_specification(ttl).send().await;
        set.map_err(|e| told(table, &e))?;
    }
    let about = key("#", "schema");
    let put = client.put_item().table_name(table).item("pk", s(about.0)).item("sk", s(about.1));
    put.item("value", n(SCHEMA)).send().await.map_err(|e| told(table, &e)).map(drop)
}

/// Is it a table of ours, of a version that we know? Says by what AWS tells it from others of its name.
pub(super) async fn check(client: &Client, table: &str) -> Result<String, Error> {
    let missing = || {
        let trouble = TableTrouble::Missing { table: table.to_owned() };
        Error::Table { table: table.to_owned(), trouble }
    };
    let found = describe(client, table).await?.ok_or_else(missing)?;
    is_ours(table, &found)?;
    check_version(client, table).await?;
    Ok(found.table_id.unwrap_or_default())
}

async fn check_version(client: &Client, table: &str) -> Result<(), Error> {
    let item = Table::new(client.clone(), table.to_owned()).get("#", "schema").await?;
    let found: Option<i64> = item.and_then(|item| super::client::number(&item, "value"));
    let shape =
        |detail: String| Error::Table { table: table.to_owned(), trouble: TableTrouble::Shape { detail } };
    match found {
        None => {
            let what =
                "it has our keys but says no version; if it is new, `coroner store init` makes it ready";
            Err(shape(what.to_owned()))
        }
        Some(SCHEMA) => Ok(()),
        Some(found) if found < SCHEMA => Err(shape(format!(
            "it has form {found}, which no release ever wrote and none reads; this one writes form {SCHEMA} into a new table"
        ))),
        Some(found) => {
            Err(shape(format!("it was written by a newer release, form {found}; we know {SCHEMA}")))
        }
    }
}

fn is_ours(table: &str, found: &TableDescription) -> Result<(), Error> {
    let keys = |schema: &[KeySchemaElement]| {
        let of = |kind: &KeyType| {
            let found = schema.iter().find(|it| it.key_type() == kind);
            found.map(|it| it.attribute_name().to_owned()).unwrap_or_default()
        };
        (of(&KeyType::Hash), of(&KeyType::Range))
    };
    let shape =
        |detail: String| Error::Table { table: table.to_owned(), trouble: TableTrouble::Shape { detail } };
    let own = keys(found.key_schema());
    if own != ("pk".to_owned(), "sk".to_owned()) {
        return Err(shape(format!("its keys are `{}` and `{}` where ours are `pk` and `sk`", own.0, own.1)));
    }
    for (name, hash, range) in INDEXES {
        let index = found.global_secondary_indexes().iter().find(|it| it.index_name() == Some(name));
        if index.is_none_or(|it| keys(it.key_schema()) != (hash.to_owned(), range.to_owned())) {
            return Err(shape(format!("it lacks our index `{name}` over `{hash}` and `{range}`")));
        }
    }
    Ok(())
}

/// Whether the table forgets by itself what has outlived its time.
pub(super) async fn forgets(client: &Client, table: &str) -> Result<bool, Error> {
    let answer =
        client.describe_time_to_live().table_name(table).send().await.map_err(|e| told(table, &e))?;
    let status = answer.time_to_live_description.and_then(|it| it.time_to_live_status);
    Ok(matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)))
}
