//! The program `causewayd`; everything is in its library.

fn main() -> std::process::ExitCode {
    causewayd::main(std::env::args_os())
}
