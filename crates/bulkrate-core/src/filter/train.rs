//! From labelled rows and rules to a filter: measure each rule, teach the classifier what no rule took, prove how far it holds.

use std::collections::BTreeSet;

use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::How;
use super::bound::error_high;
use super::certify::certify;
use super::classify::{Classifier, Confidence, Scratch};
use super::meaning::Meaning;
use super::rules::{Rule, RuleError};
use crate::route::learned::labels::{LABELS_MIN, distinct, split};

/// The version of the file.
const FORMAT: u32 = 1;

/// A text and its right answer, with its embedding as a list of numbers where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled<'a> {
    pub text: &'a str,
    pub label: &'a str,
    pub embedding: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Of what the filter answers, so much may be wrong, in thousandths.
    pub error_permille: u32,
    /// Decides which labels teach and which prove.
    pub seed: u64,
}

/// A rule and what it was found to be worth on labelled rows that no rule before it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    #[serde(flatten)]
    pub rule: Rule,
    pub hits: u64,
    pub wrong: u64,
    /// How often it errs at most, with 95 % confidence.
    pub wrong_high: f64,
    /// Only such a rule answers.
    pub active: bool,
}

/// How far the classifier goes, and how many labels it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearnedFacts {
    pub taught: u64,
    pub proved: u64,
    /// Of the rows that prove: answered, wrong among those, and how often at most.
    pub answered: u64,
    pub wrong: u64,
    pub wrong_high: f64,
    pub confidence: Confidence,
}

/// A classifier of embeddings, and the column that holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddedFacts {
    pub column: String,
    /// `None`: no confidence is proved, and no embedding is read.
    pub learned: Option<LearnedFacts>,
    classifier: Option<Meaning>,
}

/// What a filter was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    format: u32,
    pub options: TrainOptions,
    /// The column that held the texts: a job that runs by the filter must have it.
    pub column: String,
    /// Different labelled texts.
    pub labels: u64,
    pub rules: Vec<Measured>,
    /// Between the rules and what was learnt of words, where the labelled rows had embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedFacts>,
    /// `None`: no confidence is proved, and rules alone answer.
    pub learned: Option<LearnedFacts>,
    classifier: Option<Classifier>,
}

/// Why there is no filter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    #[error(
        "{labels} labelled rows with different texts; at least {LABELS_MIN} are needed, 1,000 or more are better"
    )]
    TooFew { labels: usize },
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("it is no filter that `bulkrate filter train` wrote: {0}")]
    File(String),
}

impl FilterError {
    /// The page of the documentation.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "labels-too-few",
            Self::Rule(_) => "rule-invalid",
            Self::File(_) => "filter-invalid",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => {
                "label more rows: the answers of a first part of the job, looked at, will do"
            }
            Self::Rule(_) => "a rule has `pattern` (a regular expression) or `words`, and the `answer`",
            Self::File(_) => "make it again with `bulkrate filter train`",
        }
    }
}

/// Answers texts that need no model.
#[derive(Debug, Clone)]
pub struct Filter {
    pub facts: Facts,
    /// The active rules with their numbers.
    active: Vec<(usize, Regex)>,
    version: String,
}

