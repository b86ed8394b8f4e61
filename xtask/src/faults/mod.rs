//! `cargo xtask faults`: does verification find planted faults?
//!
//! A committed list (`xtask/faults/*.toml`) names places in the sources, each with a plausible mistake. The command
//! plants all faults at once in a scratch copy of the repository, each behind an index that an environment variable
//! selects, so that one build contains all of them; shipped code has no such switch. It then builds the networks in
//! which the faulty code runs with each fault. Verification finds a fault if the build drops a kernel or a pass by name
//! that it keeps without the fault. An error or a panic does not count. A first build checks that verification drops
//! nothing without a fault.

mod list;
mod report;
mod scratch;
mod trial;

use clap::Args;

use crate::command::root;
use crate::faults::list::Fault;
use crate::faults::report::Row;
use crate::faults::scratch::Scratch;
use crate::faults::trial::Gate;

/// Largest number of faults of the list that verification may miss.
const MAX_MISSED: usize = 2;

/// The selected faults and the form of the report.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask faults                        every fault against the gate, a few minutes; most of them one build
  cargo xtask faults --only product-tail    one fault, with what the gate said
  cargo xtask faults --tests                which tests catch each fault as well, slower
  cargo xtask faults --models               no false alarm on the shared models either, slower

Adding a fault: an entry in xtask/faults/*.toml with a name, what it imitates, the file, the text to find (an expression,
or a statement with its semicolon), the text to replace it by, and the networks to build. The text must stand in the
file exactly once; `within` narrows the search to a longer text that does. Networks are those of
crates/conformance/src/odd_networks.rs. The scratch copy is target/faults/copy, its build target/faults/target.")]
pub(crate) struct Options {
    /// Only faults whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Runs the tests that each entry names, too.
    #[arg(long)]
    tests: bool,
    /// Looks for false alarms on the shared models, too (SINTER_SHARED, default ../shared).
    #[arg(long)]
    models: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let faults = list::load(&root())?;
    let chosen: Vec<(usize, &Fault)> = faults
        .iter()
        .enumerate()
        .filter(|(_, fault)| options.only.as_ref().is_none_or(|name| fault.name.contains(name.as_str())))
        .map(|(index, fault)| (index + 1, fault))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
        return Err(format!("no fault has such a name; there are {}", names.join(", ")));
    }
    let scratch = Scratch::make(&root(), &faults)?;
    eprintln!("building the scratch copy with {} faults", faults.len());
    scratch.build()?;
    let alarms = false_alarms(&scratch, &chosen, options.models)?;
    let mut rows = Vec::new();
    for (index, fault) in chosen {
        let facts = scratch.trial(Some(index), &fault.networks)?;
        let gate = Gate::of(&facts);
        eprintln!("{:<28} {}", fault.name, gate.text());
        let tests = if options.tests { Some(scratch.tests(index, &fault.tests)?) } else { None };
        rows.push(Row { fault, gate, touched: facts.touched(), tests });
    }
    let missed = rows.iter().filter(|row| !row.gate.is_caught()).count();
    if options.json {
        println!("{}", report::json(&rows, &alarms));
    } else {
        print!("{}", report::table(&rows, &alarms));
    }
    match (alarms.is_empty(), missed <= MAX_MISSED) {
        (false, _) => Err("the gate drops something without any fault".to_owned()),
        (true, false) => Err(format!("the gate misses {missed} faults; {MAX_MISSED} are allowed")),
        (true, true) => Ok(()),
    }
}

/// Kernels and passes that verification drops without a fault: on the networks of one fault or on all odd networks, and
/// on the shared models if requested.
fn false_alarms(scratch: &Scratch, chosen: &[(usize, &Fault)], models: bool) -> Result<Vec<String>, String> {
    let networks = match chosen {
        [(_, fault)] => fault.networks.clone(),
        _ => Vec::new(),
    };
    eprintln!("{} without any fault", if networks.is_empty() { "all odd networks" } else { "its networks" });
    let mut facts = scratch.trial(None, &networks)?;
    if models {
        let files = trial::shared_models(&root())?;
        eprintln!("{} shared models without any fault", files.len());
        for file in files {
            facts.extend(scratch.gate_only(&file)?);
        }
    }
    Ok(facts.alarms())
}
