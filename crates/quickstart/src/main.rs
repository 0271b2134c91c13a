//! The binary behind `cargo quickstart`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_quickstart::main(std::env::args_os())
}
