//! A handful of faults drawn from a seed, each mild enough for a job to end.

use super::TABLE;
use super::table::Mixed;
use crate::rng::{below, mix};

/// The rules that `seed` stands for, as they would be written. The same seed gives the same rules.
pub fn mixed_faults(seed: u64) -> Vec<String> {
    let mut state = mix(seed ^ 0xFA_17);
    let mut draw = |bound: usize| {
        state = mix(state);
        below(state, bound)
    };
    let mut left: Vec<_> = TABLE.iter().filter(|row| row.mixed != Mixed::No).collect();
    let wanted = 3 + draw(4);
    let mut rules = Vec::new();
    while rules.len() < wanted && !left.is_empty() {
        let row = left.swap_remove(draw(left.len()));
        let name = if row.code.is_empty() { row.name } else { row.code };
        let form = match row.words {
            [] if row.code.is_empty() || first_of(row.code) == row.name => String::new(),
            [] => format!("={}", row.name),
            words => format!("={}", words[draw(words.len())]),
        };
        rules.push(match row.mixed {
            Mixed::Share => format!("{name}:0.0{}{form}", 1 + draw(8)),
            _ => format!("{name}{form}@{}", 1 + draw(3)),
        });
    }
    rules
}

fn first_of(code: &str) -> &'static str {
    TABLE.iter().find(|row| row.code == code).map_or("", |row| row.name)
}
