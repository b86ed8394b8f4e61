//! StringConcat-20, StringSplit-20, StringNormalizer-10, RegexFullMatch-20.

use sinter_ops::host::{CaseChange, RegexFullMatch, StringConcat, StringNormalizer, StringSplit};

use crate::context::{Imported, NodeContext};

/// StringConcat.
pub fn string_concat(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(StringConcat {}, &[a, b])
}

/// StringSplit.
pub fn string_split(cx: &mut NodeContext<'_, '_>) -> Imported {
    let most_splits = match cx.optional_int("maxsplit") {
        None => None,
        Some(given) => {
            let most = usize::try_from(given).map_err(|_| cx.problem(format!("maxsplit is {given}")))?;
            Some(most)
        }
    };
    let x = cx.input(0)?;
    cx.add_all(StringSplit { delimiter: cx.text("delimiter", ""), most_splits }, &[x])
}

/// StringNormalizer: case changes follow Unicode's default mapping, so that locales with another one are refused.
pub fn string_normalizer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let case_change = match cx.text("case_change_action", "NONE").as_str() {
        "NONE" => CaseChange::Keep,
        "LOWER" => CaseChange::Lower,
        "UPPER" => CaseChange::Upper,
        other => return Err(cx.problem(format!("case_change_action '{other}' is unknown"))),
    };
    let locale = cx.text("locale", "").to_lowercase();
    if ["tr", "az", "lt"].iter().any(|language| locale.starts_with(language)) {
        return Err(cx.problem(format!("locale '{locale}' has case rules of its own, which are not supported")));
    }
    let op = StringNormalizer {
        case_change,
        case_sensitive: cx.flag("is_case_sensitive", false),
        stop_words: cx.texts("stopwords").unwrap_or_default(),
    };
    let x = cx.input(0)?;
    cx.add_all(op, &[x])
}

/// RegexFullMatch.
pub fn regex_full_match(cx: &mut NodeContext<'_, '_>) -> Imported {
    let pattern = cx.optional_text("pattern").ok_or_else(|| cx.problem("attribute pattern is missing"))?;
    let x = cx.input(0)?;
    cx.add_all(RegexFullMatch { pattern }, &[x])
}
