use super::Decoded;

#[test]
fn damage_is_marked_where_it_is() {
    let text = Decoded::of("plain 今天".as_bytes());
    assert_eq!((text.text.as_ref(), text.damage(0..99)), ("plain 今天", None));

    let text = Decoded::of(b"ab\0\0\ncd\xff\xfe\ne\xe4\xbb");
    assert_eq!(text.text, "ab\0\0\ncd\u{fffd}\u{fffd}\ne\u{fffd}");
    let damage = |span| text.damage(span).map(|damage| (damage.span.clone(), damage.code));
    assert_eq!(damage(0..2), None);
    assert_eq!(damage(0..3), Some((2..4, "nul")));
    assert_eq!(damage(3..4), Some((2..4, "nul")));
    assert_eq!(damage(4..7), None);
    assert_eq!(damage(7..8), Some((7..13, "not_utf8")));
    assert_eq!(damage(14..15), None);
    assert_eq!(text.line(14), 3);
    let outside = |spans: &[std::ops::Range<usize>]| text.damage_outside(spans).map(|damage| damage.span.start);
    assert_eq!(outside(&[]), Some(2));
    assert_eq!(outside(&[0..4, 99..99]), Some(7));
    assert_eq!(outside(&[0..4, 7..13, 15..18]), None);
    assert_eq!(outside(&[0..3, 99..99]), Some(2));
}
