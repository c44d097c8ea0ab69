//! Answers as people read them.

use crate::output::{Out, one_line, tame};
use evermark_server::api::{
    AddAnswer, AgentCaseItem, AgentSkillItem, EpisodeItem, ExplainItem, FactItem, FlushAnswer, GetData, ProfileItem,
    SearchData, Source, UnprocessedItem,
};
use serde_json::Value;

pub(crate) mod index;
#[cfg(feature = "lance")]
pub(crate) mod lancedb;
mod upkeep;

pub(crate) use upkeep::{rebuild, status, sync, verify};

/// What `search` found.
pub(crate) fn search(data: &SearchData, out: &mut Out) {
    for hit in &data.episodes {
        episode(&hit.item, Some(hit.score), &hit.atomic_facts, out);
        // Its facts say it where there are some; what judges say is of the episode.
        let of_episode = |explain: &&ExplainItem| hit.atomic_facts.is_empty() || explain.judged.is_some();
        explain(hit.explain.as_ref().filter(of_episode), out);
    }
    data.profiles.iter().for_each(|hit| profile(&hit.item, out));
    for hit in &data.agent_cases {
        agent_case(&hit.item, Some(hit.score), out);
        explain(hit.explain.as_ref(), out);
    }
    for hit in &data.agent_skills {
        agent_skill(&hit.item, Some(hit.score), out);
        explain(hit.explain.as_ref(), out);
    }
    data.unprocessed_messages.iter().for_each(|item| message(item, out));
    let nothing = data.episodes.is_empty() && data.agent_cases.is_empty() && data.agent_skills.is_empty();
    if nothing && data.profiles.is_empty() && data.unprocessed_messages.is_empty() {
        out.line("nothing found");
    }
    for (n, round) in data.rounds.iter().enumerate() {
        let asked = round.questions.iter().map(|question| one_line(question, 120)).collect::<Vec<_>>().join(" | ");
        let enough = match round.is_sufficient {
            Some(true) => ", enough",
            Some(false) => ", not enough",
            None => "",
        };
        out.line(out.paint.dim(format_args!("round {n}: {asked}: {} new{enough}", round.new)));
        if let Some(reasoning) = &round.reasoning {
            out.line(out.paint.dim(format_args!("         {}", one_line(reasoning, 200))));
        }
    }
    if let Some(why) = &data.why_not {
        out.line(format_args!("{}: {} ({})", tame(&why.id), tame(&why.reason), why.code));
        explain(why.explain.as_ref(), out);
    }
    for skipped in &data.degraded {
        let (stage, code) = (&skipped.stage, &skipped.code);
        crate::output::note(format_args!("note: {} ({stage}: {code})", tame(&skipped.reason)));
    }
}

/// What a score is made of, on one line.
fn explain(explain: Option<&ExplainItem>, out: &mut Out) {
    let Some(explain) = explain else { return };
    let mut parts = Vec::new();
    let mut add = |name: &str, value: Option<f32>| parts.extend(value.map(|value| format!("{name} {value:.2}")));
    add("bm25", explain.bm25);
    add("cosine", explain.cosine);
    if let Some(sum) = &explain.parts {
        let named = [
            ("words", sum.words),
            ("meaning", sum.meaning),
            ("neighbours", sum.neighbours),
            ("siblings", sum.siblings),
            ("episode", sum.episode),
            ("precise", sum.precise),
        ];
        named.into_iter().filter(|(_, value)| *value != 0.0).for_each(|(name, value)| add(name, Some(value)));
        add("total", Some(sum.total));
    }
    if let Some(judged) = &explain.judged {
        add("chance", Some(judged.chance));
        add("reranked", judged.rerank);
        add("llm", judged.llm);
        parts.extend((judged.round > 0).then(|| format!("round {}", judged.round)));
        parts.extend(judged.core.then(|| "chosen".to_owned()));
    }
    out.line(format_args!("        {}", out.paint.dim(parts.join(" · "))));
}

/// One page of `get`.
pub(crate) fn page(data: &GetData, page: u64, page_size: u64, out: &mut Out) {
    data.episodes.iter().for_each(|item| episode(item, None, &[], out));
    data.profiles.iter().for_each(|item| profile(item, out));
    data.agent_cases.iter().for_each(|item| agent_case(item, None, out));
    data.agent_skills.iter().for_each(|item| agent_skill(item, None, out));
    if data.count == 0 {
        out.line("nothing there");
        return;
    }
    let first = page.saturating_sub(1) * page_size + 1;
    let last = first + data.count as u64 - 1;
    out.line(out.paint.dim(format_args!("{first} to {last} of {}", data.total_count)));
}

fn episode(item: &EpisodeItem, score: Option<f32>, facts: &[FactItem], out: &mut Out) {
    let title = if item.subject.is_empty() { &item.episode } else { &item.subject };
    headline(score, item.timestamp.as_deref(), title, out);
    let body = if item.summary.is_empty() { &item.episode } else { &item.summary };
    if facts.is_empty() && body != title {
        out.line(format_args!("      {}", one_line(body, 160)));
    }
    for fact in facts {
        let score = out.paint.dim(format_args!("{:.2}", fact.score));
        out.line(format_args!("      • {}  {score}", one_line(&fact.content, 160)));
        explain(fact.explain.as_ref(), out);
    }
    whence(&item.source, out);
}

