//! ai.onnx.ml: TreeEnsemble-5, TreeEnsembleRegressor-1..3.

use std::collections::{BTreeMap, HashMap};

use sinter_base::{DataType, Tensor};
use sinter_ir::Handle;
use sinter_ops::classical::{Aggregate, ScoreTransform, TreeEnsemble};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

/// The tables of the operator, before they become constants.
#[derive(Default)]
pub(crate) struct Tables {
    nodes: Vec<[i64; 7]>,
    splits: Vec<f64>,
    members: Vec<f64>,
    leaves: Vec<[i64; 2]>,
    /// Target of each entry of a leaf.
    pub(crate) targets: Vec<i64>,
    /// Weight of each entry of a leaf.
    pub(crate) weights: Vec<f64>,
    roots: Vec<i64>,
    /// One value per target, or none.
    pub(crate) base: Vec<f64>,
}

impl Tables {
    /// Adds the operator on x.
    pub(crate) fn add(self, cx: &mut NodeContext<'_, '_>, x: Handle, op: TreeEnsemble) -> Imported {
        let data_type = cx.data_type(x)?;
        let floats = |cx: &mut NodeContext<'_, '_>, values: &[f64]| {
            let tensor = Tensor::from_floats(data_type, &[values.len()], values);
            tensor.map(|t| cx.constant(t)).map_err(|e| cx.problem(e.to_string()))
        };
        let rows = |cx: &mut NodeContext<'_, '_>, columns: usize, values: Vec<i64>| {
            let tensor = Tensor::from_vec(&[values.len() / columns, columns], values);
            tensor.map(|t| cx.constant(t)).map_err(|e| cx.problem(e.to_string()))
        };
        let nodes = rows(cx, 7, self.nodes.concat())?;
        let splits = floats(cx, &self.splits)?;
        let members = if self.members.is_empty() { None } else { Some(floats(cx, &self.members)?) };
        let leaves = rows(cx, 2, self.leaves.concat())?;
        let (targets, weights) = (cx.int_list(&self.targets), floats(cx, &self.weights)?);
        let roots = cx.int_list(&self.roots);
        let base = if self.base.is_empty() { None } else { Some(floats(cx, &self.base)?) };
        let table = [nodes, splits].map(Some).into_iter().chain([members]);
        let rest = [leaves, targets, weights, roots].map(Some).into_iter().chain([base]);
        let inputs: Vec<Option<Handle>> = [Some(x)].into_iter().chain(table).chain(rest).collect();
        cx.add_optional(op, &inputs)
    }
}

/// A list attribute that must have `count` entries; `default` where it is not given.
fn ints_of(cx: &NodeContext<'_, '_>, name: &str, count: usize, default: Option<i64>) -> Result<Vec<i64>, Problem> {
    match (cx.ints(name).filter(|v| !v.is_empty()), default) {
        (Some(values), _) if values.len() == count => Ok(values),
        (None, Some(default)) => Ok(vec![default; count]),
        (None, None) if count == 0 => Ok(Vec::new()),
        (given, _) => {
            let found = given.map_or(0, |v| v.len());
            Err(cx.problem(format!("attribute {name} has {found} entries instead of {count}")))
        }
    }
}

/// A list of floats, given as a tensor under one of the names or as a list under the last one.
fn floats_of(cx: &mut NodeContext<'_, '_>, tensor: &str, list: &str) -> Result<Vec<f64>, Problem> {
    if let Some(tensor) = cx.tensor(tensor)? {
        return Ok(tensor.to_floats());
    }
    Ok(cx.floats(list).unwrap_or_default())
}

