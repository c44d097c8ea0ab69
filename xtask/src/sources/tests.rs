use super::words_in;

/// Checks which lines are blamed.
fn check(text: &str, expected: &[usize]) {
    let lines: Vec<usize> = words_in(text, &["println!", "env::var"]).map(|(line, _)| line).collect();
    assert_eq!(lines, expected, "in:\n{text}");
}

#[test]
fn a_word_in_code_is_found_with_its_line() {
    check("fn main() {\n    println!(\"hello\");\n    let home = std::env::var(\"HOME\");\n}\n", &[2, 3]);
    check("    eprintln!(\"no\");\n    std::env::vars_os()\n", &[1, 2]);
}

#[test]
fn comments_may_speak_of_it() {
    check("//! Never println!\n/// ```\n/// println!(\"{x}\");\n/// ```\nfn quiet() {} // no env::var\n", &[5]);
}

#[test]
fn test_modules_may_use_it_and_what_follows_them_may_not() {
    check("#[cfg(test)]\nmod tests;\nfn f() { println!() }\n", &[3]);
    check("#[cfg(test)]\nmod tests {\n    fn f() {\n        println!();\n    }\n}\nfn g() { println!() }\n", &[7]);
    check("#[cfg(test)]\n#[expect(clippy::print_stdout)]\npub(crate) mod tests {\n    println!()\n}\n", &[]);
}

#[test]
fn an_attribute_on_something_else_hides_nothing() {
    check("#[cfg(test)]\nuse std::fmt;\nmod loud {\n    println!();\n}\n", &[4]);
}
