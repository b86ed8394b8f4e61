//! The weights of recurrent layers as their kernels read them.
//!
//! W becomes, for each direction, the right operand of one product with all steps; R one matrix in wide panels for each
//! product with the state, see [`Kind::products`].

use crate::float::Float;
use crate::product::wide;
use crate::recurrent::cells::Kind;

/// The sizes of a layer's weights.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// The kind of cell.
    pub kind: Kind,
    /// Directions.
    pub directions: usize,
    /// Elements of a step of x.
    pub features: usize,
    /// Hidden units.
    pub hidden: usize,
}

impl Weights {
    /// Rows of both matrices of one direction.
    pub fn rows(&self) -> usize {
        self.kind.gates() * self.hidden
    }

    /// Elements of one direction of W packed.
    pub fn w_len<T: Float>(&self) -> usize {
        T::packed_len(self.features, self.rows())
    }

    /// Elements of one direction of R packed.
    pub fn r_len(&self) -> usize {
        self.kind.products().iter().map(|gates| wide::packed_len(self.hidden, gates * self.hidden)).sum()
    }

    /// Packs W: [directions, rows, features].
    pub fn pack_w<T: Float>(&self, w: &[T], target: &mut [T]) {
        let own = w.chunks_exact((self.rows() * self.features).max(1));
        own.zip(target.chunks_exact_mut(self.w_len::<T>().max(1)))
            .for_each(|(w, target)| T::pack(w, self.features, target));
    }

    /// Packs R: [directions, rows, hidden].
    pub fn pack_r<T: Float>(&self, r: &[T], target: &mut [T]) {
        let own = r.chunks_exact((self.rows() * self.hidden).max(1));
        for (mut r, mut target) in own.zip(target.chunks_exact_mut(self.r_len().max(1))) {
            for gates in self.kind.products() {
                let rows = gates * self.hidden;
                let (product, rest) = r.split_at(rows * self.hidden);
                let (panels, later) = std::mem::take(&mut target).split_at_mut(wide::packed_len(self.hidden, rows));
                wide::pack(product, self.hidden, panels);
                (r, target) = (rest, later);
            }
        }
    }
}
