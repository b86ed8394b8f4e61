//! Reports to and from their wire form.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;

use crate::error::PlanError;
use crate::report::{
    Dropped, FiredPass, KeptNode, OutputError, PrecisionReport, Refused, Report, Unverified, Verification,
};
use crate::wire;

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn narrow(count: u64) -> Result<usize, PlanError> {
    usize::try_from(count).map_err(|_| PlanError::damaged(format!("the report counts {count}")))
}

fn wire_index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Texts, each stored once.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    known: HashMap<Arc<str>, u32>,
}

impl Texts {
    fn position(&mut self, text: &Arc<str>) -> u32 {
        *self.known.entry(text.clone()).or_insert_with(|| {
            self.all.push(text.to_string());
            wire_index(self.all.len() - 1)
        })
    }
}

/// The report section; a plan without a report has an empty one.
pub(crate) fn encode(report: Option<&Report>) -> Vec<u8> {
    let Some(Report { verification, passes, refused, precision }) = report else { return Vec::new() };
    let mut texts = Texts::default();
    let refused = refused.iter().map(|refused| wire::Refused {
        steps: refused.steps.iter().map(|&step| wire_index(step)).collect(),
        refusals: refused.refusals.iter().flat_map(|(t, r)| [texts.position(t), texts.position(r)]).collect(),
    });
    let refused = refused.collect();
    let Verification { skipped, unverified_passes, agreed, dropped, unverified } = verification.clone();
    let dropped = dropped.into_iter().map(|Dropped { name, origin, reason }| wire::Dropped { name, origin, reason });
    let unverified = unverified.into_iter().map(|Unverified { origin, reason }| wire::Unverified { origin, reason });
    let passes = passes.iter().map(|pass| wire::FiredPass { name: pass.name.clone(), fired: wide(pass.fired) });
    let report = wire::Report {
        verification: Some(wire::Verification {
            skipped,
            unverified_passes,
            agreed: wide(agreed),
            dropped: dropped.collect(),
            unverified: unverified.collect(),
        }),
        passes: passes.collect(),
        texts: texts.all,
        refused,
        precision: precision.clone().map(encode_precision),
    };
    report.encode_to_vec()
}

fn encode_precision(report: PrecisionReport) -> wire::PrecisionReport {
    let PrecisionReport { requested, narrow, casts, kept, outputs } = report;
    let kept = kept.into_iter().map(|KeptNode { origin, operator, reason, is_range }| wire::KeptNode {
        origin,
        operator,
        reason,
        is_range,
    });
    let outputs = outputs.into_iter();
    let outputs = outputs.map(|OutputError { output, error, limit }| wire::OutputError { output, error, limit });
    wire::PrecisionReport {
        requested,
        narrow: wide(narrow),
        casts: wide(casts),
        kept: kept.collect(),
        outputs: outputs.collect(),
    }
}

fn decode_precision(report: wire::PrecisionReport) -> Result<PrecisionReport, PlanError> {
    let wire::PrecisionReport { requested, narrow: nodes, casts, kept, outputs } = report;
    let kept = kept.into_iter().map(|wire::KeptNode { origin, operator, reason, is_range }| KeptNode {
        origin,
        operator,
        reason,
        is_range,
    });
    let outputs = outputs.into_iter();
    let outputs = outputs.map(|wire::OutputError { output, error, limit }| OutputError { output, error, limit });
    Ok(PrecisionReport {
        requested,
        narrow: narrow(nodes)?,
        casts: narrow(casts)?,
        kept: kept.collect(),
        outputs: outputs.collect(),
    })
}

/// Decodes the section of a plan with this many steps.
pub(crate) fn decode(bytes: &[u8], steps: usize) -> Result<Option<Report>, PlanError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let wire::Report { verification, passes, texts, refused, precision } =
        wire::Report::decode(bytes).map_err(|e| PlanError::damaged(format!("the report: {e}")))?;
    let wire::Verification { skipped, unverified_passes, agreed, dropped, unverified } =
        verification.ok_or_else(|| PlanError::damaged("the report says nothing of a verification"))?;
    let dropped = dropped.into_iter().map(|wire::Dropped { name, origin, reason }| Dropped { name, origin, reason });
    let unverified = unverified.into_iter().map(|wire::Unverified { origin, reason }| Unverified { origin, reason });
    let passes = passes.into_iter().map(|pass| Ok(FiredPass { name: pass.name, fired: narrow(pass.fired)? }));
    let texts: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
    let refused = refused.iter().map(|refused| decode_refused(refused, &texts, steps));
    Ok(Some(Report {
        verification: Verification {
            skipped,
            unverified_passes,
            agreed: narrow(agreed)?,
            dropped: dropped.collect(),
            unverified: unverified.collect(),
        },
        passes: passes.collect::<Result<_, PlanError>>()?,
        refused: refused.collect::<Result<_, _>>()?,
        precision: precision.map(decode_precision).transpose()?,
    }))
}

