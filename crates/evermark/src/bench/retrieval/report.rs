//! The figures of `bench retrieval`: as JSON, and as tables made from that.

use super::ask::{Asked, Variant};
use super::dataset::{Haystack, Question};
use super::load::Loaded;
use super::score::{self, AT, Estimate, Shares};
use crate::bench::measure::{figure, latencies};
use crate::output::Out;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a variant came to: an entry per question, in the order of [`questions`].
pub(super) struct Measured {
    pub(super) variant: Variant,
    pub(super) asked: Vec<Asked>,
}

impl Measured {
    fn shares(&self) -> Vec<Shares> {
        self.asked.iter().map(|asked| score::shares(&asked.places)).collect()
    }
}

/// Returns all questions, in the order in which they are asked.
fn questions(haystacks: &[Haystack]) -> impl Iterator<Item = (&Haystack, &Question)> {
    haystacks.iter().flat_map(|haystack| haystack.questions.iter().map(move |question| (haystack, question)))
}

/// Returns the part of the report that tells how good the answers are. There must be a question.
pub(super) fn figures(haystacks: &[Haystack], loaded: &[Loaded], measured: &[Measured]) -> Value {
    let categories = questions(haystacks).map(|(_, question)| question.category.as_str()).collect::<Vec<_>>();
    let methods = measured.iter().map(|one| {
        let mut report = by_category(&categories, &one.shares());
        report["method"] = one.variant.name.as_str().into();
        report["degraded"] = one.asked.iter().filter(|asked| asked.is_degraded).count().into();
        report["took"] = latencies(one.asked.iter().map(|asked| asked.took).collect());
        report
    });
    let methods = methods.collect::<Vec<_>>();
    // The first is what all others have to beat.
    let mut differences = Vec::new();
    if let Some((first, others)) = measured.split_first() {
        for other in others {
            let mut report = by_category(&categories, &score::differences(&other.shares(), &first.shares()));
            report["of"] = other.variant.name.as_str().into();
            report["to"] = first.variant.name.as_str().into();
            differences.push(report);
        }
    }
    json!({ "in_facts": in_facts(haystacks, loaded), "methods": methods, "differences": differences })
}

/// Returns the mean share of a question's gold that a fact was made of: what facts can find at best.
fn in_facts(haystacks: &[Haystack], loaded: &[Loaded]) -> Value {
    let mut sums = BTreeMap::<&str, (f64, usize)>::new();
    for (haystack, loaded) in haystacks.iter().zip(loaded) {
        for question in &haystack.questions {
            let n_made = question.gold.iter().filter(|doc| loaded.in_facts.contains(doc)).count();
            for group in ["all", question.category.as_str()] {
                let (sum, n) = sums.entry(group).or_default();
                *sum += n_made as f64 / question.gold.len() as f64;
                *n += 1;
            }
        }
    }
    sums.into_iter()
        .map(|(group, (sum, n))| (group.to_owned(), round(sum / n as f64).into()))
        .collect::<Map<_, _>>()
        .into()
}

/// Returns the mean share of each k with its interval, over all questions and by category.
fn by_category(categories: &[&str], rows: &[Shares]) -> Value {
    let mut apart = BTreeMap::<&str, Vec<Shares>>::new();
    for (category, row) in categories.iter().zip(rows) {
        apart.entry(category).or_default().push(*row);
    }
    let group = |category: &str, rows: &[Shares]| {
        let estimates = AT.iter().zip(score::bootstrap(rows));
        let at = estimates.map(|(k, estimate)| (k.to_string(), of_estimate(estimate))).collect::<Map<_, _>>();
        json!({ "category": category, "n": rows.len(), "at": at })
    };
    let apart = apart.iter().map(|(category, rows)| group(category, rows)).collect::<Vec<_>>();
    json!({ "overall": group("all", rows), "categories": apart })
}

fn of_estimate(estimate: Estimate) -> Value {
    json!({ "mean": round(estimate.mean), "low": round(estimate.low), "high": round(estimate.high) })
}

