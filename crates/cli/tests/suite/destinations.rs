//! Where results go: what a command reads stays, no two results share a file, links and pipes stay what they are.

use std::ffi::OsString;

use crate::fixture::{Folder, arguments, code, json, sinter, small_model, text};

/// A command that must fail before it works, naming all of these; every file keeps its contents.
fn refused(folder: &Folder, arguments: &[OsString], named: &[&str]) {
    let contents = || folder.names().into_iter().map(|name| (std::fs::read(folder.path(&name)).ok(), name));
    let before: Vec<_> = contents().collect();
    let output = sinter(arguments);
    let errors = text(&output.stderr);
    assert_eq!(code(&output), 2, "{arguments:?}: {errors}");
    for name in named.iter().chain(&["what to do"]) {
        assert!(errors.contains(name), "{arguments:?} does not name '{name}': {errors}");
    }
    assert!(contents().eq(before), "{arguments:?}");
}

#[test]
fn what_is_read_is_not_replaced_and_no_file_is_written_twice() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[0.0; 3])]);
    let plan = folder.path("small.plan");
    json(&arguments!["build", small]);
    let path = |name: &str| folder.path(name).into_os_string().into_string().unwrap();
    // One place by two names.
    let (other, same) = (path("./other"), path("other"));
    let build = |rest: &[&str], named: &str| {
        let mut all = arguments!["build", small, "-o", other].to_vec();
        all.extend(rest.iter().map(OsString::from));
        refused(&folder, &all, &[named]);
    };
    build(&["--json", &path("small.onnxtxt")], "--json would replace the model");
    build(&["--json", &same], "-o and --json name one file");
    build(&["--verification-cache", &same], "-o and --verification-cache name one file");
    build(&["--tune-seconds", "1", "--timing-cache", &same], "-o and --timing-cache name one file");
    build(&["--verify-data", &same], "-o would replace the data to verify with");
    let run = |rest: &[&str], named: &str| {
        let mut all = arguments!["run", plan, "--inputs", inputs].to_vec();
        all.extend(rest.iter().map(OsString::from));
        refused(&folder, &all, &[named]);
    };
    run(&["--outputs", &path("x.npz")], "--outputs would replace the inputs");
    run(&["--json", &path("small.plan")], "--json would replace the plan or model");
    run(&["--outputs", &path("y.npz"), "--json", &path("y.npz")], "--outputs and --json name one file");
    for command in ["bench", "inspect", "diff"] {
        refused(&folder, &arguments![command, plan, "--json", plan], &["--json would replace"]);
    }
    refused(&folder, &arguments!["build", small, "-o", "-"], &["-o needs the name of a file"]);
    // A folder that cannot be one is known before the inference, and so are files of values in a folder that is read.
    run(&["--outputs", &path("small.plan/y")], "small.plan/y");
    run(&["--outputs", &path("small.plan")], "it is no folder; the name of an archive ends in .npz");
    std::fs::create_dir(folder.path("data")).unwrap();
    let in_data = arguments!["run", plan, "--inputs", folder.path("data"), "--json", folder.path("data/input_0.pb")];
    refused(&folder, &in_data, &["--json would replace the inputs"]);
}

/// Weights in other files are read as the model is, whatever part of it names them.
#[test]
fn external_data_is_not_replaced() {
    let folder = Folder::new();
    let weights: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::create_dir(folder.path("data")).unwrap();
    for name in ["w.plan", "data/w.bin"] {
        folder.write(name, &weights);
    }
    let tensor = |location: &str| {
        format!(
            r#"data_type: 1 dims: 3 data_location: EXTERNAL external_data {{ key: "location" value: "{location}" }}"#
        )
    };
    let nodes = format!(
        r#"node {{ op_type: "Constant" output: "k" attribute {{ name: "value" type: TENSOR t {{ {} }} }} }}
           node {{ op_type: "Add" input: "x" input: "k" output: "s" }}
           node {{ op_type: "Add" input: "s" input: "w" output: "y" }}
           initializer {{ name: "w" {} }}"#,
        tensor("data/w.bin"),
        tensor("w.plan")
    );
    let large = folder.write("w.onnxtxt", crate::fixture::model(&nodes, &["dim { dim_value: 3 }"]));
    let named = |flag: &str| format!("{flag} would replace the model's external data");
    refused(&folder, &arguments!["build", large], &[&named("-o")]);
    refused(&folder, &arguments!["build", large, "-o", folder.path("data/w.bin")], &[&named("-o")]);
    refused(&folder, &arguments!["inspect", large, "--json", folder.path("./w.plan")], &[&named("--json")]);
    json(&arguments!["build", large, "-o", folder.path("data/other.plan")]);
    assert_eq!(std::fs::read(folder.path("w.plan")).unwrap(), weights);
}

