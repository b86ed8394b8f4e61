//! `cpu.matmul.determinant`: the product of the pivots of Gaussian elimination with row exchanges, in f64.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};

use crate::arguments::result;
use crate::elements::{Numbers, load, store};
use crate::movement::takes_views;
use crate::pieces::for_each_piece;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const DETERMINANT: Row =
    Row { name: "cpu.matmul.determinant", numerics: Numerics::Ordered, in_place: &[], speed: Speed::SCALAR, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Determinant);
    takes_views(region)?;
    Ok(Loaded::Views(Box::new(DeterminantKernel)))
}

struct DeterminantKernel;

/// Determinant of the `n` by `n` matrix in `rows`, which becomes triangular. What is left of it is the matrix behind the
/// rows and columns that are done.
fn determinant(mut rows: Vec<&mut [f64]>) -> f64 {
    let mut product = 1.0;
    while !rows.is_empty() {
        let column = rows[0].len() - rows.len();
        let size = |row: &[f64]| row[column].abs();
        let mut pivot = 0;
        for row in 1..rows.len() {
            if size(rows[row]) > size(rows[pivot]) {
                pivot = row;
            }
        }
        if pivot != 0 {
            rows.swap(0, pivot);
            product = -product;
        }
        let head = rows.remove(0);
        product *= head[column];
        if head[column] == 0.0 {
            return product;
        }
        for row in &mut rows {
            let factor = row[column] / head[column];
            row[column..].iter_mut().zip(&head[column..]).for_each(|(x, h)| *x -= factor * h);
        }
    }
    product
}

impl Kernel for DeterminantKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let [batch @ .., n, columns] = x.sizes() else { refuse_data!("a matrix of sizes {:?}", x.sizes()) };
        if n != columns {
            refuse_data!("a matrix of {n} rows and {columns} columns has no determinant");
        }
        let Numbers::Floats(elements) = load(x) else { refuse_data!("a determinant of {}", x.data_type()) };
        let (n, matrix) = (*n, n * n);
        let work = elements.len().saturating_mul(n);
        let mut target = result(&mut launch.outputs[0], batch)?;
        let mut y = vec![1.0; target.count()];
        if matrix > 0 {
            for_each_piece(launch.workers, &mut y, 1, work, |from, piece| {
                for (at, y) in piece.iter_mut().enumerate() {
                    let mut own = elements[(from + at) * matrix..][..matrix].to_vec();
                    *y = determinant(own.chunks_exact_mut(n).collect());
                }
            });
        }
        store(&Numbers::Floats(y), &mut target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::determinant;

    fn of<const N: usize>(mut matrix: [[f64; N]; N]) -> f64 {
        determinant(matrix.iter_mut().map(|row| &mut row[..]).collect())
    }

    #[test]
    fn known_determinants() {
        assert_eq!(of([[0.0, 1.0], [1.0, 0.0]]), -1.0);
        assert_eq!(of([[5.0, 3.0], [0.0, 2.0]]), 10.0);
        assert!((of([[2.0, 0.0], [5.0, 3.0]]) - 6.0).abs() < 1e-14);
        assert_eq!(of([[1.0, 2.0], [2.0, 4.0]]), 0.0);
        assert!((of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]]) + 3.0).abs() < 1e-12);
    }
}
