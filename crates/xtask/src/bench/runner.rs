//! Runs benches round by round, and goes on when one fails.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::figures::Figures;
use super::measure::{Bench, Pace, Round, Wanted};
use super::progress::Progress;
use super::report::{Absent, Line, Reason};
use super::row::{Row, Sample};
use super::stage::Stage;
use crate::{defaults, interrupt};

/// What benches answered.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rows with figures.
    pub(crate) lines: Vec<Line>,
    /// Rows without.
    pub(crate) absent: Vec<Absent>,
}

/// Measures the rows with these names. A bench that fails is noted, and the next one's turn comes.
///
/// # Errors
///
/// Only when a signal asked to stop.
pub(crate) fn run(
    benches: &[Box<dyn Bench>],
    names: &[&'static str],
    stage: &Stage,
    pace: Pace,
    progress: &Progress,
) -> Result<Found> {
    let mut found = Found::default();
    for bench in benches {
        let rows: Vec<Row> = bench
            .rows()
            .into_iter()
            .filter(|row| names.contains(&row.name))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let absent = |reason: &Reason| {
            let reason = reason.clone();
            rows.iter().map(move |row| Absent {
                name: row.name,
                reason: reason.clone(),
            })
        };
        if let Some(missing) = bench.missing() {
            progress.note(&format!("{}: left out: {missing}", title(&rows)));
            found.absent.extend(absent(&Reason::LeftOut(missing)));
            continue;
        }
        let outcome = one(bench.as_ref(), &rows, stage, pace, progress);
        interrupt::check()?;
        match outcome {
            Ok(lines) => found.lines.extend(lines),
            Err(error) => {
                progress.note(&format!("{}: FAILED: {error:#}", title(&rows)));
                found
                    .absent
                    .extend(absent(&Reason::Failed(format!("{error:#}"))));
            }
        }
    }
    progress.clear();
    Ok(found)
}

fn one(
    bench: &dyn Bench,
    rows: &[Row],
    stage: &Stage,
    pace: Pace,
    progress: &Progress,
) -> Result<Vec<Line>> {
    let title = title(rows);
    let rounds = match pace {
        Pace::Full => defaults::BENCH_ROUNDS,
        Pace::Quick => defaults::BENCH_ROUNDS_QUICK,
    };
    let wanted = Wanted::new(rows.iter().map(|row| row.name));
    progress.say(&format!("{title}: setting up"));
    let mut running = bench.set_up(stage, &wanted).context("set it up")?;
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for number in 0..rounds {
        let shown = number.saturating_add(1);
        progress.say(&format!("{title}: round {shown} of {rounds}"));
        interrupt::check()?;
        let round = Round {
            number,
            wanted: wanted.clone(),
            pace,
        };
        let measured = running
            .measure(stage, &round)
            .with_context(|| format!("round {shown}"))?;
        for measured in measured {
            samples
                .entry(measured.row)
                .or_default()
                .push(measured.sample);
        }
    }
    rows.iter()
        .map(|row| {
            let samples = samples.get(row.name).map(Vec::as_slice).unwrap_or_default();
            ensure!(
                samples.len() == rounds,
                "{} has {} figures in {rounds} rounds",
                row.name,
                samples.len()
            );
            let figures = Figures::of(samples);
            let figures = figures.with_context(|| format!("{}: {samples:?}", row.name))?;
            Ok(Line {
                row: row.clone(),
                figures,
            })
        })
        .collect()
}

/// The names of some rows, in few words.
fn title(rows: &[Row]) -> String {
    match rows {
        [] => String::new(),
        [row] => row.name.to_owned(),
        [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use anyhow::bail;

    use super::super::measure::Running;
    use super::super::row::{Against, Measured, Unit};
    use super::*;

    /// A bench that notes what is asked of it.
    struct Scripted {
        rows: &'static [&'static str],
        fails_in: Option<usize>,
        forgets: bool,
        missing: Option<&'static str>,
        diary: Rc<RefCell<Vec<String>>>,
    }

    struct ScriptedRun {
        rows: &'static [&'static str],
        fails_in: Option<usize>,
        forgets: bool,
        diary: Rc<RefCell<Vec<String>>>,
    }

    impl Bench for Scripted {
        fn rows(&self) -> Vec<Row> {
            let rows = self.rows.iter();
            rows.map(|name| Row::higher(name, Against::Nothing, Unit::Mib))
                .collect()
        }

        fn missing(&self) -> Option<String> {
            self.missing.map(str::to_owned)
        }

        fn set_up(&self, _: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
            self.diary.borrow_mut().push(format!("up {}", self.rows[0]));
            Ok(Box::new(ScriptedRun {
                rows: self.rows,
                fails_in: self.fails_in,
                forgets: self.forgets,
                diary: Rc::clone(&self.diary),
            }))
        }
    }

    impl Running for ScriptedRun {
        fn measure(&mut self, _: &Stage, round: &Round) -> Result<Vec<Measured>> {
            if self.fails_in == Some(round.number) {
                bail!("it broke");
            }
            let rows = self.rows.iter().filter(|name| round.wanted.has(name));
            let rows = rows.skip(usize::from(self.forgets));
            Ok(rows
                .map(|name| {
                    let figure = [1.0, 5.0, 3.0, 4.0, 2.0][round.number];
                    Measured::new(name, Sample::alone(figure))
                })
                .collect())
        }
    }

    impl Drop for ScriptedRun {
        fn drop(&mut self) {
            self.diary
                .borrow_mut()
                .push(format!("down {}", self.rows[0]));
        }
    }

    fn stage() -> (tempfile::TempDir, Stage) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kedge", "kedge-hub", "kedge-agent", "kedge-load"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let stage = Stage::new(dir.path(), &dir.path().join("kedge-load")).unwrap();
        (dir, stage)
    }

    #[test]
    fn a_bench_that_fails_ends_no_run_and_cleans_up() {
        let diary = Rc::new(RefCell::new(Vec::new()));
        let scripted = |rows, fails_in, forgets, missing| -> Box<dyn Bench> {
            Box::new(Scripted {
                rows,
                fails_in,
                forgets,
                missing,
                diary: Rc::clone(&diary),
            })
        };
        let benches = [
            scripted(&["a-1", "a-2"], Some(1), false, None),
            scripted(&["b-1"], None, false, Some("b is not installed")),
            scripted(&["c-1", "c-2"], None, false, None),
            scripted(&["d-1"], None, true, None),
            scripted(&["e-1"], None, false, None),
        ];
        let (_dir, stage) = stage();
        let names = ["a-1", "a-2", "b-1", "c-2", "d-1"];
        let found = run(&benches, &names, &stage, Pace::Full, &Progress::new()).unwrap();
        let lines: Vec<&str> = found.lines.iter().map(|line| line.row.name).collect();
        assert_eq!(lines, ["c-2"], "c-1 was not asked for");
        assert!((found.lines[0].figures.ours - 3.0).abs() < 1e-9);
        assert_eq!(found.lines[0].figures.rounds, 5);
        let absent: Vec<String> = found
            .absent
            .iter()
            .map(|absent| format!("{}: {:?}", absent.name, absent.reason))
            .collect();
        assert_eq!(
            absent,
            [
                "a-1: Failed(\"round 2: it broke\")",
                "a-2: Failed(\"round 2: it broke\")",
                "b-1: LeftOut(\"b is not installed\")",
                "d-1: Failed(\"d-1 has 0 figures in 5 rounds\")",
            ]
        );
        assert_eq!(
            *diary.borrow(),
            [
                "up a-1", "down a-1", "up c-1", "down c-1", "up d-1", "down d-1"
            ]
        );
    }

    #[test]
    fn quick_runs_have_three_rounds() {
        let benches: [Box<dyn Bench>; 1] = [Box::new(Scripted {
            rows: &["a"],
            fails_in: Some(3),
            forgets: false,
            missing: None,
            diary: Rc::default(),
        })];
        let (_dir, stage) = stage();
        let found = run(&benches, &["a"], &stage, Pace::Quick, &Progress::new()).unwrap();
        assert_eq!(found.lines[0].figures.rounds, 3);
        let found = run(&benches, &["a"], &stage, Pace::Full, &Progress::new()).unwrap();
        assert!(found.lines.is_empty());
    }
}