fn profile(item: &ProfileItem, out: &mut Out) {
    headline(None, None, &format!("profile of {}", item.id), out);
    out.line(format_args!("      {}", one_line(&item.profile_data.summary, 400)));
    for line in item.profile_data.explicit_info.as_array().into_iter().flatten() {
        let part = |key: &str| one_line(line.get(key).and_then(Value::as_str).unwrap_or_default(), 160);
        out.line(format_args!("      • {}: {}", part("category"), part("description")));
    }
    whence(&item.source, out);
}

fn agent_case(item: &AgentCaseItem, score: Option<f32>, out: &mut Out) {
    headline(score, item.timestamp.as_deref(), &item.task_intent, out);
    out.line(format_args!("      {}", one_line(&item.approach, 240)));
    if let Some(insight) = &item.key_insight {
        out.line(format_args!("      • {}", one_line(insight, 160)));
    }
    whence(&item.source, out);
}

fn agent_skill(item: &AgentSkillItem, score: Option<f32>, out: &mut Out) {
    headline(score, None, &item.name, out);
    out.line(format_args!("      {}", one_line(&item.description, 240)));
    whence(&item.source, out);
}

fn message(item: &UnprocessedItem, out: &mut Out) {
    let said = match &item.content {
        Value::String(content) => one_line(content, 160),
        parts => {
            let texts = parts.as_array().into_iter().flatten().filter_map(|part| part.get("text")?.as_str());
            one_line(&texts.collect::<Vec<_>>().join(" "), 160)
        }
    };
    let waiting = out.paint.yellow("waits");
    out.line(format_args!("{waiting} {}  {}: {said}", minute(&item.timestamp), tame(&item.sender_id)));
}

/// Score, time and title: what the eye looks for first.
fn headline(score: Option<f32>, timestamp: Option<&str>, title: &str, out: &mut Out) {
    let paint = out.paint;
    let score = score.map_or_else(|| "   -".to_owned(), |score| format!("{score:4.2}"));
    let time = timestamp.map_or_else(String::new, |time| format!("{}  ", paint.dim(minute(time))));
    out.line(format_args!("{}  {time}{}", paint.green(score), paint.bold(one_line(title, 80))));
}

/// File and entry, so that it can be opened and edited.
fn whence(source: &Source, out: &mut Out) {
    let entry = source.entry.as_deref().map_or_else(String::new, |entry| format!(":{entry}"));
    out.line(format_args!("      {}", out.paint.dim(format_args!("{}{}", tame(&source.path), tame(&entry)))));
}

/// `2027-02-03T08:14:30Z` to the minute; it is in the configured zone already.
fn minute(time: &str) -> String {
    time.get(..16).map_or_else(|| tame(time).into_owned(), |start| start.replace('T', " "))
}

/// What `add` did.
pub(crate) fn added(answer: &AddAnswer, out: &mut Out) {
    use evermark_server::api::add::AddStatus;
    let (n, what, receipt) = match answer {
        AddAnswer::Accepted(data) => (data.message_count, "stored; memories follow", &data.receipt),
        AddAnswer::Done(data) => {
            let what = match data.status {
                AddStatus::Accumulated => "stored; memories follow when the conversation pauses or is flushed",
                AddStatus::Extracted => "stored and made into memories",
            };
            (data.message_count, what, &data.receipt)
        }
    };
    out.line(format_args!("{n} {} {what}", if n == 1 { "message" } else { "messages" }));
    receipted(receipt, out);
}

/// What `flush` did.
pub(crate) fn flushed(answer: &FlushAnswer, out: &mut Out) {
    use evermark_server::api::add::FlushStatus;
    let (what, receipt) = match answer {
        FlushAnswer::Accepted(data) => ("memories follow", &data.receipt),
        FlushAnswer::Done(data) => match data.status {
            FlushStatus::Extracted => ("made into memories", &data.receipt),
            FlushStatus::NoExtraction => ("nothing was waiting", &data.receipt),
        },
    };
    out.line(what);
    receipted(receipt, out);
}

fn receipted(receipt: &evermark_server::api::ReceiptItem, out: &mut Out) {
    if receipt.duplicates > 0 {
        out.line(format_args!("  {} of them were there before", receipt.duplicates));
    }
    for made in &receipt.extracted.episodes {
        let place = out.paint.dim(format_args!("{} {}", tame(&made.id), tame(&made.path)));
        out.line(format_args!("  episode of {}: {place}", tame(&made.owner_id)));
    }
    match receipt.extracted.facts {
        0 => {}
        1 => out.line("  1 fact"),
        n => out.line(format_args!("  {n} facts")),
    }
    if receipt.open > 0 {
        out.line(format_args!("  {} waiting in the session's inbox", receipt.open));
    }
    match receipt.indexed {
        Some(true) => out.line("  searchable now"),
        Some(false) => out.line("  not searchable yet"),
        None => {}
    }
}
