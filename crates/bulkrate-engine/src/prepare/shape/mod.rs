//! What the records of a source are, and how one becomes the canonical form of a request.

mod lines;
mod foreign;
mod proof;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::filter::{self, How};
use bulkrate_core::order::Ends;
use bulkrate_core::prepare::{Cell, Chosen, ItemError, Wishes};
use bulkrate_core::price::Effort;
use bulkrate_core::request::{Bound, Dialect, Reasoning, Request};
use bulkrate_core::route::learned;
use bulkrate_io::{JsonKind, JsonScanner, RowData};
use jiff::civil::Date;

use self::table::{TableForm, cell_of, json_cell};
use super::takes::{Refusal, Takes};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::settings::Settings;
use crate::spec::{JobSpec, RequestSpec};

/// Why a picture without an output maximum is not asked for.
const UNBOUNDED_IMAGE: &str = "pass `--max-output-tokens`, the most output tokens that a picture of your size and quality has by the model's price page; it is not sent, and what the answer reports is what is booked";

/// How items were read; reported to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// Columns that fill the user's templates.
    Table,
    /// One unified request a line.
    Unified,
    /// OpenAI batch lines, passed through to who takes them.
    OpenAi,
    /// Lines of another provider's batches, read as unified requests.
    Foreign(Dialect),
}

impl Shape {
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Unified => "unified requests",
            Self::OpenAi => "openai batch lines",
            Self::Foreign(dialect) => dialect.form().name,
        }
    }

    /// Tells the shape from the first record.
    pub(crate) fn of(spec: &RequestSpec, first: Option<&RowData<'_>>) -> Result<Self, EngineError> {
        if spec.user.is_some() {
            return Ok(Self::Table);
        }
        const ASK: &str = "the source is a table, so `--user` must say what to ask of each record, for example `--user \"Summarise: {{ text }}\"`";
        let mut why = ASK.to_owned();
        if let Some(RowData::Json(row)) = first {
            let has = |name: &str| row.get(name).is_some();
            if has("method") && has("url") && has("body") {
                return Ok(Self::OpenAi);
            }
            // A table may have a column of that name.
            let holds = |name: &str| row.get(name).is_some_and(|value| value.kind() == JsonKind::Object);
            if let Some(dialect) = Dialect::of(holds) {
                return Ok(Self::Foreign(dialect));
            }
            if has("messages") || has("input") {
                return Ok(Self::Unified);
            }
            if let Some(form) = Dialect::of(has).map(Dialect::form) {
                why = format!(
                    "`{}` of the first record is no object, as it is in {}; if it is a column, {ASK}",
                    form.body, form.name
                );
            }
        }
        Err(EngineError::BadSpec { code: "no-prompt", what: "no prompt".to_owned(), why })
    }
}

/// What asks a router, and is no model.
const AUTO: &str = "auto";

/// A server of one's own would be asked for a model of that name.
fn auto_in_a_line() -> ShapeError {
    ShapeError::Model(EngineError::BadSpec {
        code: "router-needs-table",
        what: "a line names the model `auto`".to_owned(),
        why: "a router reads a column of a table, and lines of unified requests name their model themselves; a model of a server of your own that is called so is `openai/auto`".to_owned(),
    })
}

/// What stopped one record.
#[derive(Debug)]
pub(crate) enum ShapeError {
    Item(ItemError),
    /// The model of a line cannot be resolved: every later line may be like it, so it is told as the job's error.
    Model(EngineError),
}

impl From<ItemError> for ShapeError {
    fn from(error: ItemError) -> Self {
        Self::Item(error)
    }
}

