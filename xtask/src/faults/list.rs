//! The list of faults, and the check that it fits the sources.

use std::ops::Range;
use std::path::Path;

/// A slip of the pen.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// The mistake that it imitates.
    pub(crate) imitates: String,
    /// kernel, pack, cover, pass or plan.
    pub(crate) place: String,
    /// Path of the file from the root.
    pub(crate) file: String,
    /// The right text: an expression, or a statement with its semicolon.
    pub(crate) find: String,
    /// The wrong text.
    pub(crate) replace: String,
    /// A longer text that stands in the file once, when `find` alone does not.
    pub(crate) within: Option<String>,
    /// Networks in which the code runs.
    pub(crate) networks: Vec<String>,
    /// Tests that should see it: `PACKAGE FILTER`.
    pub(crate) tests: Vec<String>,
}

/// Where a fault stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) range: Range<usize>,
}

impl Fault {
    fn of(table: &toml::Table) -> Result<Self, String> {
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or("(without a name)").to_owned();
        let text = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("fault {name}: '{key}' is missing or no text"))
        };
        let list = |key: &str| -> Result<Vec<String>, String> {
            let wrong = || format!("fault {name}: '{key}' is missing or no list of texts");
            let values = table.get(key).and_then(toml::Value::as_array).ok_or_else(wrong)?;
            values.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        };
        let known = ["name", "imitates", "place", "file", "find", "replace", "within", "networks", "tests"];
        if let Some(other) = table.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("fault {name}: '{other}' is no key; there are {}", known.join(", ")));
        }
        Ok(Self {
            imitates: text("imitates")?,
            place: text("place")?,
            file: text("file")?,
            find: text("find")?,
            replace: text("replace")?,
            within: table.contains_key("within").then(|| text("within")).transpose()?,
            networks: list("networks")?,
            tests: list("tests")?,
            name,
        })
    }

    /// Position of the fault in the text of its file.
    ///
    /// # Errors
    /// When the text does not occur, or occurs more than once: the list is stale.
    pub(crate) fn place(&self, text: &str) -> Result<Place, String> {
        let once = |text: &str, part: &str, what: &str| {
            let found: Vec<usize> = text.match_indices(part).map(|(at, _)| at).collect();
            match found[..] {
                [at] => Ok(at),
                _ => Err(format!(
                    "fault {}: stale, {} stands {} times in {what} instead of once:\n{part}",
                    self.name,
                    if part == self.find { "'find'" } else { "'within'" },
                    found.len()
                )),
            }
        };
        let start = match &self.within {
            None => once(text, &self.find, &self.file)?,
            Some(within) => {
                once(text, within, &self.file)? + once(within, &self.find, &format!("'within' ({})", self.file))?
            }
        };
        Ok(Place { range: start..start + self.find.len() })
    }

    /// The guarded text for the scratch copy.
    pub(crate) fn guarded(&self, index: usize) -> String {
        let condition = format!("if ::sinter_base::planted::is({index})");
        let (right, wrong) = (&self.find, &self.replace);
        if self.find.trim_end().ends_with(';') {
            format!("{condition} {{ {wrong} }} else {{ {right} }}")
        } else {
            format!("({condition} {{ {wrong} }} else {{ {right} }})")
        }
    }
}

/// Reads all lists, sorted by file.
pub(crate) fn load(root: &Path) -> Result<Vec<Fault>, String> {
    let folder = root.join("xtask/faults");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    let mut faults = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
        for entry in table.get("fault").and_then(toml::Value::as_array).into_iter().flatten() {
            let entry = entry.as_table().ok_or_else(|| format!("{}: a fault is a table", path.display()))?;
            faults.push(Fault::of(entry).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    Ok(faults)
}

/// The text of a file with its faults, each selected by its index.
pub(crate) fn planted(text: &str, faults: &[(usize, &Fault)]) -> Result<String, String> {
    let mut places = Vec::new();
    for (index, fault) in faults {
        places.push((fault.place(text)?.range, *index, *fault));
    }
    places.sort_by_key(|(range, ..)| range.start);
    if let Some(pair) = places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        return Err(format!("faults {} and {} overlap in {}", pair[0].2.name, pair[1].2.name, pair[0].2.file));
    }
    let mut result = String::new();
    let mut at = 0;
    for (range, index, fault) in places {
        result.push_str(&text[at..range.start]);
        result.push_str(&fault.guarded(index));
        at = range.end;
    }
    result.push_str(&text[at..]);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;
    use crate::command::root;

    fn fault(find: &str, within: Option<&str>) -> Fault {
        Fault {
            name: "test".to_owned(),
            imitates: String::new(),
            place: "kernel".to_owned(),
            file: "a.rs".to_owned(),
            find: find.to_owned(),
            replace: "wrong".to_owned(),
            within: within.map(str::to_owned),
            networks: Vec::new(),
            tests: Vec::new(),
        }
    }

    /// The list fits the sources, and the changed sources are valid Rust: this test fails when a change touches the
    /// line of a fault.
    #[test]
    fn every_fault_has_its_place() {
        let faults = load(&root()).expect("a list that parses");
        let mut files: BTreeMap<&str, Vec<(usize, &Fault)>> = BTreeMap::new();
        for (index, fault) in faults.iter().enumerate() {
            files.entry(&fault.file).or_default().push((index + 1, fault));
            assert!(!fault.networks.is_empty(), "{} is tried on nothing", fault.name);
            assert!(fault.find != fault.replace, "{} changes nothing", fault.name);
        }
        for (file, faults) in files {
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let planted = planted(&text, &faults).unwrap_or_else(|stale| panic!("{stale}"));
            syn::parse_file(&planted).unwrap_or_else(|error| panic!("{file} with its faults: {error}"));
        }
        let names: HashSet<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names.len(), faults.len(), "two faults of one name");
        assert!(faults.len() >= 40, "only {} faults", faults.len());
    }

    #[test]
    fn stale_entries_say_so() {
        assert!(fault("b", None).place("a b c").is_ok());
        assert!(fault("x", None).place("a b c").unwrap_err().contains("stands 0 times in a.rs"));
        assert!(fault("b", None).place("b b").unwrap_err().contains("stands 2 times"));
        assert_eq!(fault("b", Some("c b")).place("b c b").unwrap(), Place { range: 4..5 });
    }

    #[test]
    fn faults_are_guarded() {
        let text = planted("let y = f(x) + 1;", &[(3, &fault("f(x)", None))]).unwrap();
        assert_eq!(text, "let y = (if ::sinter_base::planted::is(3) { wrong } else { f(x) }) + 1;");
        let text = planted("y = 1; z = 2;", &[(1, &fault("y = 1;", None)), (2, &fault("z = 2;", None))]).unwrap();
        assert!(text.starts_with("if ::sinter_base::planted::is(1) { wrong } else { y = 1; } if "));
        assert!(planted("f(x)", &[(1, &fault("f(x)", None)), (2, &fault("(x)", None))]).is_err());
    }
}
