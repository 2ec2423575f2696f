//! What makes a diagnosis: the rules in force, the settings and, where one is wanted, a model; from the configuration.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use coroner_diagnosis::{
    Ask, Capture, Diagnosis, Examined, FailureKind, ModelFailure, Question, Redactor, Reply, RuleFile,
    RuleSet, Settings, conclude, diagnose, examine,
};
use coroner_llm::{
    ANTHROPIC_URL, Anthropic, Asker, Credential, DEFAULT_MODEL, KeySource, Ledger, LedgerError, Limits,
    MemoryLedger, Model, OpenAiCompatible, Price, Prices, ReplyKey, Scripted, Spent,
};
use coroner_store::Store;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::runtime::Runtime;

use crate::config::{self, Provider};
use crate::context::{Context, Failed};

/// Where Anthropic's key is looked for unless the configuration names another place.
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";
/// A whole program takes longer to write than a diagnosis.
const PROGRAM_TIME: Duration = Duration::from_secs(300);

/// Rules, settings and perhaps a model.
pub(crate) struct Analyst {
    rules: RwLock<RuleSet>,
    settings: Settings,
    asker: Option<Asker>,
    /// Why nobody is asked, where the network was allowed.
    unasked: Option<ModelFailure>,
    runtime: Arc<Runtime>,
}

impl Analyst {
    /// As configured. `offline` never touches the network; replies and what they cost are kept in `store`, if there is one.
    pub(crate) fn new(
        context: &Context,
        offline: bool,
        store: Option<&Store>,
        runtime: Arc<Runtime>,
    ) -> Result<Self, Failed> {
        let rules = rules(context)?;
        Self::with_rules(context, rules, offline, store, runtime)
    }

    /// The same with rules that were read already.
    pub(crate) fn with_rules(
        context: &Context,
        rules: RuleSet,
        offline: bool,
        store: Option<&Store>,
        runtime: Arc<Runtime>,
    ) -> Result<Self, Failed> {
        let rules = RwLock::new(heard(context, rules, store, &runtime));
        let mut settings = settings(context);
        let asker = if offline { None } else { asker(context, store, &runtime)? };
        settings.ask = match (&asker, context.config.model.ask) {
            (None, _) | (_, config::Ask::Never) => Ask::Never,
            (_, config::Ask::Always) => Ask::Always,
            (_, config::Ask::Unexplained) => Ask::Unexplained,
        };
        let unasked = if offline || asker.is_some() { None } else { Some(unasked(context)) };
        Ok(Self { rules, settings, asker, unasked, runtime })
    }

    /// The rules, those that don't speak marked so.
    pub(crate) fn rules(&self) -> RuleSet {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these rules, and no others, don't speak.
    pub(crate) fn silence(&self, ids: &[String]) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = rules.without(ids.iter().map(String::as_str));
    }

    /// Is there a model to ask?
    pub(crate) fn asks(&self) -> bool {
        self.asker.is_some()
    }

    /// Why it failed.
    pub(crate) fn diagnose(&self, capture: &Capture) -> Diagnosis {
        let mut diagnosis = self.diagnosed(capture);
        diagnosis.provenance.model_failure =
            diagnosis.provenance.model_failure.or_else(|| self.unasked.clone());
        diagnosis
    }

    fn diagnosed(&self, capture: &Capture) -> Diagnosis {
        let mut asked = None;
        let rules = self.rules();
        let diagnosis = diagnose(capture, &rules, &self.settings, &now(), &mut |question| {
            let answer = self.ask(question);
            asked = Some((question.clone(), answer.as_ref().is_ok_and(|reply| reply.cached)));
            answer
        });
        let Some((question, cached)) = asked.filter(|_| is_no_good(&diagnosis)) else { return diagnosis };
        self.forget(&question);
        if !cached {
            return diagnosis;
        }
        diagnose(capture, &rules, &self.settings, &now(), &mut |question| self.ask(question))
    }

