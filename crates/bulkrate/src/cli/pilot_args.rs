//! Flags of `plan --pilot` and `run --plan`.

use std::str::FromStr;

use clap::Args;

use crate::config::value::Percent;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Pilot")]
pub struct PilotArgs {
    /// Ask N items of the job for real, of every model that is compared, and show which plan wins and why the others lose. Costs
    /// money, within `--budget`; `run` does not pay for these items again
    #[arg(long, value_name = "N", conflicts_with = "exact")]
    pub pilot: Option<u64>,
    /// A model to compare with `--model`, which is the strong one; repeatable. Those of `--cascade` are compared in any case
    #[arg(long = "candidate", value_name = "MODEL", requires = "pilot")]
    pub candidates: Vec<String>,
    /// Column with the right answers [default: answers are compared with those of the strong model]
    #[arg(long, value_name = "COL", requires = "pilot")]
    pub labels: Option<String>,
    /// Quality that may be lost against the strong model; kept with 95 % confidence [default: 2%]
    #[arg(long, value_name = "PERCENT", requires = "pilot")]
    pub quality_loss: Option<Percent>,
    /// Do not ask before spending
    #[arg(long, short, requires = "pilot")]
    pub yes: bool,
}

/// Which plan of a pilot is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    Cheapest,
    Fastest,
    /// As the last pilot showed it.
    Number(u64),
    Name(String),
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "cheapest" => Ok(Self::Cheapest),
            "fastest" => Ok(Self::Fastest),
            // A name ends in its lane.
            name if name.contains('/') => Ok(Self::Name(name.to_owned())),
            number => number.parse().map(Self::Number).map_err(|_| {
                format!("`{text}` is no plan; write `cheapest`, `fastest`, or the name or number of a plan that `plan --pilot` has shown")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_picked_by_word_name_or_number() {
        for (text, want) in [
            ("cheapest", Some(Pick::Cheapest)),
            (" fastest ", Some(Pick::Fastest)),
            ("12", Some(Pick::Number(12))),
            ("luna+sol@0.9/batch", Some(Pick::Name("luna+sol@0.9/batch".to_owned()))),
            ("best", None),
            ("-1", None),
        ] {
            assert_eq!(text.parse::<Pick>().ok(), want, "{text}");
        }
    }
}
