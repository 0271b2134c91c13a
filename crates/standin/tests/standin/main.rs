//! The stand-in from outside, over real sockets.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod common;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod shapes;
