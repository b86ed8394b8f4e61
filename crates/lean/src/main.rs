//! `sinter-lean`: see the library.
#![allow(clippy::print_stdout, reason = "this program prints its results")]

use std::io::{self, BufReader, BufWriter};
use std::path::Path;
use std::process::ExitCode;

use sinter_cpu::{Cpu, Tier};
use sinter_lean::frame::{Answer, Request, read_request, write_answer};
use sinter_plan::{Trust, from_bytes};
use sinter_runtime::Engine;

fn main() -> ExitCode {
    if let Err(error) = Tier::requested() {
        eprintln!("sinter-lean: {error}");
        return ExitCode::from(2);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("sinter-lean: {error}");
                ExitCode::from(3)
            }
        },
        [plan] => check(Path::new(plan)),
        _ => {
            eprintln!("usage: sinter-lean PLAN   opens a plan and runs its self-test");
            eprintln!("       sinter-lean        serves requests from standard input");
            ExitCode::from(2)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    let engine = match Engine::open(path, &[&Cpu], 1) {
        Ok(engine) => engine,
        Err(error) => {
            eprintln!("sinter-lean: {error}");
            return ExitCode::from(3);
        }
    };
    match engine.self_test() {
        Ok(vectors) => {
            println!("{}: {vectors} self_test vectors agree", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sinter-lean: {error}");
            ExitCode::from(1)
        }
    }
}

fn serve() -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(io::stdin().lock()), BufWriter::new(io::stdout().lock()));
    let mut engine = None;
    while let Some(request) = read_request(&mut from)? {
        write_answer(&mut to, &answer(&mut engine, request))?;
    }
    Ok(())
}

fn answer(engine: &mut Option<Engine>, request: Request) -> Answer {
    if !request.plan.is_empty() {
        let plan = from_bytes(request.plan, Trust::Nothing).map_err(|e| e.to_string())?;
        *engine = Some(Engine::from_plan(plan, &[&Cpu], request.threads).map_err(|e| e.to_string())?);
    }
    let engine = engine.as_ref().ok_or("the first request has no plan")?;
    engine.run(request.inputs).map_err(|e| e.to_string())
}
