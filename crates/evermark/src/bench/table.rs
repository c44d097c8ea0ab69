//! Tables: for the terminal, and as Markdown for the documents. Knows nothing of what they are about.

/// Returns lines of columns; all but the first and the last are flush right.
pub(super) fn text<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (i, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let space = " ".repeat(width - cell.chars().count());
            let gap = if i == 0 { "  " } else { "   " };
            let parts = if i == 0 || i + 1 == N { [gap, cell, &space] } else { [gap, &space, cell] };
            line.extend(parts);
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(headings)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines
}

/// Returns the same as a table in Markdown.
pub(super) fn markdown<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let line = |cells: [&str; N]| format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let mut rule = vec!["---:"; N];
    if let Some(first) = rule.first_mut() {
        *first = "---";
    }
    if let Some(last) = rule.last_mut() {
        *last = "---";
    }
    let mut lines = vec![line(headings), format!("| {} |", rule.join(" | "))];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines
}
