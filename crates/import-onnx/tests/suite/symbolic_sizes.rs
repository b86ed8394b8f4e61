//! Operators that the importer takes apart, on inputs of symbolic sizes: the results keep their names.

use sinter_base::Dim;
use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportOptions, import_model};

/// A model of nodes in text format over the inputs `x: f32[dims]`.
fn model(version: i64, dims: &[&str], outputs: usize, nodes: &str, constants: &[(&str, &[i64])]) -> String {
    let dim = |dim: &&str| match dim.parse::<i64>() {
        Ok(size) => format!("dim {{ dim_value: {size} }} "),
        Err(_) => format!("dim {{ dim_param: '{dim}' }} "),
    };
    let dims: String = dims.iter().map(dim).collect();
    let constant = |(name, values): &(&str, &[i64])| {
        let data: String = values.iter().map(|v| format!("int64_data: {v} ")).collect();
        format!("initializer {{ name: '{name}' data_type: 7 dims: {} {data} }}\n", values.len())
    };
    let constants: String = constants.iter().map(constant).collect();
    let outputs: String = (0..outputs).map(|i| format!("output {{ name: 'y{i}' }} ")).collect();
    format!(
        "ir_version: 8 opset_import {{ version: {version} }} graph {{ name: 'g' {nodes} {constants}
         input {{ name: 'x' type {{ tensor_type {{ elem_type: 1 shape {{ {dims} }} }} }} }} {outputs} }}"
    )
}

fn types(text: &str) -> Vec<String> {
    let model = decode_text(text.as_bytes()).unwrap();
    let network = import_model(&model, None, &ImportOptions::default()).unwrap();
    network.outputs.iter().map(|o| network.body.ty(o.value).to_string()).collect()
}

fn one(op: &str, attributes: &[(&str, i64)], dims: &[&str]) -> String {
    let attributes: String =
        attributes.iter().map(|(name, v)| format!("attribute {{ name: '{name}' i: {v} type: INT }} ")).collect();
    let node = format!("node {{ op_type: '{op}' input: 'x' output: 'y0' {attributes} }}");
    types(&model(18, dims, 1, &node, &[])).swap_remove(0)
}

#[test]
fn rearrangements() {
    assert_eq!(one("Flatten", &[("axis", 1)], &["N", "C", "H"]), "f32[N, C*H]");
    assert_eq!(one("Flatten", &[("axis", 2)], &["N", "3", "5"]), "f32[3*N, 5]");
    assert_eq!(one("DepthToSpace", &[("blocksize", 2)], &["N", "12", "H", "W"]), "f32[N, 3, 2*H, 2*W]");
    assert_eq!(
        one("SpaceToDepth", &[("blocksize", 2)], &["N", "3", "H", "W"]),
        "f32[N, 12, floor_div(H, 2), floor_div(W, 2)]"
    );
    assert_eq!(one("Trilu", &[], &["S", "S"]), "f32[S, S]");
    assert_eq!(one("Size", &[], &["N", "4"]), "i64[]");
}

#[test]
fn axes_work_as_a_whole() {
    assert_eq!(one("Softmax", &[("axis", 1)], &["N", "S", "D"]), "f32[N, S, D]");
    assert_eq!(one("Hardmax", &[("axis", 1)], &["N", "S", "D"]), "f32[N, S, D]");
    assert_eq!(one("ReduceMean", &[], &["N", "S"]), "f32[1, 1]");
    assert_eq!(one("Hardmax", &[("axis", 1)], &["N", "0", "D"]), "f32[N, 0, D]");
    let old = model(11, &["N", "S", "D"], 1, "node { op_type: 'Softmax' input: 'x' output: 'y0' }", &[]);
    assert_eq!(types(&old), ["f32[N, S, D]"]);
}

