//! Answers that are whole, packed in one go: most are pages of some ten kB, for which making a packer takes longer than
//! packing. What comes in pieces is left to the layer outside.

use std::cell::RefCell;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::{Compress, Compression, FlushCompress, Status};

/// Shorter ones are not worth it, longer ones are packed as they are sent.
const WHOLE: std::ops::RangeInclusive<u64> = 500..=1 << 20;

pub(crate) async fn pack(request: Request, next: Next) -> Response {
    let takes = takes_gzip(request.headers());
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let headers = response.headers();
    if !takes
        || !length.is_some_and(|length| WHOLE.contains(&length))
        || headers.contains_key(header::CONTENT_ENCODING)
        || headers.contains_key(header::CONTENT_RANGE)
        || !is_text(headers)
    {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // it is there already: nothing is waited for
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return crate::failure::Failure::internal().into_response();
    };
    let Some(packed) = gzip(&bytes) else { return Response::from_parts(parts, Body::from(bytes)) };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::ACCEPT_RANGES);
    Response::from_parts(parts, Body::from(Bytes::from(packed)))
}

/// Is gzip among what may be sent, and not refused?
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        let mut words = one.split(';').map(str::trim);
        let refused =
            |word: &str| word.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !words.any(refused)
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["text/", "application/json", "application/xml"].iter().any(|beginning| kind.starts_with(beginning))
}

/// RFC 1952, the header without a time or a name.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

thread_local! {
    /// Its tables are a third of a megabyte, so each thread keeps one.
    static PACKER: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    // stored as it is, text grows by five bytes for each 16 KiB
    let mut out = Vec::with_capacity(bytes.len() / 4 + 64);
    out.extend_from_slice(&HEADER);
    PACKER.with_borrow_mut(|packer| {
        packer.reset();
        loop {
            let read = usize::try_from(packer.total_in()).ok()?;
            match packer.compress_vec(bytes.get(read..)?, &mut out, FlushCompress::Finish).ok()? {
                Status::StreamEnd => return Some(()),
                _ => out.reserve(out.len()),
            }
        }
    })?;
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&sum.amount().to_le_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let mut noise = 7_u64;
        let mut random = |_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        };
        // twice each: the packer is used again
        for bytes in [vec![b'a'; 100_000], (0..70_000).map(&mut random).collect(), b"<p>page</p>".repeat(900)]
        {
            for _ in 0..2 {
                let mut found = Vec::new();
                flate2::read::GzDecoder::new(&gzip(&bytes).unwrap()[..]).read_to_end(&mut found).unwrap();
                assert!(found == bytes);
            }
        }
    }

    #[test]
    fn only_who_takes_it_gets_it() {
        for (accepts, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("identity", false),
            ("xgzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            assert_eq!(takes_gzip(&headers), takes, "{accepts}");
        }
    }
}
