use super::*;

const TABLE: &str = "CREATE TABLE unprocessed_buffer (created_at TEXT, updated_at TEXT, message_id TEXT, app_id TEXT, project_id TEXT, \
    session_id TEXT, track TEXT, sender_id TEXT, sender_name TEXT, role TEXT, timestamp TEXT, content_items_json TEXT, text TEXT, \
    tool_calls_json TEXT, tool_call_id TEXT)";

fn root_with(sql: &str) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::open(dir.path()).expect("it exists");
    let sqlite = dir.path().join(".index/sqlite");
    std::fs::create_dir_all(&sqlite).expect("made");
    let connection = Connection::open(sqlite.join("system.db")).expect("made");
    connection.execute_batch(sql).expect("valid SQL");
    (dir, layout)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn buffered_messages_are_read_and_nothing_is_left_behind() {
    let (dir, layout) = root_with(&format!(
        "{TABLE}; INSERT INTO unprocessed_buffer VALUES ('', '', 'm_1', 'default', 'default', 's', 'memorize', 'u', NULL, 'user', \
         '2025-11-20 08:00:00.000000', '[{{\"type\": \"text\", \"text\": \"hi\"}}]', 'hi', NULL, NULL), \
         ('', '', 'm_0', 'default', 'default', 's', 'quarantine', 'u', NULL, 'user', '2025-11-20 07:00:00.000000', '[]', '', NULL, NULL);"
    ));
    let found = buffered(&layout).expect("readable");
    assert_eq!(found.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), ["m_1"]);
    assert_eq!(names(&dir.path().join(".index/sqlite")), ["system.db"]);
    assert_eq!(names(&dir.path().join(".evermark")), Vec::<String>::new());
}

#[test]
fn a_root_or_database_without_a_buffer_has_none() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(buffered(&Layout::open(dir.path()).expect("it exists")).expect("readable"), []);
    let (_dir, layout) = root_with("CREATE TABLE other (x)");
    assert_eq!(buffered(&layout).expect("readable"), []);
}
