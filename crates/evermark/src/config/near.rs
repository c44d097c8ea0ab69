//! Which known name a mistyped one was meant to be.

/// Returns the known name that the fewest edits away from `typed`, unless even that is a different word.
pub(crate) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The last part alone is often right while the section is wrong, so a shared last part counts as near.
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let typed_leaf = leaf(typed);
    known
        .map(|name| {
            let whole = distance(typed, name);
            // Of several with that last part the one whose section is nearest.
            (if leaf(name) == typed_leaf { whole.min(1) } else { whole }, whole, name)
        })
        .min()
        .filter(|(edits, _, name)| *edits <= 1 + name.len() / 5)
        .map(|(_, _, name)| name)
}

/// Returns the number of single-character edits between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b = b.chars().collect::<Vec<_>>();
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
