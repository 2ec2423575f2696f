//! Packed bodies: gzip and zstd, unpacked with limits, so that a few kilobytes can't become a full disk.

use std::io::{self, Read};

use axum::http::{HeaderMap, StatusCode, header};

use crate::failure::Failure;

/// Nothing honest packs better than this once there is a good deal of it.
const RATIO: u64 = 1000;
/// A good deal.
const RATIO_FROM: u64 = 64 << 20;
/// The largest window of zstd that memory is given for: 128 MiB is what `zstd --long` uses.
const WINDOW_LOG: u32 = 27;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Plain,
    Gzip,
    Zstd,
}

impl Packed {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Self::Plain) };
        match value.to_str().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "encoding",
                "the body is packed in a way that is not known here",
            )
            .hint("content-encoding may be gzip or zstd")),
        }
    }

    /// A whole body that is in memory.
    pub(crate) fn unpack(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        let mut reader = self.reader(bytes, limit as u64).map_err(|e| broken(&e))?;
        reader.read_to_end(&mut out).map_err(|e| broken(&e))?;
        Ok(out)
    }

    /// What `from` unpacks to: an error beyond the limit, and where it packs better than anything honest.
    pub(crate) fn reader<'a>(
        self,
        from: impl Read + Send + 'a,
        limit: u64,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        let counted = Counted { inner: from, read: std::sync::Arc::default() };
        let packed = std::sync::Arc::clone(&counted.read);
        let inner: Box<dyn Read + Send + 'a> = match self {
            Self::Plain => Box::new(counted),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(counted)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(counted)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Box::new(Limited { inner, packed, unpacked: 0, limit, is_packed: self != Self::Plain }))
    }
}

struct Counted<R> {
    inner: R,
    read: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(n)
    }
}

struct Limited<'a> {
    inner: Box<dyn Read + Send + 'a>,
    packed: std::sync::Arc<std::sync::atomic::AtomicU64>,
    unpacked: u64,
    limit: u64,
    is_packed: bool,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.unpacked += n as u64;
        if self.unpacked > self.limit {
            let limit = coroner_diagnosis::bytes(self.limit);
            return Err(io::Error::other(Failure::too_large(format!("the body is larger than {limit}"))));
        }
        let packed = self.packed.load(std::sync::atomic::Ordering::Relaxed).max(1);
        if self.is_packed && self.unpacked > RATIO_FROM && self.unpacked / packed > RATIO {
            let text = "the body unpacks to more than a thousand times its size";
            return Err(io::Error::other(Failure::too_large(text)));
        }
        Ok(n)
    }
}

/// What went wrong while a body was read: our own word if it holds one.
pub(crate) fn broken(error: &io::Error) -> Failure {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    ours.cloned().unwrap_or_else(|| Failure::invalid("the body is packed wrongly, or broke off"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_packed_comes_out_and_a_bomb_does_not() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let text = b"it broke\n".repeat(100);
        assert_eq!(Packed::Gzip.unpack(&gzip(&text), 10_000).unwrap(), text);
        assert_eq!(Packed::Zstd.unpack(&zstd::encode_all(&text[..], 3).unwrap(), 10_000).unwrap(), text);
        let cut = gzip(&text);
        assert_eq!(Packed::Gzip.unpack(&cut[..cut.len() - 4], 10_000).unwrap_err().code, "invalid");
        assert_eq!(Packed::Gzip.unpack(&gzip(&text), 899).unwrap_err().code, "too_large");
        assert_eq!(Packed::Zstd.unpack(b"no zstd at all", 899).unwrap_err().code, "invalid");
        let bomb = gzip(&vec![0; 200 << 20]);
        let mut reader = Packed::Gzip.reader(&bomb[..], u64::MAX).unwrap();
        let failure = broken(&io::copy(&mut reader, &mut io::sink()).unwrap_err());
        assert!(failure.message.contains("a thousand times"), "{failure}");
    }
}
