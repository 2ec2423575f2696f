//! Writes a log while it is being printed: compressed, addressed by its content, readable whenever we die.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use zstd::bulk::Compressor;

use super::{INLINE, Kept, LEVEL, Log, LogData, LogFolder, LogId, private_file};
use crate::{ExperimentId, LogFacts};

/// What was printed longer ago than this survives us, whatever kills us.
const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// And never more than this is held back.
const FLUSH_BYTES: u64 = 1 << 20;

/// One message to the thread holds no more than this, and no more than [`QUEUED`] wait.
const CHUNK: usize = 64 * 1024;
const QUEUED: usize = 64;

/// How much of a log is given back when the disk is full, so that there is room for the experiment's row.
const ROOM: u64 = 256 * 1024;

/// Takes a log as it comes. Writing never fails: what can't be kept is counted and said in the log's note, because
/// neither the run nor its row may suffer from it. A thread compresses; `write` waits only when that is 4 MiB behind.
pub struct LogWriter {
    partial: PathBuf,
    /// Whose log it is decides what happens to it if nobody asks for it: an experiment's is found at the next start.
    belongs_to_experiment: bool,
    thread: Option<(SyncSender<Message>, oneshot::Receiver<Log>)>,
    lost: u64,
}

enum Message {
    Bytes(Vec<u8>),
    Flush,
}

impl LogWriter {
    pub(crate) fn of_experiment(folder: &LogFolder, id: &ExperimentId) -> Self {
        Self { partial: folder.partial_of(id), belongs_to_experiment: true, thread: None, lost: 0 }
    }

    pub(crate) fn unattached(folder: &LogFolder) -> Self {
        let name = uuid::Uuid::now_v7().to_string();
        Self { partial: folder.partial(&name), belongs_to_experiment: false, thread: None, lost: 0 }
    }

    /// A log that belongs to no store yet: it goes to this file, which stays whatever becomes of us, and can be read up to a
    /// point not long before. What a spool holds.
    #[must_use]
    pub fn to_file(path: PathBuf) -> Self {
        Self { partial: path, belongs_to_experiment: true, thread: None, lost: 0 }
    }

    /// The log is complete. A log without a byte is no log.
    pub async fn finish(mut self) -> Log {
        match self.close() {
            Some(done) => done.await.unwrap_or_else(|_| self.unwritten()),
            None => self.unwritten(),
        }
    }

    /// The same, for threads that may wait.
    fn finish_blocking(mut self) -> Log {
        match self.close() {
            Some(done) => done.blocking_recv().unwrap_or_else(|_| self.unwritten()),
            None => self.unwritten(),
        }
    }

    /// Tells the thread that nothing more comes.
    fn close(&mut self) -> Option<oneshot::Receiver<Log>> {
        let (sender, done) = self.thread.take()?;
        drop(sender);
        Some(done)
    }

    fn unwritten(&self) -> Log {
        match self.lost {
            0 => Log::default(),
            lost => Log::missing(&not_kept("no thread could write it", 0, lost)),
        }
    }

