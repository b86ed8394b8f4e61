//! Sections that the reports of several commands share.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backend::Target;
use sinter::internals::base::{DataType, Location};
use sinter::internals::ops::Op;
use sinter::internals::ops::pointwise::ScalarOp;
use sinter::internals::ops::pointwise::program::Step as ScalarStep;
use sinter::internals::passes::PassReport;
use sinter::internals::plan::report::{FiredPass, PrecisionReport, Verification};
use sinter::internals::plan::{Action, Step};
use sinter::internals::source::Declared;
use terminal_size::terminal_size_of;

use crate::self_test::kind_of;

/// A named input or output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name given by the model.
    pub name: String,
    /// Element type and sizes, such as `f32[N, 3, 224, 224]`; a name stands for a dynamic dimension.
    #[serde(rename = "type")]
    pub ty: String,
}

/// Declared inputs or outputs for a report.
pub fn ports(declared: &[Declared]) -> Vec<Port> {
    declared.iter().map(|d| Port { name: d.name.clone(), ty: type_text(&d.ty) }).collect()
}

/// A type without the contents that small tensors are known to have.
pub fn type_text(ty: &sinter::internals::base::ValueType) -> String {
    match ty.as_tensor() {
        Some(tensor) => sinter::internals::base::TensorType::new(tensor.data_type, tensor.shape.clone()).to_string(),
        None => ty.to_string(),
    }
}

/// The operators of a step.
pub fn operators(step: &Step) -> Vec<String> {
    match &step.action {
        Action::Copy => vec!["Copy".to_owned()],
        Action::Sync => vec!["Sync".to_owned()],
        Action::Launch(_) | Action::Alias { .. } | Action::Control { .. } => {
            let nodes = step.region().into_iter().flat_map(|region| region.body().nodes());
            nodes.map(|node| node.op.name().to_owned()).collect()
        }
    }
}

/// The float types that a step computes in: those of the operands of its operators, and those of the operations of its
/// programs. Products and reductions of narrow operands add up in f32.
pub fn computes_in(step: &Step) -> Vec<String> {
    let mut types: Vec<String> = Vec::new();
    let Some(region) = step.region() else { return types };
    let body = region.body();
    let mut add = |data_type: DataType| {
        if data_type.is_float() && !types.iter().any(|known| known == data_type.name()) {
            types.push(data_type.name().to_owned());
        }
    };
    for node in body.nodes() {
        match &node.op {
            Op::Pointwise(op) => op.program.steps().iter().for_each(|step| match step {
                ScalarStep::Apply { op: ScalarOp::Cast(_), .. } => {}
                ScalarStep::Apply { compute, .. } => add(*compute),
                ScalarStep::Input { .. } | ScalarStep::Constant { .. } => {}
            }),
            _ => node.inputs.iter().flatten().take(1).for_each(|id| add(body.ty(*id).data_type())),
        }
    }
    types
}

/// The nodes of the model that a step comes from, each once.
pub fn sources(step: &Step) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    for origin in &step.origins {
        if !sources.contains(origin) {
            sources.push(origin.clone());
        }
    }
    sources
}

/// The tactic of a step, that for all sizes where there are several; control flow has none, nor have copies and what lies
/// where its operands do.
pub fn tactic(step: &Step) -> Option<String> {
    step.launch().map(|launch| launch.general.recipe.tactic.clone())
}

/// The verification result of a build.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerificationSummary {
    /// Why nothing was verified.
    pub skipped: Option<String>,
    /// How the network after the passes differs from the one before, where rounding alone may select something else.
    pub unverified_passes: Option<String>,
    /// Back end and instructions of the kernels that were verified; absent when none were.
    pub on: Option<String>,
    /// Steps whose kernels agree with the reference executor.
    pub agreed: usize,
    /// Kernels and passes that disagreed and were left out.
    pub dropped: Vec<DroppedSummary>,
    /// Steps that could not be verified.
    pub unverified: Vec<NearMiss>,
}

/// A kernel or pass that disagreed with the reference executor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DroppedSummary {
    /// The tactic or pass.
    pub name: String,
    /// Where in the model.
    pub origin: String,
    /// The first difference.
    pub reason: String,
}

