//! Quickstart's binary again, so that this package's tests can start it by `CARGO_BIN_EXE_causeway-run`.

fn main() -> std::process::ExitCode {
    causeway_quickstart::main(std::env::args_os())
}
