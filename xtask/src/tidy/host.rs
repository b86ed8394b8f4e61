//! Host-only operators: only the CPU back end needs kernels for them. Their kernels are in one folder, and no code
//! outside of it reads strings.

use crate::tidy::{BACK_ENDS, Finding, Source};

/// Operators that run on the host, for every device: all of `crates/ops/src/host`, each with a reason.
const HOST_ONLY: &[(&str, &str)] = &[
    ("StringConcat", "strings have no fixed size"),
    ("StringEqual", "as above"),
    ("StringCast", "numbers to text and back"),
    ("StringSplit", "as many words as there are"),
    ("StringNormalizer", "letters by language"),
    ("RegexFullMatch", "regular expressions"),
    ("LabelEncoder", "a hash table of labels, most often strings"),
    ("TfIdfVectorizer", "a hash table of n-grams, most often of strings"),
    ("ImageDecoder", "files of images"),
];

/// Folder of their kernels.
const FOLDER: &str = "crates/cpu/src/host/";

/// Files elsewhere in back ends that read strings, each with a reason.
const STRINGS: &[(&str, &str)] =
    &[("crates/cpu/src/movement/strings.rs", "numbers their places in a table, then moves numbers")];

/// Calls that read or create strings.
const LOOKS: &[&str] = &[".strings()", "from_strings("];

/// Does a text contain this word?
fn names(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let here = "xtask/src/tidy/host.rs";
    let catalog = sources.iter().find(|s| s.path == "crates/ops/src/catalog.rs").map_or("", |s| s.text.as_str());
    let host = catalog.lines().filter_map(|l| l.trim().strip_suffix(';')?.split_once(": crate::host::"));
    let host: Vec<&str> = host.map(|(_, name)| name).collect();
    for name in host.iter().filter(|name| !HOST_ONLY.iter().any(|(listed, _)| listed == *name)) {
        findings
            .push(Finding::new("crates/ops/src/catalog.rs", format!("{name} is not listed as host-only in {here}")));
    }
    let back_ends = sources.iter().filter(|s| BACK_ENDS.iter().any(|folder| s.path.starts_with(folder)));
    let (inside, elsewhere): (Vec<&Source>, Vec<&Source>) = back_ends.partition(|s| s.path.starts_with(FOLDER));
    for (name, _) in HOST_ONLY {
        if !host.contains(name) {
            findings.push(Finding::new(here, format!("{name} is no operator of crates/ops/src/host")));
        }
        if !inside.iter().any(|s| names(&s.text, name)) {
            findings.push(Finding::new(FOLDER, format!("no kernel names {name}")));
        }
        for source in elsewhere.iter().filter(|s| names(&s.text, name)) {
            findings
                .push(Finding::new(source.path.clone(), format!("{name} is host-only; its kernels live in {FOLDER}")));
        }
    }
    let looks = |s: &Source| LOOKS.iter().any(|call| s.text.contains(call));
    for source in elsewhere.iter().filter(|s| looks(s) && !STRINGS.iter().any(|(path, _)| *path == s.path)) {
        findings.push(Finding::new(source.path.clone(), format!("only {FOLDER} may read strings")));
    }
    for (path, _) in STRINGS.iter().filter(|(path, _)| !elsewhere.iter().any(|s| s.path == *path && looks(s))) {
        findings.push(Finding::new(here, format!("{path} does not look into strings")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{problems, source};

    /// Sources with nothing wrong.
    fn right() -> Vec<Source> {
        let catalog: Vec<String> = HOST_ONLY.iter().map(|(n, _)| format!("  1 => {n}: crate::host::{n};")).collect();
        let kernels: Vec<String> = HOST_ONLY.iter().map(|(n, _)| format!("only_operator!(region, {n});")).collect();
        vec![
            source("crates/ops/src/catalog.rs", &catalog.join("\n")),
            source("crates/cpu/src/host/all.rs", &kernels.join("\n")),
            source(STRINGS[0].0, "tensor.strings()"),
        ]
    }

    #[test]
    fn host_only_operators_have_one_folder() {
        assert!(check(&right()).is_empty());
        let mut sources = right();
        sources.push(source("crates/cpu/src/image/other.rs", "Op::ImageDecoder(_)"));
        assert!(problems(check(&sources))[0].contains("ImageDecoder is host-only"));
        let mut sources = right();
        sources[0].text.push_str("\n  2 => Tokenize: crate::host::Tokenize;");
        assert!(problems(check(&sources))[0].contains("Tokenize is not listed"));
        let mut sources = right();
        sources[1].text = sources[1].text.replace("StringCast", "StringCasts");
        assert_eq!(problems(check(&sources)), ["no kernel names StringCast"]);
    }

    #[test]
    fn strings_stay_in_their_folder() {
        let mut sources = right();
        sources.push(source("crates/cpu/src/reduce/longest.rs", "let words = tensor.strings()?;"));
        assert!(problems(check(&sources))[0].contains("may read strings"));
        let mut sources = right();
        sources[2].text.clear();
        assert!(problems(check(&sources))[0].contains("does not look into strings"));
    }
}
