//! Metrics of the shared models through the built engine: top-1 within one sample of the stated figure,
//! tokens and decisions identical, recurrent runs as a whole.

use std::path::{Path, PathBuf};

use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::engine::built;
use sinter_cpu::Cpu;
use sinter_runtime::{Bindings, Context, Engine};

use crate::models::{network_of, tensors};

/// An engine with the memory of one caller.
struct Model {
    folder: PathBuf,
    context: Context,
    bindings: Bindings,
    input: String,
    output: String,
}

impl Model {
    fn load(name: &str) -> Option<Self> {
        let folder = crate::shared("models")?.join(name);
        let network = network_of(&folder).expect("a model that imports");
        let engine = Engine::from_plan(built(&network).expect("a plan"), &[&Cpu], 2).expect("an engine");
        let (input, output) = (network.inputs[0].name.clone(), network.outputs[0].name.clone());
        let context = engine.context();
        let bindings = context.bindings();
        Some(Self { folder, context, bindings, input, output })
    }

    fn data(&self, file: &str, name: &str) -> Tensor {
        tensors(&self.folder.join(file)).expect("the data of the metric").remove(name).expect("its tensor")
    }

    fn set(&mut self, name: &str, value: Tensor) {
        self.bindings.set(name, Value::Tensor(value)).expect("an input of the model");
    }

    fn run(&mut self) {
        self.context.run_into(&mut self.bindings).expect("a run");
    }

    fn output(&self, name: &str) -> Tensor {
        self.bindings.output(name).expect("an output").to_tensor().expect("a tensor")
    }

    /// The first output for the first input.
    fn answer(&mut self, input: Tensor) -> Vec<f64> {
        let (from, to) = (self.input.clone(), self.output.clone());
        self.set(&from, input);
        self.run();
        self.output(&to).to_floats()
    }
}

/// Part `index` of a tensor along its first axis.
fn part(tensor: &Tensor, index: usize) -> Tensor {
    let sizes = &tensor.sizes()[1..];
    let count: usize = sizes.iter().product();
    tensor.rearranged(sizes, |flat| Some(index * count + flat)).expect("a part")
}

/// The same with a first axis of size 1.
fn batch_of_one(tensor: &Tensor, index: usize) -> Tensor {
    let part = part(tensor, index);
    let sizes: Vec<usize> = [1].iter().chain(part.sizes()).copied().collect();
    part.reshaped(&sizes).expect("one more axis")
}

fn argmax(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a))).unwrap_or(0)
}

fn close(found: &Tensor, expected: &Tensor) -> bool {
    let (a, b) = (found.to_floats(), expected.to_floats());
    let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-4 + 1e-3 * largest)
}

/// Images and labels of MNIST's first 1,000 test images (IDX files: headers of 16 and 8 bytes).
fn mnist(folder: &Path) -> (Vec<Vec<f64>>, Vec<usize>) {
    let read = |name: &str| std::fs::read(folder.join("_data/mnist").join(name)).expect("MNIST");
    let (images, labels) = (read("images-idx3-ubyte"), read("labels-idx1-ubyte"));
    let images = images[16..].chunks_exact(784).map(|image| image.iter().map(|p| f64::from(*p)).collect()).collect();
    (images, labels[8..].iter().map(|l| usize::from(*l)).collect())
}

