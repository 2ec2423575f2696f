//! A few connections that only read, opened when they are first needed: readers never wait for the writer.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{Place, Trouble, open};
use crate::Error;

/// More would only take the processor from one another.
const MOST: usize = 4;

pub(super) struct Readers {
    /// Looks at nothing but whether something was written: that number means something to one connection alone.
    watch: Mutex<Option<Connection>>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self { watch: Mutex::default(), idle: Arc::default(), permits: Arc::new(Semaphore::new(MOST)) }
    }

    /// Answers from one state of the database, whatever is being written meanwhile.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        place: &Place,
        read: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let (idle, place) = (Arc::clone(&self.idle), place.clone());
        let task = tokio::task::spawn_blocking(move || {
            let failed = |e| Error::sqlite(&place.path, place.wait, e);
            let resting = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = resting().pop();
            let conn = match taken {
                Some(conn) => conn,
                None => open::for_reading(&place.path, place.wait).map_err(failed)?,
            };
            let transaction = conn.unchecked_transaction().map_err(failed)?;
            let result = read(&transaction).map_err(|trouble| trouble.told(&place));
            transaction.rollback().map_err(failed)?;
            resting().push(conn);
            drop(permit);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Err(Error::Closed),
        }
    }

    /// Another number after each commit of anybody. Looks into memory that is shared with the other processes.
    pub(super) fn version(&self, place: &Place) -> Result<i64, Error> {
        let failed = |e| Error::sqlite(&place.path, place.wait, e);
        if self.permits.is_closed() {
            return Err(Error::Closed);
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = match watch.take() {
            Some(conn) => conn,
            None => open::for_reading(&place.path, place.wait).map_err(failed)?,
        };
        let version = conn.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(failed);
        *watch = Some(conn);
        version
    }

    /// Closes what is open: the last connection to close tidies up the files beside the database.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
