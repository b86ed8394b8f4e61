//! Results against the committed schemas: the part of JSON Schema that they use, and an error for every other part.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli")
}

/// Fails unless the value is as the command's schema says.
pub(crate) fn check(command: &str, value: &Json) {
    let path = folder().join(format!("{command}.schema.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let root: Json = serde_json::from_slice(&text).unwrap();
    let mut problems = Vec::new();
    visit(&root, &root, value, "result", &mut problems);
    assert!(problems.is_empty(), "{problems:#?}\n{value:#}");
}

fn visit(root: &Json, schema: &Json, value: &Json, place: &str, problems: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { return problems.push(format!("{place}: {schema} is no schema")) };
    for (rule, wanted) in rules {
        match rule.as_str() {
            "$schema" | "title" | "description" | "$defs" | "format" => {}
            "$ref" => {
                let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                visit(root, root.pointer(pointer).unwrap(), value, place, problems);
            }
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !kinds.iter().any(|kind| is_of_kind(value, kind.as_str().unwrap())) {
                    problems.push(format!("{place}: {value} is not {wanted}"));
                }
            }
            "anyOf" => {
                let fits = |inner: &Json| {
                    let mut problems = Vec::new();
                    visit(root, inner, value, place, &mut problems);
                    problems.is_empty()
                };
                if !wanted.as_array().unwrap().iter().any(fits) {
                    problems.push(format!("{place}: {value} fits none of {wanted}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|v| v < wanted.as_f64().unwrap()) {
                    problems.push(format!("{place}: {value} is below {wanted}"));
                }
            }
            "properties" => {
                for (name, inner) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        visit(root, inner, value, &format!("{place}.{name}"), problems);
                    }
                }
            }
            "required" => {
                let missing = wanted.as_array().unwrap().iter().filter(|n| value.get(n.as_str().unwrap()).is_none());
                problems.extend(missing.map(|name| format!("{place} has no {name}")));
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Json::Bool(false));
                let known = |name: &String| rules["properties"].get(name).is_some();
                let names = value.as_object().into_iter().flat_map(|o| o.keys());
                problems.extend(names.filter(|n| !known(n)).map(|name| format!("{place} has an unknown {name}")));
            }
            "items" => {
                for (position, value) in value.as_array().into_iter().flatten().enumerate() {
                    visit(root, wanted, value, &format!("{place}[{position}]"), problems);
                }
            }
            other => problems.push(format!("{place}: this test does not know the rule '{other}'")),
        }
    }
}

fn is_of_kind(value: &Json, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let schema: Json = serde_json::from_str(
        r##"{"type": "object", "additionalProperties": false, "required": ["a"],
             "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
             "$defs": {"A": {"type": "array", "items": {"type": "integer", "minimum": 0}}}}"##,
    )
    .unwrap();
    let problems = |text: &str| {
        let mut problems = Vec::new();
        visit(&schema, &schema, &serde_json::from_str(text).unwrap(), "result", &mut problems);
        problems.len()
    };
    assert_eq!(problems(r#"{"a": [1, 2], "b": null}"#), 0);
    for wrong in
        [r#"{"b": "x"}"#, r#"{"a": [1.5]}"#, r#"{"a": [-1]}"#, r#"{"a": [], "b": 1}"#, r#"{"a": [], "c": 1}"#, "7"]
    {
        assert!(problems(wrong) > 0, "{wrong}");
    }
}
