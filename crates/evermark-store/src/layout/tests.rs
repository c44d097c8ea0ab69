use super::*;
use crate::durable::tests::Broken;
use evermark_core::error::ErrorKind;
use evermark_core::world::RealWorld;

fn root() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    layout.prepare().unwrap();
    (dir, layout)
}

#[test]
fn an_identity_is_made_once() {
    let (_dir, layout) = root();
    assert_eq!(layout.identity().unwrap(), None);
    let (made, created) = layout.ensure_identity(&RealWorld::new()).unwrap();
    assert_eq!(created, Created::New);
    assert_eq!(made.root_id.len(), 32);
    assert_eq!(layout.ensure_identity(&RealWorld::new()).unwrap(), (made.clone(), Created::Existed));
    assert_eq!(layout.identity().unwrap(), Some(made));
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (_dir, layout) = root();
    let text = br#"{"format": 2, "root": {"something": "else"}}"#;
    durable::write(&RealWorld::new(), &layout.identity_file(), text).unwrap();
    let error = layout.ensure_identity(&RealWorld::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().ends_with("has format 2; this program knows formats up to 1"), "{error}");
    assert_eq!(std::fs::read(layout.identity_file()).unwrap(), text);

    durable::write(&RealWorld::new(), &layout.identity_file(), b"not json").unwrap();
    assert!(matches!(layout.identity(), Err(Error::Unreadable { .. })));
}

#[test]
fn generations_come_swing_and_go() {
    let (_dir, layout) = root();
    let world = RealWorld::new();
    assert_eq!(layout.current().unwrap(), None);
    let first = layout.new_generation().unwrap();
    assert_eq!(first.to_string(), "gen-000001");
    layout.swing(&world, first).unwrap();
    let second = layout.new_generation().unwrap();
    assert_eq!(layout.current().unwrap(), Some(first));
    assert_eq!(layout.generations().unwrap(), [first, second]);
    assert!(layout.remove_generation(first).is_err());
    layout.swing(&world, second).unwrap();
    layout.remove_generation(first).unwrap();
    layout.remove_generation(first).unwrap();
    assert_eq!(layout.generations().unwrap(), [second]);
    assert_eq!(layout.new_generation().unwrap(), Generation(3));
    assert!(layout.swing(&world, Generation(9)).is_err());

    std::fs::remove_dir_all(layout.generation_dir(second)).unwrap();
    assert_eq!(layout.current().unwrap(), None);
    durable::write(&world, &layout.current_file(), b"\xff\xfe").unwrap();
    assert_eq!(layout.current().unwrap(), None);
    std::fs::remove_dir_all(layout.index_dir()).unwrap();
    assert_eq!(layout.current().unwrap(), None);
    assert_eq!(layout.generations().unwrap(), []);
}

#[test]
fn a_swing_that_fails_changes_nothing_and_one_that_shows_has_not_failed() {
    let (_dir, layout) = root();
    let (first, second) = (layout.new_generation().unwrap(), layout.new_generation().unwrap());
    layout.swing(&RealWorld::new(), first).unwrap();
    layout.swing(&Broken(durable::TEMP_WRITTEN, io::ErrorKind::StorageFull), second).unwrap_err();
    assert_eq!(layout.current().unwrap(), Some(first));
    durable::sweep(&layout.index_dir()).unwrap();
    layout.swing(&Broken(durable::RENAMED, io::ErrorKind::ReadOnlyFilesystem), second).unwrap();
    assert_eq!(layout.current().unwrap(), Some(second));
}

#[test]
fn only_exact_names_are_generations() {
    for name in ["gen-1", "gen-0000001", "gen-00000x", "gen-", "gen--00001", "gen-+00001", "GEN-000001"] {
        assert_eq!(Generation::from_name(name), None, "{name}");
    }
    assert_eq!(Generation::from_name("gen-1234567"), Some(Generation(1_234_567)));
}
