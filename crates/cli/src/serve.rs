//! `coroner serve`: the desk over the store, with the configured rules and model.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use coroner_diagnosis::{Capture, Diagnosis, RuleSet, bytes, conclude, seconds};
use coroner_server::{Desk, Section, Settings};
use coroner_store::{Role, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::analyst::{Analyst, now};
use crate::args::ServeArgs;
use crate::config::Auth;
use crate::context::{Context, DONE, Failed};
use crate::run::close_orphans;
use crate::traces::{self, Recorder};

pub(crate) fn serve(args: &ServeArgs, context: &Context) -> Result<u8, Failed> {
    take_all_handles();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map(Arc::new)
        .map_err(|e| Failed::Outside(anyhow!("can't start: the system gives no event queue ({e})")))?;
    let listener = runtime.block_on(listen(args.listen.as_ref().unwrap_or(&context.config.serve.listen)))?;
    let address = listener.local_addr().map_err(anyhow::Error::new)?;
    let mut settings = settings(args, context, address)?;
    let store = runtime.block_on(crate::storage::open(context))?;
    settings.alerts = crate::alerts::of(context, store.clone())?;
    let recorder = recorder(context)?;
    settings.traces = recorder.as_ref().map(Recorder::traces);
    if settings.auth {
        somebody_may(&store, &runtime, address)?;
    }
    close_orphans(&store, context, &runtime).iter().for_each(|note| context.note(note));
    let analyst = Analyst::new(context, args.offline, Some(&store), Arc::clone(&runtime))?;
    let desk = Desk::new(store.clone(), Arc::new(Judge(analyst)), settings);
    let ended = runtime.block_on(async {
        let shutdown = asked_to_end().map_err(anyhow::Error::new)?;
        context.print(&format!("http://{address}/\n"))?;
        coroner_server::serve(desk, listener, shutdown).await.map_err(|e| Failed::Outside(e.into()))
    });
    let closed = runtime.block_on(store.close());
    if let Some(recorder) = recorder {
        recorder.end();
    }
    closed?;
    ended.map(|()| DONE)
}

/// Nobody, where no traces are wanted. A variable that can't be read is others' too, and keeps nobody from working.
fn recorder(context: &Context) -> Result<Option<Recorder>, Failed> {
    match traces::wanted(context) {
        Ok(None) => Ok(None),
        Ok(Some(endpoint)) => Recorder::start(context, &endpoint).map(Some),
        Err(why) => {
            context.note(&format!("{why}; no traces are recorded"));
            Ok(None)
        }
    }
}

/// As many open connections as the system lets us have: what it gives at first is often a thousand.
fn take_all_handles() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // if it may not be, fewer are taken at once
        _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

async fn listen(address: &str) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).await.map_err(|e| {
        Failed::Input(anyhow!(
            "can't listen on {address}: {e}; give another address with --listen ADDRESS:PORT"
        ))
    })
}

fn settings(args: &ServeArgs, context: &Context, address: SocketAddr) -> Result<Settings, Failed> {
    let beyond = !address.ip().is_loopback();
    let auth = match context.config.serve.auth {
        _ if args.no_auth => false,
        Auth::On => true,
        Auth::Off => false,
        Auth::Auto => beyond,
    };
    if beyond && !auth {
        context
            .note(&format!("whoever reaches {address} may read, report and change everything (--no-auth)"));
    }
    let public_url = context.config.serve.public_url.clone();
    Ok(Settings {
        auth,
        public_url,
        any_host: beyond,
        sections: sections(context),
        retention: crate::prune::retention(context),
        ..Settings::default()
    })
}

/// Where people must say who they are, there is somebody who may.
fn somebody_may(store: &Store, runtime: &Runtime, address: SocketAddr) -> Result<(), Failed> {
    let users = runtime.block_on(store.users())?;
    if users.iter().any(|user| user.role == Role::Admin) {
        return Ok(());
    }
    Err(Failed::Input(anyhow!(
        "whoever reaches {address} must log in, and there is no admin yet; make one with `coroner user add NAME`, or give \
         --no-auth if everybody who reaches the port may read and change everything"
    )))
}

/// The configuration, as the settings page shows it. Where a key lies is named, never the key.
pub(crate) fn sections(context: &Context) -> Vec<Section> {
    let config = &context.config;
    let model = &config.model;
    let or = |value: &Option<String>, without: &str| value.clone().unwrap_or_else(|| without.to_owned());
    let calls = model.calls_per_day.0.map_or_else(|| "no limit".to_owned(), |calls| calls.to_string());
    let dollars = match model.dollars_per_day.is_finite() {
        true => format!("${:.2}", model.dollars_per_day),
        false => "no limit".to_owned(),
    };
    let rules = match config.rules.paths.as_slice() {
        [] => "ours alone".to_owned(),
        paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    let sent_to = match traces::wanted(context) {
        Ok(Some(endpoint)) => format!("sent to {}", endpoint.place()),
        _ => "not recorded".to_owned(),
    };
    let retention = &config.retention;
    let days = |span: std::time::Duration| format!("{} days", span.as_secs() / 86_400);
    vec![
        Section {
            name: "Model and budget",
            table: "model",
            lines: vec![
                ("Provider", format!("{:?}", model.provider).to_lowercase()),
                ("Model", or(&model.name, "the provider's default")),
                ("Address", or(&model.base_url, "the provider's own")),
                ("Asked", format!("{:?}", model.ask).to_lowercase()),
                ("Time limit", seconds(model.timeout)),
                ("Questions a day", calls),
                ("Dollars a day", dollars),
                ("Log shown to it", format!("{} characters", config.evidence.budget)),
            ],
        },
        Section {
            name: "Retention",
            table: "retention",
            lines: vec![
                ("Logs", days(retention.logs)),
                ("Experiments", days(retention.experiments)),
                ("All logs together", bytes(retention.log_bytes)),
            ],
        },
        Section { name: "Rules", table: "rules", lines: vec![("Files", rules)] },
        Section { name: "Telemetry", table: "telemetry", lines: vec![("Traces", sent_to)] },
    ]
}

/// Done when SIGINT or SIGTERM arrives.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The rules and the model of the configuration, as the desk asks them.
pub(crate) struct Judge(pub(crate) Analyst);

impl coroner_server::Analyst for Judge {
    fn diagnose(&self, capture: &Capture) -> Diagnosis {
        self.0.diagnose(capture)
    }

    fn at_once(&self, capture: &Capture) -> Diagnosis {
        conclude(self.0.examine(capture), None, &now())
    }

    fn signature_parts(&self, capture: &Capture) -> (String, Vec<String>) {
        let signature = self.0.examine(capture).signature;
        (signature.id, signature.parts)
    }

    fn rules(&self) -> RuleSet {
        self.0.rules()
    }

    fn silence(&self, ids: &[String]) {
        self.0.silence(ids);
    }

    fn asks(&self) -> bool {
        self.0.asks()
    }
}
