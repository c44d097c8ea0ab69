use super::{BLOCK_BYTES_MAX, parse, write_field};
use proptest::prelude::*;
use serde_json::{Value, json};

fn values(block: &str) -> Value {
    match parse(block) {
        Ok(fields) => Value::Object(fields.into_iter().map(|field| (field.key, field.value)).collect()),
        Err(fault) => json!(format!("line {}", fault.line)),
    }
}

#[test]
fn the_core_schema_is_read() {
    let check = |block: &str, expected: Value| assert_eq!(values(block), expected, "{block:?}");
    check("", json!({}));
    check("# only a comment\n", json!({}));
    check("a: 1\nb: -2\nc: +3\nd: 0x1f\ne: 0o17\n", json!({"a": 1, "b": -2, "c": 3, "d": 31, "e": 15}));
    check("a: 1.5\nb: 1e3\nc: .5\nd: 1.0e-05\n", json!({"a": 1.5, "b": 1000.0, "c": 0.5, "d": 0.00001}));
    check("a: true\nb: False\nc: ~\nd:\ne: null\n", json!({"a": true, "b": false, "c": null, "d": null, "e": null}));
    check(
        "a: yes\nb: 2026-11-22\nc: 1_000\nd: 10:30\n",
        json!({"a": "yes", "b": "2026-11-22", "c": "1_000", "d": "10:30"}),
    );
    check("a: '1'\nb: \"null\"\nc: !!str 7\n", json!({"a": "1", "b": "null", "c": "7"}));
    check(
        "a: 99999999999999999999999\nb: .inf\nc: 1.2.3\n",
        json!({"a": "99999999999999999999999", "b": ".inf", "c": "1.2.3"}),
    );
    check("a:\n- 1\n- b: 2\n  c: [x, y]\nd: {e: f}\n", json!({"a": [1, {"b": 2, "c": ["x", "y"]}], "d": {"e": "f"}}));
    check("a: |\n  # text\n  two\nb: >-\n  folded\n  text\n", json!({"a": "# text\ntwo\n", "b": "folded text"}));
    check("a: 'one\n  two'\nb: 3\n", json!({"a": "one two", "b": 3}));
    check("a: &x [1, 2]\nb: *x\n", json!({"a": [1, 2], "b": [1, 2]}));
    check("{a: 1, b: 2}\n", json!({"a": 1, "b": 2}));
    check("a: 1\r\nb: '2'\r\n", json!({"a": 1, "b": "2"}));
}

#[test]
fn what_is_not_one_mapping_is_a_fault() {
    for block in [
        "- a\n",
        "text\n",
        "42\n",
        "a: [\n",
        "a: 'x\n",
        "a: 1\n...\nb: 2\n",
        "? [a]\n: b\n",
        "a: *nobody\n",
        "a: &a [*a]\n",
        "\t- x",
        "a: b: c\n",
        "*x: 1\n",
        "%YAML 9\n",
    ] {
        assert!(parse(block).is_err(), "{block:?}");
    }
}

#[test]
fn depth_aliases_and_size_are_bounded() {
    let deep = format!("a: {}", "[".repeat(100));
    assert!(parse(&deep).is_err());
    let deep = format!("a:\n{}", (1..100).map(|n| format!("{}- \n", " ".repeat(n))).collect::<String>());
    assert!(parse(&deep).is_err());
    let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for n in 1..12 {
        let previous = format!("*a{}", n - 1);
        laughs.push_str(&format!("a{n}: &a{n} [{}]\n", [previous.as_str(); 10].join(", ")));
    }
    assert_eq!(parse(&laughs).expect_err("too much").message, "aliases copy too much");
    assert!(parse(&"a".repeat(BLOCK_BYTES_MAX + 1)).is_err());
}

#[test]
fn scalars_are_written_as_pyyaml_writes_them() {
    let check = |value: Value, expected: &str| {
        let mut out = String::new();
        write_field(&mut out, "k", &value, "\n");
        assert_eq!(out, format!("k:{expected}\n"));
        assert_eq!(values(&out), json!({"k": value}));
    };
    check(json!("mira"), " mira");
    check(json!("episode_log_mira_2027-02-03"), " episode_log_mira_2027-02-03");
    check(json!("2027-02-03"), " '2027-02-03'");
    check(json!("2027-02-03T08:15:00.120000+00:00"), " '2027-02-03T08:15:00.120000+00:00'");
    check(json!("12"), " '12'");
    check(json!("1e3"), " '1e3'");
    check(json!("yes"), " 'yes'");
    check(json!("Null"), " 'Null'");
    check(json!(""), " ''");
    check(json!("it's"), " it's");
    check(json!("a: b"), " 'a: b'");
    check(json!("a: it's"), " 'a: it''s'");
    check(json!("a #b"), " 'a #b'");
    check(json!("- a"), " '- a'");
    check(json!("-a"), " -a");
    check(json!("今天"), " 今天");
    check(json!("a\nb\t\u{0}\u{85}\u{feff}"), " \"a\\nb\\t\\x00\\x85\\uFEFF\"");
    check(json!(" a"), " ' a'");
    check(json!(null), " null");
    check(json!(true), " true");
    check(json!(0.5), " 0.5");
    check(json!(1.0), " 1.0");
    check(json!(1e-7), " 1.0e-7");
    check(json!(1e300), " 1.0e+300");
    check(json!([]), " []");
    check(json!({}), " {}");
    check(json!(["a", {"b": 1, "c": [2]}, [3, 4]]), "\n- a\n- b: 1\n  c:\n  - 2\n- - 3\n  - 4");
    check(json!({"x": {"v": "z"}, "w": []}), "\n  x:\n    v: z\n  w: []");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000i32..1_000_000).prop_map(|n| Value::from(f64::from(n) / 64.0)),
        ".*".prop_map(Value::from),
        "[-+.:0-9eETzx_ ]{0,12}".prop_map(Value::from),
        "[#&*!|>'\"%@`,{}\\[\\]?: a-]{0,8}".prop_map(Value::from),
        proptest::collection::vec(any::<char>(), 0..6).prop_map(|c| Value::from(c.into_iter().collect::<String>())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,8}", ".{0,6}", "[-+.:0-9eE# ]{0,8}", "x{118,130}"]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(key in key(), value in value(), crlf in any::<bool>()) {
        let mut out = String::new();
        write_field(&mut out, &key, &value, if crlf { "\r\n" } else { "\n" });
        let fields = parse(&out).map_err(|fault| TestCaseError::fail(format!("{fault:?} in {out:?}")))?;
        prop_assert_eq!(fields.len(), 1);
        prop_assert_eq!(&fields[0].key, &key);
        prop_assert_eq!(&fields[0].value, &value, "{:?}", out);
    }

    #[test]
    fn nothing_panics(block in "[ \\-?:,\\[\\]{}#&*!|>'\"%@`a-c0-9\n\t\r~.<]{0,60}") {
        let _fields = parse(&block);
    }
}
