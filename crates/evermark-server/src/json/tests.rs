use super::*;

fn check(text: &str, expected: &str) {
    match read(text.as_bytes()) {
        Ok(value) => assert_eq!(value.to_string(), expected),
        Err(error) => assert_eq!(error.message(), expected, "{text:?}"),
    }
}

#[test]
fn the_offset_is_where_python_gives_up() {
    check(r#"{"é":"ü",}"#, "JSON decode error: 9");
    check("{\"a\":[1,{\"b\":[]},2] \n ]", "JSON decode error: 22");
    check("[1e]", "JSON decode error: 2");
    check("[1.5e+]", "JSON decode error: 4");
    check("[-Infinity,-Infinit]", "JSON decode error: 11");
    check("\"a\\", "JSON decode error: 0");
    check("{\"a\":{}}", r#"{"a":{}}"#);
}

#[test]
fn what_only_we_refuse_is_told_in_our_words() {
    check("[NaN]", "JSON decode error: expected value at line 1 column 2");
    check("[\"\\ud800\"]", "JSON decode error: unexpected end of hex escape at line 1 column 9");
    check(&"[".repeat(200), "JSON decode error: 200");
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    check(&deep, "JSON decode error: recursion limit exceeded at line 1 column 128");
}
