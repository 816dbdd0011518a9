//! What a pilot job's model has said, and what that used.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_core::cascade::{Opinion, Sureness};
use bulkrate_core::collect::Checked;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Said, Signs};
use bulkrate_core::price::Ratios;
use bulkrate_core::usage::Usage;
use bulkrate_store::{Fate, ItemKind, ItemRec, JobRow, LedgerQuery, Via, View};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::labels::same;
use crate::EngineError;
use crate::deliver::{Landed, Lines, Places, checkpoint_of, spec_of};
use crate::paths::JobDir;
use crate::result_line::ResponseLine;
use crate::run::bundle::Brought;
use crate::spec::RequestSpec;

/// How sure a model says it is, where nobody names the field.
const SURE: &str = "confidence";

/// What of an answer is compared, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Answers are free text: nothing is.
    pub free: bool,
    /// Fields of JSON answers; none: the whole answer.
    pub fields: Vec<String>,
    /// The field in which a model says how sure it is.
    pub sure: Option<String>,
    /// The right answer of each item of the sample, where it has one.
    pub labels: Option<Vec<Option<String>>>,
    /// Rules may send items to other models.
    pub ruled: bool,
}

impl Reads {
    /// Of JSON answers those fields are compared that hold one of few values; where there is none, all but the one that says how sure
    /// the model is.
    pub(crate) fn of(request: &RequestSpec) -> Self {
        let ruled = !request.rules.is_empty();
        let named = request.cascade.as_ref().and_then(|cascade| match &cascade.accept {
            bulkrate_core::cascade::Accept::Confidence { field, .. } => Some(field.clone()),
            _ => None,
        });
        let schema: Option<Value> =
            request.schema.as_deref().and_then(|schema| serde_json::from_str(schema).ok());
        let Some(schema) = schema else {
            return Self { free: request.choices.is_empty(), ruled, ..Self::default() };
        };
        let empty = serde_json::Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let sure = named.or_else(|| known.contains_key(SURE).then(|| SURE.to_owned()));
        let others = || known.iter().filter(|(name, _)| Some(*name) != sure.as_ref());
        let mut fields: Vec<String> =
            others().filter(|(_, of)| is_closed(of)).map(|(name, _)| name.clone()).collect();
        if fields.is_empty() && sure.is_some() {
            fields = others().map(|(name, _)| name.clone()).collect();
        }
        Self { free: false, fields, sure, labels: None, ruled }
    }

    /// By what of them a cheap answer can be accepted.
    pub(crate) fn signs(&self) -> Signs {
        Signs { sure: self.sure.clone(), same: (!self.free).then(|| self.fields.clone()) }
    }
}

/// Whether a property holds one of few values.
pub(super) fn is_closed(of: &Value) -> bool {
    let kind = of.get("type").and_then(Value::as_str);
    of.get("enum").is_some() || of.get("const").is_some() || matches!(kind, Some("boolean" | "integer"))
}

/// One model's answers to a sample.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// One an item of the sample.
    pub said: Vec<Said>,
    /// Whether the model was asked the item: it equals no other, and neither a filter answers it nor does a rule send it elsewhere.
    pub reached: Vec<bool>,
    /// Tokens of all attempts at each item that was asked; none where they are not known.
    pub used: Vec<Option<Usage>>,
    /// Bytes of each item's request. None where bundles shared their tokens out: by what, that says nothing of the answers.
    pub lengths: Vec<u64>,
    /// What those that were asked used, all together.
    pub ratios: Ratios,
    pub reasoning: u64,
    /// Items whose answer cannot be used.
    pub unusable: u64,
    /// Items that were not asked to the end.
    pub open: u64,
    /// Items that a bundle left without an answer of their own, and whether so many that nothing went in bundles any more.
    pub loose: u64,
    pub bundles_off: bool,
    /// What this job has paid, for so many items.
    pub spent: UsdNanos,
    pub paid: u64,
}

