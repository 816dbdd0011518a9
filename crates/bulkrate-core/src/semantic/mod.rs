//! A prompt like one that was answered before is given that answer, as often as it is proved that few of those answers are wrong.
//!
//! The rule is that of vCache (arXiv 2502.03771): each kept answer learns by itself how like a prompt must be, from the prompts
//! near to it that were asked all the same. What decides is a probability of being asked; the coin comes from outside.
//!
//! Invariants
//! - Pure and without chance: the same prompts and answers in the same order leave the same state, so that it can be rebuilt.
//! - An answer that was served teaches nothing.
//! - Prompts that differ in numbers, negations, quotations, symbols, names in capitals or script are never compared.
//! - The job as a whole is watched beside the single answers: its promise does not rest on their curves.
//! - The same rule, guards and watch whether prompts are compared by their letters or by embeddings.
//! - Bounded: kept prompts have [`BYTES_MAX`] together; when that is full what is kept goes on, and nothing is added.
//!
//! Acted on by `bulkrate_engine::run::semantic`.

mod guard;
mod words;
mod vector;
mod dense;
mod rule;
mod entry;
mod index;
mod watch;

pub(crate) use dense::length;
pub use dense::{Centre, Dense, numbers};
pub use guard::guard;
pub use rule::{ASKED_MIN, OBSERVATIONS_MIN, Observation, Similarity, Threshold, fit};
pub use vector::{Rarity, SAMPLE, TEXT_CHARS_MAX, Vector, is_compared};
pub use watch::{Chance, Moment};

use entry::Entry;
use index::Index;
use watch::Watch;

use crate::cascade::Opinion;
use crate::pace::rng::{mix, seed_of, unit};

/// What is kept takes so much memory at most, but for one prompt: room for some 10,000 short prompts.
pub const BYTES_MAX: usize = 64 << 20;

/// The number of a kept answer, from 0.
pub type EntryNo = u32;

/// A prompt as it is compared.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Only prompts of one group are compared.
    group: u64,
    direction: Direction,
}

/// What of a prompt is compared: its letters, or what an embedding model makes of it.
#[derive(Debug, Clone)]
enum Direction {
    Letters(Vector),
    Meaning(Dense),
}

/// The kept answer whose prompt is most like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    pub entry: EntryNo,
    pub similarity: Similarity,
}

/// What an answer taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lesson {
    /// What was nearest to its prompt, and whether that says the same.
    pub near: Option<(Near, bool)>,
    /// The number under which it is kept itself.
    pub kept: Option<EntryNo>,
}

/// The kept answers of one job, and what was learned of each.
#[derive(Debug)]
pub struct Answers {
    /// The share of requests that may be answered wrongly.
    error_max: f64,
    /// `None`: embeddings are compared.
    rarity: Option<Rarity>,
    index: Index,
    entries: Vec<Entry>,
    watch: Watch,
    /// Ends that it knows of.
    ends: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Answers {
    /// Prompts are compared by their letters.
    #[must_use]
    pub fn new(error_max: f64, rarity: Rarity) -> Self {
        Self { rarity: Some(rarity), ..Self::of_embeddings(error_max) }
    }

    /// Prompts are compared by their embeddings.
    #[must_use]
    pub fn of_embeddings(error_max: f64) -> Self {
        Self {
            error_max,
            rarity: None,
            index: Index::default(),
            entries: Vec::new(),
            watch: Watch::new(error_max),
            ends: 0,
            bytes: 0,
            bytes_max: BYTES_MAX,
        }
    }

    /// `None`: it is too long, or has nothing that could be compared. `kin`: what it must have in common with others.
    #[must_use]
    pub fn prompt(&self, kin: u64, text: &str) -> Option<Prompt> {
        let vector = self.rarity.as_ref()?.vector(text)?;
        Some(Prompt { group: group(kin, text), direction: Direction::Letters(vector) })
    }

    /// The same of a text with its embedding.
    #[must_use]
    pub fn prompt_of(&self, kin: u64, text: &str, embedding: Dense) -> Option<Prompt> {
        let by_meaning = self.rarity.is_none() && is_compared(text);
        by_meaning.then(|| Prompt { group: group(kin, text), direction: Direction::Meaning(embedding) })
    }

    /// The kept answer that is nearest.
    pub fn near(&mut self, prompt: &Prompt) -> Option<Near> {
        self.index.near(prompt.group, &prompt.direction)
    }

    /// With what probability a prompt must be asked that is so near: from [`ASKED_MIN`] to 1, in whole thousandths.
    pub fn tau(&mut self, near: Near) -> f64 {
        self.tau_beside(near, self.watch.out())
    }

    /// The same beside rows that weigh so much and are out.
    pub fn tau_beside(&mut self, near: Near, out: f64) -> f64 {
        let threshold = self.entries.get_mut(near.entry as usize).and_then(Entry::threshold);
        let tau = threshold.map_or(1.0, |threshold| threshold.tau(near.similarity, self.error_max));
        ((tau.max(self.watch.tau_min(out)) * 1_000.0).ceil() / 1_000.0).min(1.0)
    }

    /// A row of the job has ended with a good answer, from wherever.
    pub fn ended(&mut self) {
        self.watch.ended();
        self.ends += 1;
    }

    /// A row has ended without one, and its line says what that taught.
    pub fn failed(&mut self) {
        self.ends += 1;
    }

    /// What a decision that is made now rests on, beside the prompt.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment { after: self.ends, out: self.watch.out() }
    }

