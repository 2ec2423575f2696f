//! The events that AWS hands to a function: requests of REST APIs, HTTP APIs and function URLs, and what a timer asks for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue, Method, Request, header, response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One event.
#[derive(Debug)]
pub(super) enum Event {
    Request(Box<Asked>),
    Timer(Task),
}

/// What a timer may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Closes runs that have fallen silent and sends alerts that are due.
    Upkeep,
    /// Forgets what is old.
    Prune,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timed {
    coroner: Task,
}

/// A request in either form: that of REST APIs (version 1), and that of HTTP APIs and function URLs (version 2).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    http_method: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    headers: Option<BTreeMap<String, String>>,
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    cookies: Option<Vec<String>>,
    request_context: Surroundings,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Surroundings {
    stage: Option<String>,
    http: Option<Http>,
    identity: Option<From>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    source_ip: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct From {
    source_ip: Option<String>,
}

impl Event {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        if let Ok(Timed { coroner }) = serde_json::from_slice(bytes) {
            return Ok(Self::Timer(coroner));
        }
        let asked: Option<Asked> = serde_json::from_slice(bytes).ok();
        let asked = asked.filter(|it| it.http_method.is_some() || it.request_context.http.is_some());
        asked.map(|it| Self::Request(Box::new(it))).ok_or_else(|| {
            "this event is no request of API Gateway or a function URL, nor {\"coroner\": \"upkeep\"} or {\"coroner\": \"prune\"}"
                .to_owned()
        })
    }
}

