//! The program `sinter`: parses the command line, runs the command, ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use sinter_cli::allocator::Ending;
use sinter_cli::arguments::{Arguments, dispatch};
use sinter_cli::failure::Exit;
use sinter_cli::interrupt;

#[global_allocator]
static ALLOCATOR: Ending = Ending;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::install();
    // A panic is an error of this program, never of the user's data.
    let outcome = std::panic::catch_unwind(|| dispatch(&arguments));
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            failure.show();
            ExitCode::from(failure.exit as u8)
        }
        Err(_) => {
            eprintln!("error: this is an error of sinter itself; please report it with the lines above");
            ExitCode::from(Exit::Damaged as u8)
        }
    }
}
