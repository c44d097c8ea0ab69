use super::*;

fn days(question: &str) -> Option<(String, String)> {
    let (start, end) = time(question, &TimeZone::UTC)?;
    let date =
        |us: i64| jiff::Timestamp::from_microsecond(us).expect("a time").to_zoned(TimeZone::UTC).date().to_string();
    Some((date(start), date(end)))
}

#[test]
fn days_are_read_however_they_are_written() {
    for question in [
        "what happened on 2023-05-07?",
        "What did I do on 7 May 2023?",
        "on the 7th of May, 2023",
        "May 7, 2023",
        "on May 7th 2023.",
        "am 7. Mai 2023",
        "am 07.05.2023?",
        "2023/5/7",
        "2023年5月7日发生了什么",
    ] {
        assert_eq!(days(question), Some(("2023-05-07".into(), "2023-05-08".into())), "{question}");
    }
}

#[test]
fn months_are_whole() {
    for question in ["in May 2023", "2023-05", "Was geschah im Mai 2023?", "2023年5月的会议"] {
        assert_eq!(days(question), Some(("2023-05-01".into(), "2023-06-01".into())), "{question}");
    }
    assert_eq!(days("December 2023"), Some(("2023-12-01".into(), "2024-01-01".into())));
}

#[test]
fn what_is_no_date_is_none() {
    for question in ["", "May I come in?", "7 May", "version 1.2.3", "192.168.1.10", "in 2023", "2023-02-30", "page 7"]
    {
        assert_eq!(days(question), None, "{question}");
    }
}

#[test]
fn the_zone_decides_when_a_day_begins() {
    let zone = TimeZone::get("Asia/Shanghai").expect("a zone");
    let (start, end) = time("2023-05-07", &zone).expect("a day");
    assert_eq!((start, end - start), (1_683_388_800_000_000, 86_400_000_000));
}

#[test]
fn phrases_are_what_is_quoted() {
    assert_eq!(phrases("who said \"Ship  it Friday\" and “no way”?"), ["ship it friday", "no way"]);
    assert_eq!(phrases("「上海 天气」 «à bientôt» `cargo run`"), ["上海 天气", "à bientôt", "cargo run"]);
    assert_eq!(phrases("an \"open end"), Vec::<String>::new());
    assert_eq!(phrases("empty \"\" and \"?!\""), Vec::<String>::new());
}
