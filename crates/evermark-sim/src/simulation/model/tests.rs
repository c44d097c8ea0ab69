use super::*;

#[test]
fn what_is_kept_waits_or_stands_in_an_episode() {
    let mut model = Model::default();
    let save = model.write(0, Kind::Episode, 1);
    let word = words(save.text.as_deref().unwrap_or_default()).into_iter().next().unwrap();
    assert!(!model.keeps(&word));
    model.promised.insert(word.clone());
    assert!(model.keeps(&word));
    model.saved(&save);
    model.promised.clear();
    assert!(model.keeps(&word));
    let removal = model.remove_file(0).unwrap();
    model.promised.insert(word.clone());
    model.saved(&removal);
    assert!(!model.keeps(&word), "somebody has taken it out");
}

fn disk(model: &Model) -> BTreeMap<String, String> {
    model.files.clone()
}

fn written() -> (Model, String) {
    let mut model = Model::default();
    let save = model.write(0, Kind::Episode, 3);
    model.saved(&save);
    let path = save.path;
    (model, path)
}

#[test]
fn what_is_written_is_expected_under_its_key() {
    let (model, path) = written();
    let expected = model.expected().unwrap();
    assert_eq!(expected.len(), 3);
    let key = MemoryKey {
        owner: Owner::user(Scope::default(), "amy"),
        kind: Kind::Episode,
        id: "amy_ep_20260102_00000002".to_owned(),
    };
    assert_eq!(expected[&key], Expected { path, words: BTreeSet::from(["zqbbbbczq".to_owned()]) });
}

#[test]
fn an_edit_keeps_the_size_and_takes_the_old_word_out() {
    let (mut model, path) = written();
    let before = model.files[&path].clone();
    let save = model.edit(0, true).unwrap();
    assert_eq!(save.text.as_ref().unwrap().len(), before.len());
    model.saved(&save);
    assert!(!model.files[&path].contains("zqbbbbbzq"));
    assert_eq!(model.expected().unwrap().len(), 3);
}

#[test]
fn a_cut_file_loses_entries_until_it_is_mended() {
    let (mut model, path) = written();
    let whole = model.files[&path].clone();
    let save = model.cut(0, 700).unwrap();
    model.saved(&save);
    assert!(model.expected().unwrap().len() < 3);
    for save in model.mend() {
        model.saved(&save);
    }
    assert_eq!(model.files[&path], whole);
}

#[test]
fn appending_is_allowed_and_changing_is_not() {
    let (mut model, path) = written();
    let mut appended = disk(&model);
    let text = appended.get_mut(&path).unwrap();
    *text = text.replace("entry_count: 0", "entry_count: 4");
    text.push_str("<!-- entry:ep_9 -->\nzqmmmmmzq\n<!-- /entry:ep_9 -->\n");
    model.observe(appended).unwrap();

    let mut changed = disk(&model);
    let text = changed.get_mut(&path).unwrap();
    *text = text.replace("mill", "hill");
    assert!(model.observe(changed).unwrap_err().contains("was changed by the program"));
    assert!(model.observe(BTreeMap::new()).unwrap_err().contains("was removed by the program"));
    let mut more = disk(&model);
    more.insert(format!("{SCOPE}/users/amy/episodes/episode-2026-01-09.md"), String::new());
    assert!(model.observe(more).unwrap_err().contains("was made by the program"));
}

#[test]
fn a_promise_is_kept_by_one_episode_and_one_fact() {
    let entry = |word: &str, id: &str| format!("<!-- entry:{id} -->\n{word} {word}\n<!-- /entry:{id} -->\n");
    let (episodes, facts) =
        ("users/amy/episodes/episode-2100-01-01.md", "users/amy/.atomic_facts/atomic_fact-2100-01-01.md");
    let mut model = Model::default();
    let word = model.word();
    model.files.insert(format!("{SCOPE}/{episodes}"), entry(&word, "ep_1"));
    model.promised.insert(word.clone());
    assert!(model.keep_promises().unwrap_err().contains("is in no atomic_fact"));
    model.files.insert(format!("{SCOPE}/{facts}"), entry(&word, "af_1"));
    model.promised.insert(word.clone());
    model.keep_promises().unwrap();
    let twice = entry(&word, "ep_1") + &entry(&word, "ep_2");
    model.files.insert(format!("{SCOPE}/{episodes}"), twice);
    assert!(model.keep_promises().unwrap_err().contains("stands in 2 entries of kind episode"));
}

#[test]
fn words_differ_and_are_alike() {
    let mut model = Model::default();
    let words: BTreeSet<String> = (0..2000).map(|_| model.word()).collect();
    assert_eq!(words.len(), 2000);
    assert!(words.iter().all(|word| word.len() == 9));
    let first = words.iter().next().unwrap();
    assert_eq!(evermark_core::text::terms(first), std::slice::from_ref(first));
}
