//! `cpu.lookup.n_grams`: counts of known n-grams, found by walking a trie of them from every start.
//!
//! Items become numbers by one hash table, n-grams paths of a trie whose edges lie in another, so that all lengths of
//! n-grams at one start and stride cost one walk.

use std::collections::HashMap;
use std::hash::Hash;

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::OpKind;
use sinter_ops::host::TfIdfVectorizer;
use sinter_ops::host::tf_idf_vectorizer::Weighting;

use crate::launch::Loaded;
use crate::tactic::{Row, Speed};
use crate::values::{data, optional_tensor, tensor};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const N_GRAMS: Row = Row {
    name: "cpu.lookup.n_grams",
    roots: &[OpKind::TfIdfVectorizer],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, TfIdfVectorizer);
    Ok(Loaded::Values(Box::new(NGrams { op: op.clone() })))
}

struct NGrams {
    op: TfIdfVectorizer,
}

/// The n-grams of the pool; node 0 is the root.
#[derive(Default)]
struct Trie {
    edges: HashMap<(usize, usize), usize>,
    /// By node: index of the n-gram that ends there.
    numbers: Vec<Option<usize>>,
}

impl Trie {
    fn of(op: &TfIdfVectorizer, pool: &[usize]) -> Result<Self, KernelError> {
        let mut trie = Self { edges: HashMap::new(), numbers: vec![None] };
        let mut number = 0;
        for (position, &start) in op.starts.iter().enumerate() {
            let length = position + 1;
            let end = op.starts.get(length).copied().unwrap_or(pool.len());
            let Some(part) = pool.get(start..end) else {
                refuse_data!("n-grams of length {length} from {start} to {end} in a pool of {}", pool.len());
            };
            for gram in part.chunks_exact(length) {
                if (op.shortest..=op.longest).contains(&length) {
                    trie.insert(gram, number);
                }
                number += 1;
            }
        }
        Ok(trie)
    }

    fn insert(&mut self, gram: &[usize], number: usize) {
        let mut node = 0;
        for &item in gram {
            let next = self.numbers.len();
            node = *self.edges.entry((node, item)).or_insert(next);
            if node == next {
                self.numbers.push(None);
            }
        }
        self.numbers[node] = Some(number);
    }
}

/// The elements of both tensors as numbers, equal where they are equal; those of `x` that the pool lacks are `None`.
fn numbered<K: Hash + Eq>(x: Vec<K>, pool: Vec<K>) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut known: HashMap<K, usize> = HashMap::new();
    let pool = pool
        .into_iter()
        .map(|item| {
            let next = known.len();
            *known.entry(item).or_insert(next)
        })
        .collect();
    (x.iter().map(|item| known.get(item).copied()).collect(), pool)
}

impl ValueKernel for NGrams {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (x, pool, columns) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?.to_i64());
        let weights = optional_tensor(inputs, 3)?.map(Tensor::to_floats);
        let size = self.op.size;
        let (rows, length) = match *x.sizes() {
            [length] => (1, length),
            [rows, length] => (rows, length),
            _ => refuse_data!("items of sizes {:?}; one or two dimensions are needed", x.sizes()),
        };
        let (items, pool) = match x.data_type() {
            DataType::String => {
                let texts = |t: &Tensor| t.strings().map(<[String]>::to_vec).map_err(data);
                numbered(texts(x)?, texts(pool)?)
            }
            _ => numbered(x.to_ints(), pool.to_ints()),
        };
        let trie = Trie::of(&self.op, &pool)?;
        let Some(count) = rows.checked_mul(size) else { refuse_data!("{rows} rows of {size} columns are too large") };
        let mut y = vec![0f32; count];
        let strides = self.op.most_skipped.saturating_add(1).min(length);
        for row in 0..rows {
            let own = &items[row * length..(row + 1) * length];
            let result = &mut y[row * size..(row + 1) * size];
            // Of the n-grams of one column, the last one in the pool.
            let mut last: Vec<Option<usize>> = vec![None; size];
            for stride in 1..=strides {
                for start in 0..length {
                    let mut node = 0;
                    for (passed, item) in own[start..].iter().step_by(stride).take(self.op.longest).enumerate() {
                        let next = item.and_then(|item| trie.edges.get(&(node, item)));
                        let Some(&next) = next else { break };
                        node = next;
                        // One item has no stride: it counts once.
                        let Some(number) = trie.numbers[node].filter(|_| passed > 0 || stride == 1) else { continue };
                        let column = columns.get(number).and_then(|&c| usize::try_from(c).ok());
                        let Some(column) = column.filter(|c| *c < size) else {
                            refuse_data!("n-gram {number} has no column among {size}");
                        };
                        result[column] += 1.0;
                        last[column] = last[column].max(Some(number));
                    }
                }
            }
            for (value, last) in result.iter_mut().zip(&last) {
                let weight = last.and_then(|number| weights.as_ref()?.get(number)).map_or(1.0, |weight| *weight as f32);
                *value = match self.op.weighting {
                    Weighting::Count => *value,
                    Weighting::Weight if *value > 0.0 => weight,
                    Weighting::Weight => 0.0,
                    Weighting::WeightedCount => weight * *value,
                };
            }
        }
        let sizes: &[usize] = if x.rank() == 2 { &[rows, size] } else { &[size] };
        Ok(vec![Tensor::from_vec(sizes, y).map_err(data)?.into()])
    }
}
