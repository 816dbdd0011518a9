//! `[semantic_cache]`: how many answers may be wrong, and whether the job's answers can be compared at all.

use bulkrate_core::request::Kind;
use bulkrate_engine::spec::{EmbedSpec, RequestSpec, RunSpec, SemanticSpec};

use super::ConfigError;
use super::job_file::SemanticCache;

/// More wrong answers than one in five are no saving.
const ERROR_PERMILLE_MAX: u32 = 200;

/// The semantic cache of a job; `None` where it asks for none.
pub(super) fn semantic(
    from: &SemanticCache,
    request: &RequestSpec,
    run: &RunSpec,
) -> Result<Option<SemanticSpec>, ConfigError> {
    let refused = |why: &str, hint: &str| Err(ConfigError::option("--semantic-cache", why, Some(hint)));
    let embed = embed(from)?;
    let Some(error) = from.error else { return Ok(None) };
    if !(1..=ERROR_PERMILLE_MAX).contains(&error.permille) {
        return refused(
            "must be from 0.1% to 20%",
            "it is the share of the rows that may be answered wrongly",
        );
    }
    if request.kind != Kind::Chat {
        return refused("serves answers of chats", "leave it out: equal inputs are found without it");
    }
    if request.choices.is_empty() && request.schema.is_none() {
        let hint = "give `--choices` or a `--schema`: only what can be compared exactly proves how often an answer is wrong";
        return refused("cannot tell whether two free texts say the same", hint);
    }
    if request.cascade.is_some() {
        let hint =
            "choose one: a served answer would have to say whether the cheap or the strong model is right";
        return refused("cannot go together with `--cascade`", hint);
    }
    if request.image.is_some() || !request.stop.is_empty() {
        let hint = "leave it out: prompts with images or stop sequences are not compared";
        return refused("compares texts alone", hint);
    }
    if run.distinct {
        let hint = "leave one out: `--distinct` asks even equal rows each for itself";
        return refused("cannot go together with `--distinct`", hint);
    }
    Ok(Some(SemanticSpec { error_permille: error.permille, embed }))
}

/// Whose embeddings are compared; `None`: prompts are compared by their letters.
fn embed(from: &SemanticCache) -> Result<Option<EmbedSpec>, ConfigError> {
    let refused = |what: &str, why: &str, hint: &str| Err(ConfigError::option(what, why, Some(hint)));
    match (&from.embed, from.embed_dimensions) {
        (None, None) => Ok(None),
        (None, Some(_)) => refused(
            "--semantic-dimensions",
            "says how long embeddings are that nobody makes",
            "name their model with `--semantic-embed`",
        ),
        (Some(_), _) if from.error.is_none() => refused(
            "--semantic-embed",
            "is of use to the semantic cache alone",
            "allow it a share of wrong answers with `--semantic-cache PERCENT`",
        ),
        (Some(_), Some(0)) => refused(
            "--semantic-dimensions",
            "must be 1 or more",
            "256 are enough for most texts; without it each vector has as many as the model gives",
        ),
        (Some(model), dimensions) => Ok(Some(EmbedSpec { model: model.clone(), dimensions })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_proved_is_refused() {
        let labels =
            || RequestSpec { choices: vec!["a".to_owned(), "b".to_owned()], ..RequestSpec::default() };
        let cascade = bulkrate_engine::spec::CascadeSpec {
            models: vec!["m".to_owned()],
            accept: bulkrate_core::cascade::Accept::Valid,
        };
        for (error, request, distinct, want) in [
            (None, RequestSpec::default(), false, None),
            (Some("2%"), labels(), false, None),
            (
                Some("0.1%"),
                RequestSpec { schema: Some("{}".to_owned()), ..RequestSpec::default() },
                false,
                None,
            ),
            (Some("0"), labels(), false, Some("from 0.1% to 20%")),
            (Some("20.1%"), labels(), false, Some("from 0.1% to 20%")),
            (Some("2%"), RequestSpec::default(), false, Some("free texts")),
            (Some("2%"), RequestSpec { kind: Kind::Embedding, ..labels() }, false, Some("answers of chats")),
            (Some("2%"), RequestSpec { cascade: Some(cascade), ..labels() }, false, Some("`--cascade`")),
            (
                Some("2%"),
                RequestSpec { image: Some("photo".to_owned()), ..labels() },
                false,
                Some("texts alone"),
            ),
            (Some("2%"), labels(), true, Some("`--distinct`")),
        ] {
            let error_of = |error: &str| error.parse().ok();
            let from = SemanticCache { error: error.and_then(error_of), ..SemanticCache::default() };
            let made = semantic(&from, &request, &RunSpec { distinct, ..RunSpec::default() });
            match (made.map_err(|error| error.to_string()), want) {
                (Ok(made), None) => assert_eq!(made.is_some(), error.is_some(), "{error:?}"),
                (Err(said), Some(want)) => assert!(said.contains(want), "{error:?}: {said}"),
                (made, want) => assert!(made.is_ok() == want.is_none(), "{error:?}: {made:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn embeddings_need_a_model_and_a_cache() {
        let labels = RequestSpec { choices: vec!["a".to_owned(), "b".to_owned()], ..RequestSpec::default() };
        for (error, model, dimensions, want) in [
            (Some("2%"), None, None, Ok(None)),
            (Some("2%"), Some("m"), None, Ok(Some(None))),
            (Some("2%"), Some("m"), Some(256), Ok(Some(Some(256)))),
            (Some("2%"), Some("m"), Some(0), Err("1 or more")),
            (Some("2%"), None, Some(256), Err("--semantic-embed")),
            (None, Some("m"), None, Err("--semantic-cache PERCENT")),
        ] {
            let from = SemanticCache {
                error: error.and_then(|error: &str| error.parse().ok()),
                embed: model.map(str::to_owned),
                embed_dimensions: dimensions,
            };
            let made = semantic(&from, &labels, &RunSpec::default());
            let made = made.map(|made| made.and_then(|made| made.embed).map(|embed| embed.dimensions));
            match (made, want) {
                (Ok(made), want) => assert_eq!(Ok(made), want, "{from:?}"),
                (Err(said), Err(want)) => {
                    let said = format!("{said} {:?}", said.hint());
                    assert!(said.contains(want), "{from:?}: {said}");
                }
                (Err(said), Ok(_)) => panic!("{from:?}: {said}"),
            }
        }
    }
}