/// A build that was killed leaves a partial file; the next build of the same plan removes it.
#[test]
fn what_killed_builds_left_is_removed() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let results = folder.path("results");
    for name in ["small.plan.partial-1", "results.partial-31415"] {
        folder.write(name, "half");
    }
    folder.write("other.plan.partial-1", "of another plan");
    json(&arguments!["build", small, "--verification-cache", results]);
    assert_eq!(folder.names(), ["other.plan.partial-1", "results", "small.onnxtxt", "small.plan"]);
}

/// Results of two runs at once do not meet, nor do they meet files of the user.
#[test]
fn temporary_names_belong_to_nobody_else() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[0.0; 3])]);
    let own = folder.write("y.npz.partial", "mine");
    json(&arguments!["run", small, "--inputs", inputs, "--outputs", folder.path("y.npz")]);
    assert_eq!(std::fs::read_to_string(own).unwrap(), "mine");
    assert_eq!(folder.names(), ["small.onnxtxt", "x.npz", "y.npz", "y.npz.partial"]);
    std::fs::create_dir(folder.path("data")).unwrap();
    let own = folder.write("data/output_0.pb.partial", "mine");
    json(&arguments!["run", small, "--inputs", inputs, "--outputs", folder.path("data")]);
    assert_eq!(std::fs::read_to_string(own).unwrap(), "mine");
}

#[cfg(unix)]
#[test]
fn links_stay_and_their_targets_are_replaced() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let small = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[0.0; 3])]);
    std::fs::create_dir(folder.path("store")).unwrap();
    for name in ["link.plan", "link.json", "link.npz", "cache"] {
        symlink(folder.path("store").join(name), folder.path(name)).unwrap();
    }
    let (plan, report) = (folder.path("link.plan"), folder.path("link.json"));
    let build = arguments!["build", small, "-o", plan, "--json", report, "--verification-cache", folder.path("cache")];
    assert_eq!(code(&sinter(&build)), 0);
    json(&arguments!["run", plan, "--inputs", inputs, "--outputs", folder.path("link.npz")]);
    for name in ["link.plan", "link.json", "link.npz", "cache"] {
        assert!(folder.path(name).is_symlink(), "{name}");
        assert!(std::fs::metadata(folder.path("store").join(name)).unwrap().len() > 0, "{name}");
    }
    symlink(&small, folder.path("model.plan")).unwrap();
    refused(&folder, &arguments!["build", small, "-o", folder.path("model.plan")], &["-o would replace the model"]);
}

#[cfg(unix)]
#[test]
fn pipes_take_json_and_nothing_else() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[0.0; 3])]);
    let pipe = folder.path("pipe.npz");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let named = ["pipe.npz", "no regular file but a pipe or device"];
    // Nothing would be there to read: opening the pipe would wait for ever.
    let refuse = |arguments: &[OsString]| {
        let output = sinter(arguments);
        let errors = text(&output.stderr);
        assert_eq!(code(&output), 2, "{errors}");
        named.iter().for_each(|name| assert!(errors.contains(name), "{errors}"));
    };
    refuse(&arguments!["build", small, "-o", pipe]);
    refuse(&arguments!["build", small, "-o", folder.path("y.plan"), "--verification-cache", pipe]);
    refuse(&arguments!["run", small, "--inputs", inputs, "--outputs", pipe]);
    let reader = std::process::Command::new("cat").arg(&pipe).stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(code(&sinter(&arguments!["run", small, "--inputs", inputs, "--json", pipe])), 0);
    let read = reader.wait_with_output().unwrap();
    crate::schema::check("run", &serde_json::from_slice(&read.stdout).unwrap());
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(&pipe).unwrap().file_type()));
    // The system's name of standard output means the same as ours: JSON, and nothing else.
    let output = sinter(&arguments!["run", small, "--inputs", inputs, "--json", "/dev/stdout"]);
    crate::schema::check("run", &serde_json::from_slice(&output.stdout).unwrap());
}
