//! Whether what a table asks of every record can be sent at all, and whether a record's image can.

use bulkrate_core::prepare::{Blueprint, Cell, Setup};
use bulkrate_core::request::Request;

use super::{Draftsman, Drawn, ShapeError};
use crate::EngineError;
use crate::prepare::takes::Asker;

impl Draftsman {
    /// Refuses settings that a model which the job names for its rows cannot be sent, with whatever words.
    pub(super) fn prove(&mut self) -> Result<(), EngineError> {
        let spec = &self.spec;
        let own = self.places(spec.model.iter());
        let routed = spec.router.iter().flat_map(|router| router.weak.iter());
        let mut named = self.places(routed.chain(spec.rules.iter().map(|rule| &rule.model)));
        if named.is_empty() {
            named.clone_from(&own);
        }
        self.unproved = own.into_iter().find(|place| !named.contains(place));
        named.into_iter().try_for_each(|place| self.prove_model(place))
    }

    /// The same of one model.
    pub(super) fn prove_model(&mut self, place: usize) -> Result<(), EngineError> {
        let choice_bytes = self.spec.choices.iter().map(|choice| choice.len() as u64).max();
        let found = &self.deployments[place];
        let setup = self.setup(found, self.max_tokens(found, choice_bytes)?)?;
        let setup = Setup { user: "a".to_owned(), image: None, ..setup };
        let blueprint = Blueprint::compile(&setup).map_err(EngineError::Setup)?;
        let mut line = Vec::new();
        let cells = vec![Cell::Text("a".into()); blueprint.columns().len()];
        let rendered = blueprint.render(&cells, &mut String::new(), &mut line);
        // What no words can fill is told of the first record.
        let (Ok(()), Ok(request)) = (rendered, serde_json::from_slice(&line)) else { return Ok(()) };
        let asker = Asker { place, urgent: false, record: None, bound: None };
        self.takes.check(asker, &request, &self.deployments).map_err(EngineError::Setup)
    }

    /// Refuses a row's image that its model cannot be sent. What it is, only the row knows.
    pub(super) fn prove_image(
        &mut self,
        drawn: &mut Drawn,
        number: u64,
        line: &[u8],
    ) -> Result<(), ShapeError> {
        if let Ok(request) = serde_json::from_slice::<Request<'_>>(line) {
            drawn.data = request.data_bytes();
            drawn.structure = (line.len() as u64).saturating_sub(request.prompt_bytes());
            self.takes.prove(drawn, number, &request, &self.deployments)?;
        }
        Ok(())
    }
}
