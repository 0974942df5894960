//! What a run found, and the list of it that programs read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::facts::Facts;
use super::figures::Figures;
use super::html;
use super::row::{Mark, Row};

/// Everything a run found.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// When, where and with what.
    pub(crate) facts: Facts,
    /// Rows with figures.
    pub(crate) lines: Vec<Line>,
    /// Rows without, and why.
    pub(crate) absent: Vec<Absent>,
}

/// A row that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The row.
    pub(crate) row: Row,
    /// Its figures.
    pub(crate) figures: Figures,
}

/// A row that was not.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    /// The row's name.
    pub(crate) name: &'static str,
    /// Why.
    pub(crate) reason: Reason,
}

/// Why a row has no figures.
#[derive(Clone, Debug)]
pub(crate) enum Reason {
    /// It could not be measured though its parts are here.
    Failed(String),
    /// It was left out: a part is not here.
    LeftOut(String),
}

impl Reason {
    /// In words.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Failed(words) | Self::LeftOut(words) => words,
        }
    }
}

impl Report {
    /// Whether a row could not be measured though its parts are here.
    pub(crate) fn failed(&self) -> bool {
        self.absent
            .iter()
            .any(|absent| matches!(absent.reason, Reason::Failed(_)))
    }

    /// The list that `report.json` holds.
    pub(crate) fn json(&self) -> Value {
        self.lines.iter().map(entry).collect()
    }
}

/// Where a report goes.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, and tries to write there: the end of a run is too late to learn that nobody can.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        let folder = Self(path.to_owned());
        folder.staged(b"")?;
        Ok(folder)
    }

    /// Writes `report.json` and `report.html`, and answers where the latter is. Those of another run stay until these
    /// are whole.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub(crate) fn write(&self, report: &Report) -> Result<PathBuf> {
        let mut text = serde_json::to_string_pretty(&report.json())?;
        text.push('\n');
        let list = self.staged(text.as_bytes())?;
        let page = self.staged(html::page(report).as_bytes())?;
        for (staged, name) in [(list, "report.json"), (page, "report.html")] {
            let path = self.0.join(name);
            let kept = staged.persist(&path);
            kept.with_context(|| format!("write {}", path.display()))?;
        }
        Ok(self.0.join("report.html"))
    }

    /// A file that is there for as long as the value is.
    fn staged(&self, content: &[u8]) -> Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".report-");
        // As any file that a program writes: others may read it, if the person's umask lets them.
        builder.permissions(fs::Permissions::from_mode(0o666));
        let staged = builder.tempfile_in(&self.0).and_then(|mut staged| {
            staged.write_all(content)?;
            Ok(staged)
        });
        staged.with_context(|| format!("write in {}", self.0.display()))
    }
}

fn entry(line: &Line) -> Value {
    let (row, figures) = (&line.row, &line.figures);
    json!({
        "name": row.name,
        "against": row.against.words(),
        "ours": figures.ours,
        "theirs": figures.theirs,
        "ratio": figures.ratio,
        "must": row.must.map(mark),
        "aim": row.aim.map(mark),
        "unit": row.unit.to_string(),
        "rounds": figures.rounds,
        "low": figures.low,
        "high": figures.high,
    })
}