    fn send(&mut self, message: Message) {
        let bytes = match &message {
            Message::Bytes(bytes) => bytes.len() as u64,
            Message::Flush => 0,
        };
        if self.thread.is_none() && bytes > 0 {
            self.thread = start(self.partial.clone(), self.belongs_to_experiment).ok();
        }
        let sent = self.thread.as_ref().is_some_and(|(sender, _)| sender.send(message).is_ok());
        if !sent {
            self.lost += bytes;
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.chunks(CHUNK) {
            self.send(Message::Bytes(chunk.to_vec()));
        }
        Ok(bytes.len())
    }

    /// Asks that what has been written survive our own death. (The power's it survives only after `finish`.)
    fn flush(&mut self) -> io::Result<()> {
        self.send(Message::Flush);
        Ok(())
    }
}

fn start(partial: PathBuf, keep: bool) -> io::Result<(SyncSender<Message>, oneshot::Receiver<Log>)> {
    // here and not on the thread: whoever looks for the log of a run that was given up must find it
    let encoding = Encoding::new(partial);
    let (sender, receiver) = sync_channel(QUEUED);
    let (done, log) = oneshot::channel();
    std::thread::Builder::new().name("log".into()).spawn(move || {
        let log = write_all(&receiver, encoding);
        if let Err(unclaimed) = done.send(log)
            && !keep
        {
            unclaimed.settle();
        }
    })?;
    Ok((sender, log))
}

fn write_all(receiver: &Receiver<Message>, mut to: Encoding) -> Log {
    loop {
        let message = match to.unflushed {
            0 => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => receiver.recv_timeout(FLUSH_AFTER.saturating_sub(to.flushed_at.elapsed())),
        };
        match message {
            Ok(Message::Bytes(bytes)) => to.write(&bytes),
            Ok(Message::Flush) | Err(RecvTimeoutError::Timeout) => to.flush(),
            Err(RecvTimeoutError::Disconnected) => return to.finish(),
        }
    }
}

/// A log on its way through the compressor into its partial file.
struct Encoding {
    partial: PathBuf,
    encoder: Option<zstd::Encoder<'static, Counting>>,
    /// The encoder that can't go on: its file stays open, and locked, until the run ends.
    stopped: Option<zstd::Encoder<'static, Counting>>,
    /// Points up to which the file can be read, the oldest far enough back to make room; the last is the newest.
    marks: VecDeque<Mark>,
    hasher: Sha256,
    printed: u64,
    unflushed: u64,
    flushed_at: Instant,
    trouble: Option<io::Error>,
}

#[derive(Clone)]
struct Mark {
    stored: u64,
    printed: u64,
    hasher: Sha256,
}

struct Counting {
    file: File,
    written: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoding {
    fn new(partial: PathBuf) -> Self {
        let file = private_file(&partial).inspect(|file| {
            // tells others that this log is being written; where locks don't work, the process id must do
            let _ = file.lock();
        });
        let encoder = file.and_then(|file| zstd::Encoder::new(Counting { file, written: 0 }, LEVEL));
        let (encoder, trouble) = match encoder {
            Ok(encoder) => (Some(encoder), None),
            Err(e) => (None, Some(e)),
        };
        Self {
            partial,
            encoder,
            stopped: None,
            marks: VecDeque::from([Mark { stored: 0, printed: 0, hasher: Sha256::new() }]),
            hasher: Sha256::new(),
            printed: 0,
            unflushed: 0,
            flushed_at: Instant::now(),
            trouble,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.printed += bytes.len() as u64;
        let Some(encoder) = &mut self.encoder else { return };
        match encoder.write_all(bytes) {
            Ok(()) => {
                self.hasher.update(bytes);
                if self.unflushed == 0 {
                    self.flushed_at = Instant::now();
                }
                self.unflushed += bytes.len() as u64;
                if self.unflushed >= FLUSH_BYTES || self.flushed_at.elapsed() >= FLUSH_AFTER {
                    self.flush();
                }
            }
            Err(e) => self.stop(e),
        }
    }

    fn flush(&mut self) {
        let Some(encoder) = &mut self.encoder else { return };
        if self.unflushed == 0 {
            return;
        }
        match encoder.flush() {
            Ok(()) => {
                let stored = encoder.get_ref().written;
                self.mark(stored);
                self.unflushed = 0;
                self.flushed_at = Instant::now();
            }
            Err(e) => self.stop(e),
        }
    }

    fn mark(&mut self, stored: u64) {
        while self.marks.len() > 1 && self.marks[1].stored + ROOM <= stored {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark { stored, printed: self.printed, hasher: self.hasher.clone() });
    }

    /// Nothing more can be written: keeps what can be read, less some room for the experiment's row.
    fn stop(&mut self, trouble: io::Error) {
        let Some(encoder) = self.encoder.take() else { return };
        self.unflushed = 0;
        self.marks.truncate(1);
        let stored = self.marks[0].stored;
        // if even this fails, more is left on the disk than is read of it
        let _ = encoder.get_ref().file.set_len(stored);
        self.stopped = Some(encoder);
        self.trouble = Some(trouble);
    }

    fn finish(mut self) -> Log {
        let mut file = None;
        if let Some(mut encoder) = self.encoder.take() {
            match encoder.do_finish() {
                Ok(()) => {
                    self.mark(encoder.get_ref().written);
                    file = encoder.finish().ok().map(|counting| counting.file);
                }
                Err(e) => {
                    self.encoder = Some(encoder);
                    self.stop(e);
                }
            }
        }
        let mark =
            self.marks.pop_back().unwrap_or_else(|| Mark { stored: 0, printed: 0, hasher: Sha256::new() });
        let kept = match mark.printed {
            0 => None,
            _ => match self.settled(file, &mark) {
                Ok(data) => Some(data),
                Err(e) => {
                    self.trouble = Some(e);
                    None
                }
            },
        };
        let note = self.trouble.as_ref().map(|e| {
            let kept = kept.as_ref().map_or(0, |_| mark.printed);
            not_kept(&e.to_string(), kept, self.printed - kept)
        });
        let facts =
            |id| LogFacts { id: LogId::from_bytes(id), bytes: mark.printed, stored_bytes: mark.stored };
        let kept = kept.map(|data| Kept { facts: facts(mark.hasher.finalize().into()), data });
        Log { kept, note, leftovers: vec![self.partial] }
    }

    /// Where the compressed bytes are to be found from now on.
    fn settled(&self, file: Option<File>, mark: &Mark) -> io::Result<LogData> {
        let mut file = match file {
            Some(file) => file,
            None => File::open(&self.partial)?,
        };
        if mark.stored <= INLINE {
            let mut bytes = Vec::with_capacity(mark.stored as usize);
            file.seek(SeekFrom::Start(0))?;
            file.take(mark.stored).read_to_end(&mut bytes)?;
            return Ok(LogData::Inline(bytes));
        }
        file.sync_data()?;
        Ok(LogData::File(self.partial.clone()))
    }
}

/// What to tell a person about a log that is not whole.
fn not_kept(why: &str, kept: u64, lost: u64) -> String {
    let [kept, lost] = [kept, lost].map(coroner_diagnosis::bytes);
    format!("the log is not whole ({why}): its first {kept} are kept, {lost} after them are not")
}

/// Keeps a log that is already there, from its beginning to its end.
pub(crate) fn keep(folder: &LogFolder, mut from: impl Read) -> io::Result<Log> {
    let mut head = Vec::new();
    from.by_ref().take(FLUSH_BYTES).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(Log::default());
    }
    if (head.len() as u64) < FLUSH_BYTES {
        let compressed = packed(&head)?;
        if compressed.len() as u64 <= INLINE {
            return Ok(Log::inline(&head, compressed));
        }
    }
    let mut writer = LogWriter::unattached(folder);
    writer.write_all(&head)?;
    io::copy(&mut from, &mut writer)?;
    Ok(writer.finish_blocking())
}

/// A log that is small enough to need no file: packed at once, which takes some ten microseconds.
pub(crate) fn keep_small(bytes: &[u8]) -> Option<Log> {
    if bytes.is_empty() || bytes.len() as u64 > INLINE {
        return None;
    }
    let compressed = packed(bytes).ok().filter(|compressed| compressed.len() as u64 <= INLINE)?;
    Some(Log::inline(bytes, compressed))
}

fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        /// Making one takes as long as packing a small log.
        static PACKER: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL).ok());
    }
    PACKER.with_borrow_mut(|packer| match packer {
        Some(packer) => packer.compress(bytes),
        None => zstd::bulk::compress(bytes, LEVEL),
    })
}

/// Takes over what a process that died has left of an experiment's log. `None` if there is nothing, or if somebody
/// else is at it.
pub(crate) fn recover(folder: &LogFolder, id: &ExperimentId) -> io::Result<Option<Log>> {
    let partial = folder.partial_of(id);
    let file = match File::open(&partial) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // a writer that has just been dropped still writes its last bytes
    let begun = Instant::now();
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        if begun.elapsed() > Duration::from_secs(1) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut writer = LogWriter::unattached(folder);
    let mut decoder = zstd::Decoder::new(file)?;
    let mut buffer = vec![0; CHUNK];
    // the last block may be cut off anywhere: what comes before the error is the log
    while let Ok(n @ 1..) = decoder.read(&mut buffer) {
        writer.write_all(&buffer[..n])?;
    }
    let mut log = writer.finish_blocking();
    log.leftovers.push(partial);
    Ok(Some(log))
}
