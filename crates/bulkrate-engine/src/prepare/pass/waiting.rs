//! Records that waited for what is fetched for them, taken in their order.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::request::Request;

use super::Pass;
use crate::EngineError;
use crate::prepare::fetch::{Found, Waiting, fill};
use crate::prepare::shape::{Drawn, ShapeError};

impl Pass<'_> {
    /// Takes the records that wait no more, in their order; `all`: also those that do, when they are whole.
    pub(crate) fn go_on(&mut self, all: bool) -> Result<(), EngineError> {
        while let Some(ahead) = &mut self.ahead
            && let Some((record, found)) = ahead.next(all)?
        {
            let Waiting { ordinal, line, drawn, canonical } = record;
            let drawn = drawn.and_then(|drawn| self.whole(ordinal, drawn, canonical, &found));
            self.take(ordinal, line, drawn)?;
        }
        Ok(())
    }

    /// A record with what was fetched for it.
    fn whole(
        &mut self,
        ordinal: Ordinal,
        mut drawn: Drawn,
        canonical: Vec<u8>,
        found: &Found,
    ) -> Result<Drawn, ShapeError> {
        if drawn.addresses.is_empty() {
            self.canonical = canonical;
            return Ok(drawn);
        }
        let check = |request: &Request<'_>| self.draftsman.check(&drawn, u64::from(ordinal) + 1, request);
        let filled = fill(&canonical, found, check, &mut self.canonical)?;
        drawn.data = filled.data;
        drawn.structure = (self.canonical.len() as u64).saturating_sub(filled.text);
        self.check_window(&drawn)?;
        Ok(drawn)
    }

    /// Addresses fetched so far; `None`: none is.
    #[must_use]
    pub(crate) fn fetched(&self) -> Option<u64> {
        self.ahead.as_ref().map(|ahead| ahead.count)
    }
}
