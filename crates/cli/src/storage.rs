//! Where experiments are kept, opened: a file of SQLite, or a table of DynamoDB with whatever the AWS configuration says.
//! And `coroner store`, which makes it and copies it.

mod copy;
#[cfg(feature = "aws")]
mod identity;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use coroner_store::{AwsTrouble, Error, LOCK_WAIT, Location, Store};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Format, StoreArgs, StoreCommand};
use crate::context::{Context, DONE, Failed};

/// The store of this command.
pub(crate) async fn open(context: &Context) -> Result<Store, Error> {
    open_waiting(context, LOCK_WAIT).await
}

/// The same, with another patience for locks of other processes.
pub(crate) async fn open_waiting(context: &Context, wait: Duration) -> Result<Store, Error> {
    open_at(context, &context.store_url(), wait).await
}

/// What is to be known where a place for large logs is named that this store has no use for.
pub(crate) fn unused_logs(context: &Context) -> Option<String> {
    let (place, url) = (context.config.logs.as_ref()?, context.store_url());
    url.starts_with("sqlite:").then(|| {
        format!("logs = {place} is not used: it is for stores in DynamoDB, and {url} has its logs beside it")
    })
}

/// The store at this place.
async fn open_at(context: &Context, url: &str, wait: Duration) -> Result<Store, Error> {
    match url.parse()? {
        Location::Sqlite(_) => Store::open_waiting(url, wait).await,
        Location::DynamoDb(table) => remote::open(context, &table).await,
    }
}

/// Who waits longer is told what for.
const LONG: Duration = Duration::from_secs(2);

/// Waits for a store elsewhere no longer than `limit`, and says so if it takes long; a file has a patience of its own.
pub(crate) async fn in_time<T>(
    context: &Context,
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Ok(Location::DynamoDb(table)) = context.store_url().parse() else { return work.await };
    let mut work = std::pin::pin!(work);
    let begun = tokio::time::Instant::now();
    if let Ok(done) = tokio::time::timeout(LONG, &mut work).await {
        return done;
    }
    context
        .note(&format!("the table `{table}` does not answer yet; {what} waits {} s for it", limit.as_secs()));
    tokio::time::timeout_at(begun + limit, work).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", limit.as_secs());
        Err(Error::Table { table, trouble: AwsTrouble::Unreachable { detail }.into() })
    })
}

/// What `coroner run` waits with. A file needs neither the network nor the clock, and without those a runtime costs
/// nothing.
pub(crate) fn light_runtime(context: &Context) -> Result<Arc<Runtime>, Failed> {
    if matches!(context.store_url().parse(), Ok(Location::DynamoDb(_))) {
        return crate::analyst::runtime();
    }
    let runtime = Builder::new_current_thread().build().context("can't start").map_err(Failed::Outside)?;
    Ok(Arc::new(runtime))
}

/// What `coroner store init` found or did.
#[derive(Debug, Serialize)]
struct Initialised {
    store: String,
    /// False: it was there already.
    made: bool,
}

pub(crate) fn command(args: &StoreArgs, context: &Context) -> Result<u8, Failed> {
    match &args.command {
        StoreCommand::Init => init(context),
        StoreCommand::Copy(args) => copy::copy(&args.from, &args.to, context),
        StoreCommand::Migrate => copy::migrate(context),
    }
}

fn init(context: &Context) -> Result<u8, Failed> {
    let runtime = crate::analyst::runtime()?;
    let location: Location = context.store_url().parse()?;
    let made = match &location {
        Location::Sqlite(path) => {
            if let Some(unused) = unused_logs(context) {
                context.note(&unused);
            }
            let was_there = path.exists();
            let store = runtime.block_on(open(context))?;
            runtime.block_on(store.close())?;
            !was_there
        }
        Location::DynamoDb(table) => runtime.block_on(remote::make(context, table))?,
    };
    let store = location.to_string();
    match context.format {
        Format::Json => context.print_json(&Initialised { store, made })?,
        Format::Text if made => context.print(&format!("made {store}\n"))?,
        Format::Text => context.print(&format!("{store} is there already: nothing was changed\n"))?,
    }
    Ok(DONE)
}

#[cfg(feature = "aws")]
pub(crate) use remote::config as aws_config;

#[cfg(feature = "aws")]
mod remote {
    //! DynamoDB. The SDK reads the AWS configuration of this user and machine: variables, files, roles.

    use std::path::PathBuf;

    use aws_config::{BehaviorVersion, SdkConfig};
    use coroner_store::dynamodb::{self, Made};
    use coroner_store::{Error, Store};

    use crate::context::Context;

    pub(crate) async fn config() -> SdkConfig {
        let found = aws_config::defaults(BehaviorVersion::latest()).http_client(dynamodb::http_client());
        super::identity::explained(found.load().await)
    }

    pub(super) async fn open(context: &Context, table: &str) -> Result<Store, Error> {
        let data = context.env.data_home().unwrap_or_else(|| PathBuf::from("."));
        let logs = context.config.logs.clone();
        Store::open_dynamodb(&config().await, table, &data.join("coroner"), logs).await
    }

    /// The form of what stands in a table.
    pub(super) async fn form(_context: &Context, table: &str) -> Result<i64, Error> {
        dynamodb::form_of(&config().await, table).await
    }

    pub(super) async fn make(_context: &Context, table: &str) -> Result<bool, Error> {
        Ok(dynamodb::make_table(&config().await, table).await? == Made::New)
    }
}

/// What the AWS configuration of this user and machine says.
#[cfg(feature = "aws")]
pub(crate) async fn aws() -> aws_config::SdkConfig {
    remote::config().await
}

#[cfg(not(feature = "aws"))]
mod remote {
    //! DynamoDB, in a build without it.

    use coroner_store::{Error, Store};

    use crate::context::Context;

    fn not_here(context: &Context) -> Error {
        Error::NotInThisBuild { url: context.store_url() }
    }

    pub(super) async fn open(context: &Context, _table: &str) -> Result<Store, Error> {
        Err(not_here(context))
    }

    pub(super) async fn make(context: &Context, _table: &str) -> Result<bool, Error> {
        Err(not_here(context))
    }

    pub(super) async fn form(context: &Context, _table: &str) -> Result<i64, Error> {
        Err(not_here(context))
    }
}
