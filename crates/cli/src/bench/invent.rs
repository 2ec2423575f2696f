//! Experiments that never were: when, where and what ran, how it ended and what it printed. The same numbers give the
//! same experiments, whichever of them are asked for.

use std::fmt::Write;
use std::time::Duration;

use coroner_diagnosis::{End, Exit};
use coroner_store::{NewExperiment, Owner, Status};
use jiff::Timestamp;
use serde::Deserialize;

use crate::args::FillArgs;

/// So many still run at the end, where there are enough.
const RUNNING: u64 = 12;
/// Causes that are there all the time; the others come, and half of them go.
const ETERNAL: usize = 60;
/// One in so many that succeed has its log kept.
const PASSED_LOGS: u64 = 50;

const KINDS: [(&str, &str); 10] = [
    ("train-vision", "train.py --config vision.yaml"),
    ("train-text", "train.py --config text.yaml"),
    ("finetune", "finetune.py --base large"),
    ("eval-nightly", "evaluate.py --suite nightly"),
    ("evolve-packing", "candidate.py --task packing"),
    ("evolve-codec", "candidate.py --task codec"),
    ("sweep-lr", "sweep.py --parameter lr"),
    ("preprocess", "prepare.py --shards 512"),
    ("unit-tests", "-m pytest -q"),
    ("export", "export.py --format onnx"),
];
const FILES: [&str; 16] = [
    "train",
    "loader",
    "model",
    "loss",
    "optimizer",
    "evaluate",
    "metrics",
    "codec",
    "packing",
    "tokenizer",
    "mesh",
    "schedule",
    "checkpoint",
    "augment",
    "export",
    "sampler",
];
const PARTS: [&str; 24] = [
    "read", "write", "encode", "decode", "merge", "split", "score", "batch", "fold", "mask", "route",
    "gather", "scale", "shift", "pack", "probe", "rank", "trim", "warm", "fuse", "cache", "trace", "align",
    "pool",
];
const THINGS: [&str; 24] = [
    "step", "tokens", "frames", "shards", "weights", "grads", "labels", "logits", "blocks", "tiles", "edges",
    "nodes", "bands", "slices", "windows", "heads", "layers", "samples", "cells", "paths", "keys", "rows",
    "lanes", "states",
];

/// One way to die.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Death {
    exit: Option<i32>,
    signal: Option<i32>,
    timeout: Option<u64>,
    #[serde(default)]
    oom: bool,
    status: Option<String>,
    error: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct Deaths {
    death: Vec<Death>,
}

/// Why some experiments die, and since and until when.
struct Cause {
    death: usize,
    names: Vec<(&'static str, String)>,
    from: f64,
    to: f64,
    /// Of this one and all before it.
    weight: f64,
}

/// Everything that is needed to invent.
pub(super) struct World {
    deaths: Vec<Death>,
    causes: Vec<Cause>,
    experiments: u64,
    ended: u64,
    failures: u64,
    days: f64,
    begin: i64,
    seed: u64,
}

/// One experiment.
pub(super) struct Invented {
    pub(super) new: NewExperiment,
    /// `None`: it still runs.
    pub(super) end: Option<Ended>,
}

pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) exit: Option<Exit>,
    pub(super) at: Timestamp,
    pub(super) error: Option<String>,
    pub(super) log: Vec<u8>,
    /// What somebody paid to have a model asked.
    pub(super) dollars: Option<f64>,
}

/// Numbers that look like chance and are not (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

impl World {
    /// That of `args`, whose last experiment starts at `now`.
    pub(super) fn new(args: &FillArgs, begin: Timestamp) -> Result<Self, toml::de::Error> {
        let deaths = toml::from_str::<Deaths>(include_str!("deaths.toml"))?.death;
        let mut sum = 0.0;
        let causes = (0..args.causes as usize).map(|number| {
            let mut chance = Chance(args.seed ^ (number as u64 + 1) << 32);
            sum += 1.0 / (number as f64 + 4.0).powf(1.05);
            let (from, to) = match number {
                ..ETERNAL => (0.0, 1.0),
                _ if chance.below(2) == 0 => (chance.share(), 1.0),
                _ => {
                    let from = chance.share();
                    (from, from + 0.02 + 0.2 * chance.share())
                }
            };
            Cause { death: number % deaths.len(), names: names(&mut chance), from, to, weight: sum }
        });
        let running = RUNNING.min(args.experiments / 1000);
        let ended = args.experiments - running;
        Ok(Self {
            causes: causes.collect(),
            deaths,
            experiments: args.experiments,
            ended,
            failures: args.failures.min(ended),
            days: f64::from(args.days),
            begin: begin.as_millisecond(),
            seed: args.seed,
        })
    }

