//! Two ends of a link over a simulated network, in virtual time, against a reference model.

mod net;
mod script;
mod world;

mod happy;
mod sim;
mod streams;
