//! The API in writing: `/openapi.json`, and `/docs`, a page made from it without anybody's script.

use std::fmt::Write;
use std::sync::Arc;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

use crate::Desk;

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
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", scheme);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    let page: Arc<str> = page(&document).into();
    let json: Arc<str> = document.to_json().unwrap_or_default().into();
    router
        .route("/openapi.json", get(async move || sent("application/json", json.as_ref().to_owned())))
        .route("/docs", get(async move || Html(page.as_ref().to_owned())))
}

fn sent(media: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, media)], text).into_response()
}

fn page(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).unwrap_or_default();
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>The API of coroner</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head><body><main>\
         <h1>The API of coroner</h1>\
         <p>Send <code>authorization: Bearer TOKEN</code> where the desk asks who you are; a token is made by \
         <code>coroner token add</code>. What programs read is <a href=\"/openapi.json\">openapi.json</a>.</p>",
    );
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    for (path, methods) in paths {
        for (method, it) in methods.as_object().unwrap_or(&empty) {
            _ = write!(out, "<h2><code>{} {}</code></h2>", method.to_uppercase(), escaped(path));
            for text in [&it["summary"], &it["description"]].into_iter().filter_map(Value::as_str) {
                _ = write!(out, "<p>{}</p>", escaped(text));
            }
            let parameters = it["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !parameters.is_empty() {
                out.push_str(
                    "<table><thead><tr><th>Parameter</th><th>In</th><th>What it is</th></tr></thead><tbody>",
                );
                for parameter in parameters {
                    let text = |field: &str| escaped(parameter[field].as_str().unwrap_or_default());
                    let row = (text("name"), text("in"), text("description"));
                    _ = write!(
                        out,
                        "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                        row.0, row.1, row.2
                    );
                }
                out.push_str("</tbody></table>");
            }
            fields(&mut out, &document, "Body", &it["requestBody"]["content"]);
            for (status, answer) in it["responses"].as_object().unwrap_or(&empty) {
                let why = answer["description"].as_str().unwrap_or_default();
                _ = write!(out, "<p>{status} {}</p>", escaped(why));
                fields(&mut out, &document, "Answer", &answer["content"]);
            }
        }
    }
    out.push_str("</main></body></html>");
    out
}

/// The fields of an object that the document names.
fn fields(out: &mut String, document: &Value, what: &str, content: &Value) {
    let reference = content["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default();
    let Some(properties) = document["components"]["schemas"][name]["properties"].as_object() else { return };
    _ = write!(out, "<table><thead><tr><th>{what}: field</th><th>What it is</th></tr></thead><tbody>");
    for (field, it) in properties {
        let text = escaped(it["description"].as_str().unwrap_or_default());
        _ = write!(out, "<tr><td><code>{}</code></td><td>{text}</td></tr>", escaped(field));
    }
    out.push_str("</tbody></table>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