#[test]
fn splits() {
    let node = "node { op_type: 'Split' input: 'x' input: 's' output: 'y0' output: 'y1'
                attribute { name: 'axis' i: 1 type: INT } }";
    assert_eq!(types(&model(18, &["N", "S"], 2, node, &[("s", &[2, 5])])), ["f32[N, 2]", "f32[N, 5]"]);
    let node = "node { op_type: 'Split' input: 'x' output: 'y0' output: 'y1'
                attribute { name: 'axis' i: -1 type: INT } }";
    assert_eq!(types(&model(13, &["N", "10"], 2, node, &[])), ["f32[N, 5]", "f32[N, 5]"]);
    let uneven = decode_text(model(13, &["N", "9"], 2, node, &[]).as_bytes()).unwrap();
    assert!(import_model(&uneven, None, &ImportOptions::default()).is_err());
}

#[test]
fn shape_arithmetic_of_exporters() {
    // x.view(n, s, 12, 64).transpose(1, 2), as PyTorch writes it.
    let nodes = "
        node { op_type: 'Shape' input: 'x' output: 'shape' }
        node { op_type: 'Gather' input: 'shape' input: 'first' output: 'n' }
        node { op_type: 'Slice' input: 'shape' input: 'one' input: 'two' output: 's' }
        node { op_type: 'Concat' input: 'n' input: 's' input: 'heads' output: 'target'
               attribute { name: 'axis' i: 0 type: INT } }
        node { op_type: 'Reshape' input: 'x' input: 'target' output: 'split' }
        node { op_type: 'Transpose' input: 'split' output: 'y0'
               attribute { name: 'perm' ints: 0 ints: 2 ints: 1 ints: 3 type: INTS } }";
    let constants: &[(&str, &[i64])] = &[("first", &[0]), ("one", &[1]), ("two", &[2]), ("heads", &[12, 64])];
    assert_eq!(types(&model(13, &["N", "S", "768"], 1, nodes, constants)), ["f32[N, 12, S, 64]"]);
}

#[test]
fn centred_cuts_have_the_size_asked_for() {
    let node = "node { op_type: 'CenterCropPad' input: 'x' input: 'target' output: 'y0'
                attribute { name: 'axes' ints: -1 type: INTS } }";
    assert_eq!(types(&model(18, &["N", "S"], 1, node, &[("target", &[7])])), ["f32[N, 7]"]);
}

#[test]
fn random_numbers_take_the_shape_of_their_input() {
    assert_eq!(one("Multinomial", &[("sample_size", 5)], &["N", "C"]), "i32[N, 5]");
    assert_eq!(one("Bernoulli", &[("dtype", 7)], &["N", "C"]), "i64[N, C]");
    assert_eq!(one("RandomNormalLike", &[("dtype", 10)], &["N", "C"]), "f16[N, C]");
    assert_eq!(one("Dropout", &[("seed", 3)], &["N", "C"]), "f32[N, C]");
}

/// A list with one length for each batch, whose batch has another name than that of the query.
#[test]
fn lengths_of_keys_may_have_a_batch_of_another_name() {
    let network = |lengths: &str| {
        let input = |name: &str, element: i32, dims: &[&str]| {
            let dims: String = dims.iter().map(|dim| format!("dim {{ {dim} }} ")).collect();
            format!("input {{ name: '{name}' type {{ tensor_type {{ elem_type: {element} shape {{ {dims} }} }} }} }} ")
        };
        let states = |name: &str| input(name, 1, &["dim_value: 2", "dim_param: 'S'", "dim_value: 4"]);
        let text = format!(
            "ir_version: 8 opset_import {{ version: 17 }} opset_import {{ domain: 'com.microsoft' version: 1 }} graph {{
             node {{ op_type: 'MultiHeadAttention' domain: 'com.microsoft' input: 'q' input: 'k' input: 'v' input: ''
             input: 'lengths' output: 'y' attribute {{ name: 'num_heads' i: 2 type: INT }} }} output {{ name: 'y' }}
             {} {} {} {} }}",
            states("q"),
            states("k"),
            states("v"),
            input("lengths", 6, &[lengths])
        );
        import_model(&decode_text(text.as_bytes()).unwrap(), None, &ImportOptions::default())
    };
    assert!(network("dim_value: 2").unwrap().guards.is_empty());
    let named = network("dim_param: 'B'").unwrap();
    // One number each, or two: starts as well.
    let holds = |count: i64| {
        let value = |dim: &Dim| dim.substitute(&|name| (name == "B").then(|| Dim::constant(count))).as_constant();
        named.guards.iter().all(|guard| value(&guard.left).is_some() && value(&guard.left) == value(&guard.right))
    };
    assert_eq!([1, 2, 3, 4, 5, 6, 8].map(holds), [false, true, false, true, false, false, false]);
    assert!(network("dim_value: 4").unwrap().guards.is_empty());
    assert!(network("dim_value: 5").unwrap_err().to_string().contains("only one or two each"));
}

