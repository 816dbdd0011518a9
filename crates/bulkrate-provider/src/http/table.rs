//! What errors mean, as a table: the first row that fits decides.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::{FailureClass, Verdict};

/// One row, for errors that a provider says as an `S`.
pub(crate) struct Row<S> {
    /// Inclusive range of statuses.
    status: (u16, u16),
    fits: fn(&S) -> bool,
    class: FailureClass,
    /// Takes the place of the provider's own code where that is absent or has no fixed name.
    code: Option<&'static str>,
}

pub(crate) const ANY: (u16, u16) = (0, 999);

pub(crate) const fn row<S>(status: (u16, u16), fits: fn(&S) -> bool, class: FailureClass) -> Row<S> {
    Row { status, fits, class, code: None }
}

pub(crate) const fn coded<S>(
    status: (u16, u16),
    fits: fn(&S) -> bool,
    class: FailureClass,
    code: &'static str,
) -> Row<S> {
    Row { status, fits, class, code: Some(code) }
}

pub(crate) fn all<S>(_: &S) -> bool {
    true
}

/// An error that came with `status`, and what is known of it besides its meaning.
pub(crate) struct Told<'a, S> {
    pub(crate) said: &'a S,
    pub(crate) status: u16,
    pub(crate) message: &'a str,
    /// The provider's own code.
    pub(crate) code: Option<&'a str>,
    pub(crate) wait_ms: Option<u64>,
}

impl<S> Told<'_, S> {
    /// What `table` says of it. `maybe_paid` is false: the provider refused in its own words.
    pub(crate) fn failure(&self, table: &[Row<S>]) -> Failure {
        let status = self.status;
        let fits = |row: &&Row<S>| (row.status.0..=row.status.1).contains(&status) && (row.fits)(self.said);
        let (class, code) =
            table.iter().find(fits).map_or((FailureClass::Transient, None), |row| (row.class, row.code));
        let message =
            if self.message.is_empty() { format!("status {status}") } else { self.message.to_owned() };
        Failure {
            class,
            message,
            provider_code: code.or(self.code).map(str::to_owned).or_else(|| Some(status.to_string())),
            wait_ms: self.wait_ms.filter(|_| class.verdict() == Verdict::RetryLater),
            maybe_paid: false,
        }
    }
}
