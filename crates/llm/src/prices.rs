//! What an answer costs: a table that ships with us, and the user's own prices over it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::answer::Usage;

/// Tokens of a million, as prices are given.
const MILLION: f64 = 1_000_000.0;
/// Bedrock takes a tenth more where a model stays in a region, from Claude 4.5 on, which are those that are known here
/// (aws.amazon.com/bedrock/pricing; November 2026).
const BEDROCK_IN_A_REGION: f64 = 1.1;

static SHIPPED: LazyLock<BTreeMap<String, Known>> = LazyLock::new(|| {
    // the table is compiled in and a test reads it; a broken one would mean no known prices, never a crash
    let table: Table = toml::from_str(include_str!("models.toml")).unwrap_or_default();
    table.model.into_iter().map(|known| (known.id.clone(), known)).collect()
});

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    model: Vec<Known>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    id: String,
    input: f64,
    output: f64,
    #[serde(default)]
    long: Option<Long>,
    thinks: bool,
}

/// What a model takes, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For what it reads.
    pub input: f64,
    /// For what it writes, thinking included.
    pub output: f64,
    /// For long questions, where those cost more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
}

impl Price {
    fn times(self, factor: f64) -> Self {
        let long = self.long.map(|l| Long { input: l.input * factor, output: l.output * factor, ..l });
        Self { input: self.input * factor, output: self.output * factor, long }
    }
}

/// Prices of a question that is longer than `above` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Long {
    /// From how many tokens on.
    pub above: u64,
    /// For what it reads.
    pub input: f64,
    /// For what it writes.
    pub output: f64,
}

/// A price that is none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the price of {model} must be a number that is not negative, and is {value}")]
pub struct PriceError {
    /// Of which model.
    pub model: String,
    /// What was given.
    pub value: f64,
}

/// All prices that are known.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

impl Prices {
    /// The shipped ones, with the user's own over them (by model id).
    pub fn with(own: BTreeMap<String, Price>) -> Result<Self, PriceError> {
        for (model, price) in &own {
            let long = price.long.map(|l| [l.input, l.output]).unwrap_or_default();
            for value in [price.input, price.output].into_iter().chain(long) {
                if !(value.is_finite() && value >= 0.0) {
                    return Err(PriceError { model: model.clone(), value });
                }
            }
        }
        Ok(Self { own })
    }

    /// What `model` takes, if that is known.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        let own = self.own.get(model).or_else(|| self.own.get(undated(model)));
        own.copied().or_else(|| {
            let price = known(model).map(|k| Price { input: k.input, output: k.output, long: k.long })?;
            Some(if on_bedrock(model).is_some_and(|(region, _)| region != "global") {
                price.times(BEDROCK_IN_A_REGION)
            } else {
                price
            })
        })
    }

    /// What an answer cost, in US dollars, if the price is known.
    #[must_use]
    pub fn cost(&self, model: &str, usage: Usage) -> Option<f64> {
        let price = self.of(model)?;
        let (input, output) = match price.long {
            Some(long) if usage.input_tokens > long.above => (long.input, long.output),
            _ => (price.input, price.output),
        };
        // token counts are far below 2^52
        #[expect(clippy::cast_precision_loss, reason = "a count of tokens is exact in an f64")]
        let cost = (usage.input_tokens as f64 * input + usage.output_tokens as f64 * output) / MILLION;
        Some(cost)
    }
}

/// Does `model` think unless told not to? What is not known is new, and the new ones do.
pub(crate) fn thinks(model: &str) -> bool {
    known(model).is_none_or(|k| k.thinks)
}

fn known(model: &str) -> Option<&'static Known> {
    let model = on_bedrock(model).map_or(model, |(_, model)| model);
    SHIPPED.get(model).or_else(|| SHIPPED.get(undated(model)))
}