    /// A row is asked that might have been served. It weighs on others until it is judged or left.
    pub fn ask(&mut self, near: Near, tau: f64) -> Chance {
        let at = self.now();
        self.watch.asks(tau);
        Chance { entry: near.entry, tau, at }
    }

    /// A row has ended that was asked although it might have been served, and shows nothing.
    pub fn leave(&mut self, chance: Chance) {
        self.watch.back(chance.tau);
    }

    /// Whether a row would have been answered rightly that was asked although it might have been served. `said`: what a model said
    /// of it, `None` if nothing that is good.
    pub fn judge(&mut self, chance: Chance, said: Option<Opinion>) -> bool {
        let entry = self.entries.get(chance.entry as usize);
        let right = entry.zip(said).is_some_and(|(entry, said)| entry.says(said));
        self.watch.back(chance.tau);
        if !right {
            self.recall_wrong(chance.tau);
        }
        right
    }

    /// Notes a judgement of an earlier run.
    pub fn recall_wrong(&mut self, tau: f64) {
        self.watch.wrong(tau);
    }

    /// How many rows are taken to be wrong, and of how many, if that is as many as are allowed: little or nothing is served now.
    #[must_use]
    pub fn used_up(&self) -> Option<(f64, u64)> {
        self.watch.used_up()
    }

    /// Takes note of an answer that a model gave. `bytes`: what keeping it takes beside its prompt.
    pub fn learn(&mut self, prompt: &Prompt, said: Opinion, bytes: usize) -> Lesson {
        let near = self.near(prompt);
        let near = near.map(|near| (near, self.observe(near, said)));
        let known = near.is_some_and(|(_, same)| same);
        Lesson { near, kept: if known { None } else { self.keep(prompt, said, bytes) } }
    }

    /// A model was asked and gave no good answer: that is evidence against what is nearest.
    pub fn refuse(&mut self, prompt: &Prompt) -> Option<Near> {
        let near = self.near(prompt)?;
        self.recall(near, false);
        Some(near)
    }

    /// Answers whether the kept answer says the same.
    fn observe(&mut self, near: Near, said: Opinion) -> bool {
        self.entries.get_mut(near.entry as usize).is_some_and(|entry| entry.observe(near.similarity, said))
    }

    /// Notes an observation of an earlier run.
    pub fn recall(&mut self, near: Near, same: bool) {
        if let Some(entry) = self.entries.get_mut(near.entry as usize) {
            entry.note(Observation { similarity: near.similarity, right: same });
        }
    }

    /// Keeps an answer under the next number; `None`: there is no room.
    pub fn keep(&mut self, prompt: &Prompt, said: Opinion, bytes: usize) -> Option<EntryNo> {
        if self.is_full() {
            return None;
        }
        self.bytes += bytes + Entry::BYTES_MAX;
        self.entries.push(Entry::new(said));
        Some(self.index.add(prompt.group, &prompt.direction))
    }

