use super::count;

#[test]
fn counts_packages_and_nothing_else() {
    let lockfile = "version = 4\n\n[[package]]\nname = \"a\"\ndependencies = [\n \"[[package]]\",\n]\n\n[[package]]\r\nname = \"b\"\n";
    assert_eq!(count(lockfile), 2);
    assert_eq!(count(""), 0);
}
