//! The output of `gate-trial`, and its interpretation.

use std::path::{Path, PathBuf};
use std::process::Output;

/// One line: the kind of fact, the network, and more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    kind: String,
    network: String,
    rest: Vec<String>,
}

/// Everything that was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Vec<Fact>);

/// The verification result of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Dropped by name: kernel or pass, network, first difference.
    Caught { name: String, network: String, reason: String },
    /// The build failed, or the plan does not run.
    Crashed(String),
    /// Verification missed it.
    Missed,
}

/// Elements of an output that a fault changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Touched {
    pub(crate) differing: usize,
    pub(crate) elements: usize,
}

impl Touched {
    pub(crate) fn share(self) -> f64 {
        self.differing as f64 / self.elements.max(1) as f64
    }

    /// Under one element in a hundred.
    pub(crate) fn is_local(self) -> bool {
        self.differing > 0 && self.share() < 0.01
    }
}

impl Facts {
    pub(crate) fn read(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let mut facts: Vec<Fact> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split('\t').map(str::to_owned);
                Some(Fact { kind: fields.next()?, network: fields.next()?, rest: fields.collect() })
            })
            .collect();
        if !output.status.success() {
            let rest = vec![output.status.to_string()];
            facts.push(Fact { kind: "panic".to_owned(), network: "all".to_owned(), rest });
        }
        Self(facts)
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Reports that are wrong without a fault.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let wrong = self.0.iter().filter(|fact| ["dropped", "error", "panic", "run"].contains(&fact.kind.as_str()));
        wrong.map(|fact| format!("{}: {} {}", fact.network, fact.kind, fact.rest.join(", "))).collect()
    }

    /// The smallest nonzero share of changed elements of an output, over networks: the elements that the fault itself
    /// changes, before later operators spread the change.
    pub(crate) fn touched(&self) -> Option<Touched> {
        let differs = self.0.iter().filter(|fact| fact.kind == "differs").filter_map(|fact| {
            let number = |index: usize| fact.rest.get(index)?.parse::<usize>().ok();
            Some(Touched { differing: number(0)?, elements: number(1)? })
        });
        differs.filter(|t| t.differing > 0).min_by(|a, b| a.share().total_cmp(&b.share()))
    }
}

impl Gate {
    pub(crate) fn of(facts: &Facts) -> Self {
        let find = |kind: &str| facts.0.iter().find(|fact| fact.kind == kind);
        if let Some(fact) = find("dropped") {
            let field = |index: usize| fact.rest.get(index).cloned().unwrap_or_default();
            return Gate::Caught { name: field(0), network: fact.network.clone(), reason: field(2) };
        }
        match find("error").or(find("panic")).or(find("run")) {
            Some(fact) => Gate::Crashed(format!("{}: {} {}", fact.network, fact.kind, fact.rest.join(", "))),
            None => Gate::Missed,
        }
    }

    pub(crate) fn is_caught(&self) -> bool {
        matches!(self, Gate::Caught { .. })
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Gate::Caught { name, network, .. } => format!("{name} on {network}"),
            Gate::Crashed(how) => format!("MISSED (crashed: {how})"),
            Gate::Missed => "MISSED".to_owned(),
        }
    }
}

/// The ONNX files of the shared models.
pub(crate) fn shared_models(root: &Path) -> Result<Vec<PathBuf>, String> {
    let shared = std::env::var_os("SINTER_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folder = shared.join("models");
    let files = walkdir::WalkDir::new(&folder).max_depth(2).sort_by_file_name().into_iter().flatten();
    let models: Vec<PathBuf> =
        files.map(|entry| entry.into_path()).filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    if models.is_empty() {
        return Err(format!("no models in {}; set SINTER_SHARED", folder.display()));
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn facts(text: &str) -> Facts {
        Facts::read(&Command::new("printf").arg("%b").arg(text).output().unwrap())
    }

    #[test]
    fn a_drop_is_a_catch_and_an_error_is_none() {
        let caught = facts("error\\ta\\tx\\ndropped\\tb\\tcpu.x\\t\\tdiffers\\ndiffers\\tb\\t3\\t1000\\n");
        assert!(Gate::of(&caught).is_caught());
        assert_eq!(caught.touched(), Some(Touched { differing: 3, elements: 1000 }));
        assert!(caught.touched().unwrap().is_local());
        assert_eq!(caught.alarms().len(), 2);
        assert!(matches!(Gate::of(&facts("error\\ta\\tx\\n")), Gate::Crashed(_)));
        assert_eq!(Gate::of(&facts("agreed\\ta\\t3\\ndiffers\\ta\\t0\\t9\\n")), Gate::Missed);
    }
}
