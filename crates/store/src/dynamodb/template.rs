//! The table of `deploy/aws/template.yaml` is the one that `coroner store init` makes.

use serde_json::{Map, Value};

use super::make_table;
use super::parts::{ok, server};

const TEMPLATE: &str = include_str!("../../../../deploy/aws/template.yaml");

/// As YAML on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let parts: Vec<_> = map.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{{}}}", parts.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        // quoted, for YAML takes `n` for no
        other => other.to_string(),
    }
}

/// A line for each property, and for each entry of those that are lists.
fn block(properties: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in properties {
        match value {
            Value::Array(list) => {
                let entries: String = list.iter().map(|it| format!("        - {}\n", flow(it))).collect();
                text.push_str(&format!("      {name}:\n{entries}"));
            }
            other => text.push_str(&format!("      {name}: {}\n", flow(other))),
        }
    }
    text
}

#[tokio::test]
async fn the_templates_table_is_the_one_that_is_made() {
    let missing = r#"{"__type": "x#ResourceNotFoundException", "message": "no such table"}"#;
    let active = r#"{"Table": {"TableName": "t01", "TableStatus": "ACTIVE"}}"#;
    let forgets_nothing = r#"{"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}"#;
    let (config, asked) = server(vec![
        (400, missing.to_owned()),
        ok("{}"),
        ok(active),
        ok(forgets_nothing),
        ok("{}"),
        ok("{}"),
    ]);
    make_table(&config, "t01").await.unwrap();
    let asked = asked.lock().unwrap().clone();
    let sent = |operation: &str| {
        let body =
            asked.iter().find_map(|it| it.strip_prefix(operation)).unwrap_or_else(|| panic!("{asked:?}"));
        let mut sent: Map<String, Value> = serde_json::from_str(body).unwrap();
        sent.remove("TableName");
        sent
    };
    let mut properties = sent("CreateTable ");
    properties.extend(sent("UpdateTimeToLive "));
    let expected = block(&properties);
    let told = TEMPLATE.split("# <table>\n").nth(1).and_then(|rest| rest.split("      # </table>").next());
    assert_eq!(told, Some(&expected[..]), "deploy/aws/template.yaml should say:\n{expected}");
}