impl Answers {
    pub(crate) fn read(
        view: &dyn View,
        state_dir: &Path,
        job: &JobRow,
        reads: &Reads,
        pinned: &str,
    ) -> Result<Self, EngineError> {
        let dir = JobDir::of(state_dir, &job.id);
        let stats = checkpoint_of(job)?.stats;
        let Used { mut used, cancelled, loose, bundles_off } = used(view, job)?;
        let mut lines = Lines::new(&dir, &view.submissions(job.no)?);
        let places = Places::load(view, job)?;
        let totals = view.ledger_totals(&LedgerQuery::of_job(job.no))?;
        let spent = totals.iter().map(|total| total.sums.spent().settled).sum();
        let paid = used.len() as u64;
        let mut answers = Self { spent, paid, open: cancelled, loose, bundles_off, ..Self::default() };
        let mut failure = Ok(());
        view.scan_items(job.no, 0, &mut |chunk| {
            for (ordinal, offset, item) in chunk.iter() {
                let leader = if let ItemRec::Follower { leader } = item { *leader } else { ordinal };
                let took = answers.item(&mut lines, places.get(leader), ordinal, reads).and_then(|line| {
                    let elsewhere = line.filtered || reads.ruled && !is_of(&mut lines, offset, item, pinned)?;
                    answers.reached.push(item.kind() == ItemKind::Leader && !elsewhere);
                    answers.lengths.push(canonical_len(item));
                    Ok(line.usage)
                });
                match took {
                    Ok(Some(usage)) if leader == ordinal => used.entry(ordinal).or_insert(usage),
                    Ok(_) => continue,
                    Err(error) => {
                        failure = Err(error);
                        return ControlFlow::Break(());
                    }
                };
            }
            ControlFlow::Continue(())
        })?;
        failure?;
        let asked = (0..).zip(&answers.reached);
        answers.used = asked.map(|(item, reached)| used.get(&item).copied().filter(|_| *reached)).collect();
        let own = stats.models.iter().filter(|model| model.model == pinned);
        let (bytes, leaders) =
            own.fold((0, 0), |(bytes, leaders), model| (bytes + model.bytes, leaders + model.items));
        if spec_of(job)?.request.bundle.is_some() {
            answers.lengths.clear();
        }
        answers.ratios = answers.ratios_of(0..answers.used.len());
        answers.reasoning = answers.used.iter().flatten().map(|usage| usage.reasoning).sum();
        // Prompts are of one template: what was not answered is as long as the rest.
        answers.ratios.bytes = shared(bytes, answers.ratios.items, leaders);
        Ok(answers)
    }

    /// What these items used, each prompt as long as the mean of all.
    pub(crate) fn ratios_of(&self, items: impl IntoIterator<Item = usize>) -> Ratios {
        let mut ratios = Ratios::default();
        for item in items {
            match (self.used.get(item), self.lengths.get(item)) {
                (Some(Some(usage)), Some(length)) => ratios.add_of(*length, 0, usage),
                (Some(Some(usage)), None) => ratios.add(0, usage),
                _ => {}
            }
        }
        ratios.bytes = shared(self.ratios.bytes, ratios.items, self.ratios.items);
        ratios
    }

    /// What an item has cost, of those that were paid here.
    #[allow(clippy::cast_precision_loss, reason = "a ratio is made of it, no money")]
    pub(crate) fn each(&self) -> Option<f64> {
        (self.paid > 0 && self.spent > UsdNanos::ZERO).then(|| self.spent.0 as f64 / self.paid as f64)
    }

    /// Whether there is anything that another model's answers could be compared with.
    pub(crate) fn is_usable(&self) -> bool {
        self.said.is_empty() || self.said.iter().any(|said| said.usable)
    }

    /// Notes what was said to an item; answers what the cache knows of its tokens.
    fn item(
        &mut self,
        lines: &mut Lines,
        landed: Landed,
        item: Ordinal,
        reads: &Reads,
    ) -> Result<Told, EngineError> {
        let label = reads.labels.as_ref().and_then(|labels| labels.get(item as usize)?.as_deref());
        let Landed::Line { place, good: true } = landed else {
            self.unusable += 1;
            self.open += u64::from(landed == Landed::Open);
            self.said.push(Said { right: label.map(|_| false), ..Said::default() });
            return Ok(Told::default());
        };
        let line = lines.line(place)?;
        let line: AnswerLine<'_> = serde_json::from_slice(line)
            .map_err(|error| EngineError::Internal(format!("a stored answer cannot be read: {error}")))?;
        let sureness = line.sureness.as_ref().map(SurenessLine::read);
        self.said.push(Said { sureness, ..said(&line.response, label, reads) });
        Ok(Told { usage: line.usage, filtered: line.lane == Some(Via::Filter.name()) })
    }
}

