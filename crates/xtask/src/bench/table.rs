//! The report as a table on a terminal.

use super::figures::Verdict;
use super::measure::Bench;
use super::report::{Reason, Report};
use super::row::Mark;

/// The rows with these names: what they are held against, their marks, and why they would be left out.
pub(crate) fn list(benches: &[Box<dyn Bench>], names: &[&str]) -> String {
    let head = ["row", "unit", "against", "must", "aim", "left out"];
    let mut lines = vec![head.map(str::to_owned)];
    for bench in benches {
        let missing = bench.missing().unwrap_or_default();
        let rows = bench.rows().into_iter();
        for row in rows.filter(|row| names.contains(&row.name)) {
            lines.push([
                row.name.to_owned(),
                row.unit.to_string(),
                row.against.words().unwrap_or_default().to_owned(),
                shown(row.must),
                shown(row.aim),
                missing.clone(),
            ]);
        }
    }
    aligned(&lines)
}

/// The table and what is said under it.
pub(crate) fn table(report: &Report) -> String {
    let head = [
        "row", "ours", "theirs", "unit", "ratio", "must", "aim", "", "spread",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for line in &report.lines {
        let (row, figures) = (&line.row, &line.figures);
        rows.push([
            row.name.to_owned(),
            short(figures.ours),
            figures.theirs.map(short).unwrap_or_default(),
            row.unit.to_string(),
            figures.ratio.map(short).unwrap_or_default(),
            shown(row.must),
            shown(row.aim),
            figures.verdict(row).words().to_owned(),
            format!("{} – {}", short(figures.low), short(figures.high)),
        ]);
    }
    let mut text = aligned(&rows);
    for absent in &report.absent {
        let (kind, words) = match &absent.reason {
            Reason::Failed(words) => ("FAILED", words),
            Reason::LeftOut(words) => ("left out", words),
        };
        text.push_str(&format!("{}: {kind}: {words}\n", absent.name));
    }
    text.push_str(&summary(report));
    text
}

/// One line: what missed its marks.
pub(crate) fn summary(report: &Report) -> String {
    let names = |verdict| {
        let found = report.lines.iter();
        let found = found.filter(|line| line.figures.verdict(&line.row) == verdict);
        found.map(|line| line.row.name).collect::<Vec<_>>()
    };
    let (missed, short) = (names(Verdict::Missed), names(Verdict::ShortOfAim));
    let list = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!(
        "missed: {}\nshort of aim: {}\n",
        list(&missed),
        list(&short)
    )
}

/// A figure with three digits that mean something.
pub(crate) fn short(figure: f64) -> String {
    let size = figure.abs();
    if size >= 100.0 || size == 0.0 {
        format!("{figure:.0}")
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else if size >= 0.01 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.1e}")
    }
}

fn shown(mark: Option<Mark>) -> String {
    mark.map(|mark| mark.to_string()).unwrap_or_default()
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::hostile;
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        let shown = [1234.5, 123.4, 12.34, 1.234, 0.0551, 0.00123, 0.0, -3.456].map(short);
        assert_eq!(
            shown,
            [
                "1234", "123", "12.3", "1.23", "0.06", "1.2e-3", "0", "-3.46"
            ]
        );
    }

    #[test]
    fn every_row_is_there_with_its_verdict() {
        let text = table(&hostile());
        let line = |name: &str| {
            let found = text.lines().find(|line| line.starts_with(name));
            found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
        };
        assert!(line("bulk-down-1").contains(">= 0.55"));
        assert!(line("bulk-down-1").contains("short of aim"));
        assert!(line("memory-idle-hub").contains("MISSED"));
        assert!(line("ssh-cat-down-frp").contains("left out: frpc"));
        assert!(line("fleet-join").contains("FAILED"));
        assert!(text.contains("missed: memory-idle-hub\n"));
        assert!(text.ends_with("short of aim: bulk-down-1\n"));
    }
}
