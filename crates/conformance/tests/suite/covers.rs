//! The cover of every model beside simpler ones: every operator by itself, the greedy algorithm, and the cheapest groups
//! without regard to conversions between formats.

use std::path::Path;

use sinter_builder::{BuildOptions, Costs, Verify, build};
use sinter_cpu::Cpu;
use sinter_import_onnx::{ImportOptions, import_file};

use crate::models::{network_of, onnx_models};

/// No simpler cover is cheaper than the chosen one. `SINTER_ZOO` names a folder of further models (`NAME.onnx`), whose
/// figures the test prints.
#[test]
fn no_simpler_cover_is_cheaper() {
    let mut models = crate::shared("models").map(|folder| onnx_models(&folder)).unwrap_or_default();
    if let Some(folder) = std::env::var_os("SINTER_ZOO") {
        let files = std::fs::read_dir(folder).expect("the folder that SINTER_ZOO names");
        let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
        paths.sort();
        models.extend(paths.into_iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)));
    }
    let (mut wrong, mut below) = (Vec::new(), [0, 0]);
    for (name, path) in &models {
        let read = |path: &Path| import_file(path, &ImportOptions::default()).map_err(|e| e.to_string());
        let network = if path.is_dir() { network_of(path) } else { read(path) };
        let Ok(network) = network else { continue };
        let options = BuildOptions { threads: 2, verify: Verify::Off, ..BuildOptions::default() };
        let costs = build(&network, &Cpu, options).expect("a plan").costs;
        let Costs { single, by_gain, greedy, solved, emitted } = costs;
        let [single_us, by_gain_us, greedy_us, solved_us] =
            [single, by_gain, greedy, solved].map(|ps| ps as f64 * 1e-6);
        println!("| {name} | {single_us:.1} | {by_gain_us:.1} | {greedy_us:.1} | {solved_us:.1} |");
        below[0] += usize::from(solved < by_gain);
        below[1] += usize::from(solved < greedy);
        if solved > single.min(by_gain).min(greedy) || solved != emitted {
            wrong.push(format!("{name}: {costs:?}"));
        }
    }
    let [by_gain, greedy] = below;
    println!("{} models: below the greedy cover {by_gain} times, below groups without formats {greedy}", models.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
