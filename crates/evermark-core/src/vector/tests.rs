use super::*;

#[test]
fn a_unit_vector_keeps_its_direction() {
    assert_eq!(unit(&[3.0, 4.0]), Some(vec![0.6, 0.8]));
    assert_eq!(unit(&[1e-20, 0.0]), Some(vec![1.0, 0.0]));
    for nowhere in [vec![], vec![0.0; 3], vec![1.0, f32::NAN], vec![f32::INFINITY, 0.0]] {
        assert_eq!(unit(&nowhere), None);
    }
}

#[test]
fn cosines() {
    assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
    assert_eq!(cosine(&[1.0, 1.0], &[-3.0, -3.0]), -1.0);
    assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
}
