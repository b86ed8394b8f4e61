//! The machine code of kernels for tensor cores: the instructions that they are made for, and no register in memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use sinter_backend::Region;
use sinter_base::DataType;
use sinter_cuda::compile::image_with;
use sinter_ops::matmul::MatMul;

use crate::compile::{Job, distinct, failures, has_compiler};
use crate::products::{Behind, orders, product};
use crate::{attentions, channels_last, convolutions};

/// Products in all orders, and epilogues.
pub(crate) fn regions() -> Vec<Region> {
    let sizes: &[usize] = &[512, 512];
    let all = orders().map(|op| product(op, DataType::F16, sizes, sizes, Behind::Nothing));
    let fused = [Behind::BiasRelu, Behind::Residual]
        .map(|behind| product(MatMul::default(), DataType::Bf16, sizes, sizes, behind));
    let conv = convolutions::telling().into_iter().chain(channels_last::telling());
    all.chain(fused).chain(conv).chain(attentions::telling()).collect()
}

/// The disassembler, where it is installed beside the compiler or on the path.
fn disassembler() -> Option<PathBuf> {
    let paths = ["LD_LIBRARY_PATH", "PATH"].into_iter().filter_map(std::env::var_os);
    let folders = paths.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
    let places = folders.flat_map(|folder| [folder.join("nvdisasm"), folder.join("../bin/nvdisasm")]);
    places.into_iter().find(|place| place.is_file())
}

/// The instructions of a cubin; `None` without a disassembler.
fn machine_code(cubin: &[u8], name: &str) -> Option<String> {
    let program = disassembler()?;
    let file = std::env::temp_dir().join(format!("sinter-{}-{name}.cubin", std::process::id()));
    std::fs::write(&file, cubin).expect("a file");
    let output = Command::new(program).args(["-c"]).arg(&file).output().expect("the disassembler");
    std::fs::remove_file(&file).expect("the file");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is wrong with the code of a kernel.
fn wrong((configuration, source, target): &Job) -> Option<String> {
    let compiled = match image_with(source, target, &["--ptxas-options=-warn-spills"]) {
        Ok(compiled) => compiled,
        Err(error) => return Some(error.to_string()),
    };
    // Warnings of spilled registers, and of products that wait for each other (C7509, C7510, C7515).
    if !compiled.log.is_empty() {
        return Some(compiled.log);
    }
    let name = file_name(configuration, target);
    let code = machine_code(&compiled.cubin, &name)?;
    let needed: &[&str] = match configuration.split(' ').next() {
        Some("cuda.matmul.wgmma" | "cuda.conv.wgmma") => &["HGMMA", "UTMALDG"],
        Some("cuda.attention.wgmma") => &["HGMMA", "UTMALDG", "UTMASTG"],
        Some("cuda.matmul.mma" | "cuda.conv.mma" | "cuda.conv.mma.nhwc" | "cuda.attention.mma") => {
            &["HMMA", "LDGSTS", "LDSM"]
        }
        _ => return None,
    };
    let missing = needed.iter().find(|instruction| !code.contains(*instruction));
    let spilled = ["STL", "LDL"].into_iter().find(|instruction| code.contains(&format!(" {instruction}")));
    match (missing, spilled) {
        (Some(instruction), _) => Some(format!("no {instruction}")),
        (_, Some(instruction)) => Some(format!("local memory: {instruction}")),
        _ => None,
    }
}

/// A name for a file.
fn file_name(configuration: &str, target: &str) -> String {
    let text: String = configuration.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{text}-{target}")
}

#[test]
fn products_are_made_of_the_instructions_of_their_tier() {
    if !has_compiler() {
        return;
    }
    // All recipes of a product in the usual order; the best ones of the others.
    let usual = [product(MatMul::default(), DataType::F16, &[512, 512], &[512, 512], Behind::Nothing)];
    let mut jobs: Vec<Job> = distinct(&usual, &["sm_80", "sm_90a"], usize::MAX);
    jobs.extend(distinct(&regions()[1..], &["sm_90a"], 1));
    jobs.extend(distinct(&channels_last::telling()[..3], &["sm_90a"], 5));
    for regions in [convolutions::telling(), channels_last::telling()] {
        jobs.extend(distinct(&regions, &["sm_80"], usize::MAX));
    }
    jobs.retain(|(name, ..)| name.contains("mma"));
    assert!(jobs.len() > 20, "{} kernels", jobs.len());
    let start = std::time::Instant::now();
    let failures = failures(&jobs, wrong);
    let checked = if disassembler().is_some() { "disassembled" } else { "compiled only: there is no nvdisasm" };
    println!("{} kernels {checked}, {:.0} s", jobs.len(), start.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures[..failures.len().min(50)].join("\n"));
}

#[test]
fn attention_is_made_of_the_instructions_of_its_tier() {
    if !has_compiler() {
        return;
    }
    // All recipes of plain attention; the best one with every mask, and with every other option.
    let usual = attentions::telling();
    let mut jobs: Vec<Job> = distinct(&usual[..1], &["sm_80", "sm_90a"], usize::MAX);
    jobs.extend(distinct(&usual[1..], &["sm_90a"], 1));
    jobs.extend(distinct(&attentions::varied(), &["sm_90a"], 1));
    jobs.retain(|(name, ..)| name.contains("mma"));
    let mut seen = BTreeSet::new();
    jobs.retain(|(name, _, target)| seen.insert((name.clone(), *target)));
    assert!(jobs.len() > 40, "{} kernels", jobs.len());
    let failures = failures(&jobs, wrong);
    println!("{} kernels", jobs.len());
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures[..failures.len().min(5)].join("\n"));
}
