//! Quickstart from outside: its binary, its output, its processes.

#[cfg(test)]
mod flags;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod life;