    /// What can be known without a model.
    pub(crate) fn examine<'a>(&self, capture: &'a Capture) -> Examined<'a> {
        examine(capture, &self.rules(), &self.settings)
    }

    /// Many at once: all questions are put together, and the asker lets as many through as is allowed.
    pub(crate) fn diagnose_all(&self, captures: &[Capture]) -> Vec<Diagnosis> {
        let examined: Vec<Examined<'_>> = captures.iter().map(|c| self.examine(c)).collect();
        let questions: Vec<Option<Question>> =
            examined.iter().map(|e| e.question(self.settings.ask)).collect();
        let answers = match &self.asker {
            Some(asker) => self.runtime.block_on(async {
                let asked = questions.iter().map(async |q| match q {
                    Some(q) => Some(asker.ask(q).await),
                    None => None,
                });
                futures_util::future::join_all(asked).await
            }),
            None => questions.iter().map(|_| None).collect(),
        };
        let now = now();
        let mut diagnoses = Vec::with_capacity(captures.len());
        let mut notices = BTreeSet::new();
        for (((capture, examined), question), answer) in
            captures.iter().zip(examined).zip(questions).zip(answers)
        {
            let reply = answer.as_ref().and_then(|answer| answer.as_ref().ok());
            let cached = reply.is_some_and(|reply| reply.cached);
            notices.extend(reply.and_then(|reply| reply.notice.clone()));
            let mut diagnosis = conclude(examined, answer, &now);
            if let (Some(question), true) = (question, is_no_good(&diagnosis)) {
                self.forget(&question);
                if cached {
                    diagnosis = self.diagnose(capture);
                }
            }
            let failure = &mut diagnosis.provenance.model_failure;
            *failure = failure.take().or_else(|| self.unasked.clone());
            diagnoses.push(diagnosis);
        }
        notices.iter().for_each(|notice| crate::context::complain(notice));
        diagnoses
    }

    /// A reply that does not stand up is not kept; a ledger that can't forget will say so at the next question.
    fn forget(&self, question: &Question) {
        if let Some(asker) = &self.asker {
            _ = self.runtime.block_on(asker.forget(question));
        }
    }

    fn ask(&self, question: &Question) -> Result<Reply, ModelFailure> {
        match &self.asker {
            Some(asker) => {
                let answer = self.runtime.block_on(asker.ask(question));
                if let Ok(Reply { notice: Some(notice), .. }) = &answer {
                    crate::context::complain(notice);
                }
                answer
            }
            None => Err(ModelFailure {
                kind: FailureKind::Disabled,
                detail: "asking a model is switched off".into(),
            }),
        }
    }
}

/// Was there an answer that does not stand up?
fn is_no_good(diagnosis: &Diagnosis) -> bool {
    let kind = diagnosis.provenance.model_failure.as_ref().map(|failure| failure.kind);
    matches!(kind, Some(FailureKind::Unreadable | FailureKind::Ungrounded))
}

/// Why nobody is asked: it is switched off, or there is no key.
fn unasked(context: &Context) -> ModelFailure {
    let wanted = &context.config.model;
    if wanted.ask == config::Ask::Never || wanted.provider == Provider::None {
        let detail = "asking a model is switched off (model.ask or model.provider)".to_owned();
        return ModelFailure { kind: FailureKind::Disabled, detail };
    }
    let detail = format!("no key for the model: environment variable {ANTHROPIC_KEY} is not set");
    ModelFailure { kind: FailureKind::NoKey, detail }
}

/// Now, as the contract writes it.
pub(crate) fn now() -> String {
    Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default().to_string()
}

/// One thread that drives whatever waits: the store and the network. It is the same wherever a command asks for it, for an open
/// connection is driven by the runtime that opened it, and stands still under another.
pub(crate) fn runtime() -> Result<Arc<Runtime>, Failed> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(Arc::clone(runtime));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::Outside(anyhow!("can't start: the system gives no event queue ({e})")))?;
    Ok(Arc::clone(RUNTIME.get_or_init(|| Arc::new(runtime))))
}

/// What is masked, and how much a model is shown.
pub(crate) fn settings(context: &Context) -> Settings {
    Settings {
        budget: context.config.evidence.budget,
        ask: Ask::Never,
        redactor: Redactor::new(context.env.secrets()),
    }
}

/// Our rules and those of the configured files.
pub(crate) fn rules(context: &Context) -> Result<RuleSet, Failed> {
    let mut files = Vec::new();
    for path in &context.config.rules.paths {
        let text = std::fs::read_to_string(path).map_err(|e| {
            anyhow!("can't read the rule file {} (rules.paths of the configuration): {e}", path.display())
        })?;
        files.push((path.display().to_string(), text));
    }
    rules_with(&files)
}