fn decode_refused(refused: &wire::Refused, texts: &[Arc<str>], steps: usize) -> Result<Refused, PlanError> {
    let step = |step: &u32| usize::try_from(*step).ok().filter(|step| *step < steps);
    let text = |text: u32| texts.get(usize::try_from(text).ok()?).cloned();
    let refusal = |pair: &[u32]| match pair {
        [tactic, reason] => Some((text(*tactic)?, text(*reason)?)),
        _ => None,
    };
    let steps = refused.steps.iter().map(step).collect::<Option<_>>();
    let refusals = refused.refusals.chunks(2).map(refusal).collect::<Option<_>>();
    let (steps, refusals) =
        steps.zip(refusals).ok_or_else(|| PlanError::damaged("a refusal of a step or text that does not exist"))?;
    Ok(Refused { steps, refusals })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let texts: [Arc<str>; 3] = ["cpu.conv.direct", "cpu.conv.winograd", "stride 2"].map(Arc::from);
        let [direct, winograd, stride] = texts;
        let dropped = Dropped { name: "cpu.t".into(), origin: "Conv 'c'".into(), reason: "1 is 2".into() };
        Report {
            verification: Verification {
                skipped: None,
                unverified_passes: Some("output 'y'".into()),
                agreed: 7,
                dropped: vec![dropped],
                unverified: vec![Unverified { origin: "Loop 'l'".into(), reason: "random".into() }],
            },
            passes: vec![FiredPass { name: "identities".into(), fired: 3 }],
            refused: vec![
                Refused {
                    steps: vec![0, 2],
                    refusals: vec![(direct, stride.clone()), (winograd.clone(), stride.clone())],
                },
                Refused { steps: vec![1], refusals: vec![(winograd, stride)] },
            ],
            precision: Some(PrecisionReport {
                requested: "fp16".into(),
                narrow: 12,
                casts: 2,
                kept: vec![KeptNode {
                    origin: "Exp 'e'".into(),
                    operator: "Pointwise".into(),
                    reason: "its result reaches 1e6".into(),
                    is_range: true,
                }],
                outputs: vec![OutputError { output: "y".into(), error: 1e-3, limit: 2e-2 }],
            }),
        }
    }

    #[test]
    fn reports_survive() {
        assert_eq!(decode(&encode(Some(&report())), 3).unwrap(), Some(report()));
        assert_eq!(decode(&encode(None), 3).unwrap(), None);
        assert_eq!(decode(&encode(Some(&Report::default())), 0).unwrap(), Some(Report::default()));
        assert_eq!(report().refusals_of(2).count(), 2);
        assert_eq!(report().refusals_of(1).collect::<Vec<_>>(), [("cpu.conv.winograd", "stride 2")]);
    }

    #[test]
    fn missing_steps_and_texts_are_damage() {
        assert!(decode(&encode(Some(&report())), 2).is_err(), "a step");
        assert!(decode(&[0xFF; 9], 3).is_err());
        let wire = wire::Report {
            texts: vec!["t".into()],
            verification: Some(wire::Verification::default()),
            ..wire::Report::default()
        };
        let with = |refusals: Vec<u32>| {
            let refused = vec![wire::Refused { steps: Vec::new(), refusals }];
            decode(&wire::Report { refused, ..wire.clone() }.encode_to_vec(), 0)
        };
        assert!(with(vec![0, 0]).is_ok());
        assert!(with(vec![0, 1]).is_err() && with(vec![0]).is_err());
        assert!(decode(&wire::Report { verification: None, ..wire.clone() }.encode_to_vec(), 0).is_err());
    }
}
