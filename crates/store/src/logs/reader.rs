//! Reads a kept log back, as a stream.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

use zstd::bulk::Decompressor;

use super::{LogData, StoredLog};
use crate::Error;

/// No larger log is unpacked in one go.
const SMALL: usize = 1 << 20;

/// A log's bytes as they were printed.
pub struct LogReader {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl LogReader {
    pub(crate) fn open(log: StoredLog) -> Result<Self, Error> {
        let inner: Box<dyn Read + Send> = match log.data {
            LogData::Inline(bytes) if let Some(whole) = at_once(&bytes, log.bytes) => {
                Box::new(Cursor::new(whole))
            }
            LogData::Inline(bytes) => {
                let failed = |e| Error::log_file("(inside the database)".as_ref(), e);
                Box::new(zstd::Decoder::with_buffer(Cursor::new(bytes)).map_err(failed)?)
            }
            LogData::File(path) => {
                let failed = |e| Error::log_file(&path, e);
                let file = File::open(&path).map_err(failed)?;
                Box::new(
                    zstd::Decoder::with_buffer(BufReader::with_capacity(128 * 1024, file)).map_err(failed)?,
                )
            }
        };
        Ok(Self { inner, left: log.bytes })
    }

    /// How many bytes are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

/// A small log is read without the buffers that a stream needs, which are megabytes. `None` if that can't be done.
fn at_once(packed: &[u8], bytes: u64) -> Option<Vec<u8>> {
    thread_local! {
        static UNPACKER: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
    }
    let size = usize::try_from(bytes).ok().filter(|size| *size <= SMALL)?;
    let whole = UNPACKER.with_borrow_mut(|unpacker| unpacker.as_mut()?.decompress(packed, size).ok())?;
    (whole.len() == size).then_some(whole)
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        // a log that a full disk cut short has no proper end: what counts is how much of it was found good
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.inner.read(&mut buffer[..want])? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the stored log is damaged: its last {} bytes are missing", self.left),
            )),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}