/// TreeEnsemble.
pub fn tree_ensemble(cx: &mut NodeContext<'_, '_>) -> Imported {
    let aggregate = match cx.int("aggregate_function", 1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Smallest,
        3 => Aggregate::Largest,
        other => return Err(cx.problem(format!("aggregate_function {other} is unknown"))),
    };
    let transform = match cx.int("post_transform", 0) {
        0 => ScoreTransform::Keep,
        1 => ScoreTransform::Softmax,
        2 => ScoreTransform::Logistic,
        3 => ScoreTransform::SoftmaxNonZero,
        4 => ScoreTransform::Probit,
        other => return Err(cx.problem(format!("post_transform {other} is unknown"))),
    };
    let given = cx.int("n_targets", 0);
    let targets = usize::try_from(given).map_err(|_| cx.problem(format!("n_targets is {given}")))?;
    let modes = cx.tensor("nodes_modes")?.map(|t| t.to_i64()).unwrap_or_default();
    let count = modes.len();
    let features = ints_of(cx, "nodes_featureids", count, None)?;
    let (true_at, true_leaf) =
        (ints_of(cx, "nodes_truenodeids", count, None)?, ints_of(cx, "nodes_trueleafs", count, None)?);
    let (false_at, false_leaf) =
        (ints_of(cx, "nodes_falsenodeids", count, None)?, ints_of(cx, "nodes_falseleafs", count, None)?);
    let missing = ints_of(cx, "nodes_missing_value_tracks_true", count, Some(0))?;
    let columns = [features, modes, true_at, true_leaf, false_at, false_leaf, missing];
    let mut rows = vec![[0; 7]; count];
    for (position, column) in columns.iter().enumerate() {
        for (row, value) in rows.iter_mut().zip(column) {
            if let Some(slot) = row.get_mut(position) {
                *slot = *value;
            }
        }
    }
    let weights = floats_of(cx, "leaf_weights", "leaf_weights")?;
    let tables = Tables {
        nodes: rows,
        splits: floats_of(cx, "nodes_splits", "nodes_splits")?,
        members: floats_of(cx, "membership_values", "membership_values")?,
        leaves: (0..).take(weights.len()).map(|first| [first, 1]).collect(),
        targets: ints_of(cx, "leaf_targetids", weights.len(), None)?,
        weights,
        roots: cx.ints("tree_roots").unwrap_or_default(),
        base: Vec::new(),
    };
    let x = cx.input(0)?;
    tables.add(cx, x, TreeEnsemble { targets, aggregate, transform })
}

/// TreeEnsembleRegressor: nodes named by tree and number, leaves among them.
pub fn tree_ensemble_regressor(cx: &mut NodeContext<'_, '_>) -> Imported {
    let aggregate = match cx.text("aggregate_function", "SUM").as_str() {
        "AVERAGE" => Aggregate::Average,
        "SUM" => Aggregate::Sum,
        "MIN" => Aggregate::Smallest,
        "MAX" => Aggregate::Largest,
        other => return Err(cx.problem(format!("aggregate_function '{other}' is unknown"))),
    };
    let transform = score_transform(cx)?;
    let given = cx.int("n_targets", 1);
    let targets = usize::try_from(given).map_err(|_| cx.problem(format!("n_targets is {given}")))?;
    let tables = numbered_nodes(cx, "target")?;
    let x = cx.input(0)?;
    // Integers are compared as floats.
    let x = if cx.data_type(x)?.is_float() { x } else { cx.cast(x, DataType::F32)? };
    tables.add(cx, x, TreeEnsemble { targets, aggregate, transform })
}

/// The attribute `post_transform` as text.
///
/// # Errors
/// When it is unknown.
pub fn score_transform(cx: &NodeContext<'_, '_>) -> Result<ScoreTransform, Problem> {
    Ok(match cx.text("post_transform", "NONE").as_str() {
        "NONE" => ScoreTransform::Keep,
        "SOFTMAX" => ScoreTransform::Softmax,
        "LOGISTIC" => ScoreTransform::Logistic,
        "SOFTMAX_ZERO" => ScoreTransform::SoftmaxNonZero,
        "PROBIT" => ScoreTransform::Probit,
        other => return Err(cx.problem(format!("post_transform '{other}' is unknown"))),
    })
}

