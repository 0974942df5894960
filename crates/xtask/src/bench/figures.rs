//! Figures of several rounds: their median, and how far they lay apart.

use super::row::{Mark, Row, Sample};

/// What all rounds of a row say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// The median of ours.
    pub(crate) ours: f64,
    /// The median of theirs.
    pub(crate) theirs: Option<f64>,
    /// Ours over theirs: of the medians, so that the three figures of a row agree.
    pub(crate) ratio: Option<f64>,
    /// The least of what is marked in one round.
    pub(crate) low: f64,
    /// The most of what is marked in one round.
    pub(crate) high: f64,
    /// How many rounds these are.
    pub(crate) rounds: usize,
}

impl Figures {
    /// Of a row's samples; none when there are no samples, when some have a counterpart and some none, or when one is no
    /// finite number.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let ours = median(samples.iter().map(|sample| sample.ours).collect())?;
        let theirs: Vec<f64> = samples.iter().filter_map(|sample| sample.theirs).collect();
        if !theirs.is_empty() && theirs.len() != samples.len() {
            return None;
        }
        let marked: Vec<f64> = samples.iter().map(Sample::marked).collect();
        if !marked.iter().all(|figure| figure.is_finite()) {
            return None;
        }
        let theirs = median(theirs);
        Some(Self {
            ours,
            theirs,
            ratio: theirs.map(|theirs| ours / theirs),
            low: marked.iter().copied().fold(f64::INFINITY, f64::min),
            high: marked.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            rounds: samples.len(),
        })
    }

    /// What marks are held against.
    pub(crate) fn marked(&self) -> f64 {
        self.ratio.unwrap_or(self.ours)
    }

    /// How a row stands.
    pub(crate) fn verdict(&self, row: &Row) -> Verdict {
        let holds = |mark: Option<Mark>| mark.is_none_or(|mark| mark.holds(self.marked()));
        if !holds(row.must) {
            Verdict::Missed
        } else if !holds(row.aim) {
            Verdict::ShortOfAim
        } else if row.must.is_none() && row.aim.is_none() {
            Verdict::Unmarked
        } else {
            Verdict::Ok
        }
    }
}

/// How a row stands beside its marks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Its "must" does not hold.
    Missed,
    /// All its marks hold.
    Ok,
    /// Its "must" holds and its "aim" does not.
    ShortOfAim,
    /// It has no mark.
    Unmarked,
}

impl Verdict {
    /// As the table says it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Missed => "MISSED",
            Self::Ok => "ok",
            Self::ShortOfAim => "short of aim",
            Self::Unmarked => "",
        }
    }
}

/// The middle of some figures, or the mean of the two in the middle; none when there are none or one is no number.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    if figures.iter().any(|figure| figure.is_nan()) {
        return None;
    }
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len().is_multiple_of(2) {
        let lower = *figures.get(middle.checked_sub(1)?)?;
        return Some(f64::midpoint(lower, upper));
    }
    Some(upper)
}

#[cfg(test)]
mod tests {
    use super::super::row::{Against, Unit};
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn one_outlier_moves_no_median() {
        assert_eq!(median(vec![5.0, 1.0, 900.0, 4.0, 3.0]), Some(4.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(vec![1.0, f64::NAN, 2.0]), None);
    }

    #[test]
    fn the_ratio_is_of_the_medians_and_lies_within_the_spread() {
        let samples = [
            Sample::pair(10.0, 20.0),
            Sample::pair(12.0, 10.0),
            Sample::pair(11.0, 15.0),
        ];
        let figures = Figures::of(&samples).unwrap();
        assert!(close(figures.ours, 11.0) && close(figures.theirs.unwrap(), 15.0));
        assert!(close(figures.ratio.unwrap(), 11.0 / 15.0));
        assert!(close(figures.low, 0.5) && close(figures.high, 1.2));
        assert!(figures.low <= figures.marked() && figures.marked() <= figures.high);
        assert_eq!(figures.rounds, 3);
    }

    #[test]
    fn a_row_without_counterpart_is_judged_by_its_own_figure() {
        let figures = Figures::of(&[Sample::alone(3.0), Sample::alone(9.0)]).unwrap();
        assert_eq!((figures.theirs, figures.ratio), (None, None));
        assert!(close(figures.marked(), 6.0));
        assert!(close(figures.low, 3.0) && close(figures.high, 9.0));
    }

    #[test]
    fn what_is_no_figure_is_none() {
        assert_eq!(Figures::of(&[]), None);
        assert_eq!(Figures::of(&[Sample::pair(1.0, 0.0)]), None);
        assert_eq!(Figures::of(&[Sample::alone(f64::NAN)]), None);
        assert_eq!(
            Figures::of(&[Sample::alone(1.0), Sample::pair(1.0, 1.0)]),
            None
        );
    }

    #[test]
    fn verdicts_follow_the_marks() {
        let verdict = |row: &Row, ours: f64| {
            Figures::of(&[Sample::alone(ours)])
                .unwrap()
                .verdict(row)
                .words()
        };
        let row = Row::lower("a", Against::Nothing, Unit::Kib).marks(20.0, 14.0);
        assert_eq!(verdict(&row, 14.0), "ok");
        assert_eq!(verdict(&row, 14.5), "short of aim");
        assert_eq!(verdict(&row, 20.5), "MISSED");
        let row = Row::higher("a", Against::Nothing, Unit::Kib).aim(1.0);
        assert_eq!(verdict(&row, 0.5), "short of aim");
        let row = Row::higher("a", Against::Nothing, Unit::Kib);
        assert_eq!(verdict(&row, 0.5), "");
    }
}
