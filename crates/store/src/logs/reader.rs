//! Reads a kept log back, as a stream.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

use super::{LogData, StoredLog};
use crate::Error;

/// A log's bytes as they were printed.
pub struct LogReader {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl LogReader {
    pub(crate) fn open(log: StoredLog) -> Result<Self, Error> {
        let inner: Box<dyn Read + Send> = match log.data {
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
