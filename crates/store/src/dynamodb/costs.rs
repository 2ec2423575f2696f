//! What failures cost: read from sums that every step keeps for all time, for each day and for each hour, so that an answer
//! takes as long as there are causes in it, however many experiments there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use coroner_diagnosis::Origin;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Range, number, text};
use super::plan::{
    SHARDS, causes_partition, key, scope_of_run, scope_of_type, signature_partition, sums_partition,
};
use super::related::stretches;
use super::row::{NANO, Row, first_key, hex, moment};
use super::words::Words;
use crate::cost::Span;
use crate::{COUNTED, Costs, Error, PolicyRefusals, Scope, SignatureCost, Status, Taken, TopQuery, Within};

/// So many of the newest failures of a cause are looked at for what got past it.
const RECENT: usize = 5;
/// Where a cause has failed in other scopes too, so many are looked through for those of this one.
const LOOKED_THROUGH: usize = 200;
const HOUR_MS: i64 = 3_600_000;

fn scope_of(within: &Within) -> String {
    match &within.scope {
        Scope::All => String::new(),
        Scope::Type(name) => scope_of_type(name),
        Scope::Run(id) => scope_of_run(id.0),
    }
}

/// What the counters of one item say, by combination of words.
fn taken(item: &Item, into: &mut BTreeMap<Words, [i64; 4]>) {
    for (name, value) in item {
        let Some(place) = name.chars().next().and_then(|kind| "nwuc".find(kind)) else { continue };
        let words = name.get(1..).filter(|code| code.len() == 4).and_then(Words::parse);
        if let (Some(words), Some(by)) = (words, value.as_n().ok().and_then(|n| n.parse::<i64>().ok())) {
            into.entry(words).or_default()[place] += by;
        }
    }
}

fn amount(sums: &[i64; 4]) -> Taken {
    let micros = |us: i64| Duration::from_micros(us.max(0).unsigned_abs());
    Taken {
        experiments: sums[0].max(0).unsigned_abs(),
        wall: micros(sums[1]),
        cpu: micros(sums[2]),
        dollars: sums[3] as f64 / NANO,
    }
}

/// Of everything that ended.
fn ended(sums: BTreeMap<Words, [i64; 4]>) -> impl Iterator<Item = (Words, Taken)> {
    sums.into_iter()
        .filter(|(words, sums)| words.status != Status::Running && sums[0] > 0)
        .map(|(words, sums)| (words, amount(&sums)))
}

pub(super) async fn costs(store: &Dynamo, within: &Within) -> Result<Costs, Error> {
    let mut costs = amounts(store, within).await?;
    let causes = causes(store, within).await?;
    let lost =
        causes.into_iter().filter(|(_, sums)| ended(sums.clone()).any(|(words, _)| words.status.failed()));
    costs.signatures = lost.count() as u64;
    Ok(costs)
}

/// The same, without how many causes there were.
pub(super) async fn amounts(store: &Dynamo, within: &Within) -> Result<Costs, Error> {
    let scope = scope_of(within);
    let mut sums = BTreeMap::new();
    let items = match Span::of(within) {
        None => store.sums_of_all_time(&scope).await?,
        Some(span) => {
            let mut all = Vec::new();
            for stretch in stretches(span.from, span.to) {
                all.extend(store.sums_within(|shard| sums_partition(&scope, shard), stretch).await?);
            }
            all
        }
    };
    items.iter().for_each(|item| taken(item, &mut sums));
    let mut costs = Costs::over(within);
    for (words, taken) in ended(sums) {
        let (category, origin) = (words.verdict.map(|it| it.0), words.verdict.map(|it| it.2));
        costs.add(words.status, category, origin, &taken);
    }
    Ok(costs)
}

/// The sums of each cause.
async fn causes(
    store: &Dynamo,
    within: &Within,
) -> Result<BTreeMap<String, BTreeMap<Words, [i64; 4]>>, Error> {
    let scope = scope_of(within);
    let items: Vec<Item> = match Span::of(within) {
        None => {
            let asks = (0..SHARDS).map(|shard| {
                let ask =
                    Ask::table(causes_partition(&scope, shard)).range(Range::BeginsWith("a#".to_owned()));
                store.table.query(ask)
            });
            try_join_all(asks).await?.into_iter().flatten().collect()
        }
        Some(span) => {
            let mut all = Vec::new();
            for stretch in stretches(span.from, span.to) {
                all.extend(store.sums_within(|shard| causes_partition(&scope, shard), stretch).await?);
            }
            all
        }
    };
    let mut causes: BTreeMap<String, BTreeMap<Words, [i64; 4]>> = BTreeMap::new();
    for item in &items {
        if let Some(signature) = text(item, "s") {
            taken(item, causes.entry(signature.to_owned()).or_default());
        }
    }
    Ok(causes)
}