/// The tables of nodes that are named by (tree, number): the form before version 5. The entries of leaves are in
/// attributes that start with `entries`.
pub(crate) fn numbered_nodes(cx: &mut NodeContext<'_, '_>, entries: &str) -> Result<Tables, Problem> {
    let trees = cx.ints("nodes_treeids").unwrap_or_default();
    let count = trees.len();
    let numbers = ints_of(cx, "nodes_nodeids", count, None)?;
    let features = ints_of(cx, "nodes_featureids", count, None)?;
    let (true_at, false_at) =
        (ints_of(cx, "nodes_truenodeids", count, None)?, ints_of(cx, "nodes_falsenodeids", count, None)?);
    let missing = ints_of(cx, "nodes_missing_value_tracks_true", count, Some(0))?;
    let modes = cx.texts("nodes_modes").unwrap_or_default();
    let values = floats_of(cx, "nodes_values_as_tensor", "nodes_values")?;
    if modes.len() != count || values.len() != count {
        return Err(cx.problem(format!("{count} nodes have {} modes and {} values", modes.len(), values.len())));
    }

    // The entries of each leaf, in order.
    let weights = floats_of(cx, &format!("{entries}_weights_as_tensor"), &format!("{entries}_weights"))?;
    let ids = ints_of(cx, &format!("{entries}_ids"), weights.len(), None)?;
    let entry_trees = ints_of(cx, &format!("{entries}_treeids"), weights.len(), None)?;
    let entry_nodes = ints_of(cx, &format!("{entries}_nodeids"), weights.len(), None)?;
    let mut by_leaf: HashMap<(i64, i64), Vec<(i64, f64)>> = HashMap::new();
    for ((tree, node), entry) in entry_trees.into_iter().zip(entry_nodes).zip(ids.into_iter().zip(weights)) {
        by_leaf.entry((tree, node)).or_default().push(entry);
    }

    let base = floats_of(cx, "base_values_as_tensor", "base_values")?;
    let mut tables = Tables { base, ..Tables::default() };
    // Where each (tree, number) went: a row of the nodes, or a leaf.
    let mut places: HashMap<(i64, i64), (i64, i64)> = HashMap::new();
    let next = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let mut inner = 0;
    for ((tree, number), mode) in trees.iter().zip(&numbers).zip(&modes) {
        if mode == "LEAF" {
            places.insert((*tree, *number), (next(tables.leaves.len()), 1));
            let own = by_leaf.remove(&(*tree, *number)).unwrap_or_default();
            tables.leaves.push([next(tables.targets.len()), next(own.len())]);
            tables.targets.extend(own.iter().map(|(target, _)| *target));
            tables.weights.extend(own.iter().map(|(_, weight)| *weight));
        } else {
            places.insert((*tree, *number), (inner, 0));
            inner += 1;
        }
    }
    // The first node of a tree is its root.
    let mut roots: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (tree, number) in trees.iter().zip(&numbers) {
        if let Some(place) = places.get(&(*tree, *number)) {
            roots.entry(*tree).or_insert(*place);
        }
    }
    let columns = features.iter().zip(true_at.iter().zip(&false_at)).zip(missing.iter().zip(&values));
    for (((tree, mode), number), ((feature, (yes, no)), (missing, value))) in
        trees.iter().zip(&modes).zip(&numbers).zip(columns)
    {
        let mode = match mode.as_str() {
            "LEAF" => continue,
            "BRANCH_LEQ" => 0,
            "BRANCH_LT" => 1,
            "BRANCH_GTE" => 2,
            "BRANCH_GT" => 3,
            "BRANCH_EQ" => 4,
            "BRANCH_NEQ" => 5,
            other => return Err(cx.problem(format!("mode '{other}' of node {number} is unknown"))),
        };
        let place = |number: &i64| {
            let known = places.get(&(*tree, *number)).copied();
            known.ok_or_else(|| cx.problem(format!("tree {tree} has no node {number}")))
        };
        let ((yes, yes_leaf), (no, no_leaf)) = (place(yes)?, place(no)?);
        tables.nodes.push([*feature, mode, yes, yes_leaf, no, no_leaf, *missing]);
        tables.splits.push(*value);
    }
    for (place, is_leaf) in roots.into_values() {
        if is_leaf == 0 {
            tables.roots.push(place);
        } else {
            // A tree of one leaf: a test whose both ways lead there.
            tables.roots.push(next(tables.nodes.len()));
            tables.nodes.push([0, 0, place, 1, place, 1, 0]);
            tables.splits.push(0.0);
        }
    }
    Ok(tables)
}
