//! What the models of a pilot said to its items.

use crate::cascade::{Opinion, Sureness};

/// What one model said to one item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// The answer in what is compared; `None`: no usable one, or nothing can be compared.
    pub opinion: Option<Opinion>,
    /// Usable, comparable or not.
    pub usable: bool,
    /// How sure the model says it is.
    pub sure_permille: Option<u32>,
    /// How sure its tokens say it was.
    pub sureness: Option<Sureness>,
    /// Whether it is what the item's label says. An answer that cannot be used is not; `None`: the item has no label.
    pub right: Option<bool>,
}

/// All answers, model by model, each in the order of the items. The first model is the strong one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    pub models: Vec<Vec<Said>>,
    /// Quality is what labels say; else what the strong model said.
    pub labelled: bool,
    /// Items that a plan asks: not those that equal another, nor those that a filter answers or a rule sends elsewhere. Empty: all.
    pub reached: Vec<bool>,
}

impl Sheet {
    /// What `model` said to `item`; one that was never asked has said nothing.
    #[must_use]
    pub fn said(&self, model: usize, item: usize) -> Said {
        self.models.get(model).and_then(|said| said.get(item)).copied().unwrap_or_default()
    }

    /// Whether a plan asks `item`, or its answer comes from elsewhere.
    #[must_use]
    pub fn reaches(&self, item: usize) -> bool {
        self.reached.get(item).copied().unwrap_or(true)
    }

    /// Whether the strong model and `model` are right on an item: by its label, else by what the strong one says. `None`: nobody can
    /// tell, as there is no label, or no answer of the strong model, whose own failures teach nothing about another.
    #[must_use]
    pub fn right_of(&self, model: usize, item: usize) -> Option<(bool, bool)> {
        self.right_by(item, self.said(model, item))
    }

    /// The same of an answer that came from somewhere.
    pub(super) fn right_by(&self, item: usize, said: Said) -> Option<(bool, bool)> {
        let strong = self.said(0, item);
        if self.labelled {
            strong.right.map(|strong| (strong, said.right == Some(true)))
        } else {
            strong.opinion.map(|opinion| (true, said.opinion == Some(opinion)))
        }
    }

    /// Items on which `model` is right, of so many with a label.
    #[must_use]
    pub fn right(&self, model: usize) -> (u64, u64) {
        let labels = (0..self.items()).filter_map(|item| self.said(model, item).right);
        labels.fold((0, 0), |(right, of), is| (right + u64::from(is), of + 1))
    }

    #[must_use]
    pub fn items(&self) -> usize {
        self.models.first().map_or(0, Vec::len)
    }
}
