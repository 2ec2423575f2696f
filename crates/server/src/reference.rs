//! The API in writing: `/openapi.json`, made from the code, and `/docs`, the same to be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa::openapi::InfoBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::auth::Caller;
use crate::failure::{AdminProblem, Answer, Problem, Reason};
use crate::{Desk, page};

/// What any request may be answered, whatever it asks.
const ALWAYS: [(&str, &str); 5] = [
    ("400", "what was sent can't be used"),
    ("401", "it is not said who asks, or nobody knows them"),
    ("403", "they may not"),
    ("421", "where nobody is asked who they are: the desk is not known by that name"),
    ("503", "too much is going on, or the store is locked; `retry-after` says when to try again"),
];
/// What names something may name something that is not there.
const WITH_A_PLACE: (&str, &str) = ("404", "there is no such thing");
/// And what changes it may not fit.
const CHANGING: (&str, &str) = ("409", "it does not go with what is there");
/// What comes with a body.
const WITH_A_BODY: [(&str, &str); 4] = [
    ("408", "the body stood still"),
    ("413", "the body is too large"),
    ("415", "of a kind, or packed in a way, that is not taken"),
    ("507", "no space is left for the store"),
];

/// Adds what the code does not say, and the two addresses.
pub(crate) fn with_reference(routes: OpenApiRouter<Desk>) -> axum::Router<Desk> {
    let (router, mut document) = routes.split_for_parts();
    document.info = InfoBuilder::new()
        .title("coroner")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Why experiments died. Errors are {\"error\": {\"code\", \"message\", \"hint\"?}, \"request_id\"}; \
             under /admin/, {\"error\": \"message\"}.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("token", scheme);
    for (name, schema) in [
        (Problem::name(), Problem::schema()),
        (AdminProblem::name(), AdminProblem::schema()),
        (Reason::name(), Reason::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    let mut document = serde_json::to_value(&document).unwrap_or_default();
    say_what_may_go_wrong(&mut document);
    let text: Arc<str> = document.to_string().into();
    let chapters: Arc<[Chapter]> = chapters(&document).into();
    let read =
        async move |State(desk): State<Desk>, Extension(caller): Extension<Caller>| -> Answer<Response> {
            page::reference(&desk, caller, Arc::clone(&chapters)).await
        };
    router
        .route("/openapi.json", get(async move || sent("application/json", text.as_ref().to_owned())))
        .route("/docs", get(read))
}

fn sent(media: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, media)], text).into_response()
}

/// Every failure has one shape, and most can happen anywhere: said here, not at each handler.
fn say_what_may_go_wrong(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, methods) in paths {
        let shape = if path.starts_with("/admin/") { "AdminProblem" } else { "Problem" };
        let content =
            json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{shape}")}}});
        let Some(methods) = methods.as_object_mut() else { continue };
        for (method, operation) in methods {
            let mut may: Vec<(&str, &str)> = ALWAYS.into();
            let place = path.contains('{');
            may.extend(place.then_some(WITH_A_PLACE));
            may.extend((method != "get").then_some(CHANGING));
            if operation.get("requestBody").is_some() {
                may.extend(WITH_A_BODY);
            }
            let Some(answers) = operation["responses"].as_object_mut() else { continue };
            for (status, why) in may {
                let common = || json!({"description": why, "content": content, "x-common": true});
                answers.entry(status).or_insert_with(common);
            }
            for (status, answer) in answers.iter_mut() {
                if status.as_str() >= "400" && answer.get("content").is_none() {
                    answer["content"] = content.clone();
                }
            }
        }
    }
}

/// What belongs together.
pub(crate) struct Chapter {
    pub(crate) name: String,
    pub(crate) operations: Vec<Operation>,
}

/// One thing that can be asked.
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) summary: String,
    pub(crate) more: String,
    pub(crate) parameters: Vec<Field>,
    pub(crate) body: Vec<Field>,
    pub(crate) answers: Vec<Reply>,
}

impl Operation {
    /// Its place on the page.
    pub(crate) fn anchor(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("{}{}", self.method.to_lowercase(), self.path.chars().map(plain).collect::<String>())
    }
}

/// A parameter, or a field of a body.
pub(crate) struct Field {
    pub(crate) name: String,
    /// Where it stands, of a parameter; what it is made of, of a field.
    pub(crate) kind: String,
    pub(crate) required: bool,
    pub(crate) text: String,
}

/// An answer that is this request's own.
pub(crate) struct Reply {
    pub(crate) status: String,
    pub(crate) text: String,
    pub(crate) fields: Vec<Field>,
}

fn chapters(document: &Value) -> Vec<Chapter> {
    let mut chapters: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    let empty = Map::new();
    for (path, methods) in document["paths"].as_object().unwrap_or(&empty) {
        for (method, it) in methods.as_object().unwrap_or(&empty) {
            let name = it["tags"][0].as_str().unwrap_or("other").to_owned();
            let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            let parameters = it["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let answers = it["responses"].as_object().unwrap_or(&empty);
            let own = answers.iter().filter(|(_, answer)| answer.get("x-common").is_none());
            chapters.entry(name).or_default().push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text("summary"),
                more: text("description").trim_start_matches(&text("summary")).trim().to_owned(),
                parameters: parameters.iter().map(parameter).collect(),
                body: fields(document, &it["requestBody"]["content"]),
                answers: own.map(|(status, answer)| reply(document, status, answer)).collect(),
            });
        }
    }
    chapters.into_iter().map(|(name, operations)| Chapter { name, operations }).collect()
}

fn parameter(it: &Value) -> Field {
    let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
    let required = it["required"].as_bool().unwrap_or(false);
    Field { name: text("name"), kind: text("in"), required, text: text("description") }
}

fn reply(document: &Value, status: &str, answer: &Value) -> Reply {
    let text = answer["description"].as_str().unwrap_or_default().to_owned();
    // the shape of failures is told once
    let fields = if status >= "400" { Vec::new() } else { fields(document, &answer["content"]) };
    Reply { status: status.to_owned(), text, fields }
}

/// The fields of an object that the document names.
fn fields(document: &Value, content: &Value) -> Vec<Field> {
    let reference = content["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
    let schema = &document["components"]["schemas"][reference.rsplit('/').next().unwrap_or_default()];
    let required = |name: &str| {
        let all = schema["required"].as_array();
        all.is_some_and(|all| all.iter().any(|it| it == name))
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, it)| Field {
            name: name.clone(),
            kind: kind(it),
            required: required(name),
            text: it["description"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

/// `string`, `integer`, `array of User`.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|it| *it != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    };
    match name.as_str() {
        "array" => format!("array of {}", kind(&schema["items"])).trim_end_matches(" of ").to_owned(),
        _ => name,
    }
}
