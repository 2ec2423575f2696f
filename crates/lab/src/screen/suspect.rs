//! Refusals that look like a fault of the policy: what they refuse can do no harm, or they refuse too many.

use std::collections::BTreeMap;

use super::builtins::is_builtin;
use super::{Finding, Policy};

/// Modules that only compute.
const HARMLESS_MODULES: &[&str] = &[
    "PIL",
    "__future__",
    "abc",
    "array",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "brotli",
    "bz2",
    "calendar",
    "cmath",
    "codecs",
    "collections",
    "colorsys",
    "contextlib",
    "copy",
    "csv",
    "cv2",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "einops",
    "enum",
    "flax",
    "fractions",
    "functools",
    "graphlib",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "io",
    "itertools",
    "jax",
    "json",
    "keras",
    "logging",
    "lz4",
    "lzma",
    "math",
    "mpmath",
    "networkx",
    "numba",
    "numbers",
    "numexpr",
    "numpy",
    "onnx",
    "operator",
    "optax",
    "pandas",
    "polars",
    "pprint",
    "pywt",
    "queue",
    "random",
    "re",
    "scipy",
    "secrets",
    "skimage",
    "sklearn",
    "statistics",
    "statsmodels",
    "string",
    "struct",
    "sympy",
    "tensorflow",
    "textwrap",
    "time",
    "timeit",
    "torch",
    "torchaudio",
    "torchvision",
    "tqdm",
    "traceback",
    "typing",
    "typing_extensions",
    "unicodedata",
    "uuid",
    "warnings",
    "weakref",
    "xarray",
    "zlib",
    "zoneinfo",
    "zstandard",
];

/// Built-ins that run text, import, or reach files and people; every other one is harmless.
const POWERFUL: &[&str] = &[
    "__builtins__",
    "__import__",
    "__loader__",
    "__spec__",
    "breakpoint",
    "compile",
    "delattr",
    "dir",
    "eval",
    "exec",
    "execfile",
    "exit",
    "file",
    "getattr",
    "globals",
    "help",
    "input",
    "locals",
    "open",
    "quit",
    "raw_input",
    "setattr",
    "vars",
];

/// Ordinary methods that old policies refuse for their names.
const HARMLESS_ATTRIBUTES: &[&str] = &[
    "apply",
    "backward",
    "clone",
    "copy",
    "cpu",
    "cuda",
    "detach",
    "format",
    "forward",
    "get",
    "item",
    "items",
    "keys",
    "load",
    "numpy",
    "parameters",
    "read",
    "save",
    "state_dict",
    "to",
    "train",
    "update",
    "values",
    "write",
];

/// Is the module one that can't harm anything?
pub(super) fn of_module(module: &str) -> Option<String> {
    let first = module.split('.').next().unwrap_or(module);
    // what is inside a harmless module may be something else (torch.multiprocessing)
    let harmless = HARMLESS_MODULES.contains(&first) && !module.contains("multiprocessing");
    harmless
        .then(|| format!("{first} only computes: it reaches neither files nor network nor other processes"))
}

/// Is the built-in one that can't harm anything?
pub(super) fn of_builtin(name: &str) -> Option<String> {
    if name == "__build_class__" {
        return Some("without __build_class__ no class statement can run".to_owned());
    }
    (is_builtin(name) && !POWERFUL.contains(&name))
        .then(|| format!("{name} is a harmless built-in that every Python program may use"))
}

/// A name that the candidate binds itself.
pub(super) fn own_name(name: &str) -> String {
    let what = if is_builtin(name) { "the built-in of that name" } else { "what the rule means" };
    format!("{name} is a parameter or variable of the candidate's own here, not {what}")
}

/// Is the attribute one that only shares its name with something powerful?
pub(super) fn of_attribute(base: Option<&str>, attr: &str) -> Option<String> {
    let of_builtins = base.is_some_and(|base| base == "builtins" || base.ends_with("__dict__"));
    if attr.starts_with("__") || of_builtins {
        return None;
    }
    if is_builtin(attr) {
        let owner = base.map_or_else(|| "an object".to_owned(), |base| base.replace("builtins.", ""));
        return Some(format!(".{attr} is an attribute of {owner} here, not the built-in {attr}"));
    }
    HARMLESS_ATTRIBUTES.contains(&attr).then(|| format!(".{attr} is an ordinary method and can do no harm"))
}

/// What to change in the policy.
pub(super) fn remedy(finding: &Finding, policy: &str) -> String {
    let (rule, what) = (&finding.rule, &finding.what);
    let how = if finding.message.starts_with("Forbidden import") {
        format!("add \"{what}\" to allow_modules")
    } else if rule == "builtins" {
        format!("add \"{what}\" to allow_builtins")
    } else if rule == "async" {
        "set allow_async = true".to_owned()
    } else if policy == "built-in" {
        format!("repeat rule {rule} without \"{what}\"")
    } else {
        format!("take \"{what}\" out of rule {rule}")
    };
    let file = match policy {
        "built-in" => "a policy of your own that begins with `extend = true`",
        file => file,
    };
    let meanwhile = if finding.instead.is_empty() { "Do without it." } else { &finding.instead };
    format!("Allow {what} in the policy: {how} in {file}. Until then: {meanwhile}")
}

/// Puts a rule that has refused too many candidates under suspicion.
pub(super) fn by_count(findings: &mut [Finding], policy: &Policy, refused: &BTreeMap<String, u64>) {
    for finding in findings {
        let own = policy.rules.iter().find(|rule| rule.id == finding.rule).map(|rule| rule.suspect_after);
        // what Python itself would refuse is no rule of the policy
        let own = match own {
            Some(own) => own.unwrap_or(policy.suspect_after),
            None if matches!(finding.rule.as_str(), "imports" | "builtins") => policy.suspect_after,
            None => 0,
        };
        let count = refused.get(&finding.key()).copied().unwrap_or(0);
        if finding.suspect.is_none() && own > 0 && count >= own {
            finding.suspect = Some(format!(
                "it has refused {count} candidates for {} already: either nobody tells the proposer of the rule, or the task needs {}",
                finding.what, finding.what
            ));
        }
    }
}
