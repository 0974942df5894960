//! Waiting for a condition, never for a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::defaults;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on every wait of this process ends with an error once `flag` is set: for programs that must clean up on
/// Ctrl-C. Only the first call counts.
pub fn interrupted_by(flag: Arc<AtomicBool>) {
    let _ = INTERRUPTED.set(flag);
}

/// Looks at `probe` until it answers `Some`, or fails when `limit` has passed.
///
/// # Errors
///
/// The probe's own error at once; "waited … for WHAT" when the time is up.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if INTERRUPTED
            .get()
            .is_some_and(|flag| flag.load(Ordering::SeqCst))
        {
            bail!("a signal ended the wait for {what}");
        }
        if start.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(defaults::POLL);
    }
}

/// [`until`] for a plain yes or no.
///
/// # Errors
///
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(probe()?.then_some(())))
}

/// Checks that a condition holds during the whole of `span`: for "nothing happens", which no event can announce.
///
/// # Errors
///
/// The probe's own error, or that the condition broke.
pub fn throughout(
    what: &str,
    span: Duration,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < span {
        if !probe()? {
            bail!("{what} held for only {} ms", start.elapsed().as_millis());
        }
        std::thread::sleep(defaults::POLL);
    }
    Ok(())
}
