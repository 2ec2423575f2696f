//! The one thread that writes. Whatever waits when it comes round goes into one commit, so that many writers share one
//! wait for the disk; each of them is answered after that commit, and one that fails takes only its own part back.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::{Trouble, open};
use crate::Error;

/// How many share a commit, and how many wait before a producer has to.
const GROUP: usize = 500;
const QUEUE: usize = 1024;

/// The way to the writing thread.
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    ended: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// Does the work, or learns that nothing could be begun; says what went wrong, if something did.
type Run = Box<dyn FnMut(Result<&Connection, Error>) -> Option<Error> + Send>;
/// Tells what came of it, after the commit.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

struct Job {
    since: Instant,
    run: Run,
    answer: Answer,
    /// What fails is taken back by itself, for its work can't be done again.
    alone: bool,
}

impl Writer {
    /// Opens the database in the new thread.
    pub(super) async fn start(path: PathBuf, wait: Duration) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, is_open) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let place = path.clone();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            match open::for_writing(&path, wait) {
                Ok(conn) => {
                    let _ = opened.send(Ok(()));
                    Thread { conn, path, wait, queue, waiting: VecDeque::new() }.serve();
                }
                Err(e) => {
                    let _ = opened.send(Err(e));
                }
            }
            let _ = end.send(());
        });
        thread.map_err(|e| Error::unwritable(&place, e))?;
        is_open.await.map_err(|_| Error::Closed)??;
        Ok(Self { jobs: Mutex::new(Some(jobs)), ended: tokio::sync::Mutex::new(Some(ended)) })
    }

    /// Has something written, and answers when that is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        place: &super::Place,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        let mut work = Some(work);
        let once = move |conn: &Connection| work.take().ok_or(Error::Closed)?(conn);
        self.queue(place, once, true).await
    }

    /// The same for work that can be done again: should one of a group fail, all are taken back and done once more, each
    /// by itself. So there is nothing to prepare for that otherwise, which costs as much as a fifth of the writing.
    pub(super) async fn run_again<T: Send + 'static>(
        &self,
        place: &super::Place,
        work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(place, work, false).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        place: &super::Place,
        mut work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
        alone: bool,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let place = place.clone();
        let found = Arc::new(Mutex::new(None));
        let result = Arc::clone(&found);
        let run = move |conn: Result<&Connection, Error>| {
            let done = conn.and_then(|conn| work(conn).map_err(|trouble| trouble.told(&place)));
            let failed = done.as_ref().err().cloned();
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            failed
        };
        let tell = move |committed: Result<(), Error>| {
            let done = found.lock().unwrap_or_else(PoisonError::into_inner).take();
            let done = done.unwrap_or(Err(Error::Closed));
            let _ = answer.send(done.and_then(|value| committed.map(|()| value)));
        };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let job = Job { since: Instant::now(), run: Box::new(run), answer: Box::new(tell), alone };
        jobs.ok_or(Error::Closed)?.send(job).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// Waits until everything is written and the file is closed.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = self.ended.lock().await.take() {
            let _ = ended.await;
        }
    }
}

struct Thread {
    conn: Connection,
    path: PathBuf,
    wait: Duration,
    queue: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
}

impl Thread {
    fn serve(mut self) {
        loop {
            if self.waiting.is_empty() {
                match self.queue.blocking_recv() {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                }
            }
            match self.conn.execute_batch("BEGIN IMMEDIATE") {
                Ok(()) => self.commit_group(),
                Err(e) => self.refuse(e),
            }
        }
    }

    /// The next one, if it goes with this group.
    fn next(&mut self, alone: bool) -> Option<Job> {
        if self.waiting.is_empty()
            && let Ok(job) = self.queue.try_recv()
        {
            self.waiting.push_back(job);
        }
        self.waiting.pop_front_if(|job| job.alone == alone)
    }

    fn commit_group(&mut self) {
        let Some(alone) = self.waiting.front().map(|job| job.alone) else { return };
        let mut done: Vec<Job> = Vec::new();
        let mut taken_back = None;
        while let Some(mut job) = (done.len() < GROUP).then(|| self.next(alone)).flatten() {
            let failed = match alone {
                true => self.run_alone(&mut job),
                false => (job.run)(Ok(&self.conn)),
            };
            done.push(job);
            if !alone && failed.is_some() {
                return self.again_alone(done);
            }
            // on a full disk and the like SQLite takes everything back by itself
            if self.conn.is_autocommit() {
                taken_back = Some(failed.unwrap_or(Error::Closed));
                break;
            }
        }
        let committed = match taken_back {
            Some(error) => Err(error),
            None => self.conn.execute_batch("COMMIT").map_err(|e| {
                let _ = self.conn.execute_batch("ROLLBACK");
                Error::sqlite(&self.path, self.wait, e)
            }),
        };
        for job in done {
            (job.answer)(committed.clone());
        }
    }

    /// One of these has failed: nothing of them is kept, and each is done by itself.
    fn again_alone(&mut self, jobs: Vec<Job>) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        for job in jobs.into_iter().rev() {
            self.waiting.push_front(Job { alone: true, ..job });
        }
    }

    fn run_alone(&self, job: &mut Job) -> Option<Error> {
        let told = |e| Error::sqlite(&self.path, self.wait, e);
        let run = |sql| self.conn.prepare_cached(sql)?.execute([]);
        if let Err(e) = run("SAVEPOINT job").map_err(told) {
            return (job.run)(Err(e));
        }
        let mut failed = (job.run)(Ok(&self.conn));
        if !self.conn.is_autocommit() {
            let undone = if failed.is_some() { run("ROLLBACK TO job") } else { Ok(0) };
            if let Err(e) = undone.and_then(|_| run("RELEASE job")).map_err(told) {
                // half a job must not be committed with the others
                let _ = self.conn.execute_batch("ROLLBACK");
                failed = Some(e);
            }
        }
        failed
    }

    /// Nothing can be begun. While another process has the lock, those that came later go on waiting.
    fn refuse(&mut self, error: rusqlite::Error) {
        let locked = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
        let error = Error::sqlite(&self.path, self.wait, error);
        for mut job in std::mem::take(&mut self.waiting) {
            if locked && job.since.elapsed() < self.wait {
                self.waiting.push_back(job);
            } else {
                (job.run)(Err(error.clone()));
                (job.answer)(Ok(()));
            }
        }
        while let Ok(job) = self.queue.try_recv() {
            self.waiting.push_back(job);
        }
    }
}