/// What the engine has to know of a record besides its canonical bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drawn {
    pub item_id: String,
    /// Index into the deployments.
    pub deployment: usize,
    pub max_tokens: u32,
    pub images: u64,
    pub documents: u64,
    pub messages: u64,
    /// The record's own tags, canonical JSON; empty if it has none.
    pub tags: Vec<u8>,
    pub wishes: Wishes,
    /// What chose the model, where there was a choice.
    pub chosen: Option<Chosen>,
    /// What a filter answers, and how it found that.
    pub answer: Option<(String, How)>,
    pub choice_bytes: Option<u64>,
    /// Bytes of the canonical form that are no prompt text: braces, names, settings, images.
    pub structure: u64,
    /// Of these the ones of images and documents: no measure of their tokens.
    pub data: u64,
    /// What is to be fetched before the request is whole. Until then it is not checked.
    pub addresses: Vec<Arc<str>>,
    /// It goes only to who speaks the language that its line was written in.
    pub bound: Option<Bound>,
    /// Where its prompt may end that others begin with too, where that is asked for.
    pub ends: Ends,
}

/// Turns records into canonical requests.
#[derive(Debug)]
pub(crate) struct Draftsman {
    spec: RequestSpec,
    id: Option<String>,
    kind: Form,
    pub deployments: Vec<Deployment>,
    names: BTreeMap<String, usize>,
    pub settings: Settings,
    run: crate::spec::RunSpec,
    today: Date,
    scratch: Scratch,
    scanner: JsonScanner,
    takes: Takes,
    /// Marks for a prompt cache were left out of lines.
    unmarked: bool,
    /// The job's own model, where rules or a router may send all rows elsewhere: it is proved with the first row that gets there.
    unproved: Option<usize>,
}

/// Memory that is used again for the next record.
#[derive(Debug, Default)]
struct Scratch {
    text: String,
    router: learned::Scratch,
    filter: filter::Scratch,
}

#[derive(Debug)]
enum Form {
    Table(Box<TableForm>),
    Unified,
    OpenAi,
    Foreign(Dialect),
}

impl Draftsman {
    pub(crate) fn new(
        settings: &Settings,
        spec: &JobSpec,
        shape: Shape,
        columns: &[String],
        today: Date,
    ) -> Result<Self, EngineError> {
        let deployments = Deployment::of_job(settings, spec, today)?;
        let names = spec
            .request
            .models()
            .filter_map(|name| {
                let pinned = Deployment::resolve(settings, spec.asks(), name, today).ok()?.pinned;
                Some((name.clone(), deployments.iter().position(|known| known.pinned == pinned)?))
            })
            .collect();
        let mut draftsman = Self {
            spec: spec.request.clone(),
            id: spec.source.id.clone(),
            kind: Form::Unified,
            deployments,
            names,
            settings: settings.clone(),
            run: spec.run.clone(),
            today,
            scratch: Scratch::default(),
            scanner: JsonScanner::new(),
            takes: Takes::new(spec),
            unmarked: false,
            unproved: None,
        };
        if spec.request.router.is_some() && shape != Shape::Table {
            return Err(EngineError::BadSpec {
                code: "router-needs-table",
                what: "a router reads a column of a table".to_owned(),
                why: format!(
                    "the source was read as {}, whose lines name their model themselves",
                    shape.name()
                ),
            });
        }
        if spec.request.cascade.is_some() && shape == Shape::OpenAi {
            return Err(EngineError::BadSpec {
                code: "option-invalid",
                what: "`--cascade` asks other models than a request names".to_owned(),
                why: format!(
                    "the source was read as {}, which go as they are to the model in their `body`; leave it out, or write them as unified requests",
                    shape.name()
                ),
            });
        }
        if spec.request.filter.is_some() && shape != Shape::Table {
            return Err(EngineError::BadSpec {
                code: "filter-needs-choices",
                what: "a filter reads a column of a table".to_owned(),
                why: format!("the source was read as {}", shape.name()),
            });
        }
        draftsman.kind = match shape {
            Shape::Table => Form::Table(Box::new(draftsman.table(columns)?)),
            Shape::Unified => Form::Unified,
            Shape::OpenAi => Form::OpenAi,
            Shape::Foreign(dialect) => Form::Foreign(dialect),
        };
        let routes = Deployment::fallbacks(settings, spec, today, &draftsman.deployments)?;
        draftsman.takes.fallbacks = routes.iter().map(|route| route.place).collect();
        draftsman.takes.cheap = draftsman.places(spec.request.cascade.iter().flat_map(|one| &one.models));
        if shape == Shape::Table {
            draftsman.prove()?;
        }
        Ok(draftsman)
    }