/// `eu` and `claude-sonnet-4-5-20250929` of `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`, be it an id or the end of an ARN.
fn on_bedrock(model: &str) -> Option<(&str, &str)> {
    let id = model.rsplit('/').next()?;
    let (region, name) = match id.strip_prefix("anthropic.") {
        Some(name) => ("", name),
        None => id.split_once(".anthropic.")?,
    };
    // -v1:0, -v1, and -v1:0:200k for another window
    let name = name.split(':').next()?;
    let version =
        name.rsplit_once("-v").filter(|(_, v)| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    Some((region, version.map_or(name, |(name, _)| name)))
}

/// `claude-haiku-4-5-20251001` is `claude-haiku-4-5`: models name themselves with their date.
fn undated(model: &str) -> &str {
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::{CHEAP_MODEL, DEFAULT_MODEL};

    #[test]
    fn the_shipped_table_knows_our_defaults() {
        let table: Table = toml::from_str(include_str!("models.toml")).unwrap();
        assert_eq!(table.model.len(), SHIPPED.len(), "an id stands there twice");
        let prices = Prices::default();
        for model in [DEFAULT_MODEL, CHEAP_MODEL] {
            assert!(prices.of(model).is_some() && thinks(model), "{model}");
        }
        assert!(!thinks("claude-haiku-4-5-20251001"));
        assert!(thinks("claude-sonnet-7"));
    }

    #[test]
    fn costs_are_added_up_by_the_band_of_the_question() {
        let prices = Prices::default();
        let usage = |input_tokens, output_tokens| Usage { input_tokens, output_tokens };
        for (model, used, cost) in [
            ("claude-sonnet-5-5", usage(1_000_000, 100_000), Some(3.0)),
            ("claude-sonnet-4-5-20250929", usage(1_000_000, 0), Some(3.0)),
            ("claude-haiku-5-5", usage(100_000, 10_000), Some(0.015)),
            ("claude-haiku-5-5", usage(200_000, 10_000), Some(0.125)),
            ("qwen3:8b", usage(1, 1), None),
        ] {
            let got = prices.cost(model, used);
            assert_eq!(got.map(|c| format!("{c:.6}")), cost.map(|c| format!("{c:.6}")), "{model}");
        }
    }

    #[test]
    fn models_on_bedrock_are_known_by_their_names_there() {
        let prices = Prices::default();
        for (model, input, thinking) in [
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", Some("3.00"), false),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Some("3.30"), false),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", Some("1.10"), false),
            ("global.anthropic.claude-opus-4-6-v1", Some("5.00"), false),
            ("us.anthropic.claude-sonnet-4-6", Some("3.30"), false),
            ("us-gov.anthropic.claude-sonnet-5-5", Some("2.20"), true),
            (
                "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-5-5",
                Some("2.20"),
                true,
            ),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0:200k",
                Some("1.10"),
                false,
            ),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", None, true),
            ("anthropic.claude-3-haiku-20240307-v1:0", None, true),
            ("meta.llama3-70b-instruct-v1:0", None, true),
        ] {
            let price = prices.of(model).map(|price| format!("{:.2}", price.input));
            assert_eq!((price.as_deref(), thinks(model)), (input, thinking), "{model}");
        }
        let own = BTreeMap::from([(
            "arn:aws:bedrock:x/a1".to_owned(),
            Price { input: 9.0, output: 9.0, long: None },
        )]);
        assert_eq!(Prices::with(own).unwrap().of("arn:aws:bedrock:x/a1").unwrap().input.to_string(), "9");
    }

    #[test]
    fn the_users_own_prices_stand_over_ours() {
        let own = |price| BTreeMap::from([("claude-sonnet-5-5".to_owned(), price)]);
        let price = Price { input: 1.0, output: 1.0, long: None };
        let prices = Prices::with(own(price)).unwrap();
        assert_eq!(prices.of("claude-sonnet-5-5"), Some(price));
        assert!(prices.of("claude-haiku-5-5").is_some());
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Prices::with(own(Price { output: bad, ..price })).is_err(), "{bad}");
        }
    }
}
