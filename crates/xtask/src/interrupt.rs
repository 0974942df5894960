//! Ctrl-C and SIGTERM end what is being waited for; the values that own processes then end those.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Begins to listen for the signals that mean "stop".
pub(crate) fn watch() -> Result<()> {
    let flag = Arc::clone(FLAG.get_or_init(Arc::default));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("listen for signals")?;
    }
    kedge_testkit::wait::interrupted_by(flag);
    Ok(())
}

/// Whether such a signal came.
pub(crate) fn happened() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Fails once such a signal came.
pub(crate) fn check() -> Result<()> {
    ensure!(!happened(), "a signal asked to stop");
    Ok(())
}
