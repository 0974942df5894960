//! The report as one page: no script, nothing from elsewhere, readable without a network.
//!
//! ```text
//!  name, against what │ 0 ├────────── bar ──┤whisker├──┊must──┊aim── │ ours, theirs, ratio, verdict
//! ```

use std::fmt::Write as _;

use super::figures::Verdict;
use super::report::{Line, Reason, Report};
use super::row::{Better, Mark};
use super::table::short;

/// Width of a chart in SVG units; its height is [`HEIGHT`].
const WIDTH: f64 = 460.0;

/// Height of a chart: the bar, and the marks that stick out of it.
const HEIGHT: f64 = 36.0;

/// Share of the width that the largest thing drawn takes.
const FILL: f64 = 0.94;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#59636e;--paper:#fff;--rule:#d8dee4;--bar:#4a7fb5;\
--must:#b3261e;--aim:#1a7f37;--one:#59636e;--whisker:#1b1f24}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--paper:#0d1117;--rule:#30363d;--bar:#4f8fd0;\
--must:#ff7b72;--aim:#56d364;--one:#9198a1;--whisker:#e6edf3}}\
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:68rem;margin:2rem auto;\
padding:0 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .4rem;border-bottom:1px solid \
var(--rule)}p,dl{color:var(--dim);margin:.4rem 0}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}\
dd{margin:0}table{border-collapse:collapse;width:100%}td{padding:.35rem .6rem .35rem 0;vertical-align:middle;\
border-bottom:1px solid var(--rule)}td.figures{font-variant-numeric:tabular-nums;white-space:nowrap}\
td small{display:block;color:var(--dim)}code{font-size:.95em}svg{width:100%;min-width:16rem;height:auto;\
display:block}svg .bar{fill:var(--bar)}svg .axis{stroke:var(--rule)}svg .one{stroke:var(--one);\
stroke-dasharray:1 3}svg .whisker{stroke:var(--whisker);stroke-width:1.5;fill:none}\
svg .must{stroke:var(--must);stroke-width:2}svg .aim{stroke:var(--aim);stroke-width:2;stroke-dasharray:5 3}\
b.missed,i.must{color:var(--must)}b.ok,i.aim{color:var(--aim)}i{font-style:normal;font-weight:600}";

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>kedge: the tunnel measured</title>\n<style>",
    );
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n<h1>The tunnel, measured</h1>\n");
    page.push_str(
        "<p>Bars are medians: of ours over theirs where a row has a counterpart, else of our own figure. Whiskers \
         span the rounds. Lines: <i class=\"must\">must</i> (solid), <i class=\"aim\">aim</i> (dashed); dots at 1, \
         where ours is as theirs. An arrow says which way is good.</p>\n<dl>\n",
    );
    let facts = &report.facts;
    fact(&mut page, "made", &facts.made);
    fact(&mut page, "rounds", facts.pace);
    for (name, value) in &facts.machine {
        fact(&mut page, name, value);
    }
    page.push_str("</dl>\n");
    let mut group = "";
    for line in &report.lines {
        if line.row.group() != group {
            if !group.is_empty() {
                page.push_str("</table>\n");
            }
            group = line.row.group();
            let _ = write!(page, "<h2>{}</h2>\n<table>\n", escaped(group));
        }
        row(&mut page, line);
    }
    if !group.is_empty() {
        page.push_str("</table>\n");
    }
    absent(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

fn fact(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(
        page,
        "<dt>{}</dt><dd>{}</dd>",
        escaped(name),
        escaped(value)
    );
}

fn row(page: &mut String, line: &Line) {
    let (row, figures) = (&line.row, &line.figures);
    let against = row
        .against
        .words()
        .map(|words| format!("against: {}", escaped(words)))
        .unwrap_or_default();
    let arrow = match row.better {
        Better::Higher => "→ more is better",
        Better::Lower => "← less is better",
    };
    let _ = writeln!(
        page,
        "<tr><td><code>{}</code><small>{against}</small><small>{arrow}</small></td><td>{}</td>\
         <td class=\"figures\">{}<small>{}</small></td></tr>",
        escaped(row.name),
        chart(line),
        judged(line),
        escaped(&compared(line)),
    );
    debug_assert!(figures.rounds > 0, "a line has figures");
}

/// What is judged, and how it stands.
fn judged(line: &Line) -> String {
    let (row, figures) = (&line.row, &line.figures);
    let unit = match figures.ratio {
        Some(_) => "×".to_owned(),
        None => format!(" {}", row.unit),
    };
    let verdict = figures.verdict(row);
    let class = match verdict {
        Verdict::Missed => "missed",
        Verdict::Ok => "ok",
        Verdict::ShortOfAim | Verdict::Unmarked => "plain",
    };
    let marks = [("must", row.must), ("aim", row.aim)]
        .into_iter()
        .filter_map(|(name, mark)| {
            let mark = escaped(&mark?.to_string());
            Some(format!(" <i class=\"{name}\">{name} {mark}</i>"))
        })
        .collect::<String>();
    format!(
        "{}{} <b class=\"{class}\">{}</b>{marks}",
        short(figures.marked()),
        escaped(&unit),
        verdict.words()
    )
}

/// The figures of both sides.
fn compared(line: &Line) -> String {
    let (row, figures) = (&line.row, &line.figures);
    let spread = format!("{} – {}", short(figures.low), short(figures.high));
    match figures.theirs {
        Some(theirs) => format!(
            "{} against {} {}, spread {spread}",
            short(figures.ours),
            short(theirs),
            row.unit
        ),
        None => format!("spread {spread}"),
    }
}

fn chart(line: &Line) -> String {
    let (row, figures) = (&line.row, &line.figures);
    let marks = [("must", row.must), ("aim", row.aim)];
    let values = marks
        .iter()
        .filter_map(|(_, mark)| mark.map(|mark| mark.value));
    let one = figures.ratio.map(|_| 1.0);
    let most = values.chain(one).fold(figures.high, f64::max);
    let scale = WIDTH * FILL / if most > 0.0 { most } else { 1.0 };
    let at = |value: f64| (value * scale).clamp(0.0, WIDTH);
    let (top, bottom, middle) = (10.0, HEIGHT - 10.0, HEIGHT / 2.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>",
        escaped(&format!("{}: {}", row.name, compared(line)))
    );
    upright(&mut svg, "axis", 0.5, 0.0, HEIGHT);
    let _ = write!(
        svg,
        "<rect class=\"bar\" x=\"0\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\"/>",
        at(figures.marked()),
        bottom - top
    );
    if let Some(one) = one {
        upright(&mut svg, "one", at(one), 0.0, HEIGHT);
    }
    let (low, high) = (at(figures.low), at(figures.high));
    let _ = write!(
        svg,
        "<path class=\"whisker\" d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {:.1}V{:.1}M{high:.1} {:.1}V{:.1}\"/>",
        middle - 4.0,
        middle + 4.0,
        middle - 4.0,
        middle + 4.0
    );
    for (class, mark) in marks {
        if let Some(Mark { value, .. }) = mark {
            upright(&mut svg, class, at(value), 2.0, HEIGHT - 2.0);
        }
    }
    svg.push_str("</svg>");
    svg
}

fn upright(svg: &mut String, class: &str, x: f64, from: f64, to: f64) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\"/>"
    );
}