    /// Nothing more is kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes + self.index.bytes() >= self.bytes_max || self.index.is_full()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Prompts that may be compared: those of one kin whose numbers, denials, quotations and the like are equal.
fn group(kin: u64, text: &str) -> u64 {
    mix(kin ^ guard(text))
}

/// The coin of an item: from 0 to 1, the same whenever it is thrown. It is thrown once: looked at again and again, with another
/// `tau` each time, an item would be served if any of the looks allowed it.
#[must_use]
pub fn coin(job: &str, item: u64) -> f64 {
    unit(mix(seed_of(job) ^ mix(item ^ 0x5E3A_471C)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn said(answer: u8) -> Opinion {
        Opinion([answer; 16])
    }

    /// A cache that has learned which pieces of these texts are rare.
    fn answers(texts: &[String]) -> Answers {
        let mut rarity = Rarity::default();
        texts.iter().take(SAMPLE).for_each(|text| rarity.learn(text));
        let mut answers = Answers::new(0.05, rarity);
        (0..10_000).for_each(|_| answers.ended());
        answers
    }

    fn questions(count: usize) -> Vec<String> {
        const THINGS: [&str; 8] =
            ["card", "transfer", "top-up", "refund", "exchange rate", "passcode", "account", "fee"];
        const ASKED: [&str; 6] = [
            "where is my",
            "why was my",
            "how do I get a",
            "please explain the",
            "I lost my",
            "when comes the",
        ];
        let ending = |at: usize| ["", " please", " now", " thanks", " today", " again"][at * 7 % 6];
        (0..count).map(|at| format!("{} {}{}?", ASKED[at / 8 % 6], THINGS[at % 8], ending(at / 48))).collect()
    }

    #[test]
    fn an_answer_that_proved_right_is_served_and_one_that_did_not_is_not() {
        let texts = questions(48 * 6);
        let mut answers = answers(&texts);
        let (mut served, mut asked) = (0, 0);
        for (at, text) in texts.iter().enumerate() {
            let prompt = answers.prompt(1, text).unwrap();
            let near = answers.near(&prompt);
            let tau = near.map_or(1.0, |near| answers.tau(near));
            if tau < 0.5 {
                served += 1;
            } else {
                asked += 1;
                answers.learn(&prompt, said(u8::try_from(at % 48).unwrap()), 4);
            }
        }
        // The first of each question teaches, and six more of it before any is served.
        assert!(asked >= 48 && served == 0, "six observations are more than these have: {asked} {served}");
        // One question in many endings, always the same answer.
        let prompt = answers.prompt(1, "where is my card?").unwrap();
        for ending in [
            "",
            " please",
            " now",
            " thanks",
            " today",
            " again",
            " then",
            " sir",
            " madam",
            " at last",
            " now then",
        ] {
            let prompt = answers.prompt(1, &format!("where is my card{ending}?")).unwrap();
            answers.learn(&prompt, said(0), 4);
        }
        let near = answers.near(&prompt).unwrap();
        assert_eq!(near.similarity, Similarity(1_000));
        assert!(answers.tau(near) < 0.1, "{}", answers.tau(near));
        // The model changes its mind.
        for _ in 0..20 {
            answers.recall(near, false);
        }
        assert!(answers.tau(near) >= 1.0);
    }

    #[test]
    fn what_says_the_same_as_its_neighbour_is_not_kept() {
        let texts = questions(100);
        let mut answers = answers(&texts);
        let prompt = |answers: &Answers, text: &str| answers.prompt(1, text).unwrap();
        let first = prompt(&answers, "where is my card?");
        assert_eq!(answers.learn(&first, said(1), 4), Lesson { near: None, kept: Some(0) });
        let same = prompt(&answers, "where is my card now?");
        let lesson = answers.learn(&same, said(1), 4);
        assert!(lesson.near.unwrap().1 && lesson.kept.is_none() && answers.len() == 1);
        let other = prompt(&answers, "where is my card today?");
        let lesson = answers.learn(&other, said(2), 4);
        assert_eq!((lesson.near.unwrap().1, lesson.kept, answers.len()), (false, Some(1), 2));
        // Of another kin, or with another number, nothing is near.
        let kin = answers.prompt(2, "where is my card?").unwrap();
        let number = prompt(&answers, "where is my card 7?");
        assert_eq!((answers.near(&kin), answers.near(&number)), (None, None));
    }

    #[test]
    fn a_full_cache_learns_on_and_keeps_nothing_more() {
        let texts = questions(48);
        let mut answers = Answers { bytes_max: 20_000, ..answers(&texts) };
        let lessons: Vec<Lesson> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let prompt = answers.prompt(1, text).unwrap();
                answers.learn(&prompt, said(u8::try_from(at).unwrap()), 4)
            })
            .collect();
        let kept = lessons.iter().filter(|lesson| lesson.kept.is_some()).count();
        assert!(answers.is_full() && (2..47).contains(&kept) && answers.len() == kept, "{kept}");
        let first = answers.prompt(1, &texts[0]).unwrap();
        let lesson = answers.learn(&first, said(9), 4);
        assert_eq!(
            (lesson.near, lesson.kept),
            (Some((Near { entry: 0, similarity: Similarity(1_000) }, false)), None)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// The nearest is that of a search over all, and what is rebuilt from the lessons is what was.
        #[test]
        fn the_same_lessons_leave_the_same_state(
            picks in proptest::collection::vec((0_usize..120, 0_u8..4), 1..60),
        ) {
            let texts = questions(120);
            let (mut live, mut again) = (answers(&texts), answers(&texts));
            let mut kept: Vec<Vector> = Vec::new();
            for (at, answer) in picks {
                let prompt = live.prompt(1, &texts[at]).unwrap();
                let nearest = kept.iter().map(|other| dot(other, letters(&prompt))).fold(0.0_f32, f32::max);
                let lesson = live.learn(&prompt, said(answer), 4);
                let found = lesson.near.map_or(0, |(near, _)| near.similarity.0);
                prop_assert!(found.abs_diff(Similarity::of(nearest).0) <= 1, "{found} {nearest}");
                if let Some((near, same)) = lesson.near {
                    again.recall(near, same);
                }
                if lesson.kept.is_some() {
                    kept.push(letters(&prompt).clone());
                    prop_assert_eq!(again.keep(&prompt, said(answer), 4), lesson.kept);
                }
            }
            for text in &texts {
                let prompt = live.prompt(1, text).unwrap();
                let (one, two) = (live.near(&prompt), again.near(&prompt));
                prop_assert_eq!(one, two);
                if let Some(near) = one {
                    prop_assert_eq!(live.tau(near).to_bits(), again.tau(near).to_bits());
                }
            }
        }
    }

    #[test]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small"
    )]
    fn coins_are_spread_evenly_and_know_their_job() {
        for job in ["a", "job-0001", "job-0002"] {
            let mut buckets = [0_i64; 20];
            (0..20_000).for_each(|item| buckets[(coin(job, item) * 20.0) as usize] += 1);
            let chi: f64 =
                buckets.iter().map(|count| ((count - 1_000) * (count - 1_000)) as f64 / 1_000.0).sum();
            assert!(chi < 43.8, "19 degrees of freedom, 0.999: {chi} {buckets:?}");
        }
        let both = (0..20_000).filter(|item| coin("a", *item) < 0.5 && coin("b", *item) < 0.5).count();
        assert!((4_700..5_300).contains(&both), "{both}");
        assert_eq!(coin("a", 7).to_bits(), coin("a", 7).to_bits());
    }

