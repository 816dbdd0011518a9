//! Names of plans: the same plan has the same name, whatever other plans it is compared with.

use std::collections::{BTreeMap, BTreeSet};

use bulkrate_core::cascade::Accept;
use bulkrate_core::plan::Candidate;

/// Models by the last part of their names, or by all of it where two would be called the same.
pub(crate) fn short_names(models: &[String]) -> Vec<String> {
    let last = |model: &str| model.rsplit('/').next().unwrap_or(model).to_owned();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let each: BTreeSet<&String> = models.iter().collect();
    each.into_iter().for_each(|model| *count.entry(last(model)).or_default() += 1);
    models
        .iter()
        .map(|model| Some(last(model)).filter(|short| count[short] == 1).unwrap_or_else(|| model.clone()))
        .collect()
}

/// `MODEL/LANE`, of bundles `MODEL@x20/LANE`, of a cascade `CHEAP+STRONG@RULE/LANE`, of a router `CHEAP+STRONG@router/LANE` or, where it asks the
/// cheap one alone and the strong one in twenties, `CHEAP+STRONG@router@x1,20/LANE`, with another mark for the prompt cache than the usual one `MODEL@cache:off/LANE`: nothing that a shell reads as its own. `short`: the models' names, by place.
pub(crate) fn plan_name(one: &Candidate, short: &[String]) -> String {
    let Candidate { way, bundle, bundles, lane, mark, .. } = one;
    let rule = match &way.cascade {
        Some((_, accept)) => rule(accept),
        None if way.router.is_empty() => String::new(),
        None => "@router".to_owned(),
    };
    let sizes = if bundles.is_empty() { std::slice::from_ref(bundle) } else { bundles };
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let size = if *bundle > 1 { format!("@x{}", sizes.join(",")) } else { String::new() };
    let mark = mark
        .filter(|mark| !mark.is_usual())
        .map_or_else(String::new, |mark| format!("@cache:{}", mark.name()));
    let models: Vec<&str> = way.models().map(|place| short[place].as_str()).collect();
    format!("{}{rule}{size}{mark}/{lane}", models.join("+"))
}

fn rule(accept: &Accept) -> String {
    match accept {
        Accept::Valid => String::new(),
        // The field is that of the job.
        Accept::Confidence { .. } => {
            let rule = accept.to_string();
            format!("@{}", rule.rsplit(">=").next().unwrap_or(&rule))
        }
        Accept::Sureness { .. } => format!("@{accept}").replace(">=", ":"),
        Accept::Agreement { .. } | Accept::Judge { .. } => format!("@{accept}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::lane::Lane;
    use bulkrate_core::plan::{Quality, Way};
    use bulkrate_core::prompt_cache::Wish;

    #[test]
    fn a_plan_is_called_by_what_it_is() {
        let models = ["openai/gpt-6.1-sol", "openai/luna", "azure/luna"].map(str::to_owned);
        let short = short_names(&models);
        assert_eq!(short, ["gpt-6.1-sol", "openai/luna", "azure/luna"]);
        let cascade = |cheap: &[usize], accept| Way::cascade(cheap.to_vec(), accept);
        let of = |way: Way, bundle, lane, mark| {
            let quality = Quality::Unknown;
            let one = Candidate {
                way,
                lane,
                bundle,
                bundles: Vec::new(),
                mark,
                cost: None,
                time_s: 0,
                latest_s: 0,
                quality,
                barred: None,
            };
            plan_name(&one, &short)
        };
        let sure = Accept::Confidence { field: "confidence".to_owned(), least_permille: 900 };
        for (way, name) in [
            (Way::alone(0), "gpt-6.1-sol/batch"),
            (Way::alone(2), "azure/luna/batch"),
            (Way { router: vec![1], ..Way::alone(0) }, "openai/luna+gpt-6.1-sol@router/batch"),
            (cascade(&[1], Accept::Valid), "openai/luna+gpt-6.1-sol/batch"),
            (cascade(&[1], sure), "openai/luna+gpt-6.1-sol@0.9/batch"),
            (
                cascade(&[1, 2], Accept::Agreement { fields: vec![] }),
                "openai/luna+azure/luna+gpt-6.1-sol@agree/batch",
            ),
        ] {
            assert_eq!(of(way, 1, Lane::Batch, None), name);
        }
        assert_eq!(of(Way::alone(0), 20, Lane::Sync, Some(Wish::Auto)), "gpt-6.1-sol@x20/sync");
        assert_eq!(of(Way::alone(0), 1, Lane::Sync, Some(Wish::Off)), "gpt-6.1-sol@cache:off/sync");
        let both = of(cascade(&[2], Accept::Valid), 5, Lane::Flex, Some(Wish::Hour));
        assert_eq!(both, "azure/luna+gpt-6.1-sol@x5@cache:1h/flex");
        let among = |router: &[usize], bundle, bundles: &[u32]| {
            let way = Way { router: router.to_vec(), ..Way::alone(0) };
            let (quality, bundles) = (Quality::Unknown, bundles.to_vec());
            let (cost, mark, barred) = (None, None, None);
            let lane = Lane::Batch;
            plan_name(
                &Candidate {
                    way,
                    lane,
                    bundle,
                    bundles,
                    mark,
                    cost,
                    time_s: 0,
                    latest_s: 0,
                    quality,
                    barred,
                },
                &short,
            )
        };
        assert_eq!(among(&[1], 20, &[]), "openai/luna+gpt-6.1-sol@router@x20/batch");
        assert_eq!(among(&[1], 20, &[1, 20]), "openai/luna+gpt-6.1-sol@router@x1,20/batch");
        // The same model in bundles is no other of its name.
        let models = ["openai/luna", "openai/luna"].map(str::to_owned);
        assert_eq!(short_names(&models), ["luna", "luna"]);
    }
}
