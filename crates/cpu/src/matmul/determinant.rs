//! `cpu.matmul.determinant`: the product of the pivots of Gaussian elimination with row exchanges, in f64.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;

use crate::arguments::result;
use crate::elements::{Numbers, load, store_real};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share_both};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const DETERMINANT: Row = Row {
    name: "cpu.matmul.determinant",
    roots: &[OpKind::Determinant],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Determinant);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(DeterminantKernel)))
}

struct DeterminantKernel;

/// Determinant of an `n` by `n` matrix, which becomes triangular.
fn determinant(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    // The remaining matrix lies after the finished rows and columns.
    for column in 0..n {
        let left = &mut matrix[column * n..];
        let size = |row: usize| left[row * n + column].abs();
        let pivot = (1..n - column).fold(0, |best, row| if size(row) > size(best) { row } else { best });
        let (head, rest) = left.split_at_mut(n);
        if pivot != 0 {
            head.swap_with_slice(&mut rest[(pivot - 1) * n..pivot * n]);
            product = -product;
        }
        product *= head[column];
        if head[column] == 0.0 {
            return product;
        }
        for row in rest.chunks_exact_mut(n) {
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
        let (workers, scratch) = (launch.workers, launch.scratch);
        let Numbers::Floats(mut elements) = load(x, scratch) else {
            refuse_data!("a determinant of {}", x.data_type())
        };
        let (n, matrix) = (*n, n * n);
        let mut target = result(&mut launch.outputs[0], batch)?;
        let mut y = scratch.allocate(target.count());
        share_both(workers, (&mut elements, &mut y), (matrix, 1), Cost::PerElement(n), |_, matrix, y| {
            y[0] = determinant(matrix, n);
        });
        store_real(&y, &mut target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::determinant;

    fn of<const N: usize>(mut matrix: [[f64; N]; N]) -> f64 {
        determinant(matrix.as_flattened_mut(), N)
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