/// The verification result, for reports.
pub fn verification_summary(found: &Verification, target: &Target) -> VerificationSummary {
    let dropped = found.dropped.iter().map(|d| DroppedSummary {
        name: d.name.clone(),
        origin: d.origin.clone(),
        reason: d.reason.clone(),
    });
    let unverified = found.unverified.iter();
    VerificationSummary {
        skipped: found.skipped.clone(),
        unverified_passes: found.unverified_passes.clone(),
        on: found.skipped.is_none().then(|| kind_of(target)),
        agreed: found.agreed,
        dropped: dropped.collect(),
        unverified: unverified
            .map(|step| NearMiss { origin: step.origin.clone(), reason: step.reason.clone() })
            .collect(),
    }
}

impl VerificationSummary {
    /// In lines of text, each with its heading: a summary, then what was dropped.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![match &self.skipped {
            Some(reason) => ("unverified", reason.clone()),
            None => {
                let agree = if self.agreed == 1 { "agrees" } else { "agree" };
                let on = self.on.iter().map(|on| format!(" on {on}")).collect::<String>();
                let agreed = format!("{} {agree} with the reference executor{on}", count(self.agreed, "step"));
                match self.unverified.len() {
                    0 => ("verified", agreed),
                    others => ("verified", format!("{agreed}, {others} could not be verified")),
                }
            }
        }];
        let passes = self.unverified_passes.iter();
        lines.extend(passes.map(|reason| ("unverified", format!("the passes change a selection: {reason}"))));
        let dropped = self.dropped.iter();
        lines.extend(dropped.map(|d| ("dropped", format!("{} at {}: {}", d.name, d.origin, d.reason))));
        lines
    }
}

/// What a plan in low precision computes in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrecisionSummary {
    /// The precision that was asked for.
    pub requested: String,
    /// Nodes that give their results in a narrow type.
    pub narrow: usize,
    /// Casts between nodes.
    pub casts: usize,
    /// Nodes that stay in f32.
    pub kept: Vec<KeptSummary>,
    /// How far outputs are from those in f32, on the inputs of verification.
    pub outputs: Vec<OutputErrorSummary>,
}

/// A node that stays in f32.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptSummary {
    /// The node of the model.
    pub origin: String,
    /// Its operator.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// Do its values exceed the range of the precision?
    pub out_of_range: bool,
}

/// The error of an output in low precision.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputErrorSummary {
    /// The output.
    pub output: String,
    /// The largest difference, relative to the largest element; absent where it is infinite.
    pub error: Option<f64>,
    /// The bound of the precision; a larger error is one that rounding alone explains.
    pub limit: f64,
}

/// The precision of a plan, for reports.
pub fn precision_summary(report: &PrecisionReport) -> PrecisionSummary {
    let kept = report.kept.iter().map(|node| KeptSummary {
        origin: node.origin.clone(),
        operator: node.operator.clone(),
        reason: node.reason.clone(),
        out_of_range: node.is_range,
    });
    let outputs = report.outputs.iter().map(|output| OutputErrorSummary {
        output: output.output.clone(),
        error: Some(output.error).filter(|error| error.is_finite()),
        limit: output.limit,
    });
    PrecisionSummary {
        requested: report.requested.clone(),
        narrow: report.narrow,
        casts: report.casts,
        kept: kept.collect(),
        outputs: outputs.collect(),
    }
}

impl PrecisionSummary {
    /// In lines of text, each with its heading: counts, what is out of range, errors; `all` lists every node in f32.
    pub fn lines(&self, all: bool) -> Vec<(&'static str, String)> {
        let Self { requested, narrow, casts, kept, outputs } = self;
        let mut lines = vec![(
            "stored",
            format!(
                "{requested}: {} in it, {} in f32, {} between them",
                count(*narrow, "node"),
                kept.len(),
                count(*casts, "cast")
            ),
        )];
        for node in kept.iter().filter(|node| all || node.out_of_range) {
            lines.push(("in f32", format!("{} of {}: {}", node.operator, node.origin, node.reason)));
        }
        for OutputErrorSummary { output, error, limit } in outputs {
            let excuse = match error.is_none_or(|error| error > *limit) {
                true => "; rounding alone, or another selection, explains the excess",
                false => "",
            };
            let error = error.map_or("infinite".to_owned(), |error| format!("{error:.1e}"));
            lines.push(("error", format!("{output}: {error} of the largest element, bound {limit:.3}{excuse}")));
        }
        lines
    }
}

