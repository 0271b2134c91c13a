//! The relay's program: all of it is in the library, which quickstart also links.

fn main() -> std::process::ExitCode {
    causeway_relay::main(std::env::args_os())
}