/// These rules without those that somebody has switched off. A store that can't say so silences none.
pub(crate) fn heard(context: &Context, rules: RuleSet, store: Option<&Store>, runtime: &Runtime) -> RuleSet {
    let Some(store) = store else { return rules };
    match runtime.block_on(store.silenced()) {
        Ok(silenced) if silenced.is_empty() => rules,
        Ok(silenced) => rules.without(silenced.iter().map(|it| it.rule.as_str())),
        Err(e) => {
            context.note(&format!("rules that are switched off speak all the same: {e}"));
            rules
        }
    }
}

/// Our rules and these files.
pub(crate) fn rules_with(files: &[(String, String)]) -> Result<RuleSet, Failed> {
    let files: Vec<RuleFile<'_>> = files.iter().map(|(name, text)| RuleFile { name, text }).collect();
    RuleSet::new(&files).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failed::Input(anyhow!("{}", lines.join("\ncoroner: ")))
    })
}

/// The model to ask, or `None` where asking is not configured or has no key.
pub(crate) fn asker(
    context: &Context,
    store: Option<&Store>,
    runtime: &Runtime,
) -> Result<Option<Asker>, Failed> {
    if context.config.model.ask == config::Ask::Never {
        return Ok(None);
    }
    asker_within(context, store, runtime, |_| {})
}

/// The model that writes programs: the same one, with the time that this takes.
pub(crate) fn program_asker(
    context: &Context,
    store: Option<&Store>,
    runtime: &Runtime,
) -> Result<Option<Asker>, Failed> {
    asker_within(context, store, runtime, |limits| limits.total = limits.total.max(PROGRAM_TIME))
}

fn asker_within(
    context: &Context,
    store: Option<&Store>,
    runtime: &Runtime,
    adjust: impl FnOnce(&mut Limits),
) -> Result<Option<Asker>, Failed> {
    let wanted = &context.config.model;
    let script = context.env.get("CORONER_MODEL_SCRIPT");
    let model = match (script, wanted.provider) {
        (Some(path), _) => {
            let script = std::fs::read_to_string(path).map_err(|e| {
                anyhow!("can't read the script of CORONER_MODEL_SCRIPT, {}: {e}", path.display())
            })?;
            Model::Scripted(Arc::new(Scripted::from_lines(&script).map_err(|e| anyhow!(e))?))
        }
        (None, Provider::None) => return Ok(None),
        (None, Provider::Anthropic) => {
            let base = wanted.base_url.as_deref().unwrap_or(ANTHROPIC_URL);
            let name = wanted.name.as_deref().unwrap_or(DEFAULT_MODEL);
            let Some(credential) = credential(context, ANTHROPIC_KEY, runtime) else { return Ok(None) };
            Model::Anthropic(Arc::new(Anthropic::new(base, name, credential)))
        }
        (None, Provider::Openai) => {
            let name = wanted.name.as_deref().ok_or_else(|| {
                anyhow!(
                    "model.provider is openai, and no model is named: set model.name (such as \"qwen3:8b\")"
                )
            })?;
            let base = wanted.base_url.as_deref().unwrap_or("https://api.openai.com/v1");
            let credential = credential(context, "OPENAI_API_KEY", runtime).unwrap_or(Credential::NotNeeded);
            Model::OpenAiCompatible(Arc::new(OpenAiCompatible::new(base, name, credential)))
        }
        (None, Provider::Bedrock) => bedrock(context, runtime)?,
    };
    let ledger: Arc<dyn Ledger> = match store {
        Some(store) => Arc::new(Kept(store.clone())),
        None => Arc::new(MemoryLedger::default()),
    };
    let mut limits = Limits {
        total: wanted.timeout,
        concurrency: wanted.concurrency.get(),
        calls_per_day: wanted.calls_per_day.0,
        dollars_per_day: Some(wanted.dollars_per_day).filter(|d| d.is_finite()),
        ..Limits::default()
    };
    adjust(&mut limits);
    let own = wanted
        .prices
        .iter()
        .map(|(model, p)| (model.clone(), Price { input: p.input, output: p.output, long: None }));
    let prices = Prices::with(own.collect()).map_err(|e| anyhow!(e))?;
    Ok(Some(Asker::new(model, ledger, limits, prices)))
}