    /// Rows of one kind first, then of another that looks the same and is answered otherwise.
    #[test]
    fn a_stream_that_changes_is_found_out() {
        let mut rarity = Rarity::default();
        ["lost card", "late transfer", "wrong fee"].iter().for_each(|text| rarity.learn(text));
        for error_max in [0.02, 0.05] {
            let share = |seed: u32| {
                let mut answers = Answers::new(error_max, rarity.clone());
                let (mut served, mut wrong) = (0_u32, 0_u32);
                for row in 0..600_u32 {
                    let said = said(u8::from(row >= 300));
                    let prompt = answers.prompt(1, "where is my card?").unwrap();
                    let near = answers.near(&prompt);
                    let tau = near.map_or(1.0, |near| answers.tau(near));
                    answers.ended();
                    if coin(&format!("job {seed}"), u64::from(row)) >= tau {
                        served += 1;
                        // What was kept first is nearest.
                        wrong += u32::from(row >= 300);
                        continue;
                    }
                    if let Some(near) = near.filter(|_| tau < 1.0) {
                        let chance = answers.ask(near, tau);
                        answers.judge(chance, Some(said));
                    }
                    answers.learn(&prompt, said, 4);
                }
                (f64::from(served) / 600.0, f64::from(wrong) / 600.0)
            };
            let runs: Vec<(f64, f64)> = (1..=8).map(share).collect();
            let [served, wrong] = [
                runs.iter().map(|run| run.0).sum::<f64>() / 8.0,
                runs.iter().map(|run| run.1).sum::<f64>() / 8.0,
            ];
            assert!(served > 0.2 && wrong <= error_max, "{error_max}: {served} served, {wrong} wrong");
        }
    }

