//! Deployments that stand in for a job's own, and the times in which one of them cannot be asked.

use bulkrate_core::lane::Lane;
use bulkrate_engine::spec::FallbackWhen;

use super::{Faults, HOUR_MS, Plan};
use crate::dice::Dice;
use crate::tongue::{Ask, Known, Manners, OPENAI, OTHERS, Tongue};

/// A second model of the first provider, ten times as dear as the first.
const OTHER_MODEL: &str = "gpt-6.1-terra";
const MINUTE_MS: u64 = 60_000;

/// Those that stand in, and what makes them.
#[derive(Debug, Clone, Default)]
pub struct StandIns {
    /// Another provider, with a bill of its own.
    pub(crate) tongue: Option<&'static dyn Tongue>,
    /// Another model at the first one.
    pub(crate) model: Option<&'static str>,
    pub(crate) outages: Vec<Outage>,
    /// A deployment that has been away for so long is left.
    pub(crate) absent_ms: u64,
}

/// What is wrong with a deployment for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody is reached.
    Unreached,
    /// All that is sent is lost.
    Silent,
    /// What is asked is done, and the answers are lost; files are taken, and batches looked at.
    Mute,
    Failing,
    /// Its limits leave no room.
    Full,
    /// The key may not use the model.
    Refused,
}

/// A time in which a provider, or one of its models, cannot be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    /// Which of the providers.
    at: usize,
    model: Option<&'static str>,
    from_ms: u64,
    to_ms: u64,
    trouble: Trouble,
}

impl Outage {
    /// Whether a request meets with it. One model's is met by what that model is asked.
    fn meets(&self, (place, model): (usize, &str), ask: &Ask, age_ms: u64) -> bool {
        let touches = match self.trouble {
            Trouble::Refused => ask.is_paid(),
            Trouble::Mute => ask.is_paid() || matches!(ask, Ask::List(_)),
            _ => self.model.is_none() || ask.is_paid(),
        };
        // Lists name no model: they are lost with what one of the account's models is asked.
        let of_model = self.model.is_none_or(|own| own == model || !ask.is_paid());
        self.at == place && (self.from_ms..self.to_ms).contains(&age_ms) && touches && of_model
    }
}

impl StandIns {
    /// The faults of a moment.
    pub(crate) fn worsen(&self, faults: &mut Faults, to: (usize, &str), ask: &Ask, age_ms: u64) {
        for outage in self.outages.iter().filter(|outage| outage.meets(to, ask, age_ms)) {
            *match outage.trouble {
                Trouble::Unreached => &mut faults.no_connection,
                Trouble::Silent => &mut faults.lost,
                Trouble::Mute => &mut faults.answer_lost,
                Trouble::Failing => &mut faults.failing,
                Trouble::Full => &mut faults.limited,
                Trouble::Refused => &mut faults.refused,
            } = 1_000;
        }
    }
}

impl Plan {
    /// A job with models that stand in for its own, which cannot be asked for a while.
    pub(super) fn with_stand_ins(mut self, dice: &mut Dice) -> Self {
        let own = self.tongue.manners();
        let (at_openai, batches) = (own.provider == "openai", self.spec.run.lane == Some(Lane::Batch));
        let name = |manners: &Manners| format!("{}/{}", manners.provider, manners.model);
        let mut found =
            StandIns { absent_ms: dice.pick(&[MINUTE_MS, 10 * MINUTE_MS]), ..StandIns::default() };
        let mut list = Vec::new();
        if at_openai && dice.permille(500) {
            found.model = Some(OTHER_MODEL);
            list.push(format!("openai/{OTHER_MODEL}"));
        }
        if batches && dice.permille(250) {
            list.push(format!("{}@sync", name(&own)));
        }
        if list.is_empty() || dice.permille(300) {
            let other = if at_openai { dice.pick(OTHERS) } else { OPENAI };
            found.tongue = Some(other);
            list.push(name(&other.manners()));
        }
        for stands_in in &mut list {
            if batches && !stands_in.ends_with("@sync") && dice.permille(200) {
                stands_in.push_str("@sync");
            }
        }
        dice.shuffle(&mut list);
        let whole = found.model.is_none() || dice.permille(300);
        found.outages = outages(dice, (0, (!whole).then_some(own.model)), 3);
        if dice.permille(400) {
            let at = usize::from(found.tongue.is_some());
            let model = found.model.filter(|_| at == 0);
            found.outages.extend(outages(dice, (at, model), 1));
        }
        self.backup_at = None; // an old backup (W5) is restored where nobody stands in
        self.spec.request.fallback = list;
        self.spec.run.fallback_when = dice.pick(&[FallbackWhen::Outage, FallbackWhen::Capacity]);
        if let Some(other) = found.tongue {
            self.faults.results_late_ms = 0;
            if other.manners().known_by == Known::Looks {
                self.unmarked(dice);
            }
        }
        self.stand_ins = Some(found);
        self
    }
}

/// Times in which one cannot be asked, often from the beginning, as jobs of calls are short. Whoever answers each call is asked again in
/// seconds: that is not lived for hours.
fn outages(dice: &mut Dice, (at, model): (usize, Option<&'static str>), most: u64) -> Vec<Outage> {
    let one = |dice: &mut Dice| {
        let latest_ms = dice.pick(&[0, 0, 0, MINUTE_MS / 2, 3 * HOUR_MS]);
        let (trouble, longest_ms) = dice.pick(&[
            (Trouble::Unreached, 10 * HOUR_MS),
            (Trouble::Unreached, HOUR_MS),
            (Trouble::Silent, 3 * HOUR_MS),
            (Trouble::Mute, 3 * HOUR_MS),
            (Trouble::Failing, HOUR_MS / 3),
            (Trouble::Full, 10 * MINUTE_MS),
            (Trouble::Refused, 2 * HOUR_MS),
        ]);
        let from_ms = dice.below(latest_ms + 1);
        let to_ms = from_ms + dice.between(longest_ms / 4, longest_ms);
        Outage { at, model, from_ms, to_ms, trouble }
    };
    (0..dice.between(1, most)).map(|_| one(dice)).collect()
}