/// What a pass did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassSummary {
    /// Its name, as `--disable` takes it.
    pub pass: String,
    /// How often it changed the network.
    pub fired: usize,
    /// Where it nearly applied, and why it did not.
    pub near_misses: Vec<NearMiss>,
}

/// A place where a pass nearly applied.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearMiss {
    /// The node of the model.
    pub origin: String,
    /// Why it did not.
    pub reason: String,
}

/// What the passes did.
pub fn pass_summaries(reports: &[PassReport]) -> Vec<PassSummary> {
    let miss =
        |(location, reason): &(Location, String)| NearMiss { origin: location.to_string(), reason: reason.clone() };
    let summary = |report: &PassReport| PassSummary {
        pass: report.pass.to_owned(),
        fired: report.fired,
        near_misses: report.misses.iter().map(miss).collect(),
    };
    reports.iter().map(summary).collect()
}

/// The passes that fired, by the report of a plan.
pub fn fired_summaries(passes: &[FiredPass]) -> Vec<PassSummary> {
    let summary =
        |pass: &FiredPass| PassSummary { pass: pass.name.clone(), fired: pass.fired, near_misses: Vec::new() };
    passes.iter().map(summary).collect()
}

/// The passes that fired, in one line.
pub fn fired(passes: &[PassSummary]) -> String {
    let fired = passes.iter().filter(|p| p.fired > 0).map(|p| format!("{} {}", p.pass, p.fired));
    fired.collect::<Vec<_>>().join(", ")
}

/// A number of things: `1 thread`, `2 threads`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Seconds since a moment, to the microsecond.
pub fn seconds_since(start: Instant) -> f64 {
    seconds(start.elapsed())
}

/// Seconds, to the microsecond.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

/// Milliseconds, to the nanosecond.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e9).round() / 1e6
}

/// A time as people compare it: `12.3 us`, `4.567 ms`.
pub fn time_text(ms: f64) -> String {
    if ms < 1.0 { format!("{:.1} us", ms * 1000.0) } else { format!("{ms:.3} ms") }
}

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: u16 = 80;

/// A table without lines; `right` are the columns of numbers. On a terminal it is as wide as that, and long cells are cut;
/// for programs, cells are apart by tabs and whole.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    if !std::io::stdout().is_terminal() {
        let lines = rows.iter().map(|row| row.join("\t"));
        return std::iter::once(header.join("\t")).chain(lines).collect::<Vec<_>>().join("\n");
    }
    let width = terminal_size_of(std::io::stdout()).map_or(USUAL_WIDTH, |(width, _)| width.0);
    fitted(header, right, rows, width)
}

/// A table of this width: columns of numbers are whole, others share what is left.
fn fitted(header: &[&str], right: &[usize], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_truncation_indicator("…");
    table.set_header(header.to_vec());
    for row in rows {
        let mut row = Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_that_suit_them() {
        assert_eq!(
            [0.0, 0.0123, 0.9994, 1.0, 1234.5].map(time_text),
            ["0.0 us", "12.3 us", "999.4 us", "1.000 ms", "1234.500 ms"]
        );
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let row = |time: &str, text: &str| vec![time.to_owned(), text.to_owned(), text.to_owned()];
        let rows = vec![row("1234.500 ms", &"source/".repeat(30)), row("1.0 us", "short")];
        for width in [40, 80, 200] {
            let table = fitted(&["time", "operators", "source"], &[0], rows.clone(), width);
            let lines: Vec<&str> = table.lines().collect();
            assert_eq!(lines.len(), 3, "{table}");
            assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width) && line.trim_end() == *line));
            assert!(
                lines[1].contains("1234.500 ms") && lines[1].contains('…') && lines[2].contains("short"),
                "{table}"
            );
        }
        let wide = fitted(&["time", "operators", "source"], &[0], rows[1..].to_vec(), 200);
        assert!(wide.lines().all(|line| line.chars().count() < 60), "{wide}");
    }

    #[test]
    fn programs_get_tabs_and_whole_cells() {
        // Where the output of a test is a terminal, the table is fitted to it.
        let long = "x".repeat(300);
        let table = table(&["a", "b"], &[0], vec![vec!["1".to_owned(), long.clone()]]);
        assert!(std::io::stdout().is_terminal() || table == format!("a\tb\n1\t{long}"));
    }
}