/// Anthropic's models on Amazon Bedrock, with a key of it or the credentials of this user and machine.
#[cfg(feature = "aws")]
fn bedrock(context: &Context, runtime: &Runtime) -> Result<Model, Failed> {
    let wanted = &context.config.model;
    let name = wanted.name.as_deref().ok_or_else(|| {
        anyhow!(
            "model.provider is bedrock, and no model is named: set model.name (such as \"eu.anthropic.claude-sonnet-5-5\", \
             which stays in Europe, or \"global.anthropic.claude-sonnet-5-5\")"
        )
    })?;
    let aws = runtime.block_on(crate::storage::aws());
    let key = credential(context, "AWS_BEARER_TOKEN_BEDROCK", runtime);
    Ok(coroner_llm::Bedrock::new(wanted.base_url.as_deref(), name, aws, key).into())
}

#[cfg(not(feature = "aws"))]
fn bedrock(_context: &Context, _runtime: &Runtime) -> Result<Model, Failed> {
    Err(Failed::Input(anyhow!(
        "model.provider is bedrock, and this build of coroner knows nothing of AWS; build it with the feature `aws`"
    )))
}

/// The key, from where the configuration says; `None` where nothing says that there is one.
fn credential(context: &Context, usual: &str, runtime: &Runtime) -> Option<Credential> {
    let wanted = &context.config.model;
    let from_env = |name: &str| KeySource::Env {
        name: name.to_owned(),
        value: context.env.text(name).map(|value| value.to_owned().into()),
    };
    let source = if let Some(name) = &wanted.key_env {
        from_env(name)
    } else if let Some(path) = &wanted.key_file {
        KeySource::File(path.clone())
    } else if let Some(entry) = &wanted.key_keyring {
        KeySource::Keyring { service: entry.service.clone(), user: entry.account.clone() }
    } else if let Some(id) = &wanted.key_secret {
        return Some(secret(id, usual, runtime));
    } else if context.env.text(usual).is_some() {
        from_env(usual)
    } else {
        return None;
    };
    let loaded = runtime.block_on(source.load());
    if let Ok(key) = &loaded
        && let Some(warning) = &key.warning
    {
        context.note(warning);
    }
    Some(loaded.into())
}

/// A key that AWS keeps. It is fetched when it is needed; in JSON it has the name of its usual variable.
#[cfg(feature = "aws")]
fn secret(id: &str, field: &str, runtime: &Runtime) -> Credential {
    let secret = coroner_llm::Secret::new(runtime.block_on(crate::storage::aws()), id, field);
    Credential::Renewed(Arc::new(coroner_llm::RenewedKey::new(secret)))
}

#[cfg(not(feature = "aws"))]
fn secret(id: &str, _field: &str, _runtime: &Runtime) -> Credential {
    let why = "this build of coroner knows nothing of AWS; build it with the feature `aws`".to_owned();
    Credential::Missing(coroner_llm::KeyError::Keyring { place: format!("secret {id}"), why })
}

/// Replies and accounts in the store.
struct Kept(Store);

#[async_trait]
impl Ledger for Kept {
    async fn reply(&self, key: &ReplyKey) -> Result<Option<Reply>, LedgerError> {
        self.0.cached_reply(&key.to_string()).await.map_err(LedgerError::new)
    }

    async fn keep_reply(&self, key: &ReplyKey, reply: &Reply) -> Result<(), LedgerError> {
        self.0
            .remember_reply(&key.to_string(), reply.clone(), Timestamp::now())
            .await
            .map_err(LedgerError::new)
    }

    async fn forget_reply(&self, key: &ReplyKey) -> Result<(), LedgerError> {
        self.0.forget_reply(&key.to_string()).await.map_err(LedgerError::new)
    }

    async fn spent(&self, day: Date) -> Result<Spent, LedgerError> {
        let spent = self.0.spent(day).await.map_err(LedgerError::new)?;
        Ok(Spent { calls: spent.calls, dollars: spent.dollars })
    }

    async fn record(&self, day: Date, spent: Spent) -> Result<(), LedgerError> {
        let spent = coroner_store::Spent { calls: spent.calls, dollars: spent.dollars };
        self.0.record_spend(day, spent).await.map_err(LedgerError::new)
    }
}
