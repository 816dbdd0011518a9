//! What is kept of an answer holds none of the account's secrets: a server may repeat the key it got.

use std::borrow::Cow;

use bulkrate_core::answer::{Failure, Reading};

use super::origin::Account;

/// The longest message that people read.
const MESSAGE_BYTES_MAX: usize = 1_000;
/// The longest name of a served model, tier or error code that is kept.
const LABEL_BYTES_MAX: usize = 256;
const CUT: &str = "...";
/// Shorter ones would blot out ordinary words.
pub(super) const SECRET_MIN: usize = 8;

impl Account {
    /// `text` without any of the account's secrets, and no longer than people read.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = self.hide(text).into_owned();
        if text.len() > MESSAGE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
            text.push_str(CUT);
        }
        text
    }

    /// `text` without any of the account's secrets.
    #[must_use]
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        let (held, sent) = (self.signer.as_ref().and_then(|signer| signer.held()), self.sent.last_two());
        let sent = sent
            .iter()
            .flatten()
            .chain(held.iter())
            .map(|sent| &**sent)
            .filter(|sent| sent.len() >= SECRET_MIN);
        for secret in self.secrets.iter().map(String::as_str).chain(sent) {
            if text.contains(secret) {
                text = Cow::Owned(text.replace(secret, "***"));
            }
        }
        text
    }

    /// What a good answer says stays as it is; everything around it may repeat the key.
    pub(crate) fn redacted<'a>(&self, reading: Reading<'a>) -> Reading<'a> {
        match reading {
            Reading::Failure(failure) => Reading::Failure(self.redacted_failure(failure)),
            Reading::Answer(mut answer) => {
                answer.model = answer.model.take().map(|model| self.label(model));
                answer.tier = answer.tier.take().map(|tier| self.label(tier));
                Reading::Answer(answer)
            }
        }
    }

    pub(crate) fn redacted_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.redact(&failure.message);
        failure.provider_code = failure.provider_code.map(|code| self.label(Cow::Owned(code)).into_owned());
        failure
    }

    /// A short text that is kept with each answer: without secrets, and cut with a mark where it is longer than any name.
    fn label<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let text = match self.hide(&text) {
            Cow::Owned(hidden) => Cow::Owned(hidden),
            Cow::Borrowed(_) => text,
        };
        if text.len() <= LABEL_BYTES_MAX {
            return text;
        }
        let end = text.floor_char_boundary(LABEL_BYTES_MAX - CUT.len());
        Cow::Owned(format!("{}{CUT}", &text[..end]))
    }
}
