//! Counts, and what is printed about them.

use std::time::Duration;

use kedge_testkit::case::SKIPPED;

/// How many tests passed, and which did not and why.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

/// What one binary of libtest said.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Names of tests that failed.
    pub(crate) failed: Vec<String>,
    /// Names of tests that were ignored, with the reason when one was given.
    pub(crate) ignored: Vec<String>,
    /// Whether the closing line was there for every opening line: no test ended the process.
    pub(crate) complete: bool,
}

impl Tally {
    /// One passed.
    pub(crate) fn passed(&mut self, group: &str, name: &str, took: Duration) {
        self.passed = self.passed.saturating_add(1);
        println!("{group:5} ok      {name} ({:.1} s)", took.as_secs_f64());
    }

    /// Some passed together.
    pub(crate) fn many_passed(&mut self, group: &str, name: &str, count: usize, took: Duration) {
        self.passed = self.passed.saturating_add(count);
        println!(
            "{group:5} ok      {name}: {count} ({:.1} s)",
            took.as_secs_f64()
        );
    }

    /// One failed; the details are shown now, the name again at the end.
    pub(crate) fn failed(&mut self, group: &str, name: &str, details: &str) {
        self.failed.push(format!("{group} {name}"));
        println!("{group:5} FAILED  {name}");
        for line in details.lines() {
            println!("      | {line}");
        }
    }

    /// One cannot run here.
    pub(crate) fn skipped(&mut self, group: &str, name: &str, reason: &str) {
        self.skipped.push(format!("{group} {name}: {reason}"));
        println!("{group:5} skipped {name}: {reason}");
    }

    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// The end: what was skipped and why, what failed, and the closing line.
    pub(crate) fn close(&self, took: Duration) {
        println!();
        for line in &self.skipped {
            println!("skipped: {line}");
        }
        for line in &self.failed {
            println!("failed: {line}");
        }
        println!(
            "after {} min {} s:",
            took.as_secs() / 60,
            took.as_secs() % 60
        );
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
    }
}

impl Report {
    /// Reads what libtest printed.
    pub(crate) fn read(output: &str) -> Self {
        let mut report = Self::default();
        let (mut begun, mut ended, mut unsaid) = (0_usize, 0_usize, 0_usize);
        for line in output.lines() {
            // Said past libtest, which counts such a test as passed; maybe in the middle of a line of its own.
            let (line, reason) = match line.split_once(SKIPPED) {
                Some((line, reason)) => (line, Some(reason)),
                None => (line, None),
            };
            report.ignored.extend(reason.map(str::to_owned));
            unsaid = unsaid.saturating_add(usize::from(reason.is_some()));
            if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test"))
            {
                begun = begun.saturating_add(1);
            } else if line.starts_with("test result: ") {
                ended = ended.saturating_add(1);
                // Failed and ignored tests are counted by name below; those that passed, by libtest's own count.
                report.passed = report.passed.saturating_add(count(line, "passed"));
            } else if let Some((name, outcome)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.split_once(" ... "))
            {
                if let Some(reason) = outcome.strip_prefix("ignored") {
                    report.ignored.push(format!("{name}{reason}"));
                } else if outcome.starts_with("FAILED") {
                    report.failed.push(name.to_owned());
                }
            }
        }
        report.passed = report.passed.saturating_sub(unsaid);
        report.complete = begun > 0 && begun == ended;
        report
    }
}

fn count(line: &str, what: &str) -> usize {
    let before = line
        .split(';')
        .find_map(|part| part.trim().strip_suffix(what));
    before
        .and_then(|part| part.split_whitespace().last())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_words_are_counted() {
        let report = Report::read(
            "\nrunning 4 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, needs a moon\n\
             test e ... ok\n\nfailures:\n\n    b::c\n\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(report.passed, 2);
        assert_eq!(report.failed, ["b::c"]);
        assert_eq!(report.ignored, ["d, needs a moon"]);
        assert!(report.complete);
    }

    #[test]
    fn a_test_that_says_it_cannot_run_here_is_not_one_that_passed() {
        let report = Report::read(
            "running 2 tests\ntest a ... ok\nkedge-testkit: skipped: no moon\ntest b ... ok\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(report.passed, 1);
        assert_eq!(report.ignored, ["no moon"]);
        assert!(report.complete);
    }

    #[test]
    fn a_process_that_ended_early_is_not_complete() {
        let report = Report::read("\nrunning 4 tests\ntest a ... ok\n");
        assert_eq!(report.passed, 0);
        assert!(!report.complete);
        assert!(!Report::read("").complete);
    }

    #[test]
    fn several_runs_add_up() {
        let one = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";
        let report = Report::read(&format!("{one}{one}"));
        assert_eq!(report.passed, 2);
        assert!(report.complete);
    }
}
