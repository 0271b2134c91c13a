//! Tells the service manager what happens. Without the feature `systemd` it does nothing.

use std::time::Duration;

/// READY: the configuration holds and the link task runs.
pub(crate) fn ready() {
    send(&[("READY", "1")]);
}

/// One line for `systemctl status`.
pub(crate) fn status(text: &str) {
    send(&[("STATUS", text)]);
}

/// The drain has begun.
pub(crate) fn stopping() {
    send(&[("STOPPING", "1")]);
}

/// The main loop is alive.
pub(crate) fn watchdog() {
    send(&[("WATCHDOG", "1")]);
}

/// How often the watchdog wants to hear, with room to spare; none if there is none.
pub(crate) fn watchdog_period() -> Option<Duration> {
    let microseconds: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(microseconds / 2)).filter(|period| !period.is_zero())
}

#[cfg(feature = "systemd")]
fn send(state: &[(&str, &str)]) {
    // Outside systemd there is no socket to notify: not an error.
    if let Err(error) = systemd::daemon::notify(state.iter()) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(not(feature = "systemd"))]
fn send(_state: &[(&str, &str)]) {}