    pub(super) fn id(index: u64) -> String {
        format!("job-{index:07}")
    }

    /// The experiment with this number, counted from 0.
    pub(super) fn experiment(&self, index: u64) -> Invented {
        let mut chance = Chance(self.seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ index);
        let share = (index as f64 + chance.share()) / self.experiments as f64;
        // by day more than by night
        let turns = std::f64::consts::TAU * self.days;
        let share = share - 0.7 * (turns * share).sin() / turns;
        let started = self.begin + (share.clamp(0.0, 1.0) * self.days * 86_400_000.0) as i64;
        let (kind, line) = chance.of(&KINDS);
        let host = format!("{}-{:02}", chance.of(&["gpu", "gpu", "cpu", "spot"]), chance.below(12));
        let command = std::iter::once("python3".to_owned())
            .chain(line.split(' ').map(str::to_owned))
            .chain(["--seed".to_owned(), chance.below(100_000).to_string()]);
        let new = NewExperiment {
            id: Some(Self::id(index)),
            experiment_type: kind.to_owned(),
            command: command.collect(),
            cwd: "/work/repo".to_owned(),
            owner: Owner {
                host: host.clone(),
                boot_id: String::new(),
                pid_namespace: String::new(),
                pid: 1000 + chance.below(60_000) as u32,
                pid_start: None,
            },
            started_at: Timestamp::from_millisecond(started).unwrap_or_default(),
        };
        let end = (index < self.ended).then(|| self.end(index, started, share, kind, &host, &mut chance));
        Invented { new, end }
    }

    fn end(
        &self,
        index: u64,
        started: i64,
        share: f64,
        kind: &str,
        host: &str,
        chance: &mut Chance,
    ) -> Ended {
        // a few seconds to some hours, short ones more often
        let wall = Duration::from_secs_f64(2.0 * 8000_f64.powf(chance.share()));
        let cpu = Some(wall.mul_f64(0.2 + 3.0 * chance.share()));
        let peak_memory = Some((1 << 28) + chance.below(60 << 30));
        let exit = |end, wall| Exit { end, wall, cpu, peak_memory };
        let at = |wall: Duration| {
            Timestamp::from_millisecond(started + wall.as_millis() as i64).unwrap_or_default()
        };
        // spread evenly, and exactly so many
        let fails = (index + 1) * self.failures / self.ended > index * self.failures / self.ended;
        if !fails {
            let adopted = kind.starts_with("evolve") && chance.below(20) == 0;
            let log =
                if chance.below(PASSED_LOGS) == 0 { self.printed(chance, None, host) } else { Vec::new() };
            return Ended {
                status: if adopted { Status::Adopted } else { Status::Passed },
                exit: Some(exit(End::Exited { code: 0 }, wall)),
                at: at(wall),
                error: None,
                log,
                dollars: None,
            };
        }
        let cause = self.cause(share, chance);
        let death = &self.deaths[cause.death];
        let end = match death {
            Death { oom: true, .. } => End::OomKilled,
            Death { timeout: Some(seconds), .. } => End::TimedOut { limit: Duration::from_secs(*seconds) },
            Death { signal: Some(signal), .. } => End::Signaled { signal: *signal },
            _ => End::Exited { code: death.exit.unwrap_or(1) },
        };
        let wall = death.timeout.map_or(wall, Duration::from_secs);
        let status = death.status.as_deref().and_then(|word| word.parse().ok()).unwrap_or(Status::Failed);
        let log = self.printed(chance, Some(cause), host);
        Ended {
            status,
            exit: (status != Status::Lost).then(|| exit(end, wall)),
            at: at(wall),
            error: death.error.as_deref().map(|text| fill_in(text, &cause.names, chance, host)),
            log,
            dollars: (chance.below(20) == 0).then(|| (2 + chance.below(80)) as f64 / 10_000.0),
        }
    }

    /// One that is there at this share of the time.
    fn cause(&self, share: f64, chance: &mut Chance) -> &Cause {
        let all = self.causes.last().map_or(0.0, |cause| cause.weight);
        for _ in 0..16 {
            let wanted = chance.share() * all;
            let found = &self.causes[self.causes.partition_point(|cause| cause.weight < wanted)];
            if (found.from..=found.to).contains(&share) {
                return found;
            }
        }
        &self.causes[0]
    }