pub(super) async fn top(store: &Dynamo, query: &TopQuery) -> Result<Vec<SignatureCost>, Error> {
    let mut sums: HashMap<(String, Origin), Taken> = HashMap::new();
    for (signature, of) in causes(store, &query.within).await? {
        for (words, taken) in ended(of) {
            let Some((.., origin)) = words.verdict else { continue };
            if query.counts(words.status) && query.origin.is_none_or(|wanted| wanted == origin) {
                sums.entry((signature.clone(), origin)).or_default().add(&taken);
            }
        }
    }
    // among equals the cause that was first seen last
    let keys: BTreeSet<_> =
        sums.keys().map(|(signature, _)| key(signature_partition(signature), "-")).collect();
    let seen = store.table.get_all(&keys.into_iter().collect::<Vec<_>>()).await?;
    let place: HashMap<&str, u64> =
        seen.values().filter_map(|item| Some((text(item, "s")?, number(item, "id")?))).collect();
    let mut all: Vec<_> = sums.into_iter().collect();
    all.sort_by(|((a, x), one), ((b, y), other)| {
        let place = |signature: &str| place.get(signature).copied().unwrap_or_default();
        query.order.compare(one, other).then(place(b).cmp(&place(a))).then(y.cmp(x))
    });
    let mut top = Vec::new();
    for ((signature, origin), taken) in all.into_iter().take(query.limit) {
        top.extend(cause(store, query, &signature, origin, taken).await?);
    }
    Ok(top)
}

/// What is known of one signature, in this window, by its newest failures.
async fn cause(
    store: &Dynamo,
    query: &TopQuery,
    signature: &str,
    origin: Origin,
    taken: Taken,
) -> Result<Option<SignatureCost>, Error> {
    let before = Span::of(&query.within).map_or(i64::MAX, |span| {
        first_key(Timestamp::from_millisecond(span.to.saturating_mul(HOUR_MS)).unwrap_or(Timestamp::MAX))
    });
    let which =
        |words: Words| query.counts(words.status) && words.verdict.is_some_and(|(.., it)| it == origin);
    let most = if query.within.scope == Scope::All { RECENT } else { LOOKED_THROUGH };
    let numbers = store.newest_with(signature, which, before, most).await?;
    let mut newest = store.in_order(&numbers).await?;
    newest.retain(|row| match &query.within.scope {
        Scope::All => true,
        Scope::Type(name) => row.kind == *name,
        Scope::Run(id) => row.tested.as_ref().is_some_and(|it| it.run == id.0),
    });
    newest.truncate(RECENT);
    let mut fixed_by = None;
    for row in &newest {
        if fixed_by.is_none() {
            fixed_by = store.passed_after(row).await?;
        }
    }
    let Some(last) = newest.first().map(Row::listed) else { return Ok(None) };
    Ok(SignatureCost::of(last, taken, fixed_by))
}

/// The policy's rules by how many candidates they refused, the most first.
pub(super) async fn refusals(store: &Dynamo, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error> {
    let from = hex(since.map_or(0, first_key));
    let rules = store.table.query(Ask::table("R")).await?;
    let mut all = Vec::new();
    for rule in rules.iter().filter_map(|item| text(item, "rule")) {
        let partition = format!("R#{}", super::plan::bounded(rule));
        let since = || Ask::table(&partition).range(Range::Between(from.clone(), "~".to_owned()));
        let last = store.table.query(since().newest(1)).await?;
        let last = last.first().and_then(|item| text(item, "sk")?.get(..16).and_then(super::row::unhex));
        if let Some(last) = last {
            let candidates = store.table.how_many(since().first(COUNTED as usize)).await?;
            all.push(PolicyRefusals { rule: rule.to_owned(), candidates, last_at: moment(last) });
        }
    }
    all.sort_by(|a, b| b.candidates.cmp(&a.candidates).then_with(|| a.rule.cmp(&b.rule)));
    Ok(all)
}
