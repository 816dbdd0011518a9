//! Which snapshots answered in this run.

/// Served model ids by deployment.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// The newest of each deployment.
    last: Vec<(usize, String)>,
    names: Vec<String>,
    /// No answer is older than this run.
    complete: bool,
}

impl Served {
    pub(crate) fn new(complete: bool) -> Self {
        Self { complete, ..Self::default() }
    }

    /// A good answer came from `model`. Nearly always the same as before.
    pub(crate) fn note(&mut self, deployment: usize, model: &str) {
        match self.last.iter_mut().find(|(known, _)| *known == deployment) {
            Some((_, last)) if last == model => return,
            Some((_, last)) => model.clone_into(last),
            None => self.last.push((deployment, model.to_owned())),
        }
        if !self.names.iter().any(|known| known == model) {
            self.names.push(model.to_owned());
        }
    }

    /// The one id that every answer of the job's calls and batches bears; `None`: the lines must be read.
    pub(crate) fn only(&self) -> Option<&str> {
        match self.names.as_slice() {
            [one] if self.complete => Some(one),
            _ => None,
        }
    }

    /// Deployment and newest served id.
    pub(crate) fn newest(&self) -> &[(usize, String)] {
        &self.last
    }
}
