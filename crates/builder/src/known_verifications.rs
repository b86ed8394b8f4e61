//! The verification cache: a build need not verify a network and plan that an earlier build verified.
//!
//! One entry covers one whole build. Its key is a hash of everything that the verification result depends on: the
//! running program (its file contains kernels, passes, rules and reference executor), the device, the network with the
//! contents of its weights, the inputs of verification, and the disabled passes. An entry holds for one plan only: the
//! build repeats the choices of the entry, and if the plan differs, for example because new timings chose other
//! kernels, the build verifies it as if there were no entry.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sinter_base::{DataType, Tensor, TensorType, Value};
use sinter_ir::{Network, WeightExpr};
use sinter_ops::{Body, ValueId};
use sinter_plan::report::OutputError;
use sinter_plan::{Plan, SelfTest};

use crate::cache_file::{self, CacheError};
use crate::fallback::Fallback;
use crate::precision::request::PrecisionOptions;
use crate::verify::{Dropped, Unverified, Verification, Verify};

const KIND: &str = "verifications";
/// With more entries than this, those of other programs are dropped: the cache does not know their age.
const MANY: usize = 64;

/// The result of a verified build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownVerification {
    /// Hash of the plan, without its self-test vectors.
    pub(crate) plan: String,
    /// The pass that was disabled because it changes the meaning.
    pub(crate) without: Option<String>,
    /// (tactic, text of the region) of kernels that were dropped.
    pub(crate) bans: Vec<(String, String)>,
    /// Optimizations that were disabled.
    pub(crate) fallbacks: Vec<Fallback>,
    /// (position, reason) of nodes that stay in f32 because of the range of a low precision.
    pub(crate) out_of_range: Vec<(usize, String)>,
    /// The errors of outputs in low precision.
    pub(crate) outputs: Vec<OutputError>,
    pub(crate) found: Verification,
    pub(crate) self_test: Option<SelfTest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    program: String,
    build: String,
    plan: String,
    without: Option<String>,
    bans: Vec<(String, String)>,
    #[serde(default)]
    fallbacks: Vec<Fallback>,
    #[serde(default)]
    out_of_range: Vec<(usize, String)>,
    /// (output, bits of the error, bits of the bound).
    #[serde(default)]
    outputs: Vec<(String, u64, u64)>,
    unverified_passes: Option<String>,
    agreed: usize,
    /// (name, origin, reason).
    dropped: Vec<(String, String, String)>,
    unverified: Vec<(String, String)>,
    /// In hexadecimal digits.
    self_test: Option<String>,
}

/// Verification results of earlier builds. See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerificationCache {
    /// By program and key of the build.
    entries: BTreeMap<(String, String), Record>,
}

impl VerificationCache {
    /// Reads a file; an empty cache where it does not exist.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or is not a cache of verifications.
    pub fn load(path: &Path) -> Result<Self, CacheError> {
        let records: Vec<Record> = cache_file::read(path, KIND)?;
        let entry = |record: Record| ((record.program.clone(), record.build.clone()), record);
        Ok(Self { entries: records.into_iter().map(entry).collect() })
    }

    /// Writes a file, whole or not at all. Its other entries stay; a file that is damaged or of another version is
    /// replaced, since builds can verify again.
    ///
    /// # Errors
    /// When it cannot be written, or is not a cache of verifications.
    pub fn save(&self, path: &Path) -> Result<(), CacheError> {
        let mut merged = match Self::load(path) {
            Ok(known) => known,
            Err(CacheError::Damaged { .. } | CacheError::Version { .. }) => Self::default(),
            Err(error) => return Err(error),
        };
        merged.entries.extend(self.entries.iter().map(|(key, record)| (key.clone(), record.clone())));
        if merged.entries.len() > MANY {
            merged.entries.retain(|(program, _), _| Some(program.as_str()) == this_program());
        }
        cache_file::write(path, KIND, &merged.entries.into_values().collect::<Vec<_>>())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, build: &str) -> Option<KnownVerification> {
        let record = self.entries.get(&(this_program()?.to_owned(), build.to_owned()))?.clone();
        let self_test = record
            .self_test
            .map(|text| SelfTest::from_bytes(&from_hex(&text)?).ok())
            .map_or(Some(None), |s| s.map(Some))?;
        let dropped = record.dropped.into_iter().map(|(name, origin, reason)| Dropped { name, origin, reason });
        let found = Verification {
            unverified_passes: record.unverified_passes,
            agreed: record.agreed,
            dropped: dropped.collect(),
            unverified: record.unverified.into_iter().map(|(origin, reason)| Unverified { origin, reason }).collect(),
            ..Verification::default()
        };
        let Record { plan, without, bans, fallbacks, out_of_range, outputs, .. } = record;
        let outputs = outputs.into_iter().map(|(output, error, limit)| OutputError {
            output,
            error: f64::from_bits(error),
            limit: f64::from_bits(limit),
        });
        let outputs = outputs.collect();
        Some(KnownVerification { plan, without, bans, fallbacks, out_of_range, outputs, found, self_test })
    }