fn absent(page: &mut String, report: &Report) {
    if report.absent.is_empty() {
        return;
    }
    page.push_str("<h2>Not measured</h2>\n<table>\n");
    for absent in &report.absent {
        let kind = match absent.reason {
            Reason::Failed(_) => "<b class=\"missed\">failed</b>",
            Reason::LeftOut(_) => "left out",
        };
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{kind}</td><td>{}</td></tr>",
            escaped(absent.name),
            escaped(absent.reason.words())
        );
    }
    page.push_str("</table>\n");
}

/// Text that is no markup, in elements and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::hostile;
    use super::*;

    /// The opening tags of a page, without what is between them.
    fn tags(page: &str) -> Vec<&str> {
        page.split('<')
            .skip(1)
            .filter_map(|piece| piece.split('>').next())
            .collect()
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_runs() {
        let page = page(&hostile());
        for tag in tags(&page) {
            let name = tag.split([' ', '/']).find(|word| !word.is_empty());
            assert!(
                ![
                    "script", "link", "img", "iframe", "object", "embed", "image", "use", "base"
                ]
                .contains(&name.unwrap_or_default()),
                "<{tag}>"
            );
            for word in ["src=", "href=", "http:", "https:", "url(", " on"] {
                assert!(!tag.contains(word), "<{tag}>");
            }
        }
        let style = page.split("<style>").nth(1).unwrap();
        let style = style.split("</style>").next().unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"));
    }

    #[test]
    fn text_is_no_markup() {
        let page = page(&hostile());
        assert!(page.contains("&lt;script src=&quot;http://x/&quot;&gt;&amp;"));
        assert!(page.contains("two &lt;b&gt;hops&lt;/b&gt;"));
        assert!(page.contains("frpc is not &lt;i&gt;installed&lt;/i&gt;"));
        assert!(page.contains("&quot;&#39; onload=alert(1)"));
        assert!(!page.contains("<b>hops") && !page.contains("<script"));
    }

    #[test]
    fn every_row_has_its_chart_marks_and_whiskers() {
        let report = hostile();
        let page = page(&report);
        for line in &report.lines {
            let name = format!("<code>{}</code>", line.row.name);
            let (_, rest) = page.split_once(&name).unwrap();
            let (row, _) = rest.split_once("</tr>").unwrap();
            let lines = |class: &str| row.matches(&format!("<line class=\"{class}\"")).count();
            assert_eq!(
                lines("must"),
                usize::from(line.row.must.is_some()),
                "{name}"
            );
            assert_eq!(lines("aim"), usize::from(line.row.aim.is_some()), "{name}");
            assert_eq!(lines("one"), usize::from(line.figures.ratio.is_some()));
            assert_eq!(row.matches("class=\"bar\"").count(), 1);
            assert_eq!(row.matches("class=\"whisker\"").count(), 1);
        }
        for absent in &report.absent {
            assert!(page.contains(&format!("<code>{}</code>", absent.name)));
        }
        assert!(page.contains("2026-01-02T03:04:05Z"));
        assert!(page.contains("<h2>bulk</h2>") && page.contains("<h2>memory</h2>"));
    }

    #[test]
    fn what_is_drawn_stays_inside() {
        let page = page(&hostile());
        let places = page.split("x1=\"").skip(1);
        let places: Vec<f64> = places
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(places.len() > 5);
        assert!(places.iter().all(|place| (0.0..=WIDTH).contains(place)));
    }

    #[test]
    fn the_tags_are_balanced() {
        let page = page(&hostile());
        for name in [
            "html", "head", "body", "style", "table", "tr", "td", "svg", "dl", "code", "small",
        ] {
            let opened = tags(&page)
                .iter()
                .filter(|tag| tag.split(' ').next() == Some(name))
                .count();
            assert_eq!(
                opened,
                page.matches(&format!("</{name}>")).count(),
                "{name}"
            );
            assert!(opened > 0, "{name}");
        }
    }
}
