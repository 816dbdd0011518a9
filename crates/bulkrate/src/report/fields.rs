//! The order of fields in a prompt, and what it is worth, as text and for programs.

use std::fmt::Write as _;

use bulkrate_core::order::{Factor, FieldOrder, FieldTable, HIT_RATES, PREFIX_MIN};
use serde_json::{Value, json};

use super::table::Table;
use super::words::{count, counted};

/// Told beside the table.
pub const NOTE: &str = "nothing was changed: if you reorder your template, judge some answers again before you trust it; what stands \
                        first in a prompt may change them\n";

/// What was read, and whose prices it is compared with.
#[derive(Debug)]
pub struct Found<'a> {
    pub names: &'a [String],
    pub table: &'a FieldTable,
    /// The best order that was found.
    pub best: FieldOrder,
    /// Characters before the fields, the same in every prompt.
    pub before: u64,
    /// A model, and the ratios of its price list.
    pub prices: Option<(String, Option<Factor>)>,
}

impl Found<'_> {
    /// Each order with its name.
    fn orders(&self) -> [(&'static str, FieldOrder); 3] {
        let by_place: Vec<usize> = (0..self.names.len()).collect();
        [
            ("as it stands", self.table.as_is()),
            ("rows sorted", self.table.sorted(&by_place)),
            ("best order, rows sorted", self.best.clone()),
        ]
        .map(|(name, order)| (name, self.table.behind(&order, self.before)))
    }

    /// Characters that a prompt shares with the one before, on average.
    fn mean(&self, order: &FieldOrder) -> u64 {
        order.shared / (self.table.rows() as u64).max(1)
    }

    /// Whether the best order is worth a cache: long enough to be cached at all, and cheaper than plain input.
    fn picked(&self, factor: Factor, best: &FieldOrder) -> Result<(), String> {
        if self.mean(best) < PREFIX_MIN as u64 {
            return Err(format!(
                "no caching: {} characters are shared on average, and about {} are the least that a provider caches; `--before` \
                 counts what stands before the fields",
                count(self.mean(best)),
                count(PREFIX_MIN as u64)
            ));
        }
        if factor.pays(best.share()) {
            return Ok(());
        }
        Err("no caching: at a hit rate of 30 % it would cost more than plain input".to_owned())
    }

    #[must_use]
    pub fn text(&self) -> String {
        let orders = self.orders();
        let mut out = format!(
            "{}, {}; each cell stands in a prompt with its name\n\n",
            counted(self.table.rows() as u64, "row"),
            counted(self.names.len() as u64, "column")
        );
        let mut headings = vec!["order", ">shared with the row before"];
        let priced = self.prices.as_ref().and_then(|(_, factor)| *factor);
        let costs: Vec<String> =
            HIT_RATES.iter().map(|hits| format!(">cost at {:.0} % found", hits * 100.0)).collect();
        if priced.is_some() {
            headings.extend(costs.iter().map(String::as_str));
        }
        let mut table = Table::new(2, &headings);
        for (name, order) in &orders {
            let mut row = vec![(*name).to_owned(), format!("{:.1} %", order.share() * 100.0)];
            let cost =
                |factor: Factor| HIT_RATES.map(|hits| format!("{:.3}", factor.cost(order.share(), hits)));
            row.extend(priced.map(cost).into_iter().flatten());
            table.row(row);
        }
        let [.., (_, best)] = &orders;
        let names: Vec<&str> = best.columns.iter().map(|place| self.names[*place].as_str()).collect();
        let _ = writeln!(out, "{}\n  best order: {}", table.text(), names.join(", "));
        out.push_str(&self.caching(best));
        out
    }

    /// Whether caching what is shared would be picked.
    fn caching(&self, best: &FieldOrder) -> String {
        match &self.prices {
            None => String::new(),
            Some((model, None)) => {
                format!("  {model} has no price of its own for cached input: no order saves anything\n")
            }
            Some((model, Some(factor))) => format!(
                "  cost: of the input at {model}, 1 without a prompt cache; it saves from {:.1} % found on; {}\n",
                factor.break_even() * 100.0,
                self.picked(*factor, best).err().unwrap_or_else(|| "it is worth it".to_owned())
            ),
        }
    }

    /// The same for programs; shares and costs from 0 to 1.
    #[must_use]
    pub fn document(&self) -> Value {
        let priced = self.prices.as_ref().and_then(|(_, factor)| *factor);
        let orders: Vec<Value> = self
            .orders()
            .iter()
            .map(|(name, order)| {
                let columns: Vec<&String> = order.columns.iter().map(|place| &self.names[*place]).collect();
                let costs = priced.map(|factor| HIT_RATES.map(|hits| factor.cost(order.share(), hits)));
                json!({ "order": name, "columns": columns, "shared": order.share(), "costs": costs })
            })
            .collect();
        let [.., (_, best)] = self.orders();
        json!({
            "rows": self.table.rows(), "orders": orders, "hit_rates": HIT_RATES,
            "model": self.prices.as_ref().map(|(model, _)| model),
            "break_even": priced.map(|factor| factor.break_even()),
            "caching": priced.map(|factor| self.picked(factor, &best).is_ok()),
        })
    }
}
