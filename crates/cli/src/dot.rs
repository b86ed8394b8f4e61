//! The steps of a plan as a graph for Graphviz: `dot -Tsvg`.

use std::collections::HashMap;
use std::fmt::Write;

use sinter::internals::base::one_line;
use sinter::internals::plan::{Action, Graph, Plan};

use crate::report::{operators, sources, tactic, type_text};

/// Draws a plan: steps as boxes, values between them as arrows with their types, bodies of control flow in frames.
pub fn dot(plan: &Plan) -> String {
    let mut drawing = Drawing::default();
    drawing.line(format!("digraph {} {{", quoted(&plan.name)));
    drawing.line("  node [shape=box, fontname=\"sans-serif\", fontsize=10];".to_owned());
    drawing.line("  edge [fontname=\"sans-serif\", fontsize=8];".to_owned());
    let mut makers = HashMap::new();
    let ty = |id: sinter::internals::plan::PlanValueId| {
        plan.graph.values.get(id.index()).map_or(String::new(), |v| type_text(&v.ty))
    };
    for (position, port) in plan.inputs.iter().enumerate() {
        let label = label(&[&port.name, &ty(port.value)]);
        drawing.line(format!("  input{position} [shape=ellipse, label={label}];"));
        makers.insert(port.value.index(), format!("input{position}"));
    }
    drawing.graph(&plan.graph, &mut makers, None);
    for (position, port) in plan.outputs.iter().enumerate() {
        let label = label(&[&port.name, &ty(port.value)]);
        drawing.line(format!("  output{position} [shape=ellipse, label={label}];"));
        if let Some(maker) = makers.get(&port.value.index()) {
            drawing.line(format!("  {maker} -> output{position};"));
        }
    }
    drawing.text + "}\n"
}

#[derive(Default)]
struct Drawing {
    text: String,
    steps: usize,
    frames: usize,
}

impl Drawing {
    fn line(&mut self, line: String) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// Draws the steps of a graph; `makers` are those of its values. What comes into a body from outside comes from `owner`,
    /// the step of the control flow.
    fn graph(&mut self, graph: &Graph, makers: &mut HashMap<usize, String>, owner: Option<&str>) {
        for step in &graph.steps {
            let name = format!("step{}", self.steps);
            self.steps += 1;
            let shown = [operators(step).join("+"), tactic(step).unwrap_or_default(), sources(step).join(", ")];
            let lines: Vec<&str> = shown.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
            self.line(format!("  {name} [label={}];", label(&lines)));
            for id in step.inputs.iter().flatten() {
                let Some(value) = graph.values.get(id.index()) else { continue };
                let ty = quoted(&type_text(&value.ty));
                match (makers.get(&id.index()), owner) {
                    (Some(maker), _) => self.line(format!("  {maker} -> {name} [label={ty}];")),
                    (None, Some(owner)) if graph.inputs.contains(id) => {
                        self.line(format!("  {owner} -> {name} [label={ty}, style=dotted];"));
                    }
                    // A weight.
                    (None, _) => {}
                }
            }
            makers.extend(step.outputs.iter().map(|id| (id.index(), name.clone())));
            if let Action::Control { graphs, .. } = &step.action {
                for (number, body) in graphs.iter().enumerate() {
                    self.line(format!("  subgraph cluster{} {{ label=\"body {number}\";", self.frames));
                    self.frames += 1;
                    self.graph(body, &mut HashMap::new(), Some(&name));
                    self.line("  }".to_owned());
                }
            }
        }
    }
}

/// Lines of a label; the language takes escapes of its own, and names of files none.
fn label(lines: &[&str]) -> String {
    let escaped: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
    format!("\"{}\"", escaped.join("\\n"))
}

fn quoted(text: &str) -> String {
    label(&[text])
}

fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_leave_their_quotes() {
        assert_eq!(label(&["a\"b", "c\\", "d\ne"]), r#""a\"b\nc\\\nd\\ne""#);
    }
}
