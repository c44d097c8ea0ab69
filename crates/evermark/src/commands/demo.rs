//! `evermark demo`: one memory's whole life, on a root of its own, with no key and no network.
//!
//! Said, written, found, edited by hand, found as edited, the index deleted, found again. Every step looks whether what
//! it shows is true, and the demo fails where it is not.

mod story;

use crate::cli::DemoArgs;
use crate::clock;
use crate::config::{Config, Environment, Flags, Root, Source};
use crate::exit::{Exit, Failure};
use crate::logging::{self, Voice};
use crate::output::{Out, one_line, tame};
use crate::session::{Missing, Session};
use anyhow::Context;
use evermark_server::api::{FlushBody, SearchBody, SearchData, Wait};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the daemon's own threads may take to notice a change: far more than they need.
const PATIENCE: Duration = Duration::from_secs(5);
/// Times that a folder is removed which somebody writes into.
const TRIES: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(crate) fn run(
    args: &DemoArgs,
    root: Option<&Path>,
    env: &Environment,
    verbose: u8,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let started = clock::now();
    let home = Home::new(root, args.keep)?;
    let root = Root { path: home.path.clone(), source: Source::Flag("--root") };
    let config = Config::load(root, env, &Flags::default())?.without_provider();
    logging::start(&config, Voice::Demo, verbose)?;
    let session = Session::open(&config, env, Missing::Create)?;
    session.start()?;
    let mut demo = Demo { root: &home.path, session: &session, out, steps: Vec::new(), started: clock::now() };
    let done = demo.play();
    let steps = std::mem::take(&mut demo.steps);
    let closed = session.close();
    done?;
    closed?;
    let took_ms = clock::millis(started.elapsed());
    if out.json {
        out.document(&json!({ "root": home.kept(), "steps": steps, "took_ms": took_ms }));
    } else {
        out.line(format_args!(
            "\n{} in {took_ms} ms, with no key and no network.",
            out.paint.bold("All of this was real")
        ));
        match home.kept() {
            Some(path) => {
                out.line(format_args!("The files are in {}; look at them with cat, less or an editor.", path.display()))
            }
            None => out.line("Its files are gone again; `evermark demo --keep` leaves them for you to read."),
        }
        out.line("Yours: `evermark serve`, then talk to http://127.0.0.1:8000, or `evermark add --help`.");
    }
    Ok(Exit::Ok)
}

/// Where the demo happens.
struct Home {
    path: PathBuf,
    /// Removes the folder when dropped.
    temporary: Option<tempfile::TempDir>,
}

impl Home {
    fn new(root: Option<&Path>, keep: bool) -> anyhow::Result<Self> {
        if let Some(root) = root {
            let is_used = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
            if is_used {
                let failure = Failure::new(Exit::Usage, format!("{} is not empty", root.display()));
                return Err(failure.hint("the demo wants a folder of its own").into());
            }
            std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
            return Ok(Self { path: root.canonicalize()?, temporary: None });
        }
        let folder = tempfile::Builder::new().prefix("evermark-demo-").tempdir().context("cannot make a folder")?;
        if keep {
            let path = folder.keep().canonicalize()?;
            return Ok(Self { path, temporary: None });
        }
        Ok(Self { path: folder.path().canonicalize()?, temporary: Some(folder) })
    }

    fn kept(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(&*self.path)
    }
}

struct Demo<'a> {
    root: &'a Path,
    session: &'a Session,
    out: &'a mut Out,
    steps: Vec<Value>,
    started: Instant,
}