impl Filter {
    /// Learns from labelled texts. Of equal texts the first counts. `column`: that of the texts, and that of the embeddings. `tell` hears how many of how many answers are learnt.
    ///
    /// # Errors
    /// Too few labels; a rule that cannot be used.
    pub fn train(
        items: &[Labelled<'_>],
        rules: Vec<Rule>,
        (column, embeddings): (&str, Option<&str>),
        options: TrainOptions,
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, FilterError> {
        let mut left = distinct(items, |item| item.text, options.seed);
        let labels = left.len();
        if labels < LABELS_MIN {
            return Err(FilterError::TooFew { labels });
        }
        let error_max = f64::from(options.error_permille) / 1_000.0;
        let mut measured = Vec::with_capacity(rules.len());
        for (place, rule) in rules.into_iter().enumerate() {
            let found = rule.compile(place + 1)?;
            let (hit, rest): (Vec<Labelled<'_>>, Vec<_>) =
                left.iter().copied().partition(|item| found.is_match(item.text));
            let wrong = hit.iter().filter(|item| item.label != rule.answer).count() as u64;
            let hits = hit.len() as u64;
            let wrong_high = error_high(wrong, hits);
            let active = wrong_high <= error_max;
            measured.push(Measured { rule, hits, wrong, wrong_high, active });
            if active {
                left = rest;
            }
        }
        let (prove, teach) = split(&left);
        let embedded = embeddings.map(|column| {
            let (classifier, learned) = learn_meaning(prove, teach, error_max, tell).unzip();
            EmbeddedFacts { column: column.to_owned(), learned, classifier }
        });
        let mut scratch = Scratch::default();
        let is_left = |item: &&Labelled<'_>| {
            let read =
                |facts: &EmbeddedFacts| matches!(facts.read(item.embedding, &mut scratch), Meant::Unsure);
            embedded.as_ref().is_none_or(read)
        };
        // Rows that prove are those that come so far; all of the others teach.
        let prove: Vec<Labelled<'_>> = prove.iter().filter(is_left).copied().collect();
        let (classifier, learned) = learn(&prove, teach, error_max, tell).unzip();
        let labels = labels as u64;
        let column = column.to_owned();
        let facts =
            Facts { format: FORMAT, options, column, labels, rules: measured, embedded, learned, classifier };
        Self::of(facts)
    }

    fn of(facts: Facts) -> Result<Self, FilterError> {
        let active = facts.rules.iter().enumerate().filter(|(_, rule)| rule.active);
        let active = active
            .map(|(place, rule)| Ok((place + 1, rule.rule.compile(place + 1)?)))
            .collect::<Result<_, RuleError>>()?;
        let mut filter = Self { facts, active, version: String::new() };
        filter.version = named(&filter.to_bytes());
        Ok(filter)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is none of ours, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FilterError> {
        let mut facts: Facts =
            serde_json::from_slice(bytes).map_err(|error| FilterError::File(error.to_string()))?;
        if facts.format != FORMAT {
            return Err(FilterError::File(format!("its format is {}, not {FORMAT}", facts.format)));
        }
        if facts.learned.is_some() != facts.classifier.is_some()
            || facts.classifier.as_mut().is_some_and(|classifier| !classifier.restore())
            || facts.embedded.as_ref().is_some_and(|embedded| !embedded.is_sound())
        {
            return Err(FilterError::File("its classifier is damaged".to_owned()));
        }
        // The name is that of the bytes, whatever a float of them is read as.
        Ok(Self { version: named(bytes), ..Self::of(facts)? })
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.facts).unwrap_or_default()
    }

    /// Names this very filter. Recorded with each answer.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every answer that it may give.
    #[must_use]
    pub fn answers(&self) -> BTreeSet<&str> {
        let rules = self.facts.rules.iter().filter(|rule| rule.active).map(|rule| rule.rule.answer.as_str());
        let embedded = self.facts.embedded.iter().filter_map(|embedded| embedded.classifier.as_ref());
        let words = self.facts.classifier.iter().flat_map(Classifier::answers);
        rules.chain(embedded.flat_map(Meaning::answers)).chain(words).collect()
    }

    /// The column with the embeddings that it reads; `None`: it reads none.
    #[must_use]
    pub fn embeddings(&self) -> Option<&str> {
        let embedded = self.facts.embedded.as_ref()?;
        embedded.learned.map(|_| embedded.column.as_str())
    }

    /// The answer to a text and how it was found; `None`: it goes to the model. `embedding`: a list of numbers, or empty.
    #[must_use]
    pub fn answer(&self, text: &str, embedding: &str, scratch: &mut Scratch) -> Option<(&str, How)> {
        if let Some((number, _)) = self.active.iter().find(|(_, found)| found.is_match(text)) {
            return Some((self.facts.rules[number - 1].rule.answer.as_str(), How::Rule(*number)));
        }
        let embedded = self.facts.embedded.as_ref();
        match embedded.map_or(Meant::Unsure, |facts| facts.read(embedding, scratch)) {
            Meant::Answer(answer, confidence) => return Some((answer, How::Embedded(confidence))),
            // Words are proved on what the embeddings left, not on what they could not read.
            Meant::Nothing => return None,
            Meant::Unsure => {}
        }
        let (classifier, learned) = self.facts.classifier.as_ref().zip(self.facts.learned)?;
        let (answer, confidence) = classifier.classify(text, scratch);
        (confidence >= learned.confidence).then_some((answer, How::Learned(confidence)))
    }
}

/// What an embedding says.
enum Meant<'f> {
    Answer(&'f str, Confidence),
    /// Nothing that is sure enough, or nothing is proved.
    Unsure,
    /// It is none that was learnt from: empty, of another length, or no list of numbers.
    Nothing,
}

impl EmbeddedFacts {
    fn read(&self, embedding: &str, scratch: &mut Scratch) -> Meant<'_> {
        let Some((classifier, learned)) = self.classifier.as_ref().zip(self.learned) else {
            return Meant::Unsure;
        };
        match classifier.classify(embedding, &mut scratch.out) {
            None => Meant::Nothing,
            Some((answer, confidence)) if confidence >= learned.confidence => {
                Meant::Answer(answer, confidence)
            }
            Some(_) => Meant::Unsure,
        }
    }

    fn is_sound(&self) -> bool {
        self.learned.is_some() == self.classifier.is_some()
            && self.classifier.as_ref().is_none_or(Meaning::is_sound)
    }
}

fn named(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A classifier of embeddings, and how far it holds; `None` where nothing is proved.
fn learn_meaning(
    prove: &[Labelled<'_>],
    teach: &[Labelled<'_>],
    error_max: f64,
    tell: &mut dyn FnMut(usize, usize),
) -> Option<(Meaning, LearnedFacts)> {
    let pairs: Vec<(&str, &str)> = teach.iter().map(|item| (item.embedding, item.label)).collect();
    let classifier = Meaning::fit(&pairs, tell)?;
    let mut scratch = Scratch::default();
    let said = |item: &Labelled<'_>| {
        let (answer, confidence) = classifier.classify(item.embedding, &mut scratch.out)?;
        Some((confidence, answer == item.label))
    };
    let facts = proved(&prove.iter().filter_map(said).collect::<Vec<_>>(), teach.len(), error_max)?;
    Some((classifier, facts))
}

/// A classifier of words, of what comes so far, and how far it holds; `None` where nothing is proved.
fn learn(
    prove: &[Labelled<'_>],
    teach: &[Labelled<'_>],
    error_max: f64,
    tell: &mut dyn FnMut(usize, usize),
) -> Option<(Classifier, LearnedFacts)> {
    let first = teach.first()?.label;
    if teach.iter().all(|item| item.label == first) {
        return None; // nothing to tell rows apart by
    }
    let pairs: Vec<(&str, &str)> = teach.iter().map(|item| (item.text, item.label)).collect();
    let classifier = Classifier::fit(&pairs, tell);
    let mut scratch = Scratch::default();
    let said = |item: &Labelled<'_>| {
        let (answer, confidence) = classifier.classify(item.text, &mut scratch);
        (confidence, answer == item.label)
    };
    let facts = proved(&prove.iter().map(said).collect::<Vec<_>>(), teach.len(), error_max)?;
    Some((classifier, facts))
}

/// How far a classifier holds that says this of rows that it has not seen.
fn proved(rows: &[(Confidence, bool)], taught: usize, error_max: f64) -> Option<LearnedFacts> {
    let cut = certify(rows, error_max)?;
    Some(LearnedFacts {
        taught: taught as u64,
        proved: rows.len() as u64,
        answered: cut.answered,
        wrong: cut.wrong,
        wrong_high: cut.wrong_high,
        confidence: cut.confidence,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::rules::When;
    use super::*;
    use crate::pace::rng::{SplitMix64, mix};

    const OPTIONS: TrainOptions = TrainOptions { error_permille: 20, seed: 1 };

    /// Rows with a rule: `prize` is spam, `meet` is ham, `maybe` is a coin.
    fn rows(count: usize, seed: u64) -> Vec<(String, &'static str)> {
        let mut dice = SplitMix64::new(seed);
        (0..count)
            .map(|_| {
                let number = dice.up_to(1_000_000_000);
                let coin = ["spam", "ham"][usize::from(dice.up_to(1) == 1)];
                match dice.up_to(2) {
                    0 => (format!("you won a prize, call {number}"), "spam"),
                    1 => (format!("shall we meet at {number}"), "ham"),
                    _ => (format!("maybe {number} or not"), coin),
                }
            })
            .collect()
    }

    fn labelled(rows: &[(String, &'static str)]) -> Vec<Labelled<'static>> {
        rows.iter()
            .map(|(text, label)| Labelled { text: String::leak(text.clone()), label, embedding: "" })
            .collect()
    }

    fn words(word: &str, answer: &str) -> Rule {
        Rule { when: When::Words(vec![word.to_owned()]), answer: answer.to_owned() }
    }

    #[test]
    fn what_is_proved_is_answered_and_the_rest_is_not() {
        let rules = vec![words("prize", "spam"), words("maybe", "spam"), words("nowhere", "spam")];
        let filter =
            Filter::train(&labelled(&rows(2_000, 1)), rules, ("text", None), OPTIONS, &mut |_, _| ())
                .unwrap();
        let active: Vec<bool> = filter.facts.rules.iter().map(|rule| rule.active).collect();
        assert_eq!(active, [true, false, false], "{:?}", filter.facts.rules);
        let learned = filter.facts.learned.unwrap();
        assert!(learned.wrong_high <= 0.02, "{learned:?}");
        let (mut scratch, mut wrong, mut by) = (Scratch::default(), 0, [0, 0]);
        let test = rows(3_000, 2);
        for (text, label) in &test {
            let Some((answer, how)) = filter.answer(text, "", &mut scratch) else { continue };
            wrong += usize::from(answer != *label);
            by[usize::from(how != How::Rule(1))] += 1;
        }
        assert!(by[0] > 900 && by[1] > 700 && by[0] + by[1] < 2_300, "{by:?}");
        assert!(wrong * 50 <= by[0] + by[1], "{wrong} of {by:?}");
        assert_eq!(filter.answers().into_iter().collect::<Vec<_>>(), ["ham", "spam"]);
    }

    #[test]
    fn a_file_answers_as_what_was_written_and_the_order_of_rows_does_not_matter() {
        let mut items = labelled(&rows(2_000, 3));
        let filter =
            Filter::train(&items, vec![words("prize", "spam")], ("text", None), OPTIONS, &mut |_, _| ())
                .unwrap();
        let back = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert_eq!((back.to_bytes(), back.version()), (filter.to_bytes(), filter.version()));
        let mut scratch = Scratch::default();
        for (text, _) in &rows(200, 4) {
            assert_eq!(back.answer(text, "", &mut scratch), filter.answer(text, "", &mut Scratch::default()));
        }
        items.reverse();
        assert_eq!(
            Filter::train(&items, vec![words("prize", "spam")], ("text", None), OPTIONS, &mut |_, _| ())
                .unwrap()
                .version(),
            filter.version()
        );
        for (bytes, why) in [
            (b"{}".to_vec(), "missing field"),
            (
                String::from_utf8(filter.to_bytes())
                    .unwrap()
                    .replace("\"format\":1", "\"format\":9")
                    .into_bytes(),
                "format is 9",
            ),
            (
                String::from_utf8(filter.to_bytes())
                    .unwrap()
                    .replacen("\"weights\":[", "\"weights\":[1,", 1)
                    .into_bytes(),
                "damaged",
            ),
        ] {
            let error = Filter::from_bytes(&bytes).unwrap_err();
            assert!(error.code() == "filter-invalid" && error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn coins_are_left_to_the_model() {
        let rows: Vec<_> = rows(2_000, 5).into_iter().filter(|(text, _)| text.starts_with("maybe")).collect();
        let filter =
            Filter::train(&labelled(&rows), Vec::new(), ("text", None), OPTIONS, &mut |_, _| ()).unwrap();
        assert_eq!(
            (filter.facts.learned, filter.answer("maybe 5 or not", "", &mut Scratch::default())),
            (None, None)
        );
        let few = Filter::train(&labelled(&rows[..50]), Vec::new(), ("text", None), OPTIONS, &mut |_, _| ())
            .unwrap_err();
        assert_eq!(few.code(), "labels-too-few");
    }

    /// Coins for words; embeddings know, but for one row of ten, of which they say nothing.
    fn embedded(count: usize, seed: u64) -> Vec<(String, String, &'static str)> {
        let mut rng = SplitMix64::new(seed);
        let row = |number: usize| {
            let coin = rng.next_u64();
            let (side, label) = if coin.is_multiple_of(2) { (1.0, "ham") } else { (-1.0, "spam") };
            let noise = f64::from(u8::try_from(coin >> 8 & 0x7f).unwrap()) / 400.0;
            let known = if coin >> 20 & 0x7 == 0 { 0.001 } else { 1.0 };
            let embedding = format!("[{}, {noise}, 0.2]", side * known);
            (format!("maybe {number} or not"), embedding, label)
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn words_are_not_asked_of_a_row_whose_embedding_cannot_be_read() {
        // Half of the embeddings say nothing; there the words tell.
        let rows: Vec<(String, String, &str)> = (0..6_000)
            .map(|number: u32| {
                let (side, word, label) = if mix(number.into()).is_multiple_of(2) {
                    (1.0, "fine", "ham")
                } else {
                    (-1.0, "prize", "spam")
                };
                let known = if mix(u64::from(number) ^ 9).is_multiple_of(2) { side } else { 0.0 };
                (format!("a {word} thing of number {number}"), format!("[{known}, 0.1, 0.2]"), label)
            })
            .collect();
        let items: Vec<Labelled<'_>> =
            rows.iter().map(|(text, embedding, label)| Labelled { text, label, embedding }).collect();
        let filter =
            Filter::train(&items, Vec::new(), ("text", Some("vector")), OPTIONS, &mut |_, _| ()).unwrap();
        assert!(filter.embeddings().is_some() && filter.facts.learned.is_some());
        let (text, mut scratch) = ("a prize thing of number 9", Scratch::default());
        let mut how = |embedding| filter.answer(text, embedding, &mut scratch).map(|(_, how)| how);
        assert!(matches!(how("[-1.0, 0.1, 0.2]"), Some(How::Embedded(_))));
        assert!(matches!(how("[0.0, 0.1, 0.2]"), Some(How::Learned(_))));
        for unread in ["", "[0.0, 0.1]", "none"] {
            assert_eq!(how(unread), None, "{unread}");
        }
    }

    #[test]
    fn what_words_cannot_tell_embeddings_may() {
        let rows = embedded(2_000, 7);
        let items: Vec<Labelled<'_>> =
            rows.iter().map(|(text, embedding, label)| Labelled { text, label, embedding }).collect();
        let train = |column| {
            Filter::train(&items, vec![words("zero", "spam")], ("text", column), OPTIONS, &mut |_, _| ())
                .unwrap()
        };
        let (plain, filter) = (train(None), train(Some("embedding")));
        assert_eq!((plain.facts.learned, plain.embeddings()), (None, None));
        let learned = filter.facts.embedded.as_ref().unwrap().learned.unwrap();
        assert!(learned.wrong_high <= 0.02 && learned.answered * 10 > learned.proved * 7, "{learned:?}");
        assert_eq!((filter.embeddings(), filter.facts.learned), (Some("embedding"), None));
        let back = Filter::from_bytes(&filter.to_bytes()).unwrap();
        let (mut scratch, mut by, mut wrong) = (Scratch::default(), 0, 0);
        for (text, embedding, label) in &embedded(2_000, 8) {
            let found = filter.answer(text, embedding, &mut scratch);
            assert_eq!(back.answer(text, embedding, &mut Scratch::default()), found);
            if let Some((answer, how)) = found {
                assert!(matches!(how, How::Embedded(_)), "{how}");
                (by, wrong) = (by + 1, wrong + usize::from(answer != *label));
            }
        }
        assert!(by > 1_400 && wrong * 50 <= by, "{wrong} of {by}");
        // A row without an embedding goes on, and a rule comes first.
        assert_eq!(filter.answer("maybe", "", &mut scratch), None);
        let texts = filter.to_bytes();
        let damaged = String::from_utf8(texts).unwrap().replacen("\"width\":3", "\"width\":4", 1);
        assert!(Filter::from_bytes(damaged.as_bytes()).unwrap_err().to_string().contains("damaged"));
        assert!(
            !String::from_utf8(plain.to_bytes()).unwrap().contains("embedded"),
            "files without are what they were"
        );
    }
}