/// What a result line tells beside the answer.
#[derive(Debug, Default)]
struct Told {
    usage: Option<Usage>,
    filtered: bool,
}

/// Bytes of a leader's canonical request, as [`crate::prepare::ModelStats::sealed_bytes`] counts them.
fn canonical_len(item: &ItemRec) -> u64 {
    match item {
        ItemRec::Leader { header_len, len, .. } => u64::from(len.saturating_sub(*header_len)),
        _ => 0,
    }
}

/// A part of a sum that is shared equally, rounded down.
fn shared(sum: u64, part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(sum) * u128::from(part) / u128::from(of.max(1))).unwrap_or(sum)
}

/// Whether an item's request is made for this model.
fn is_of(lines: &mut Lines, offset: u64, item: &ItemRec, pinned: &str) -> Result<bool, EngineError> {
    #[derive(Deserialize)]
    struct Made<'a> {
        #[serde(borrow)]
        model: Cow<'a, str>,
    }
    let ItemRec::Leader { header_len, .. } = item else { return Ok(false) };
    // The canonical form begins with the brace that stands in for the end of the header.
    let rest = lines.request(offset)?.get(*header_len as usize..).unwrap_or_default();
    let made: Made<'_> = serde_json::from_slice(&[b"{", rest].concat())
        .map(|made: Made<'_>| Made { model: made.model.into_owned().into() })
        .map_err(|error| EngineError::Internal(format!("a sealed request cannot be read: {error}")))?;
    Ok(made.model == pinned)
}

/// What is wanted of a result line.
#[derive(Debug, Deserialize)]
struct AnswerLine<'a> {
    #[serde(borrow)]
    response: ResponseLine<'a>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default, borrow)]
    lane: Option<&'a str>,
    #[serde(default)]
    sureness: Option<SurenessLine>,
}

#[derive(Debug, Deserialize)]
struct SurenessLine {
    logprob: f64,
    margin: Option<f64>,
}

impl SurenessLine {
    fn read(&self) -> Sureness {
        #[allow(clippy::cast_possible_truncation, reason = "from -1,000 to 1,000")]
        let permille = |share: f64| (share * 1_000.0).round() as i32;
        Sureness { logprob: permille(self.logprob), margin: self.margin.map(permille) }
    }
}

/// What came of a job's attempts.
struct Used {
    /// Tokens of all attempts at each item that were paid for here.
    used: HashMap<Ordinal, Usage>,
    /// Items that a user has cancelled: those were not asked to the end, and the rest of a file is no sample of it.
    cancelled: u64,
    /// Items that a bundle did not answer, and whether bundles ended by that.
    loose: u64,
    bundles_off: bool,
}

fn used(view: &dyn View, job: &JobRow) -> Result<Used, EngineError> {
    let mut used: HashMap<Ordinal, Usage> = HashMap::new();
    let (mut begun, mut loose, mut brought) = (HashSet::new(), HashSet::new(), Brought::default());
    let mut cancelled: HashSet<Ordinal> = HashSet::new();
    view.scan_outcomes(job.no, &mut |outcomes| {
        for outcome in outcomes.iter() {
            let failed = outcome.class == Some(FailureClass::BundleFailed);
            if begun.insert(outcome.ordinal) || failed {
                brought.note(!failed);
            }
            loose.extend(failed.then_some(outcome.ordinal));
            match (outcome.fate, outcome.class) {
                (Fate::Final, Some(FailureClass::CancelledByUser)) => cancelled.insert(outcome.ordinal),
                (Fate::Revive, _) => cancelled.remove(&outcome.ordinal),
                _ => continue,
            };
        }
        for outcome in
            outcomes.iter().filter(|outcome| outcome.via != Via::Cache && outcome.usage != Usage::default())
        {
            used.entry(outcome.ordinal).or_default().add(&outcome.usage);
        }
        ControlFlow::Continue(())
    })?;
    Ok(Used {
        used,
        cancelled: cancelled.len() as u64,
        loose: loose.len() as u64,
        bundles_off: brought.is_off(),
    })
}

