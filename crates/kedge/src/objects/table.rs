//! Columns of text, as `kubectl` lines them up.

/// Rows under headings, each column as wide as its widest cell and three spaces.
#[must_use]
pub fn table(headings: Option<&[&str]>, rows: &[Vec<String>]) -> String {
    let mut widths = widths(headings, rows);
    widths.pop(); // nothing follows the last column
    let mut text = String::new();
    if let Some(headings) = headings {
        let cells: Vec<_> = headings.iter().map(ToString::to_string).collect();
        line(&mut text, &cells, &widths);
    }
    for row in rows {
        line(&mut text, row, &widths);
    }
    text
}

/// The width of each column.
#[must_use]
pub fn widths(headings: Option<&[&str]>, rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows
        .iter()
        .map(Vec::len)
        .max()
        .unwrap_or(0)
        .max(headings.map_or(0, <[_]>::len));
    (0..count)
        .map(|column| {
            let heading = headings
                .and_then(|all| all.get(column))
                .map_or(0, |text| text.len());
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(heading)
        })
        .collect()
}

/// One line, its columns at least this wide.
pub fn line(text: &mut String, cells: &[String], widths: &[usize]) {
    let mut row = String::new();
    for (column, cell) in cells.iter().enumerate() {
        row.push_str(cell);
        if let Some(width) = widths.get(column)
            && column + 1 < cells.len()
        {
            let blanks = width.saturating_sub(cell.chars().count()) + 3;
            row.extend(std::iter::repeat_n(' ', blanks));
        }
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = vec![
            vec!["a".into(), "long".into(), "x".into()],
            vec!["bbb".into(), "é".into(), "".into()],
        ];
        insta::assert_snapshot!(table(Some(&["NAME", "B", "C"]), &rows), @r"
        NAME   B      C
        a      long   x
        bbb    é
        ");
    }

    #[test]
    fn no_rows_and_no_headings_are_no_text() {
        assert_eq!(table(None, &[]), "");
    }
}