#[test]
fn digits_are_told() {
    let raw = |pixel: f64| pixel;
    let normal = |pixel: f64| (pixel / 255.0 - 0.1307) / 0.3081;
    /// Model, what becomes of a pixel, digits told of a thousand.
    type Told = (&'static str, fn(f64) -> f64, f64);
    let models: [Told; 4] = [
        ("mnist8", raw, 987.0),
        ("mnist8-dynquant", raw, 890.0),
        ("mnist-external-data", normal, 939.0),
        ("mnist-qdq-int8", normal, 938.0),
    ];
    for (name, scale, stated) in models {
        let Some(mut model) = Model::load(name) else { return };
        let (images, labels) = mnist(model.folder.parent().expect("the folder of models"));
        assert_eq!((images.len(), labels.len()), (1000, 1000));
        let right = images.iter().zip(&labels).filter(|(image, label)| {
            let pixels: Vec<f64> = image.iter().map(|p| scale(*p)).collect();
            let input = Tensor::from_floats(DataType::F32, &[1, 1, 28, 28], &pixels).expect("an image");
            argmax(&model.answer(input)) == **label
        });
        let right = right.count() as f64;
        println!("{name}: {right} of 1000, {stated} stated");
        assert!((right - stated).abs() <= 1.0, "{name}: {right} of 1000, {stated} stated");
    }
}

#[test]
fn keywords_agree_with_the_float_model() {
    for (name, stated) in [("micro-kws-fp32", 64.0), ("micro-kws-qdq", 52.0), ("micro-kws-qoperator", 40.0)] {
        let Some(mut model) = Model::load(name) else { return };
        let (x, own, float) =
            (model.data("batch.npz", "x"), model.data("batch.npz", "ref"), model.data("batch.npz", "ref_fp32"));
        let mut same = 0;
        for index in 0..x.sizes()[0] {
            let found = model.answer(batch_of_one(&x, index));
            let mut known = part(&own, index).to_floats();
            same += usize::from(argmax(&found) == argmax(&part(&float, index).to_floats()));
            let best = argmax(&known);
            let top = known[best];
            known[best] = f64::MIN;
            // Nearer than this the quantized scores say nothing.
            if top - known[argmax(&known)] > 0.05 {
                assert_eq!(argmax(&found), best, "{name}: sample {index}");
            }
        }
        println!("{name}: {same} of 64 as the float model, {stated} stated");
        assert!((same as f64 - stated).abs() <= 1.0, "{name}: {same} of 64, {stated} stated");
    }
}

#[test]
fn file_types_are_told() {
    let Some(mut model) = Model::load("magika-v3-3") else { return };
    let (bytes, labels) = (model.data("labelled.npz", "bytes"), model.data("labelled.npz", "label").to_i64());
    let scores = model.data("labelled.npz", "scores");
    for (index, label) in labels.iter().enumerate() {
        let found = model.answer(batch_of_one(&bytes, index));
        assert_eq!(argmax(&found) as i64, *label, "file {index}");
        let found = Tensor::from_floats(DataType::F32, &[found.len()], &found).expect("scores");
        assert!(close(&found, &part(&scores, index)), "scores of file {index}");
    }
}

#[test]
fn stories_are_told_token_by_token() {
    let Some(mut model) = Model::load("stories260k-prefill") else { return };
    let (prompt, known) = (model.data("greedy.npz", "prompt"), model.data("greedy.npz", "tokens").to_i64());
    let mut tokens = prompt.to_i64();
    while tokens.len() < known.len() {
        let input = Tensor::from_vec(&[1, tokens.len()], tokens.clone()).expect("tokens");
        let logits = model.answer(input);
        let last = &logits[logits.len() - 512..];
        tokens.push(argmax(last) as i64);
    }
    assert_eq!(tokens, known);
    assert_eq!(model.context.counters().layouts, known.len() - prompt.count(), "one layout per length");
}

#[test]
fn speech_is_told_frame_by_frame() {
    for name in ["silero-vad-v5-if", "silero-vad-16k-op15"] {
        let Some(mut model) = Model::load(name) else { return };
        let (frames, probabilities) = (model.data("sequence.npz", "frames"), model.data("sequence.npz", "probs"));
        model.set("sr", Tensor::from_vec(&[], vec![16_000i64]).expect("a rate"));
        let mut state = Tensor::from_floats(DataType::F32, &[2, 1, 128], &[0.0; 256]).expect("a state");
        for (index, known) in probabilities.to_floats().into_iter().enumerate() {
            model.set("state", state);
            let found = model.answer(part(&frames, index))[0];
            assert_eq!(found > 0.5, known > 0.5, "{name}: frame {index}: {found} against {known}");
            state = model.output("stateN");
        }
        assert!(close(&state, &model.data("sequence.npz", "final_state")), "{name}: the last state");
    }
}

#[test]
fn speech_is_enhanced_frame_by_frame() {
    let Some(mut model) = Model::load("gtcrn-simple") else { return };
    let (frames, enhanced) = (model.data("sequence.npz", "frames"), model.data("sequence.npz", "enhanced"));
    let caches = ["conv_cache", "tra_cache", "inter_cache"];
    let last = caches.map(|cache| model.data("sequence.npz", &format!("final_{cache}")));
    let mut held: Vec<Tensor> = last
        .iter()
        .map(|cache| Tensor::from_floats(DataType::F32, cache.sizes(), &vec![0.0; cache.count()]).expect("zeros"))
        .collect();
    for index in 0..frames.sizes()[0] {
        for (name, cache) in caches.iter().zip(held.drain(..)) {
            model.set(name, cache);
        }
        let found = model.answer(part(&frames, index));
        let known = part(&enhanced, index);
        let found = Tensor::from_floats(DataType::F32, known.sizes(), &found).expect("a frame");
        assert!(close(&found, &known), "frame {index}");
        held = caches.iter().map(|cache| model.output(&format!("{cache}_out"))).collect();
    }
    assert!(held.iter().zip(&last).all(|(found, known)| close(found, known)), "the last caches");
}

#[test]
fn items_are_ranked() {
    let Some(mut model) = Model::load("ncf") else { return };
    let [users, items] = ["user", "item"].map(|name| model.data("pairs.npz", name).to_i64());
    let known = model.data("pairs.npz", "score").to_floats();
    let mut found = Vec::new();
    for (user, item) in users.iter().zip(&items) {
        let one = |id: i64| Tensor::from_vec(&[1, 1], vec![id]).expect("an id");
        model.set("item_input_0", one(*item));
        model.set("user_input_0", one(*user));
        model.run();
        found.push(model.output(&model.output.clone()).to_floats()[0]);
    }
    assert!(found.iter().zip(&known).all(|(a, b)| (a - b).abs() < 1e-4), "scores");
    let best = |scores: &[f64]| {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(20);
        order
    };
    // Scores nearer than f32 resolves may change places.
    for (a, b) in best(&found).into_iter().zip(best(&known)) {
        assert!(a == b || (known[a] - known[b]).abs() < 1e-6, "{a} and {b} change places");
    }
}

#[test]
fn sentences_are_split_and_notes_are_found() {
    for (name, threshold, agreement) in [("nnsplit-en", 0.0, 1.0), ("basic-pitch", 0.5, 0.999)] {
        let Some(mut model) = Model::load(name) else { return };
        for set in 0..2 {
            let input = model.input.clone();
            model.set(&input, model.data(&format!("inputs_{set}.npz"), &input));
            model.run();
            for (output, known) in tensors(&model.folder.join(format!("outputs_{set}.npz"))).expect("outputs") {
                let (found, known) = (model.output(&output).to_floats(), known.to_floats());
                let same = found.iter().zip(&known).filter(|(a, b)| (**a > threshold) == (**b > threshold)).count();
                assert!(same as f64 >= agreement * known.len() as f64, "{name} '{output}': {same} of {}", known.len());
            }
        }
    }
}
