//! `model = "auto"`: a router's file, and the models that it chooses among.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bulkrate_core::route::learned::Router;
use bulkrate_engine::spec::RouterSpec;

use super::ConfigError;

/// The model that asks the router.
pub(super) const AUTO: &str = "auto";

/// Reads a router's file.
pub fn load(path: &Path) -> Result<Router, ConfigError> {
    // A device never ends, and no router is larger: what is cut has a wrong checksum.
    const BYTES_MAX: u64 = 32 << 20;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Read { what: "the router", path: path.to_owned(), source })?;
    Router::from_bytes(&bytes).map_err(|source| ConfigError::Router { path: path.to_owned(), source })
}

/// Refuses `auto` where a model must be named: a server of one's own would be asked for a model of that name.
pub(super) fn no_auto<'m>(
    option: &str,
    models: impl IntoIterator<Item = &'m String>,
) -> Result<(), ConfigError> {
    // A fallback may name a lane behind its model.
    if models.into_iter().all(|model| model.split('@').next() != Some(AUTO)) {
        return Ok(());
    }
    let hint = "a model of a server of your own that is called so is `openai/auto`";
    Err(ConfigError::option(option, "`auto` asks a router and stands as `--model` alone", Some(hint)))
}

/// What the keys say of the models of a router.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub router: Option<PathBuf>,
    pub weak: Option<String>,
    pub strong: Option<String>,
    /// All of them, the cheapest first.
    pub models: Option<Vec<String>>,
}

/// The job's own model and its router: with `auto` the own model is the strongest one.
pub(super) fn models(
    model: Option<String>,
    keys: Keys,
) -> Result<(Option<String>, Option<RouterSpec>), ConfigError> {
    let Keys { router, weak, strong, models } = keys;
    let given = [
        ("--router", router.is_some()),
        ("--model-weak", weak.is_some()),
        ("--model-strong", strong.is_some()),
        ("--models", models.is_some()),
    ];
    if model.as_deref() != Some(AUTO) {
        return match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(ConfigError::option(
                option,
                "goes together with `--model auto`",
                Some("pass `--model auto`"),
            )),
            None => Ok((model, None)),
        };
    }
    no_auto("--model-weak", weak.as_slice())?;
    no_auto("--model-strong", strong.as_slice())?;
    no_auto("--models", models.iter().flatten())?;
    let named = match (models, weak, strong) {
        (Some(models), None, None) => Some(models),
        (Some(_), _, _) => {
            let hint = Some("name all models with `--models`, the cheapest first");
            return Err(ConfigError::option(
                "--models",
                "says what `--model-weak` and `--model-strong` say",
                hint,
            ));
        }
        (None, Some(weak), Some(strong)) => Some(vec![weak, strong]),
        (None, _, _) => None,
    };
    match (router, named) {
        (Some(path), Some(named)) => chosen(load(&path)?, named),
        _ => {
            let missing =
                given.into_iter().find(|(_, given)| !given).map_or("--router", |(option, _)| option);
            let hint = Some(
                "`bulkrate route train` makes a router from labelled rows; a model of a server of your own that is called `auto` is `openai/auto`",
            );
            Err(ConfigError::option("--model auto", format!("needs `{missing}`"), hint))
        }
    }
}

/// A router and its models by name.
fn chosen(
    router: Router,
    mut named: Vec<String>,
) -> Result<(Option<String>, Option<RouterSpec>), ConfigError> {
    let models = router.models();
    match named.pop() {
        Some(strong) if named.len() + 1 == models => {
            let spec = RouterSpec::new(router, named, &strong);
            Ok((Some(strong), Some(spec)))
        }
        _ => {
            let why = format!("the router chooses among {models} models: {}", router.called().join(", "));
            let hint = Some("name as many, in this order");
            Err(ConfigError::option("--models", why, hint))
        }
    }
}
