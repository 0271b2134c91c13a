//! Which lines of the children a person sees.
//!
//! Invariant: the relay's access log goes to standard output as it is, one line a request; whatever
//! else a child says (warnings, since the children log no more here) goes to standard error with
//! the child's name before it.

use crate::child::Role;
use crate::output::{complain, say};
use crate::process::Stream;

/// Prints one line.
pub(crate) fn print(role: Role, stream: Stream, line: &str) {
    match (role, stream) {
        (Role::Relay, Stream::Out) => say(line),
        _ => complain(&format!("{}: {line}", role.name())),
    }
}
