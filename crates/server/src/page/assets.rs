//! What a page loads besides itself: compiled in, packed ahead of time, under addresses that change with the content.

use std::io::Write;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::failure::{Answer, Failure};

/// One file.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    packed: Vec<u8>,
    address: String,
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        // into memory: nothing can fail, and an empty answer would be seen at once
        let packed = packer.write_all(bytes).and_then(|()| packer.finish()).unwrap_or_default();
        Self { name, kind, bytes, packed, address: format!("/assets/{hash}/{name}") }
    }
}

static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        Asset::new("desk.css", "text/css; charset=utf-8", include_bytes!("../../assets/desk.css")),
        Asset::new("desk.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/desk.js")),
        Asset::new("icons.svg", "image/svg+xml", include_bytes!("../../assets/icons.svg")),
        Asset::new("mark.svg", "image/svg+xml", include_bytes!("../../assets/mark.svg")),
    ]
});

/// Where this file is found; it may be kept for ever.
pub(super) fn address(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.address)
}

/// Answers `/assets/HASH/NAME`. A file of another release is not here.
pub(super) async fn asset(Path((_, name)): Path<(String, String)>, headers: HeaderMap) -> Answer<Response> {
    let asset = ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .ok_or_else(|| Failure::not_found("there is no such file; load the page again"))?;
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let takes = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if takes.contains("gzip") {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok((StatusCode::OK, answer, asset.packed.as_slice()).into_response());
    }
    Ok((StatusCode::OK, answer, asset.bytes).into_response())
}