    /// Which deployments these names of the job are.
    fn places<'n>(&self, names: impl Iterator<Item = &'n String>) -> Vec<usize> {
        names.filter_map(|name| self.names.get(name).copied()).collect()
    }

    /// What was found of lanes and stand-ins.
    pub(crate) fn into_refusals(self) -> Vec<Refusal> {
        self.takes.refusals
    }

    /// Appends the canonical form of a record to `out`. `number` is the record's, from 1, and names items without ids.
    pub(crate) fn draw(
        &mut self,
        row: &RowData<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        let (form, cells): (_, Vec<Cell<'_>>) = match (&self.kind, row) {
            (Form::Table(form), RowData::Cells(cells)) => {
                (form, form.places.iter().map(|place| cell_of(cells, *place)).collect())
            }
            (Form::Table(form), RowData::Json(row)) => {
                (form, form.columns.iter().map(|name| json_cell(row, name)).collect())
            }
            (Form::Unified, RowData::Json(row)) => return self.unified(row.text(), number, out),
            (Form::OpenAi, RowData::Json(row)) => return self.openai(row, number, out),
            (Form::Foreign(dialect), RowData::Json(row)) => {
                return self.foreign(*dialect, row, number, out);
            }
            _ => return Err(ItemError::BadRequest("the record is no JSON object".to_owned()).into()),
        };
        let start = out.len();
        let (mut drawn, image) = (form.draw(&cells, number, &mut self.scratch, out)?, form.image);
        if self.unproved == Some(drawn.deployment) && drawn.answer.is_none() {
            self.unproved = None;
            self.prove_model(drawn.deployment).map_err(ShapeError::Model)?;
        }
        if image && drawn.answer.is_none() {
            self.prove_image(&mut drawn, number, &out[start..])?;
        }
        Ok(drawn)
    }

    /// Refuses a request that its model cannot be sent.
    pub(crate) fn check(
        &mut self,
        drawn: &Drawn,
        number: u64,
        request: &Request<'_>,
    ) -> Result<(), ItemError> {
        self.takes.prove_whole(drawn, number, request, &self.deployments)
    }

    fn deployment(&mut self, name: &str) -> Result<usize, ShapeError> {
        if let Some(known) = self.names.get(name) {
            return Ok(*known);
        }
        let found = Deployment::resolve(&self.settings, (&self.run, self.spec.kind), name, self.today)
            .map_err(ShapeError::Model)?;
        let place =
            self.deployments.iter().position(|known| known.pinned == found.pinned).unwrap_or_else(|| {
                self.deployments.push(found);
                self.deployments.len() - 1
            });
        self.names.insert(name.to_owned(), place);
        Ok(place)
    }

    fn named(&mut self, line: &str) -> Result<usize, ShapeError> {
        let spec_model = self.spec.model.clone();
        let name = if line.is_empty() { spec_model.as_deref() } else { Some(line) };
        let name = name.ok_or_else(|| ItemError::MissingField("model".to_owned()))?.to_owned();
        self.deployment(&name)
    }
}

fn effort(reasoning: Option<Reasoning>) -> Effort {
    match reasoning {
        None | Some(Reasoning::None) => Effort::None,
        Some(Reasoning::Low) => Effort::Low,
        Some(Reasoning::Medium) => Effort::Medium,
        Some(Reasoning::High) => Effort::High,
        Some(Reasoning::Tokens(tokens)) => Effort::Tokens(u64::from(tokens)),
    }
}