    pub(crate) fn insert(&mut self, build: &str, known: KnownVerification) {
        let Some(program) = this_program() else { return };
        let KnownVerification { plan, without, bans, fallbacks, out_of_range, outputs, found, self_test } = known;
        let outputs = outputs.into_iter().map(|o| (o.output, o.error.to_bits(), o.limit.to_bits()));
        let record = Record {
            program: program.to_owned(),
            build: build.to_owned(),
            plan,
            without,
            bans,
            fallbacks,
            out_of_range,
            outputs: outputs.collect(),
            unverified_passes: found.unverified_passes,
            agreed: found.agreed,
            dropped: found.dropped.into_iter().map(|d| (d.name, d.origin, d.reason)).collect(),
            unverified: found.unverified.into_iter().map(|step| (step.origin, step.reason)).collect(),
            self_test: self_test.map(|self_test| to_hex(&self_test.to_bytes())),
        };
        self.entries.insert((record.program.clone(), record.build.clone()), record);
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Hash of the running program's file, which contains every kernel, pass and rule; `None` when it cannot be read.
fn this_program() -> Option<&'static str> {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let hash = || {
        let mut file = std::fs::File::open(std::env::current_exe().ok()?).ok()?;
        let mut hasher = blake3::Hasher::new();
        let mut step = vec![0; 1 << 16];
        loop {
            match file.read(&mut step).ok()? {
                0 => return Some(hasher.finalize().to_hex().to_string()),
                length => hasher.update(&step[..length]),
            };
        }
    };
    PROGRAM.get_or_init(hash).as_deref()
}

/// A hash that separates fields: the length of each precedes it.
#[derive(Default)]
struct Fields(blake3::Hasher);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.text(&format!("{} {:?}", tensor.data_type(), tensor.sizes()));
        match tensor.strings() {
            Ok(strings) if tensor.data_type() == DataType::String => {
                strings.iter().for_each(|string| self.text(string));
            }
            _ => self.bytes(tensor.bytes()),
        }
    }

    fn value(&mut self, value: &Value) {
        match value.as_tensor() {
            Some(tensor) => self.tensor(tensor),
            None => self.text(&format!("{value:?}")),
        }
    }

    /// Hashes the text form, and the known contents that it omits.
    fn body(&mut self, body: &Body) {
        self.text(&body.to_string());
        for index in 0..body.value_count() {
            if let Some(TensorType { value: Some(known), .. }) = body.ty(ValueId::new(index)).as_tensor() {
                self.number(index);
                self.text(&format!("{known:?}"));
            }
        }
    }

    fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// The key of a build: the hash of everything that its verification depends on beside the program; `None` when the
