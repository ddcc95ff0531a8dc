//! Ctrl-C and SIGTERM: the first asks the loop to save and stop after its step, a second one ends at once.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Exit, Result};

static SIGNAL: AtomicI32 = AtomicI32::new(0);
static LISTENING: OnceLock<()> = OnceLock::new();

/// Starts to listen, once a process.
///
/// # Errors
/// When the system refuses a handler.
pub fn listen() -> Result<()> {
    if LISTENING.set(()).is_err() {
        return Ok(());
    }
    let failed = |error: std::io::Error| Error::failed(format!("signals cannot be caught: {error}"));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the second signal finds the flag that the first one set.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
        // SAFETY: storing to an atomic is safe in a signal handler.
        unsafe { signal_hook::low_level::register(signal, move || SIGNAL.store(signal, Ordering::Relaxed)) }
            .map_err(failed)?;
    }
    Ok(())
}

/// The signal that asked for a stop, as the error to end with.
pub fn asked() -> Option<Error> {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(Error { exit: Exit::Signal(signal), what: "stopped by a signal".into(), hint: None }),
    }
}