    fn letters(prompt: &Prompt) -> &Vector {
        match &prompt.direction {
            Direction::Letters(vector) => vector,
            Direction::Meaning(_) => panic!("no letters"),
        }
    }

    /// Texts of three things in directions of their own, whatever their letters.
    #[test]
    fn by_embeddings_what_means_the_same_is_near_and_the_guards_hold_all_the_same() {
        let meant = |of: usize, noise: u8| {
            let mut values = [0.0_f32; 16];
            (values[of], values[15]) = (1.0, f32::from(noise) / 100.0);
            Dense::of(&values).unwrap()
        };
        let mut answers = Answers::of_embeddings(0.05);
        (0..10_000).for_each(|_| answers.ended());
        assert!(answers.prompt(1, "cancel it").is_none(), "letters are not compared");
        let cancel =
            ["cancel it", "stop my order", "I want my money back", "undo the purchase", "call it off"];
        for (at, text) in cancel.iter().cycle().take(12).enumerate() {
            let prompt = answers.prompt_of(1, text, meant(0, u8::try_from(at % 9).unwrap())).unwrap();
            let lesson = answers.learn(&prompt, said(1), 4);
            assert_eq!(lesson.kept.is_some(), at == 0, "{text}");
        }
        let near = |answers: &mut Answers, kin, text, of| {
            let prompt = answers.prompt_of(kin, text, meant(of, 0)).unwrap();
            answers.near(&prompt)
        };
        let found = near(&mut answers, 1, "please forget about that delivery", 0).unwrap();
        assert!(found.similarity.0 > 990 && answers.tau(found) < 0.1, "{found:?} {}", answers.tau(found));
        for (kin, text, of) in [
            (1, "please forget about that delivery", 3),
            (2, "cancel it", 0),
            (1, "cancel it 7", 0),
            (1, "do not cancel it", 0),
        ] {
            assert_eq!(near(&mut answers, kin, text, of), None, "{text}");
        }
        let long = "word ".repeat(TEXT_CHARS_MAX);
        assert!(answers.prompt_of(1, &long, meant(0, 0)).is_none());
    }

    #[test]
    fn of_embeddings_so_many_are_kept_that_a_search_stays_short() {
        let mut answers = Answers::of_embeddings(0.05);
        let dims = dense::KEPT_MAX / 4;
        for of in 0..6_u8 {
            let mut values = vec![0.0_f32; dims];
            values[usize::from(of)] = 1.0;
            let prompt = answers.prompt_of(1, "x", Dense::of(&values).unwrap()).unwrap();
            assert_eq!(answers.learn(&prompt, said(of), 4).kept.is_some(), of < 4, "{of}");
        }
        assert!(answers.is_full());
    }

    fn dot(one: &Vector, other: &Vector) -> f32 {
        let theirs =
            |piece: u64| other.0.iter().find(|(known, _)| *known == piece).map_or(0.0, |(_, weight)| *weight);
        one.0.iter().map(|(piece, weight)| weight * theirs(*piece)).sum()
    }
}
