//! `coroner lambda`: the desk as a function of AWS Lambda, with the configured rules and model.

use std::sync::Arc;

use anyhow::anyhow;
use coroner_server::{Desk, Limits, Settings};
use coroner_store::{Role, Store};
use tokio::runtime::Runtime;

use crate::analyst::Analyst;
use crate::context::{Context, DONE, Failed, complain};
use crate::serve::{Judge, sections};

/// A request has at most 6 MB, packed or not; so there is no use in more than what that can be unpacked to in memory.
const JSON: usize = 16 << 20;
const LOG: u64 = 256 << 20;

pub(crate) fn lambda(context: &Context) -> Result<u8, Failed> {
    let Some(address) = context.env.text("AWS_LAMBDA_RUNTIME_API") else {
        return Err(Failed::Input(anyhow!(
            "AWS Lambda starts this, and nothing here has: AWS_LAMBDA_RUNTIME_API is not set; on a machine of yours, say \
             `coroner serve`"
        )));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map(Arc::new)
        .map_err(|e| Failed::Outside(anyhow!("can't start: the system gives no event queue ({e})")))?;
    let store = runtime.block_on(crate::storage::open(context))?;
    let settings = Settings {
        // whoever knows the function's address reaches it
        auth: true,
        behind_tls: true,
        public_url: context.config.serve.public_url.clone(),
        // an answer ends before the function's time is up, so there is nothing to look on at
        limits: Limits { live_clients: 0, json: JSON, log: LOG, ..Limits::default() },
        sections: sections(context),
        alerts: crate::alerts::of(context, store.clone())?,
        retention: crate::prune::retention(context),
        ..Settings::default()
    };
    somebody_may(&store, &runtime);
    let analyst = Analyst::new(context, false, Some(&store), Arc::clone(&runtime))?;
    let desk = Desk::new(store, Arc::new(Judge(analyst)), settings);
    let ended = runtime.block_on(coroner_server::serve_lambda(desk, address));
    ended.map(|()| DONE).map_err(|e| Failed::Outside(e.into()))
}

/// Without an admin nobody can log in; programs with a token are answered all the same.
fn somebody_may(store: &Store, runtime: &Runtime) {
    match runtime.block_on(store.users()) {
        Ok(users) if users.iter().any(|user| user.role == Role::Admin) => {}
        Ok(_) => {
            complain(
                "nobody can log in yet: make an admin with `coroner user add NAME`, over the same store",
            );
        }
        Err(e) => complain(&e.to_string()),
    }
}
