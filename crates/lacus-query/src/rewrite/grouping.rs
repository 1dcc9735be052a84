//! `ROLLUP ((a, b), c)` and `CUBE ((a, b), c)`: composite columns. The engine knows such grouping sets only when each is written
//! out.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select};

/// The most parts of a `CUBE`: each further part doubles the number of sets.
const CUBE_MAX: usize = 8;

/// Writes out the grouping sets of a query.
pub(super) fn write_out(select: &mut Select) {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return };
    for group in groups {
        let sets: Vec<Vec<Expr>> = match &*group {
            Expr::Rollup(parts) if has_several(parts) => {
                (0..=parts.len()).rev().map(|count| parts[..count].concat()).collect()
            }
            Expr::Cube(parts) if has_several(parts) && parts.len() <= CUBE_MAX => {
                (0..(1_usize << parts.len())).map(|chosen| those_of(parts, chosen)).collect()
            }
            _ => continue,
        };
        *group = Expr::GroupingSets(sets);
    }
}

fn has_several(parts: &[Vec<Expr>]) -> bool {
    parts.iter().any(|part| part.len() != 1)
}

/// The parts whose bits are set.
fn those_of(parts: &[Vec<Expr>], chosen: usize) -> Vec<Expr> {
    let is_chosen = |(place, _): &(usize, &Vec<Expr>)| (chosen >> place) & 1 == 1;
    parts.iter().enumerate().filter(is_chosen).flat_map(|(_, part)| part.clone()).collect()
}