impl Asked {
    /// As it would have come over a connection: without the stage of an API in its path, and with who asks.
    pub(super) fn request(&mut self) -> Result<Request<Body>, String> {
        let unreadable = |what: &dyn std::fmt::Display| format!("a request that can't be read: {what}");
        let context = &self.request_context;
        let (method, from) = match (&context.http, &self.http_method) {
            (Some(http), _) => (&http.method, http.source_ip.as_ref()),
            (None, Some(method)) => (method, context.identity.as_ref().and_then(|it| it.source_ip.as_ref())),
            (None, None) => return Err(unreadable(&"it has no method")),
        };
        let method = Method::from_bytes(method.as_bytes()).map_err(|e| unreadable(&e))?;
        let mut request = Request::builder().method(method).uri(self.address());
        if let Some(headers) = request.headers_mut() {
            let one = self.headers.iter().flatten();
            let many = self.multi_value_headers.iter().flatten();
            let many = many.flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
            // version 1 says every header twice
            let all: Vec<_> = if self.multi_value_headers.is_some() { many.collect() } else { one.collect() };
            for (name, value) in all {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| unreadable(&e))?;
                headers.append(name, HeaderValue::from_str(value).map_err(|e| unreadable(&e))?);
            }
            if let Some(cookies) = &self.cookies {
                let cookies = HeaderValue::from_str(&cookies.join("; ")).map_err(|e| unreadable(&e))?;
                headers.insert(header::COOKIE, cookies);
            }
        }
        if let Some(from) = from.and_then(|text| text.parse::<IpAddr>().ok()) {
            request = request.extension(ConnectInfo(SocketAddr::new(from, 0)));
        }
        let body = self.body.take().unwrap_or_default();
        let body = match self.is_base64_encoded {
            true => Body::from(STANDARD.decode(&body).map_err(|e| unreadable(&e))?),
            false => Body::from(body),
        };
        request.body(body).map_err(|e| unreadable(&e))
    }

    fn address(&self) -> String {
        if let Some(path) = &self.path {
            // version 1 has it decoded in part; what it was, nobody says
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, values) in self.multi_value_query_string_parameters.iter().flatten() {
                values.iter().for_each(|value| _ = query.append_pair(name, value));
            }
            let query = query.finish();
            return if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        }
        let path = self.raw_path.as_deref().unwrap_or("/");
        let stage = self.request_context.stage.as_deref().filter(|stage| *stage != "$default");
        let inner = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
        let path = match inner {
            Some("") => "/",
            Some(inner) if inner.starts_with('/') => inner,
            _ => path,
        };
        match self.raw_query_string.as_deref() {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path.to_owned(),
        }
    }

    /// The answer in the form that belongs to the request's.
    pub(super) fn answer(&self, head: &response::Parts, body: &[u8]) -> Value {
        let packed = head.headers.contains_key(header::CONTENT_ENCODING);
        let (body, is_base64) = match std::str::from_utf8(body) {
            Ok(text) if !packed => (text.to_owned(), false),
            _ => (STANDARD.encode(body), true),
        };
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let status = head.status.as_u16();
        if self.request_context.http.is_none() {
            let mut headers = Map::new();
            for (name, value) in &head.headers {
                let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
                if let Some(values) = values.as_array_mut() {
                    values.push(json!(text(value)));
                }
            }
            return json!({
                "statusCode": status, "multiValueHeaders": headers, "body": body, "isBase64Encoded": is_base64
            });
        }
        let (mut headers, mut cookies) = (Map::new(), Vec::new());
        for (name, value) in &head.headers {
            match (name, headers.get_mut(name.as_str())) {
                (&header::SET_COOKIE, _) => cookies.push(text(value)),
                (_, Some(Value::String(known))) => *known = format!("{known}, {}", text(value)),
                (name, _) => _ = headers.insert(name.as_str().to_owned(), json!(text(value))),
            }
        }
        json!({
            "statusCode": status, "headers": headers, "cookies": cookies, "body": body, "isBase64Encoded": is_base64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(event: Value) -> Box<Asked> {
        match Event::read(event.to_string().as_bytes()) {
            Ok(Event::Request(asked)) => asked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stage_is_no_part_of_the_path() {
        let of = |stage: &str, path: &str, query: &str| {
            let context = json!({"stage": stage, "http": {"method": "GET"}});
            let event = json!({"rawPath": path, "rawQueryString": query, "requestContext": context});
            asked(event).request().unwrap().uri().to_string()
        };
        assert_eq!(of("$default", "/a/b", "c=d%20e&c=f"), "/a/b?c=d%20e&c=f");
        assert_eq!(of("prod", "/prod/a", ""), "/a");
        assert_eq!(of("prod", "/prod", ""), "/");
        assert_eq!(of("prod", "/production/a", ""), "/production/a");
        let event = json!({
            "httpMethod": "GET", "path": "/a", "requestContext": {"stage": "prod"},
            "multiValueQueryStringParameters": {"q": ["x y", "a&b"]}
        });
        assert_eq!(asked(event).request().unwrap().uri(), "/a?q=x+y&q=a%26b");
    }

    #[test]
    fn what_can_t_be_read_is_told() {
        for (event, why) in [
            (json!({"requestContext": {"http": {"method": "GE T"}}}), "method"),
            (json!({"requestContext": {"http": {"method": "GET"}}, "rawPath": "a b"}), "uri"),
            (json!({"requestContext": {"http": {"method": "GET"}}, "headers": {"a\n": "b"}}), "header"),
            (
                json!({"requestContext": {"http": {"method": "GET"}}, "body": "?", "isBase64Encoded": true}),
                "Invalid",
            ),
        ] {
            let error = asked(event).request().unwrap_err();
            assert!(error.starts_with("a request that can't be read") && error.contains(why), "{error}");
        }
        for event in
            ["", "{}", "7", "[]", "{\"coroner\": \"upkeep\", \"and\": 1}", "{\"requestContext\": {}}"]
        {
            assert!(Event::read(event.as_bytes()).is_err(), "{event}");
        }
    }

    #[test]
    fn each_form_has_its_answer() {
        let response = || {
            let set = |response: response::Builder, value| response.header(header::SET_COOKIE, value);
            set(set(axum::http::Response::builder().status(201), "a=1"), "b=2")
                .body(())
                .unwrap()
                .into_parts()
                .0
        };
        let second = asked(json!({"requestContext": {"http": {"method": "GET"}}}));
        let answer = second.answer(&response(), "äh".as_bytes());
        assert_eq!(
            answer,
            json!({"statusCode": 201, "headers": {}, "cookies": ["a=1", "b=2"], "body": "äh", "isBase64Encoded": false})
        );
        let first = asked(json!({"httpMethod": "GET", "path": "/", "requestContext": {}}));
        let answer = first.answer(&response(), &[0xff]);
        assert_eq!(
            answer,
            json!({"statusCode": 201, "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]}, "body": "/w==", "isBase64Encoded": true})
        );
    }
}
