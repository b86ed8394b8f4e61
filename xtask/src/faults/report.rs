//! The table of faults and who caught them.

use serde_json::json;

use crate::faults::list::Fault;
use crate::faults::trial::{Gate, Touched};

/// A fault and what became of it.
pub(crate) struct Row<'a> {
    pub(crate) fault: &'a Fault,
    pub(crate) gate: Gate,
    pub(crate) touched: Option<Touched>,
    /// Tests that fail, where they were run.
    pub(crate) tests: Option<Vec<String>>,
}

impl Row<'_> {
    fn is_local(&self) -> bool {
        self.touched.is_some_and(Touched::is_local)
    }

    fn touched(&self) -> String {
        match self.touched {
            Some(touched) => format!("{:.2} %", 100.0 * touched.share()),
            None => "none seen".to_owned(),
        }
    }
}

struct Counts {
    caught: usize,
    local: usize,
    local_caught: usize,
}

fn counts(rows: &[Row<'_>]) -> Counts {
    let local: Vec<&Row<'_>> = rows.iter().filter(|row| row.is_local()).collect();
    Counts {
        caught: rows.iter().filter(|row| row.gate.is_caught()).count(),
        local: local.len(),
        local_caught: local.iter().filter(|row| row.gate.is_caught()).count(),
    }
}

pub(crate) fn table(rows: &[Row<'_>], alarms: &[String]) -> String {
    let mut text = format!("{:<28} {:<7} {:>10}  gate\n", "fault", "place", "touched");
    for row in rows {
        let fault = row.fault;
        text.push_str(&format!("{:<28} {:<7} {:>10}  {}\n", fault.name, fault.place, row.touched(), row.gate.text()));
        match &row.tests {
            Some(tests) if tests.is_empty() => text.push_str(&format!("{:48} tests: MISSED\n", "")),
            Some(tests) => text.push_str(&format!("{:48} tests: {}\n", "", tests.join(", "))),
            None => {}
        }
        if let ([_], Gate::Caught { reason, .. }) = (rows, &row.gate) {
            text.push_str(&format!("\n{}\n{reason}\n", fault.imitates));
        }
    }
    let counts = counts(rows);
    text.push_str(&format!(
        "{} faults, {} caught by the gate; {} of them touch under 1 % of a tensor, {} of these caught\n",
        rows.len(),
        counts.caught,
        counts.local,
        counts.local_caught
    ));
    if rows.iter().any(|row| row.tests.is_some()) {
        let tested = rows.iter().filter(|row| row.tests.as_ref().is_some_and(|t| !t.is_empty())).count();
        text.push_str(&format!("{tested} caught by tests\n"));
    }
    for alarm in alarms {
        text.push_str(&format!("FALSE ALARM {alarm}\n"));
    }
    text
}

pub(crate) fn json(rows: &[Row<'_>], alarms: &[String]) -> String {
    let entry = |row: &Row<'_>| {
        let (by, network, reason) = match &row.gate {
            Gate::Caught { name, network, reason } => (Some(name), Some(network), Some(reason)),
            Gate::Crashed(reason) => (None, None, Some(reason)),
            Gate::Missed => (None, None, None),
        };
        json!({
            "name": row.fault.name,
            "imitates": row.fault.imitates,
            "place": row.fault.place,
            "file": row.fault.file,
            "touched": row.touched.map(|t| json!({ "differing": t.differing, "elements": t.elements })),
            "local": row.is_local(),
            "caught_by": by,
            "network": network,
            "reason": reason,
            "tests": row.tests,
        })
    };
    let counts = counts(rows);
    let whole = json!({
        "faults": rows.iter().map(entry).collect::<Vec<_>>(),
        "caught": counts.caught,
        "local": counts.local,
        "local_caught": counts.local_caught,
        "false_alarms": alarms,
    });
    format!("{whole:#}")
}
