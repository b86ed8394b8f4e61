//! The pages and schemas in docs/cli are made from the program itself. After a change: `SINTER_BLESS=1 cargo test -p
//! sinter-cli documents`.

use clap::CommandFactory;
use schemars::{Schema, schema_for};
use serde_json::Value as Json;
use sinter_cli::arguments::Arguments;
use sinter_cli::commands::{bench, build, completions, demo, diff, doctor, inspect, refit, run, self_test};

use crate::fixture::{sinter, text};
use crate::schema::folder;

/// Every command with the schema of its result.
fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("build", schema_for!(build::Report)),
        ("run", schema_for!(run::Report)),
        ("bench", schema_for!(bench::Report)),
        ("diff", schema_for!(diff::Report)),
        ("inspect", schema_for!(inspect::Report)),
        ("refit", schema_for!(refit::Report)),
        ("self-test", schema_for!(self_test::Report)),
        ("doctor", schema_for!(doctor::Report)),
        ("demo", schema_for!(demo::Report)),
        ("completions", schema_for!(completions::Report)),
    ]
}

fn compare(name: &str, wanted: &str) {
    let path = folder().join(name);
    if std::env::var_os("SINTER_BLESS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/cli/{name} differs from the program; SINTER_BLESS=1 writes it anew");
}

#[test]
fn every_command_is_documented() {
    let commands: Vec<String> = Arguments::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let listed: Vec<&str> = schemas().iter().map(|(name, _)| *name).collect();
    assert_eq!(commands, listed);
    for (name, schema) in schemas() {
        let json = serde_json::to_value(&schema).unwrap();
        compare(&format!("{name}.schema.json"), &(serde_json::to_string_pretty(&json).unwrap() + "\n"));
        compare(&format!("{name}.md"), &page(name, &json));
    }
}

/// The help of a command and the fields of its result.
fn page(name: &str, schema: &Json) -> String {
    let mut root = Arguments::command().term_width(100);
    root.build();
    let command = root.find_subcommand_mut(name).unwrap();
    let help = command.render_long_help().to_string();
    let help: String = help.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let mut page = format!("# sinter {name}\n\n```text\n{}```\n\n", help.trim_start_matches('\n'));
    page.push_str(&format!("## Result\n\nFields of the JSON, by [{name}.schema.json]({name}.schema.json).\n"));
    fields(schema, &mut page);
    for (title, inner) in schema.get("$defs").and_then(Json::as_object).into_iter().flatten() {
        page.push_str(&format!("\n### {title}\n\n{}\n", inner["description"].as_str().unwrap_or_default()));
        fields(inner, &mut page);
    }
    page
}

fn fields(schema: &Json, page: &mut String) {
    if let Some(forms) = schema.get("anyOf").and_then(Json::as_array) {
        let line = |form: &Json| format!("\n- {}: {}", kind(form), form["description"].as_str().unwrap_or_default());
        return page.extend(forms.iter().map(line).chain(["\n".to_owned()]));
    }
    page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in schema["properties"].as_object().unwrap() {
        let meaning = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        assert!(!meaning.is_empty(), "{name} has no description");
        page.push_str(&format!("| `{name}` | {} | {meaning} |\n", kind(field)));
    }
}

fn kind(field: &Json) -> String {
    if let Some(reference) = field.get("$ref").and_then(Json::as_str) {
        return reference.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(all) = field.get("anyOf").and_then(Json::as_array) {
        return all.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let kinds = field["type"].as_array().cloned().unwrap_or_else(|| vec![field["type"].clone()]);
    let one = |kind: &Json| match kind.as_str().unwrap() {
        "array" => format!("list of {}", self::kind(&field["items"])),
        "null" => "null".to_owned(),
        other => other.to_owned(),
    };
    kinds.iter().map(one).collect::<Vec<_>>().join(" or ")
}

#[test]
fn every_help_teaches_by_example() {
    for (name, _) in schemas() {
        for flag in ["--help", "-h"] {
            let output = sinter(&[name, flag]);
            let help = text(&output.stdout);
            assert!(output.status.success() && help.contains("Examples:\n  ") && help.contains(name), "{name}: {help}");
        }
    }
    let help = text(&sinter(&["--help"]).stdout);
    assert!(help.contains("Examples:") && help.contains("Exit codes"), "{help}");
}

/// What a command does in more than one line is part of its help.
#[test]
fn long_descriptions_are_shown() {
    for (command, part) in [
        ("build", "All problems of a model are reported at once"),
        ("run", "built in memory for the sizes of the given inputs"),
        ("bench", "one blocking call"),
        ("diff", "max |a - b| <= atol"),
        ("inspect", "A model is built in memory"),
        ("self-test", "with the kernels that this machine uses"),
        ("doctor", "forces a lower tier of instructions"),
        ("demo", "Needs no network and no file"),
    ] {
        let one_line =
            |flag: &str| text(&sinter(&[command, flag]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line("--help").contains(part) && !one_line("-h").contains(part), "{command}");
    }
}

/// A flag whose feature is not built is absent.
#[test]
fn precisions_that_are_not_built_are_refused() {
    let output = sinter(&["build", "x.onnx", "--precision", "int8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[possible values: fp32, fp16, bf16]"), "{}", text(&output.stderr));
}