fn mark(mark: Mark) -> Value {
    json!({ "op": mark.op.sign(), "value": mark.value })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::row::{Against, Sample, Unit};
    use super::*;

    /// A report with a row of each kind, and words that want to be markup.
    pub(in super::super) fn hostile() -> Report {
        let line = |row: Row, samples: &[Sample]| Line {
            row,
            figures: Figures::of(samples).unwrap(),
        };
        Report {
            facts: Facts {
                made: "2026-01-02T03:04:05Z".to_owned(),
                pace: "5 rounds",
                machine: vec![("processor", "<script src=\"http://x/\">&".to_owned())],
            },
            lines: vec![
                line(
                    Row::higher(
                        "bulk-down-1",
                        Against::Counterpart("two <b>hops</b>"),
                        Unit::MibPerSecond,
                    )
                    .marks(0.55, 0.7),
                    &[Sample::pair(600.0, 1000.0), Sample::pair(500.0, 1000.0)],
                ),
                line(
                    Row::lower("memory-idle-hub", Against::Nothing, Unit::Kib).must(20.0),
                    &[Sample::alone(25.0)],
                ),
                line(
                    Row::lower(
                        "echo-p50",
                        Against::Counterpart("a copy"),
                        Unit::Microseconds,
                    ),
                    &[Sample::pair(2.0, 1.0)],
                ),
            ],
            absent: vec![
                Absent {
                    name: "ssh-cat-down-frp",
                    reason: Reason::LeftOut("frpc is not <i>installed</i>".to_owned()),
                },
                Absent {
                    name: "fleet-join",
                    reason: Reason::Failed("\"' onload=alert(1)".to_owned()),
                },
            ],
        }
    }

    #[test]
    fn the_list_has_exactly_these_keys() {
        let list = hostile().json();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), 3, "rows without figures are not in it");
        for entry in list {
            let keys: Vec<&str> = entry
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            let mut wanted = [
                "name", "against", "ours", "theirs", "ratio", "must", "aim", "unit", "rounds",
                "low", "high",
            ];
            wanted.sort_unstable();
            let mut keys = keys;
            keys.sort_unstable();
            assert_eq!(keys, wanted);
        }
    }

    #[test]
    fn values_are_numbers_marks_or_null() {
        let list = hostile().json();
        assert_eq!(list[0]["must"], json!({ "op": ">=", "value": 0.55 }));
        assert_eq!(list[0]["aim"], json!({ "op": ">=", "value": 0.7 }));
        assert!((list[0]["ratio"].as_f64().unwrap() - 0.55).abs() < 1e-9);
        assert_eq!(list[0]["rounds"], json!(2));
        assert_eq!(list[0]["unit"], "MiB/s");
        assert_eq!(list[1]["against"], Value::Null);
        assert_eq!(list[1]["theirs"], Value::Null);
        assert_eq!(list[1]["ratio"], Value::Null);
        assert_eq!(list[1]["must"], json!({ "op": "<=", "value": 20.0 }));
        assert_eq!(list[1]["aim"], Value::Null);
        assert_eq!(list[1]["ours"], json!(25.0));
    }

    #[test]
    fn only_failures_count_as_failures() {
        let mut report = hostile();
        assert!(report.failed());
        report
            .absent
            .retain(|absent| matches!(absent.reason, Reason::LeftOut(_)));
        assert!(!report.failed());
    }

    #[test]
    fn both_files_are_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some/bench");
        let out = Folder::new(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "no trace of a try");
        fs::write(path.join("report.json"), "of another run").unwrap();
        let page = out.write(&hostile()).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
        let list = fs::read(page.with_file_name("report.json")).unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        assert_eq!(list, hostile().json());
        assert!(
            fs::read_to_string(page)
                .unwrap()
                .starts_with("<!doctype html>")
        );
    }

    #[test]
    fn a_folder_that_cannot_be_one_is_refused_before_anything_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("bench")] {
            let refused = Folder::new(&path).unwrap_err().to_string();
            assert!(refused.contains("make "), "{refused}");
        }
        // A folder in which nobody writes.
        assert!(Folder::new(Path::new("/proc/self")).is_err());
    }

    #[test]
    fn a_report_that_cannot_be_written_leaves_no_parts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench");
        let out = Folder::new(&path).unwrap();
        let page = out.write(&hostile()).unwrap();
        fs::remove_file(&page).unwrap();
        // Its place is taken by something that a file cannot replace.
        fs::create_dir(&page).unwrap();
        assert!(out.write(&hostile()).is_err());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }
}
