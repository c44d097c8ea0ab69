//! What may be typed after `bench retrieval` and `bench retrieval-convert`.

use super::MethodArg;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Loads every haystack of FILE by adding its messages and flushing its sessions, asks each question by searching, and prints
which share of the messages that answer it is among the first 1, 5, 10, 20 and 50, with 95 % intervals. FILE has one haystack
a line; docs/retrieval.md describes it. No key, no judge: settings come from the environment, as for a new root.

Examples:
  evermark bench retrieval --dataset locomo.jsonl
  evermark bench retrieval --dataset locomo.jsonl --model none --limit 2
  evermark bench retrieval --dataset locomo.jsonl --method keyword,hybrid --out figures.json")]
pub(crate) struct RetrievalArgs {
    /// JSON lines: one haystack with its questions a line
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset: PathBuf,
    /// Ways to search [default: all there are with this model]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "METHOD")]
    pub(crate) method: Vec<MethodArg>,
    /// Who makes vectors: an `embedding.provider`, or `none` [default: as configured]
    #[arg(long, value_name = "PROVIDER")]
    pub(crate) model: Option<String>,
    /// Measure what each part of `hybrid` is worth, instead of methods
    #[arg(long, conflicts_with = "method")]
    pub(crate) ablation: bool,
    /// Memories to ask for
    #[arg(short = 'k', long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) top_k: u8,
    /// Only the first haystacks
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only the first questions of each haystack
    #[arg(long, value_name = "N")]
    pub(crate) queries: Option<usize>,
    /// Write the figures, and the ranks each question got, to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Where a data set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// LoCoMo's `locomo10.json`
    Locomo,
    /// LongMemEval's `longmemeval_s.json`, `_m` or `_oracle`
    Longmemeval,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  evermark bench retrieval-convert longmemeval longmemeval_s.json > longmemeval.jsonl"
)]
pub(crate) struct ConvertArgs {
    /// What FILE is
    #[arg(value_enum)]
    pub(crate) format: FormatArg,
    /// The data set as it is published
    pub(crate) file: PathBuf,
}
