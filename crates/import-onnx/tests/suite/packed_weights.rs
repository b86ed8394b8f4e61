//! Operands with weights of few bits: the importer refuses operands packed to another width or along another axis, and
//! reports their sizes.

use sinter_import_onnx::decode::decode_text;
use sinter_import_onnx::{ImportOptions, import_model};

const F32: i32 = 1;
const U8: i32 = 2;
const I32: i32 = 6;
const I64: i32 = 7;

/// The problem of a node of ONNX Runtime whose inputs are weights of these types and sizes, all their elements 0; an input
/// without a type is left out.
fn problem(op: &str, attributes: &[(&str, i64)], inputs: &[(i32, &[usize])]) -> Option<String> {
    let (mut names, mut weights) = (String::new(), String::new());
    for (index, (data_type, sizes)) in inputs.iter().enumerate() {
        if *data_type == 0 {
            names += "input: '' ";
            continue;
        }
        names += &format!("input: 'w{index}' ");
        let dims: String = sizes.iter().map(|size| format!("dims: {size} ")).collect();
        let width = match *data_type {
            U8 => 1,
            I64 => 8,
            _ => 4,
        };
        let data = "\\000".repeat(sizes.iter().product::<usize>() * width);
        weights += &format!("initializer {{ name: 'w{index}' data_type: {data_type} {dims} raw_data: '{data}' }} ");
    }
    let attributes: String = attributes
        .iter()
        .map(|(name, value)| format!("attribute {{ name: '{name}' i: {value} type: INT }} "))
        .collect();
    let text = format!(
        "ir_version: 10 opset_import {{ version: 18 }} opset_import {{ domain: 'com.microsoft' version: 1 }} graph {{
         node {{ op_type: '{op}' domain: 'com.microsoft' {names} output: 'y' {attributes} }} output {{ name: 'y' }}
         {weights} }}"
    );
    let model = decode_text(text.as_bytes()).unwrap();
    import_model(&model, None, &ImportOptions::default()).err().map(|error| error.to_string())
}

fn refused(problem: Option<String>, words: &[&str]) {
    let problem = problem.expect("a problem");
    assert!(words.iter().all(|word| problem.contains(word)), "{problem} lacks one of {words:?}");
}

#[test]
fn operands_of_products() {
    // Three blocks of 32 along 70 columns: 16 bytes of weights each, 2 bytes of zero points a row.
    let product = |b: &[usize], scales: &[usize], rest: &[(i32, &[usize])]| {
        let inputs = [&[(F32, &[2, 70][..]), (U8, b), (F32, scales)], rest].concat();
        problem("MatMulNBits", &[("N", 8), ("K", 70), ("bits", 4), ("block_size", 32)], &inputs)
    };
    let (b, scales) = (&[8, 3, 16][..], &[8, 3][..]);
    let left_out = (0, &[][..]);
    for zeros in [&[8, 2][..], &[16]] {
        assert_eq!(product(b, scales, &[(U8, zeros)]), None);
    }
    assert_eq!(product(&[384], &[24], &[(F32, &[8, 3])]), None);
    assert_eq!(product(b, scales, &[left_out, (I32, &[70]), (F32, &[8])]), None);
    assert_eq!(product(b, scales, &[left_out, (I32, &[96])]), None);
    refused(
        product(&[8, 3, 17], scales, &[]),
        &["MatMulNBits node 'y'", "weights of sizes [8, 3, 17]", "[8, 48] is needed"],
    );
    refused(product(&[48, 8], scales, &[]), &["weights of sizes [48, 8]"]);
    refused(product(b, &[3, 8], &[]), &["scales of sizes [3, 8]", "[8, 3] is needed"]);
    refused(product(b, &[8, 4], &[]), &["scales of sizes [8, 4]"]);
    // One byte more, half a byte each, and packed along the other axis.
    for zeros in [&[8, 3][..], &[12], &[2, 8], &[3, 4]] {
        refused(product(b, scales, &[(U8, zeros)]), &["zero points of sizes", "[8, 2] is needed"]);
    }
    refused(product(b, scales, &[(F32, &[3, 8])]), &["zero points of sizes [3, 8]", "[8, 3] is needed"]);
    refused(product(b, scales, &[left_out, (I32, &[71])]), &["g_idx of sizes [71]", "[70] is needed"]);
    refused(product(b, scales, &[left_out, left_out, (F32, &[1])]), &["bias of sizes [1]", "[8]"]);
    let odd = [("N", 1), ("K", 3), ("bits", 4), ("block_size", 3)];
    refused(problem("MatMulNBits", &odd, &[(F32, &[1, 3]), (U8, &[1, 1, 2]), (F32, &[1])]), &["a block of 3 elements"]);
}

#[test]
fn operands_of_products_with_tables_of_values() {
    let product = |bytes: usize, largest: usize, columns: i64| {
        let attributes = [("N", 8), ("K", columns), ("block_size", 64), ("quant_type", 1)];
        let a = [1, usize::try_from(columns).unwrap()];
        problem("MatMulBnb4", &attributes, &[(F32, &a), (U8, &[bytes]), (F32, &[largest])])
    };
    assert_eq!((product(256, 8, 64), product(252, 8, 63)), (None, None));
    for (bytes, columns, words) in
        [(255, 64, "[1, 256] is needed"), (257, 64, "[1, 256] is needed"), (253, 63, "[1, 252] is needed")]
    {
        refused(product(bytes, 8, columns), &["weights of sizes", words]);
    }
    for (largest, columns) in [(1, 64), (9, 64), (9, 63)] {
        refused(
            product(if columns == 64 { 256 } else { 252 }, largest, columns),
            &["absmax of sizes", "[1, 8] is needed"],
        );
    }
}

#[test]
fn operands_of_picked_slices() {
    // 48 elements a row in three blocks; zero points of three elements in two bytes.
    let pick = |scales: &[usize], zeros: &[usize]| {
        let attributes = [("block_size", 16), ("gather_axis", 0), ("quantize_axis", 1)];
        let inputs = [(U8, &[5, 24][..]), (I64, &[2]), (F32, scales), (U8, zeros)];
        let given = if zeros.is_empty() { &inputs[..3] } else { &inputs[..] };
        problem("GatherBlockQuantized", &attributes, given)
    };
    assert_eq!((pick(&[5, 3], &[]), pick(&[5, 3], &[5, 2])), (None, None));
    for scales in [&[5, 4][..], &[5, 2], &[6, 3], &[1, 3], &[15]] {
        refused(pick(scales, &[]), &["GatherBlockQuantized node 'y'", "scales of sizes", "[5, 3] is needed"]);
    }
    for zeros in [&[5, 3][..], &[6, 2], &[1, 2], &[10]] {
        refused(pick(&[5, 3], zeros), &["zero points of sizes", "[5, 2] is needed"]);
    }
}