    fn printed(&self, chance: &mut Chance, cause: Option<&Cause>, host: &str) -> Vec<u8> {
        let lines = if chance.below(200) == 0 { 2000 } else { 50 + chance.below(90) };
        let mut text = String::with_capacity(lines as usize * 110);
        let mut step = chance.below(50_000);
        for _ in 0..lines {
            step += 1 + chance.below(20);
            let line = match chance.below(10) {
                0 => {
                    "{clock} DEBUG loader worker {gpu} prefetched shard-{n}.tar in 0.{m} s, queue {gpu}/64, retries 0"
                }
                1 => {
                    "{clock} INFO evaluator validation/{n}.jsonl: 512 samples, perplexity {gpu}.{m}, best so far kept"
                }
                2 => "{clock} INFO {host} memory {n} MiB of 81920 MiB, temperature 6{gpu} C",
                _ => "",
            };
            match line {
                "" => {
                    _ = writeln!(
                        text,
                        "2026-11-20 {} INFO trainer step {step} | loss {:.4} | lr 3.0e-4 | grad {:.3} | {} tokens/s",
                        clock(chance),
                        9.0 / (1.0 + step as f64 / 9e3),
                        chance.share(),
                        9000 + chance.below(999)
                    );
                }
                line => text.push_str(&(fill_in(line, &[], chance, host) + "\n")),
            }
        }
        if let Some(cause) = cause {
            text.push_str(&fill_in(&self.deaths[cause.death].text, &cause.names, chance, host));
        }
        text.into_bytes()
    }
}

/// Names that a cause always has.
fn names(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let (a, b) = (chance.of(&PARTS), chance.of(&THINGS));
    let class = chance.of(&PARTS);
    vec![
        ("file", chance.of(&FILES).to_owned()),
        ("func", format!("{a}_{b}")),
        ("module", format!("{}{}", chance.of(&PARTS), chance.of(&THINGS))),
        ("class", format!("{}{}Stage", class[..1].to_uppercase(), &class[1..])),
        ("field", format!("{}_{}", chance.of(&THINGS), chance.of(&PARTS))),
        ("line", (10 + chance.below(600)).to_string()),
    ]
}

fn clock(chance: &mut Chance) -> String {
    let second = chance.below(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `{word}` for every word that is known; other braces stay.
fn fill_in(text: &str, names: &[(&'static str, String)], chance: &mut Chance, host: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open + 1..];
        let Some(close) = rest.find('}') else {
            out.push('{');
            break;
        };
        let word = &rest[..close];
        let value = match word {
            "n" => (2 + chance.below(900)).to_string(),
            "m" => (1000 + chance.below(900)).to_string(),
            "pid" => (10_000 + chance.below(80_000)).to_string(),
            "gpu" => chance.below(8).to_string(),
            "step" => chance.below(100_000).to_string(),
            "hex" => format!("{:08x}", chance.next() as u32),
            "host" => host.to_owned(),
            "clock" => clock(chance),
            _ => match names.iter().find(|(name, _)| *name == word) {
                Some((_, value)) => value.clone(),
                None => {
                    out.push('{');
                    continue;
                }
            },
        };
        out.push_str(&value);
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(experiments: u64, failures: u64) -> World {
        let args = FillArgs { experiments, failures, causes: 400, days: 14, seed: 3 };
        World::new(&args, "2026-11-01T00:00:00Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn so_many_fail_and_the_order_is_that_of_time() {
        let world = world(5000, 1500);
        let all: Vec<_> = (0..5000).map(|index| world.experiment(index)).collect();
        let failed = |it: &&Invented| it.end.as_ref().is_some_and(|end| !end.status.succeeded());
        assert_eq!(all.iter().filter(failed).count(), 1500);
        assert_eq!(all.iter().filter(|it| it.end.is_none()).count(), 5);
        assert!(all.iter().filter(failed).all(|it| !it.end.as_ref().unwrap().log.is_empty()));
        let starts: Vec<_> = all.iter().map(|it| it.new.started_at).collect();
        let behind = starts.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(behind == 0, "{behind} start before the one before them");
    }

    #[test]
    fn the_same_is_invented_twice() {
        let (a, b) = (world(1000, 300), world(1000, 300));
        for index in [0, 3, 7, 999] {
            let [a, b] = [&a, &b].map(|world| world.experiment(index));
            assert_eq!((a.new.started_at, &a.new.command), (b.new.started_at, &b.new.command));
            assert_eq!(a.end.map(|end| end.log), b.end.map(|end| end.log));
        }
    }

    #[test]
    fn words_in_braces_are_filled_in_and_other_braces_stay() {
        let names = [("file", "loader".to_owned())];
        let text = fill_in("{file}.py {'type': 'x'} {n} {", &names, &mut Chance(1), "gpu-01");
        assert!(text.starts_with("loader.py {'type': 'x'} ") && text.ends_with(" {"), "{text}");
    }
}
