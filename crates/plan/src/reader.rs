//! Reading plan files: every hash, offset and size is checked before it is used.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use sinter_backend::{Code, Target};
use sinter_base::mapping::map_file;
use sinter_base::{DataType, Tensor, ValueType, regular_file};
use zerocopy::FromBytes;

use crate::check::check;
use crate::codec;
use crate::container::{
    Entry, HASH, Header, Kind, MAGIC, MAX_PROGRAMS, MAX_SECTIONS, OLD_SECTIONS, PROGRAMS, REPORTING,
    REPORTING_SECTIONS, VERSION, check_programs, interface, narrow,
};
use crate::error::PlanError;
use crate::plan::{Plan, PlanWeight};
use crate::report_codec;
use crate::section::{Section, piece};
use crate::wire;

/// Which hashes the reader checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The hash of every section.
    Nothing,
    /// Every hash but that of the weights, which may be gigabytes.
    Weights,
}

/// Does the file begin like a plan? False for a file that cannot be read.
pub fn is_plan(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    regular_file::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// Maps a plan file and reads its first program. Weights stay in the mapping.
///
/// # Errors
/// When the file cannot be opened or is no intact plan.
pub fn read(path: &Path, trust: Trust) -> Result<Plan, PlanError> {
    PlanFile::open(path, trust)?.program(0)
}

/// Reads the first program of a plan file in memory.
///
/// # Errors
/// When the bytes are no intact plan.
pub fn from_bytes(bytes: Bytes, trust: Trust) -> Result<Plan, PlanError> {
    PlanFile::from_bytes(bytes, trust)?.program(0)
}

/// A program of a file, before it is decoded.
struct Program {
    metadata: wire::Metadata,
    report: Bytes,
    targets: Vec<Target>,
}

/// An open plan file.
pub struct PlanFile {
    programs: Vec<Program>,
    weights: Bytes,
    code: Bytes,
    trust: Trust,
    /// Do records of weights contain hashes?
    has_hashes: bool,
}

impl PlanFile {
    /// Maps a file. Weights stay in the mapping.
    ///
    /// # Errors
    /// When the file cannot be opened or is no intact plan file.
    pub fn open(path: &Path, trust: Trust) -> Result<Self, PlanError> {
        let bytes = map_file(path).map_err(|source| PlanError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(bytes, trust)
    }

    /// A file in memory.
    ///
    /// # Errors
    /// When the bytes are no intact plan file.
    pub fn from_bytes(bytes: Bytes, trust: Trust) -> Result<Self, PlanError> {
        let (version, entries) = head(&bytes)?;
        let count = |kind: Kind| entries.iter().filter(|entry| entry.kind.get() == kind.code()).count();
        let programs = count(Kind::Metadata);
        if programs == 0 || programs > MAX_PROGRAMS || version < PROGRAMS && programs > 1 {
            return Err(PlanError::damaged(format!("{programs} programs")));
        }
        let program = |index: usize| {
            let metadata = Section::find(&bytes, entries, Kind::Metadata, index)?.checked()?;
            let metadata = wire::Metadata::decode(metadata).map_err(|e| PlanError::damaged(e.to_string()))?;
            let report = match version >= REPORTING {
                true => Section::find(&bytes, entries, Kind::Report, index)?.checked()?,
                false => Bytes::new(),
            };
            let devices = metadata.device.iter().chain(&metadata.islands);
            let targets = devices.map(codec::decode_target).collect::<Result<_, _>>()?;
            Ok(Program { metadata, report, targets })
        };
        let programs = (0..programs).map(program).collect::<Result<Vec<_>, PlanError>>()?;
        let weights = Section::find(&bytes, entries, Kind::Weights, 0)?;
        let has_hashes = version >= REPORTING;
        match (trust, has_hashes) {
            (Trust::Nothing, false) => weights.check()?,
            (Trust::Nothing, true) => {
                let records = programs.iter().flat_map(|program| &program.metadata.weights);
                weights.check_pieces(version >= PROGRAMS, records.map(|r| (r.offset, r.length, r.hash.as_slice())))?;
            }
            (Trust::Weights, _) => {}
        }
        let mut code = Bytes::new();
        if version >= PROGRAMS {
            let section = Section::find(&bytes, entries, Kind::Code, 0)?;
            let records = programs.iter().flat_map(|program| &program.metadata.code);
            section.check_pieces(true, records.map(|r| (r.offset, r.length, r.hash.as_slice())))?;
            code = section.bytes;
        }
        Ok(Self { programs, weights: weights.bytes, code, trust, has_hashes })
    }

    /// The targets of its programs, the preferred program first: the target of each, then those of its islands.
    pub fn targets(&self) -> impl Iterator<Item = &[Target]> + Clone {
        self.programs.iter().map(|program| program.targets.as_slice())
    }

    /// A program.
    ///
    /// # Errors
    /// When it does not exist, or cannot run although its hashes match.
    pub fn program(&self, index: usize) -> Result<Plan, PlanError> {
        let missing = || PlanError::damaged(format!("there is no program {index}"));
        let Program { metadata, report, .. } = self.programs.get(index).ok_or_else(missing)?;
        let is_checked = self.has_hashes && self.trust == Trust::Nothing;
        let weight = |record: &wire::Weight| {
            let weight = weight(record, &self.weights)?;
            match <[u8; HASH]>::try_from(record.hash.as_slice()) {
                Ok(hash) if is_checked => Ok(weight.checked(hash)),
                _ => Ok(weight),
            }
        };
        let weights = metadata.weights.iter().map(weight).collect::<Result<Vec<_>, PlanError>>()?;
        let code = metadata.code.iter().map(|record| piece(&self.code, record.offset, record.length).map(Code));
        let code = code.collect::<Result<Vec<_>, PlanError>>()?;
        assemble(metadata, report, weights, code)
    }

    /// All programs.
    ///
    /// # Errors
    /// As [`PlanFile::program`], and when they differ in inputs or outputs.
    pub fn into_programs(self) -> Result<Vec<Plan>, PlanError> {
        let programs = (0..self.programs.len()).map(|index| self.program(index)).collect::<Result<Vec<_>, _>>()?;
        check_programs(&programs.iter().map(interface).collect::<Vec<_>>())?;
        Ok(programs)
    }
}

/// Version and table of sections.
fn head(bytes: &Bytes) -> Result<(u32, &[Entry]), PlanError> {
    let (header, rest) = Header::read_from_prefix(bytes)
        .map_err(|_| PlanError::NotAPlan(format!("it has only {} bytes", bytes.len())))?;
    if header.magic != MAGIC {
        return Err(PlanError::NotAPlan("it starts with other bytes".to_owned()));
    }
    let version = header.version.get();
    if version == 0 || version > VERSION {
        return Err(PlanError::Version { found: version, newest: VERSION });
    }
    if narrow(header.length.get())? != bytes.len() {
        return Err(PlanError::damaged(format!("{} bytes, {} expected", bytes.len(), header.length)));
    }
    let count = usize::try_from(header.sections.get()).unwrap_or(usize::MAX);
    let fixed = match version {
        PROGRAMS.. => None,
        REPORTING => Some(REPORTING_SECTIONS),
        _ => Some(OLD_SECTIONS),
    };
    if count > MAX_SECTIONS || fixed.is_some_and(|fixed| count != fixed) {
        return Err(PlanError::damaged(format!("{count} sections in a plan of version {version}")));
    }
    let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, count)
        .map_err(|_| PlanError::damaged("the section table is cut"))?;
    if version >= REPORTING {
        check_head(bytes, count)?;
    }
    Ok((version, entries))
}

/// Decodes and checks the plan in these sections. An empty report section means that the plan has no report.
pub(crate) fn assemble(
    metadata: &wire::Metadata,
    report: &[u8],
    weights: Vec<PlanWeight>,
    code: Vec<Code>,
) -> Result<Plan, PlanError> {
    let decoded = codec::decode(metadata)?;
    let mut steps = 0;
    decoded.graph.visit_steps(&mut |_| steps += 1);
    let plan = Plan {
        name: decoded.name,
        target: decoded.target,
        islands: decoded.islands,
        graph: decoded.graph,
        inputs: decoded.inputs,
        outputs: decoded.outputs,
        weights,
        code,
        shapes: decoded.shapes,
        guards: decoded.guards,
        expressions: decoded.expressions,
        self_test: decoded.self_test,
        report: report_codec::decode(report, steps)?,
    };
    check(&plan)?;
    Ok(plan)
}

/// Checks the hash behind the header and the table of sections.
fn check_head(bytes: &Bytes, sections: usize) -> Result<(), PlanError> {
    let length = size_of::<Header>().saturating_add(sections.saturating_mul(size_of::<Entry>()));
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(|| PlanError::damaged("the section table is cut"))?;
    match rest.get(..HASH) {
        Some(hash) if hash == blake3::hash(head).as_bytes() => Ok(()),
        _ => Err(PlanError::Hash { section: "header" }),
    }
}

fn weight(record: &wire::Weight, section: &Bytes) -> Result<PlanWeight, PlanError> {
    let wrong = |reason: &dyn std::fmt::Display| PlanError::damaged(format!("weight '{}': {reason}", record.name));
    let ty = codec::decode_type(record.r#type.as_ref().ok_or_else(|| wrong(&"it has no type"))?, 0)?;
    let ValueType::Tensor(ty) = ty else { return Err(wrong(&"it is no tensor")) };
    let sizes = ty.shape.sizes().ok_or_else(|| wrong(&"its sizes are dynamic"))?;
    let tensor = if ty.data_type == DataType::String {
        Tensor::from_strings(&sizes, record.strings.clone())
    } else {
        let outside = |_| wrong(&"it lies outside its section");
        Tensor::from_bytes(ty.data_type, &sizes, piece(section, record.offset, record.length).map_err(outside)?)
    };
    Ok(PlanWeight::new(record.name.clone(), tensor.map_err(|e| wrong(&e))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ALIGNMENT;
    use crate::plan::{
        Action, BufferId, CodeId, Graph, Launch, Place, PlanValue, PlanValueId, Port, Step, Storage, Variant, WeightId,
    };
    use crate::report::{Refused, Report, Verification};
    use crate::shape_program::ShapeCompiler;
    use crate::writer::{programs_to_bytes, to_bytes, write, write_programs};
    use sinter_backend::{Recipe, Region, Target};
    use sinter_base::{Attr, Dim, KnownValue, TensorType};
    use sinter_ops::pointwise::Expr;

    /// Metadata, report, machine code and weights of one program.
    const SECTIONS: usize = 4;

    /// y = x + w for a symbolic x.
    fn plan() -> Plan {
        let (n, f32) = (Dim::symbol("batch size"), DataType::F32);
        let ty = ValueType::tensor(f32, vec![n.clone(), Dim::constant(3)]);
        let add = Expr::into_pointwise(&[&Expr::input(0, f32) + &Expr::input(1, f32)]).unwrap();
        let types = [Some(ty.clone()), Some(ValueType::tensor(f32, vec![Dim::constant(3)]))];
        let region = Region::single(add.into(), &types, vec![ty.clone()]);
        let mut compiler = ShapeCompiler::default();
        let slots = [compiler.dim(&n), compiler.dim(&Dim::constant(3))];
        let (shapes, register) = compiler.finish();
        let sizes = Some(slots.map(&register).to_vec());
        let value = |ty: &ValueType, sizes, storage| PlanValue { ty: ty.clone(), sizes, storage, place: Place::MAIN };
        let id = PlanValueId::new;
        Plan {
            name: "test".to_owned(),
            target: Target {
                bytes_per_second: 12e9,
                operations_per_second: vec![(DataType::F32, 8e10)],
                ..Target::unknown("cpu", "avx2", 2)
            },
            graph: Graph {
                values: vec![
                    value(&ty, sizes.clone(), Storage::Input),
                    value(types[1].as_ref().unwrap(), None, Storage::Weight(WeightId::new(0))),
                    value(&ty, sizes, Storage::Arena(BufferId::new(0))),
                ],
                inputs: vec![id(0)],
                outputs: vec![id(2)],
                steps: vec![Step {
                    action: Action::Launch(Launch {
                        in_place: vec![(0, 0)],
                        ..Launch::of(
                            region,
                            Variant::of(Recipe {
                                tactic: "cpu.pointwise.program".to_owned(),
                                parameters: Attr::Int(3),
                            }),
                        )
                    }),
                    inputs: vec![Some(id(0)), Some(id(1))],
                    outputs: vec![id(2)],
                    origins: vec!["Add 'a'".to_owned()],
                }],
            },
            inputs: vec![Port { name: "x".to_owned(), value: id(0), default: None }],
            outputs: vec![Port { name: "y".to_owned(), value: id(2), default: None }],
            islands: Vec::new(),
            code: Vec::new(),
            weights: vec![PlanWeight::new("w".to_owned(), Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]).unwrap())],
            shapes,
            guards: Vec::new(),
            expressions: Vec::new(),
            self_test: None,
            report: Some(report()),
        }
    }

    fn report() -> Report {
        let verification = Verification { skipped: Some("verification is off".to_owned()), ..Verification::default() };
        let refused = Refused { steps: vec![0], refusals: vec![("cpu.t".into(), "no f32".into())] };
        Report { verification, passes: Vec::new(), refused: vec![refused], precision: None }
    }

    #[test]
    fn plans_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        write(&path, &plan()).unwrap();
        assert_eq!(read(&path, Trust::Nothing).unwrap(), plan());
        assert_eq!(to_bytes(&plan()), std::fs::read(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays");
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = to_bytes(&plan());
        for at in (0..bytes.len()).filter(|at| *at < 600 || at % 97 == 0 || *at + 12 >= bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // Padding between sections belongs to none.
            if let Ok(read) = from_bytes(damaged.into(), Trust::Nothing) {
                assert_eq!(read, plan(), "byte {at}");
            }
        }
        for length in [0, 7, 24, 80, 200, bytes.len() - 1] {
            assert!(from_bytes(Bytes::copy_from_slice(&bytes[..length]), Trust::Nothing).is_err());
        }
    }

    #[test]
    fn weights_may_be_trusted_and_nothing_else() {
        let bytes = to_bytes(&plan());
        let damaged = |at: usize| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            [Trust::Nothing, Trust::Weights].map(|trust| from_bytes(damaged.clone().into(), trust).is_ok())
        };
        assert_eq!(damaged(bytes.len() - 1), [false, true], "in the weights");
        let metadata = (24 + SECTIONS * 56 + 32usize).next_multiple_of(ALIGNMENT);
        assert_eq!(damaged(metadata + 5), [false, false], "in the metadata");
        let report = metadata + entry(&bytes, 0).length.get() as usize;
        assert_eq!(damaged(report.next_multiple_of(ALIGNMENT) + 5), [false, false], "in the report");
        assert!(from_bytes(bytes.clone().into(), Trust::Nothing).unwrap().weights[0].hash().is_some());
        assert!(from_bytes(bytes.into(), Trust::Weights).unwrap().weights[0].hash().is_none(), "it was not checked");
    }

    #[test]
    fn damage_behind_valid_hashes_is_noticed() {
        let mut cyclic = plan();
        cyclic.graph.steps[0].inputs[0] = Some(PlanValueId::new(2));
        assert!(matches!(from_bytes(to_bytes(&cyclic).into(), Trust::Nothing), Err(PlanError::Damaged(_))));
        let mut outside = plan();
        outside.graph.values[1].storage = Storage::Weight(WeightId::new(9));
        assert!(from_bytes(to_bytes(&outside).into(), Trust::Nothing).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        for plan in [&cyclic, &outside] {
            assert!(matches!(write(&path, plan), Err(PlanError::Unreadable(_))), "no reader could open it");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn contents_may_be_any_number() {
        let edges = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX].map(Dim::constant);
        let ty = TensorType::ranked(DataType::I64, vec![5i64.into()]).with_value(KnownValue::Ints(edges.to_vec()));
        let ty = ValueType::Tensor(ty);
        assert_eq!(codec::decode_type(&codec::encode_type(&ty), 0).unwrap(), ty);
    }

    /// An entry of the table.
    fn entry(bytes: &[u8], index: usize) -> Entry {
        Entry::read_from_bytes(&bytes[24 + index * 56..][..56]).unwrap()
    }

    /// The header with its hash computed anew.
    fn rehashed(mut bytes: Vec<u8>, change: impl Fn(&mut [u8])) -> Bytes {
        let head = 24 + SECTIONS * 56;
        change(&mut bytes[..head]);
        let hash = blake3::hash(&bytes[..head]);
        bytes[head..head + HASH].copy_from_slice(hash.as_bytes());
        bytes.into()
    }

    #[test]
    fn a_report_is_part_of_the_plan_and_may_be_absent() {
        let bare = Plan { report: None, ..plan() };
        assert_eq!(from_bytes(to_bytes(&bare).into(), Trust::Nothing).unwrap(), bare);
        let mut wrong = plan();
        wrong.report.as_mut().unwrap().refused[0].steps[0] = 1;
        assert!(from_bytes(to_bytes(&wrong).into(), Trust::Nothing).is_err(), "there is no such step");
    }

    #[test]
    fn newer_versions_say_so_and_none_is_taken_for_another() {
        let version = |version: u8| {
            let mut bytes = to_bytes(&plan());
            bytes[8] = version;
            from_bytes(bytes.into(), Trust::Nothing)
        };
        assert!(matches!(version(5), Err(PlanError::Version { found: 5, .. })));
        assert!((0..=3).all(|older| version(older).is_err()));
        assert!(version(4).is_ok());
    }

    #[test]
    fn sections_that_are_hidden_or_doubled_are_noticed() {
        assert!(from_bytes(rehashed(to_bytes(&plan()), |_| ()), Trust::Nothing).is_ok());
        for index in 0..SECTIONS {
            let hidden = rehashed(to_bytes(&plan()), |head| head[24 + index * 56] = 99);
            assert!(matches!(from_bytes(hidden, Trust::Nothing), Err(PlanError::Damaged(_))), "section {index}");
        }
        let moved = rehashed(to_bytes(&plan()), |head| head[24 + 56 + 8] ^= 64);
        assert!(matches!(from_bytes(moved, Trust::Nothing), Err(PlanError::Hash { section: "report" })));
        let many = rehashed(to_bytes(&plan()), |head| head[12] = 200);
        assert!(from_bytes(many, Trust::Nothing).is_err());
    }

    #[test]
    fn programs_share_weights_and_code() {
        let with_code = |isa: &str, code: &'static [u8]| {
            let mut plan = plan();
            isa.clone_into(&mut plan.target.isa);
            plan.code = vec![Code(Bytes::from_static(code)), Code(Bytes::from_static(b"both"))];
            plan.graph.steps[0].launch_mut().unwrap().general.code = Some(CodeId::new(0));
            plan
        };
        let programs = [with_code("avx512", b"wide"), with_code("avx2", b"narrow")];
        let bytes = programs_to_bytes(&[&programs[0], &programs[1]]);
        let file = PlanFile::from_bytes(bytes.clone().into(), Trust::Nothing).unwrap();
        assert_eq!(file.targets().map(|targets| targets[0].isa.as_str()).collect::<Vec<_>>(), ["avx512", "avx2"]);
        assert_eq!(file.into_programs().unwrap(), programs);
        let count = |needle: &[u8]| bytes.windows(needle.len()).filter(|window| *window == needle).count();
        let weight: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!([&weight[..], b"both", b"narrow"].map(count), [1, 1, 1], "each piece is stored once");
        let at = bytes.windows(6).position(|window| window == b"narrow").unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        for trust in [Trust::Nothing, Trust::Weights] {
            let read = PlanFile::from_bytes(damaged.clone().into(), trust);
            assert!(matches!(read, Err(PlanError::Hash { section: "machine code" })));
        }
        let mut other = programs[1].clone();
        other.inputs[0].name = "z".to_owned();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        assert!(write_programs(&path, &[&programs[0], &other]).is_err(), "they differ in an input");
        assert!(write_programs(&path, &[]).is_err());
        write_programs(&path, &[&programs[0], &programs[1]]).unwrap();
        assert_eq!(read(&path, Trust::Nothing).unwrap(), programs[0]);
        let mut beyond = programs[0].clone();
        beyond.graph.steps[0].launch_mut().unwrap().general.code = Some(CodeId::new(2));
        assert!(from_bytes(to_bytes(&beyond).into(), Trust::Nothing).is_err(), "there is no such code");
    }
}