fn said(response: &ResponseLine<'_>, label: Option<&str>, reads: &Reads) -> Said {
    let json = response.parsed.map(RawValue::get);
    let checked = match (json, &response.text) {
        (Some(json), _) => Checked::Json(json.into()),
        (None, Some(text)) => Checked::Choice(text),
        (None, None) => return Said { usable: true, ..Said::default() },
    };
    let object: Option<Value> = json.and_then(|json| serde_json::from_str(json).ok());
    let sure = reads.sure.as_ref().and_then(|field| object.as_ref()?.get(field)?.as_f64());
    let right = label.map(|label| match (&object, &response.text) {
        (Some(object), _) => reads.fields.first().and_then(|field| object.get(field)).is_some_and(|said| {
            said.as_str().map_or_else(|| same(&said.to_string(), label), |said| same(said, label))
        }),
        (None, Some(text)) => same(text, label),
        (None, None) => false,
    });
    Said {
        opinion: (!reads.free).then(|| Opinion::of(&checked, &reads.fields)),
        usable: true,
        sure_permille: sure.filter(|sure| (0.0..=1.0).contains(sure)).map(thousandths),
        sureness: None, // stands beside the response
        right,
    }
}

/// Rounded down, as a threshold is reached or not.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1,000")]
fn thousandths(share: f64) -> u32 {
    // 0.57 x 1,000 comes out a hair below 570.
    (share * 1_000.0 + 1e-9) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn lengths_are_learned_of_those_that_were_asked_alone() {
        let usage = Usage { input: 10, output: 5, ..Usage::default() };
        let of = |lengths: &[u64]| {
            let used = vec![Some(usage), None, Some(usage)];
            let answers = Answers { used, lengths: lengths.to_vec(), ..Answers::default() };
            answers.ratios_of(0..3)
        };
        let (alone, bundles) = (of(&[300, 0, 500]), of(&[]));
        assert_eq!((alone.items, alone.lengths.items, bundles.items), (2, 2, 2));
        assert!(bundles.lengths.is_empty());
        assert_eq!(Ratios { lengths: bundles.lengths, ..alone }, bundles);
    }

    #[test]
    fn closed_fields_are_compared_and_free_text_is_not() {
        let request =
            |schema: &str| RequestSpec { schema: Some(schema.to_owned()), ..RequestSpec::default() };
        let properties = |of: &str| request(&format!(r#"{{"type":"object","properties":{{{of}}}}}"#));
        for (request, free, fields, sure) in [
            (RequestSpec::default(), true, &[][..], None),
            (RequestSpec { choices: vec!["a".to_owned()], ..RequestSpec::default() }, false, &[], None),
            (
                properties(
                    r#""label":{"enum":["a"]},"why":{"type":"string"},"confidence":{"type":"number"}"#,
                ),
                false,
                &["label"],
                Some(SURE),
            ),
            (
                properties(r#""name":{"type":"string"},"confidence":{"type":"number"}"#),
                false,
                &["name"],
                Some(SURE),
            ),
            (properties(r#""name":{"type":"string"},"town":{"type":"string"}"#), false, &[], None),
            (
                properties(r#""yes":{"type":"boolean"},"age":{"type":"integer"}"#),
                false,
                &["age", "yes"],
                None,
            ),
        ] {
            let reads = Reads::of(&request);
            assert_eq!(
                (reads.free, reads.fields.as_slice(), reads.sure.as_deref()),
                (free, &fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>()[..], sure)
            );
        }
    }

    #[test]
    fn an_answer_is_read_as_it_is_compared() {
        let reads =
            Reads { fields: vec!["label".to_owned()], sure: Some("sure".to_owned()), ..Reads::default() };
        let of = |text: &str, label| {
            let line: AnswerLine<'_> = serde_json::from_str(text).unwrap();
            said(&line.response, label, &reads)
        };
        let one = of(r#"{"response":{"parsed":{"label":"a","why":"x","sure":0.57}}}"#, Some(" A "));
        let other = of(r#"{"response":{"parsed":{"why":"y","sure":2,"label":"a"}}}"#, Some("b"));
        assert_eq!((one.sure_permille, one.right), (Some(570), Some(true)));
        assert_eq!((other.sure_permille, other.right), (None, Some(false)));
        assert_eq!(one.opinion, other.opinion);
        assert!(one.opinion.is_some() && one.usable);
    }
}