fn round(share: f64) -> f64 {
    (share * 1e5).round() / 1e5
}

/// Returns every question with the places its gold got, from 1, per method.
pub(super) fn each(haystacks: &[Haystack], measured: &[Measured]) -> Value {
    let one = |i: usize, haystack: &Haystack, question: &Question| {
        let places = |one: &Measured| {
            let asked = &one.asked[i];
            let places = asked.places.iter().map(|place| place.map(|place| place + 1)).collect::<Vec<_>>();
            (one.variant.name.clone(), json!({ "places": places, "ranked": asked.n_ranked }))
        };
        json!({
            "haystack": haystack.name,
            "id": question.id,
            "category": question.category,
            "methods": measured.iter().map(places).collect::<Map<_, _>>(),
        })
    };
    questions(haystacks).enumerate().map(|(i, (haystack, question))| one(i, haystack, question)).collect()
}

pub(super) fn print(report: &Value, out: &mut Out) {
    let fact = |pointer: &str| figure(report, pointer, 0);
    out.line(format_args!(
        "{}: {} haystacks, {} messages, {} questions ({} without gold left out)",
        report["dataset"].as_str().unwrap_or_default(),
        fact("/haystacks"),
        fact("/messages"),
        fact("/questions"),
        fact("/without_gold"),
    ));
    out.line(format_args!(
        "model {}; {} episodes and {} facts, {} messages left no memory; added in {} ms, indexed in {} ms",
        report["model"].as_str().unwrap_or("none"),
        fact("/load/episodes"),
        fact("/load/facts"),
        fact("/load/unextracted"),
        fact("/load/add_ms"),
        fact("/load/index_ms"),
    ));
    let percent =
        |(group, share): (&String, &Value)| format!("{group} {:.1}", 100.0 * share.as_f64().unwrap_or_default());
    let in_facts = report["in_facts"].as_object().into_iter().flatten().map(percent).collect::<Vec<_>>();
    out.line(format_args!(
        "of the messages that answer a question, this share became facts, in percent: {}",
        in_facts.join(", ")
    ));
    out.line("Of the messages that answer a question, the share among the first k, in percent, and its 95 % interval:");
    for method in list(&report["methods"]) {
        out.line("");
        head(method["method"].as_str().unwrap_or_default(), out);
        rows(method, out);
        out.line(format_args!(
            "a search takes {} ms (p50), {} ms (p99)",
            figure(method, "/took/p50_ms", 2),
            figure(method, "/took/p99_ms", 2),
        ));
        if method["degraded"] != 0 {
            out.line(format_args!("{} were answered by another method", figure(method, "/degraded", 0)));
        }
    }
    for difference in list(&report["differences"]) {
        let name = |key: &str| difference[key].as_str().unwrap_or_default();
        out.line("");
        head(&format!("{} - {}", name("of"), name("to")), out);
        rows(difference, out);
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn head(name: &str, out: &mut Out) {
    let columns = AT.iter().map(|k| format!("{:>20}", format!("@{k}"))).collect::<String>();
    let title = format!("{name:24}");
    out.line(format_args!("{}{:>6}{columns}", out.paint.bold(title), "n"));
}

fn rows(report: &Value, out: &mut Out) {
    for group in std::iter::once(&report["overall"]).chain(list(&report["categories"])) {
        let cell = |k: &usize| {
            let percent = |key: &str| {
                let share = group["at"][k.to_string()][key].as_f64().unwrap_or_default();
                format!("{:.1}", 100.0 * share)
            };
            format!("{:>20}", format!("{} [{} {}]", percent("mean"), percent("low"), percent("high")))
        };
        let cells = AT.iter().map(cell).collect::<String>();
        let name = crate::output::one_line(group["category"].as_str().unwrap_or_default(), 22);
        out.line(format_args!("  {name:22}{:>6}{cells}", figure(group, "/n", 0)));
    }
}