/// program's file cannot be read.
pub(crate) fn build_key<'a>(
    network: &Network,
    device: &str,
    disabled: impl Iterator<Item = &'a String>,
    precision: &PrecisionOptions,
    verify: &Verify,
) -> Option<String> {
    this_program()?;
    let mut fields = Fields::default();
    fields.text(device);
    disabled.for_each(|pass| fields.text(pass));
    fields.text(&format!("{precision:?}"));
    match verify {
        Verify::Off => return None,
        Verify::Generated => fields.text("synthetic"),
        Verify::Given(inputs) => {
            let mut inputs: Vec<_> = inputs.iter().collect();
            inputs.sort_by_key(|(name, _)| *name);
            fields.text("given");
            fields.number(inputs.len());
            for (name, value) in inputs {
                fields.text(name);
                fields.value(value);
            }
        }
    }
    fields.text(&network.name);
    fields.body(&network.body);
    for input in &network.inputs {
        fields.text(&format!("input {} {}", input.name, input.value));
        if let Some(default) = &input.default {
            fields.tensor(default);
        }
    }
    for output in &network.outputs {
        fields.text(&format!("output {} {}", output.name, output.value));
    }
    for location in &network.locations {
        fields.text(&location.to_string());
    }
    fields.text(&format!("{:?}", network.guards));
    let mut numbers: std::collections::HashMap<*const WeightExpr, usize> = std::collections::HashMap::new();
    let number = |numbers: &std::collections::HashMap<_, usize>, expr: &std::sync::Arc<WeightExpr>| {
        numbers.get(&std::sync::Arc::as_ptr(expr)).copied().unwrap_or(usize::MAX)
    };
    WeightExpr::visit(network.weights.iter().map(|w| &w.expr), &mut |expr| {
        match &**expr {
            WeightExpr::Source { name, tensor, is_refittable } => {
                fields.text(name);
                fields.number(usize::from(*is_refittable));
                fields.tensor(tensor);
            }
            WeightExpr::Apply { op, inputs, output } => {
                fields.text(&format!("{}{} result {output}", op.name(), op.to_attr()));
                op.bodies().into_iter().for_each(|body| fields.body(body));
                for input in inputs {
                    fields.number(input.as_ref().map_or(usize::MAX, |input| number(&numbers, input)));
                }
            }
        }
        numbers.insert(std::sync::Arc::as_ptr(expr), numbers.len());
    });
    for weight in &network.weights {
        fields.text(&weight.value.to_string());
        fields.number(number(&numbers, &weight.expr));
    }
    Some(fields.finish())
}

/// Hash of a plan without its self-test vectors and report. The contents of its weights follow from the network, the
/// program and the steps, so that names and types are enough.
pub(crate) fn plan_hash(plan: &Plan) -> String {
    let mut fields = Fields::default();
    for weight in &plan.weights {
        fields.text(&weight.name);
        fields.text(&format!("{} {:?}", weight.tensor().data_type(), weight.tensor().sizes()));
    }
    let bare = Plan { weights: Vec::new(), self_test: None, report: None, ..plan.clone() };
    fields.bytes(&sinter_plan::to_bytes(&bare));
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(agreed: usize) -> KnownVerification {
        let found = Verification {
            agreed,
            dropped: vec![Dropped { name: "t".into(), origin: "o".into(), reason: "r".into() }],
            ..Verification::default()
        };
        let bans = vec![("t".to_owned(), "region\n".to_owned())];
        let (fallbacks, self_test) = (vec![Fallback::SharedMemory], Some(SelfTest::default()));
        let out_of_range = vec![(3, "its result reaches 1e6".to_owned())];
        let outputs = vec![OutputError { output: "y".into(), error: 1e-3, limit: f64::INFINITY }];
        let (plan, without) = ("p".into(), Some("pass".into()));
        KnownVerification { plan, without, bans, fallbacks, out_of_range, outputs, found, self_test }
    }

    #[test]
    fn verdicts_survive_their_file_and_a_damaged_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        let mut cache = VerificationCache::default();
        cache.insert("a", KnownVerification { self_test: None, ..known(7) });
        cache.save(&path).unwrap();
        let mut more = VerificationCache::default();
        more.insert("b", known(8));
        more.save(&path).unwrap();
        let both = VerificationCache::load(&path).unwrap();
        assert_eq!(both.get("a"), Some(KnownVerification { self_test: None, ..known(7) }));
        assert_eq!(both.get("b").unwrap().found.agreed, 8);
        assert!(both.get("c").is_none());
        std::fs::write(&path, "sinter verifications 1 00\n{}").unwrap();
        assert!(matches!(VerificationCache::load(&path), Err(CacheError::Damaged { .. })));
        cache.save(&path).unwrap();
        assert_eq!(VerificationCache::load(&path).unwrap(), cache);
        std::fs::write(&path, "my thesis\n").unwrap();
        assert!(matches!(cache.save(&path), Err(CacheError::Foreign { .. })), "never over something else");
    }

    #[test]
    fn hexadecimal_digits_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert!(from_hex("0").is_none() && from_hex("0g").is_none());
    }
}
