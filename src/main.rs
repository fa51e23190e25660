//! The program. All of it is in the library; see `run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reachabilitycheck::run::main(std::env::args_os().skip(1))
}