/// The importer refuses attributes of GroupQueryAttention for other formulas, each by its name.
#[test]
fn grouped_attention_says_what_it_does_not_express() {
    let import = |input: &str, attribute: &str| {
        let text = format!(
            "ir_version: 8 opset_import {{ version: 17 }} opset_import {{ domain: 'com.microsoft' version: 1 }} graph {{
             node {{ op_type: 'GroupQueryAttention' domain: 'com.microsoft' input: 'q' input: '' input: '' input: ''
             input: '' input: 'lengths' input: 'total' input: '' input: '' input: '' input: '' input: '' input: '{input}' output: 'y'
             attribute {{ name: 'num_heads' i: 2 type: INT }} attribute {{ name: 'kv_num_heads' i: 1 type: INT }}
             {attribute} }} output {{ name: 'y' }}
             input {{ name: 'q' type {{ tensor_type {{ elem_type: 1 shape {{ dim {{ dim_param: 'B' }}
             dim {{ dim_param: 'S' }} dim {{ dim_value: 32 }} }} }} }} }}
             input {{ name: 'lengths' type {{ tensor_type {{ elem_type: 6 shape {{ dim {{ dim_param: 'B' }} }} }} }} }}
             input {{ name: 'total' type {{ tensor_type {{ elem_type: 6 shape {{ }} }} }} }} }}"
        );
        import_model(&decode_text(text.as_bytes()).unwrap(), None, &ImportOptions::default())
    };
    let network = import("", "").unwrap();
    assert_eq!(network.body.ty(network.outputs[0].value).to_string(), "f32[B, S, 16]");
    let refusal = |input: &str, attribute: &str| import(input, attribute).unwrap_err().to_string();
    assert!(refusal("lengths", "").contains("input 12 (k_scale) is not supported"));
    let capped = refusal("", "attribute { name: 'softcap' f: -5 type: FLOAT }");
    assert!(capped.contains("softcap is -5, but must not be negative"), "{capped}");
    let output = refusal("", "attribute { name: 'qk_output' i: 1 type: INT }");
    assert!(output.contains("qk_output is 1; only 0 is supported"), "{output}");
}

/// A placeholder that an exporter writes for an unknown name is no symbol, which would be one size at every occurrence.
#[test]
fn marks_for_unknown_sizes_name_nothing() {
    let relu = "node { op_type: 'Relu' input: 'x' output: 'y0' }";
    for mark in ["?", "??", " ", "", "*", "-1", "None", "unknown", "UNK"] {
        let text = format!(
            "ir_version: 8 opset_import {{ version: 17 }} graph {{ name: 'g' {relu} output {{ name: 'y0' }}
             input {{ name: 'x' type {{ tensor_type {{ elem_type: 1
               shape {{ dim {{ dim_param: '{mark}' }} dim {{ dim_param: '{mark}' }} }} }} }} }} }}"
        );
        let model = decode_text(text.as_bytes()).unwrap();
        let pinned = ImportOptions { shapes: [("x".to_owned(), vec![2, 5])].into(), ..ImportOptions::default() };
        for options in [ImportOptions::default(), pinned] {
            let network = import_model(&model, None, &options).unwrap();
            let ty = network.body.ty(network.outputs[0].value).as_tensor().unwrap();
            let dims = ty.dims().unwrap();
            assert_ne!(dims[0], dims[1], "'{mark}': {ty}");
        }
    }
    // Names that only look like marks.
    for name in ["unk__12", "N?", "none_of", "7"] {
        let dims: Vec<String> = types(&model(18, &[name, name], 1, relu, &[]));
        assert!(dims[0].matches(name).count() == 2, "{dims:?}");
    }
}
