//! Minimum cuts by maximum flow.
//!
//! The labels of vertices, two each, that minimise `sum of unary(v, label) + sum of implies(u, v) [u and not v]`: with
//! non-negative costs this is a minimum cut, found exactly (Greig, Porteous, Seheult 1989; augmenting along shortest
//! paths in levels: Dinic 1970).

use std::collections::VecDeque;

/// A prohibitive cost: larger than any sum of real ones.
pub(crate) const NEVER: i64 = 1 << 50;

struct Edge {
    to: usize,
    capacity: i64,
}

/// A labelling problem.
pub(crate) struct Cut {
    /// Edges in pairs: each is followed by its reverse.
    edges: Vec<Edge>,
    from: Vec<Vec<usize>>,
}

const SOURCE: usize = 0;
const SINK: usize = 1;

impl Cut {
    /// A problem of this many vertices without costs.
    pub(crate) fn new(vertices: usize) -> Self {
        Self { edges: Vec::new(), from: vec![Vec::new(); vertices + 2] }
    }

    fn connect(&mut self, a: usize, b: usize, forward: i64, backward: i64) {
        for (from, to, capacity) in [(a, b, forward), (b, a, backward)] {
            self.from[from].push(self.edges.len());
            self.edges.push(Edge { to, capacity });
        }
    }

    /// Adds the costs of the labels of a vertex.
    pub(crate) fn unary(&mut self, vertex: usize, if_false: i64, if_true: i64) {
        // False is the side of the source: cutting the edge to the sink pays for false.
        self.connect(SOURCE, vertex + 2, if_true.min(NEVER), 0);
        self.connect(vertex + 2, SINK, if_false.min(NEVER), 0);
    }

    /// Adds a cost that is paid when `a` is true and `b` is not.
    pub(crate) fn implies(&mut self, a: usize, b: usize, cost: i64) {
        if a != b {
            self.connect(b + 2, a + 2, cost.min(NEVER), 0);
        }
    }

    fn levels(&self) -> Vec<usize> {
        let mut level = vec![usize::MAX; self.from.len()];
        level[SOURCE] = 0;
        let mut queue = VecDeque::from([SOURCE]);
        while let Some(vertex) = queue.pop_front() {
            for &edge in &self.from[vertex] {
                let Edge { to, capacity } = self.edges[edge];
                if capacity > 0 && level[to] == usize::MAX {
                    level[to] = level[vertex] + 1;
                    queue.push_back(to);
                }
            }
        }
        level
    }

    /// Pushes flow along one shortest path; false when these levels have none left.
    fn augment(&mut self, level: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut at = SOURCE;
        loop {
            if at == SINK {
                let flow = path.iter().map(|&e| self.edges[e].capacity).min().unwrap_or(0);
                for &edge in &path {
                    self.edges[edge].capacity -= flow;
                    self.edges[edge ^ 1].capacity += flow;
                }
                return true;
            }
            let step = self.from[at].get(next[at]).copied();
            match step {
                Some(edge) => {
                    let Edge { to, capacity } = self.edges[edge];
                    if capacity > 0 && level[to] == level[at] + 1 {
                        path.push(edge);
                        at = to;
                    } else {
                        next[at] += 1;
                    }
                }
                None => {
                    // A dead end: one step back, and this edge is finished.
                    let Some(edge) = path.pop() else { return false };
                    at = self.edges[edge ^ 1].to;
                    next[at] += 1;
                }
            }
        }
    }

    /// The cheapest labels.
    pub(crate) fn solve(mut self) -> Vec<bool> {
        loop {
            let level = self.levels();
            if level[SINK] == usize::MAX {
                // Vertices that the source still reaches keep the label false.
                return level[2..].iter().map(|l| *l == usize::MAX).collect();
            }
            let mut next = vec![0; self.from.len()];
            while self.augment(&level, &mut next) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sinter_testkit::Random;

    use super::*;

    /// All labellings of small random problems.
    #[test]
    fn as_cheap_as_brute_force() {
        let mut random = Random(1);
        let mut draw = |bound: usize| random.below(bound) as i64;
        for _ in 0..200 {
            let vertices = 1 + draw(9) as usize;
            let unary: Vec<(i64, i64)> = (0..vertices)
                .map(|_| match draw(6) {
                    0 => (0, NEVER),
                    1 => (NEVER, 0),
                    _ => (draw(50), draw(50)),
                })
                .collect();
            let pairs: Vec<(usize, usize, i64)> =
                (0..draw(20)).map(|_| (draw(vertices) as usize, draw(vertices) as usize, draw(30))).collect();
            let cost = |labels: &dyn Fn(usize) -> bool| {
                let own: i64 = unary.iter().enumerate().map(|(v, u)| if labels(v) { u.1 } else { u.0 }).sum();
                own + pairs.iter().filter(|(a, b, _)| labels(*a) && !labels(*b)).map(|p| p.2).sum::<i64>()
            };
            let mut cut = Cut::new(vertices);
            unary.iter().enumerate().for_each(|(v, u)| cut.unary(v, u.0, u.1));
            pairs.iter().for_each(|(a, b, c)| cut.implies(*a, *b, *c));
            let found = cut.solve();
            let best = (0..1u32 << vertices).map(|bits| cost(&|v| bits >> v & 1 == 1)).min().unwrap();
            assert_eq!(cost(&|v| found[v]), best, "{unary:?} {pairs:?}");
        }
    }
}
