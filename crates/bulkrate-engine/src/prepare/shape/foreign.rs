//! Lines of other providers' batch files.

use bulkrate_core::prepare::ItemError;
use bulkrate_core::request::{BodyError, Dialect, Form, Request, Text, Translated};
use bulkrate_io::{JsonKind, JsonRow};

use super::{Draftsman, Drawn, ShapeError};
use crate::EngineError;

impl Draftsman {
    pub(super) fn foreign(
        &mut self,
        dialect: Dialect,
        row: &JsonRow<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        let form = dialect.form();
        let (custom_id, body) = parts(form, row)?;
        let told = |error| self.told(form, error);
        let Translated { mut request, kwargs, schema, bound, unmarked } =
            dialect.translate(body).map_err(told)?;
        self.unmarked |= unmarked;
        let own = !request.model.is_empty();
        if form.names_model && !own {
            return Err(bad(format!("`{}.model` is missing", form.body)));
        }
        if !own && self.spec.model.is_none() {
            return Err(ShapeError::Model(EngineError::BadSpec {
                code: "no-model",
                what: "no model".to_owned(),
                why: format!("lines of {}'s batches name none: pass `--model provider/model`", form.maker),
            }));
        }
        if let Some(schema) = schema.as_deref() {
            request.generation_config.output_schema = Some(schema);
        }
        let request = Request { custom_id, provider_kwargs: kwargs.as_deref(), ..request };
        self.request((request, bound), number, out).map_err(|error| as_written(form, error))
    }

    /// What is to be told of all lines together.
    pub(crate) fn note(&self) -> Option<String> {
        let told = self.unmarked && self.run.prompt_cache.fixed().is_none();
        told.then(|| {
            "marks for a prompt cache (`cache_control`, `cachePoint`) in the lines are left out: where the provider has such marks, `--prompt-cache 5m` sets one in every request, before its last turn".to_owned()
        })
    }

    /// What no model could be sent is told of the one that it was for.
    fn told(&self, form: &Form, error: BodyError) -> ShapeError {
        match error {
            BodyError::Bad { field, why } => bad(format!("`{field}` {why}")),
            BodyError::Untold { field, why } => ShapeError::Item(ItemError::Unsupported {
                field,
                model: self.spec.model.clone().unwrap_or_else(|| form.maker.to_owned()),
                why: why.to_owned(),
            }),
        }
    }
}

fn bad(why: String) -> ShapeError {
    ItemError::BadRequest(why).into()
}

/// The id of a line, where it has one, and its body.
fn parts<'r>(form: &Form, row: &JsonRow<'r>) -> Result<(Option<Text<'r>>, &'r str), ShapeError> {
    let Form { maker, body, ids, .. } = form;
    let found = row.get(body).ok_or_else(|| bad(format!("`{body}` is missing")))?;
    let beside = |name: &str| name != *body && !ids.contains(&name);
    if let Some((name, _)) = row.iter().find(|(name, _)| beside(name)) {
        return Err(bad(format!(
            "`{name}` stands beside `{body}`, and a line of {maker}'s batches has nothing there but `{}`",
            ids.join("` or `")
        )));
    }
    if found.kind() != JsonKind::Object {
        return Err(bad(format!("`{body}` is no object")));
    }
    let named = ids.iter().find_map(|name| Some((name, row.get(name)?)));
    let id = match named.filter(|(_, id)| id.kind() != JsonKind::Null) {
        None => None,
        Some((name, id)) => Some(Text(id.as_str().ok_or_else(|| bad(format!("`{name}` is no text")))?)),
    };
    Ok((id, found.raw()))
}

/// A field that was kept is called as it was in the line.
fn as_written(form: &Form, error: ShapeError) -> ShapeError {
    match error {
        ShapeError::Item(ItemError::Unsupported { field, model, why }) => {
            let field = match field.strip_prefix("provider_kwargs") {
                Some(rest) => format!("{}{rest}", form.body),
                None => field,
            };
            ShapeError::Item(ItemError::Unsupported { field, model, why })
        }
        other => other,
    }
}