impl Demo<'_> {
    fn play(&mut self) -> anyhow::Result<()> {
        let file = self.say()?;
        self.show(&file)?;
        self.find("found", story::QUESTION, story::FACT, None)?;
        self.find("found by meaning", story::QUESTION_MEANT, story::FACT_MEANT, None)?;
        self.find("found, in Chinese", story::QUESTION_ZH, story::FACT_ZH, None)?;
        self.edit(&file)?;
        let before = self.find("found as edited", story::QUESTION, story::EDITED, Some(story::FACT))?;
        self.delete_index(&before)
    }

    /// Adds the conversation and makes memories of it; returns the file of the facts.
    fn say(&mut self) -> anyhow::Result<PathBuf> {
        self.begin();
        let answer = self.session.add(&story::body())?;
        let flushed = self.session.flush(&FlushBody {
            session_id: story::SESSION.to_owned(),
            app_id: "default".to_owned(),
            project_id: "default".to_owned(),
            wait: Some(Wait::Indexed),
            wait_timeout_ms: Some(clock::millis(PATIENCE)),
        })?;
        let took = self.took();
        let said = story::MESSAGES.len();
        self.step(
            "said",
            took,
            &format!("{said} messages of a conversation"),
            json!({ "added": answer, "flushed": flushed }),
        );
        for (who, what) in story::MESSAGES {
            self.show_line(&format!("{who:7} {what}"));
        }
        self.newest_facts()
    }

    fn newest_facts(&self) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(story::FACTS_FOLDER);
        let files =
            std::fs::read_dir(&folder).with_context(|| format!("there are no facts in {}", folder.display()))?;
        let mut files = files.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>();
        files.sort();
        files.pop().with_context(|| format!("there are no facts in {}", folder.display()))
    }

    /// Shows the Markdown that came of it.
    fn show(&mut self, file: &Path) -> anyhow::Result<()> {
        self.begin();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let n_facts = text.matches("### Fact").count();
        let took = self.took();
        self.step(
            "written",
            took,
            &format!("{n_facts} facts, as Markdown: {}", file.display()),
            json!({ "file": file, "facts": n_facts }),
        );
        let is_there = text.contains(story::FACT) && text.contains(story::FACT_ZH);
        // The entry that the edit will change says more than the head of the file.
        let at = text.find(story::FACT).and_then(|at| text[..at].rfind("<!-- entry:")).unwrap_or(0);
        for line in text[at..].lines().take_while(|line| !line.starts_with("<!-- /entry:")) {
            self.show_line(line);
        }
        self.expect(is_there, "the Markdown does not hold what was said")
    }

    /// Asks until the answer holds `wanted` and no longer `gone`, and shows it.
    fn find(&mut self, name: &str, question: &str, wanted: &str, gone: Option<&str>) -> anyhow::Result<SearchData> {
        self.begin();
        let is_gone = |data: &SearchData| gone.is_none_or(|gone| !holds(data, gone));
        let (data, took, tries) = self.ask_until(question, |data| holds(data, wanted) && is_gone(data))?;
        let waited = if tries > 1 { ", once the watcher had noticed" } else { "" };
        let details = json!({ "query": question, "ids": ids(&data) });
        self.step(name, took, &format!("“{question}”{waited}"), details);
        self.show_text(&data, wanted);
        self.expect(holds(&data, wanted), &format!("a search for “{question}” did not find “{wanted}”"))?;
        let still = gone.unwrap_or_default();
        self.expect(is_gone(&data), &format!("search still finds “{still}”, which nobody says any more"))?;
        Ok(data)
    }

    /// Changes a word in every file about the user, as a person would with an editor.
    fn edit(&mut self, file: &Path) -> anyhow::Result<()> {
        self.begin();
        let mut n_changed = 0;
        for path in markdown_below(&self.root.join(story::USER_FOLDER))? {
            let text = std::fs::read_to_string(&path)?;
            if text.contains(story::FACT) {
                let edited = text.replace(story::FACT, story::EDITED);
                std::fs::File::create(&path)?.write_all(edited.as_bytes())?;
                n_changed += 1;
            }
        }
        let took = self.took();
        let says =
            format!("“{}” is now “{}” in {n_changed} files, with no help from Evermark", story::FACT, story::EDITED);
        self.step("edited by hand", took, &says, json!({ "files": n_changed, "file": file }));
        self.expect(n_changed > 0, "there was nothing to edit")
    }

    /// Removes the whole index and waits until the same search answers the same.
    fn delete_index(&mut self, before: &SearchData) -> anyhow::Result<()> {
        self.begin();
        let index = self.root.join(".index");
        let mut left = TRIES;
        // Whoever writes a file there meanwhile keeps its folder from going; `rm -rf` would be typed again.
        while let Err(error) = std::fs::remove_dir_all(&index) {
            left -= 1;
            if left == 0 || error.kind() != std::io::ErrorKind::DirectoryNotEmpty {
                return Err(error).with_context(|| format!("cannot remove {}", index.display()));
            }
        }
        let took = self.took();
        self.step("index deleted", took, &format!("rm -rf {}", index.display()), json!({ "folder": index }));
        self.begin();
        // A daemon notices within a sweep; the demo does not wait for that.
        self.session.freshen();
        let wanted = ids(before);
        let current = index.join("evermark").join("CURRENT");
        let (data, _, _) = self.ask_until(story::QUESTION, |data| current.exists() && ids(data) == wanted)?;
        // All of it: noticing, building, and the answer.
        let took = self.took();
        self.step(
            "found again",
            took,
            "the index is back, made from the Markdown",
            json!({ "query": story::QUESTION, "ids": ids(&data) }),
        );
        self.show_text(&data, story::EDITED);
        self.expect(
            current.exists() && ids(&data) == wanted,
            "after the index was deleted, search does not answer as before",
        )
    }

    fn ask_until(
        &self,
        question: &str,
        is_enough: impl Fn(&SearchData) -> bool,
    ) -> anyhow::Result<(SearchData, Duration, u32)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let asked = clock::now();
            let data = self.session.search(&SearchBody {
                user_id: Some(story::USER.to_owned()),
                app_id: "default".to_owned(),
                project_id: "default".to_owned(),
                query: question.to_owned(),
                top_k: 3,
                ..SearchBody::default()
            });
            let took = if tries == 1 { asked.elapsed() } else { self.started.elapsed() };
            let late = self.started.elapsed() > PATIENCE;
            match data {
                Ok(data) if late || is_enough(&data) => return Ok((data, took, tries)),
                Err(error) if late => return Err(error),
                Ok(_) | Err(_) => clock::pause(LOOK_AGAIN),
            }
        }
    }

    fn expect(&self, is_so: bool, otherwise: &str) -> anyhow::Result<()> {
        if is_so {
            Ok(())
        } else {
            Err(Failure::new(Exit::Failed, format!("the demo does not hold: {otherwise}")).into())
        }
    }

    fn begin(&mut self) {
        self.started = clock::now();
    }

    fn took(&self) -> Duration {
        self.started.elapsed()
    }

    fn step(&mut self, name: &str, took: Duration, says: &str, mut details: Value) {
        details["step"] = name.into();
        details["took_ms"] = json!((took.as_secs_f64() * 1e5).round() / 100.0);
        self.steps.push(details);
        if !self.out.json {
            let paint = self.out.paint;
            let number = self.steps.len();
            let took = paint.dim(format_args!("{:.1} ms", took.as_secs_f64() * 1e3));
            self.out.line(format_args!("\n{number}. {}: {}  {took}", paint.bold(name), tame(says)));
            self.out.flush();
        }
    }

    /// Shows the first text of an answer that holds `wanted`: a fact, where one does.
    fn show_text(&mut self, data: &SearchData, wanted: &str) {
        if let Some(line) = texts(data).find(|text| text.contains(wanted)).map(|text| one_line(text, 110)) {
            self.show_line(&format!("→ {line}"));
        }
    }

    fn show_line(&mut self, line: &str) {
        if !self.out.json {
            self.out.line(format_args!("   {} {}", self.out.paint.dim("│"), tame(line)));
        }
    }
}

/// Every text of an answer that a person would read.
fn texts(data: &SearchData) -> impl Iterator<Item = &str> {
    data.episodes.iter().flat_map(|hit| {
        let facts = hit.atomic_facts.iter().map(|fact| fact.content.as_str());
        facts.chain([hit.item.summary.as_str(), hit.item.episode.as_str(), hit.item.subject.as_str()])
    })
}

fn holds(data: &SearchData, wanted: &str) -> bool {
    texts(data).any(|text| text.contains(wanted))
}

fn ids(data: &SearchData) -> Vec<&str> {
    let hits = data.episodes.iter();
    hits.flat_map(|hit| hit.atomic_facts.iter().map(|fact| fact.id.as_str()).chain([hit.item.id.as_str()])).collect()
}

fn markdown_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    Ok(found)
}
