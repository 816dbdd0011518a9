//! What the records of a source are, and how one becomes the canonical form of a request.

mod table;

use std::collections::BTreeMap;

use bulkrate_core::filter::{self, How};
use bulkrate_core::prepare::{Cell, ItemError, Wishes};
use bulkrate_core::price::Effort;
use bulkrate_core::price::bound::default_output_max;
use bulkrate_core::request::{Kind, Reasoning, Request, Text, write_canonical};
use bulkrate_core::route::learned::{self, Few, Score};
use bulkrate_io::{JsonRow, JsonScanner, RowData};
use jiff::civil::Date;
use serde_json::value::RawValue;

use self::table::{TableForm, cell_of, json_cell};
use super::raw::RawLine;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::settings::Settings;
use crate::spec::{JobSpec, RequestSpec};

/// How items were read; reported to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// Columns that fill the user's templates.
    Table,
    /// One unified request a line.
    Unified,
    /// OpenAI batch lines, passed through.
    OpenAi,
}

impl Shape {
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Unified => "unified requests",
            Self::OpenAi => "openai batch lines",
        }
    }

    /// Tells the shape from the first record.
    pub(crate) fn of(spec: &RequestSpec, first: Option<&RowData<'_>>) -> Result<Self, EngineError> {
        if spec.user.is_some() {
            return Ok(Self::Table);
        }
        if let Some(RowData::Json(row)) = first {
            let has = |name: &str| row.get(name).is_some();
            if has("method") && has("url") && has("body") {
                return Ok(Self::OpenAi);
            }
            if has("messages") || has("input") {
                return Ok(Self::Unified);
            }
        }
        Err(EngineError::BadSpec {
            code: "no-prompt",
            what: "no prompt".to_owned(),
            why: "the source is a table, so `--user` must say what to ask of each record, for example `--user \"Summarise: {{ text }}\"`".to_owned(),
        })
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
    pub kind: Kind,
    /// Index into the deployments.
    pub deployment: usize,
    pub max_tokens: u32,
    pub images: u64,
    pub documents: u64,
    pub messages: u64,
    /// The record's own tags, canonical JSON; empty if it has none.
    pub tags: Vec<u8>,
    pub wishes: Wishes,
    /// What the router found, where it was asked.
    pub scores: Option<Few<Score>>,
    /// What a filter answers, and how it found that.
    pub answer: Option<(String, How)>,
    pub choice_bytes: Option<u64>,
    /// Bytes of the canonical form that are no prompt text: braces, names, settings.
    pub structure: u64,
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
        };
        Ok(draftsman)
    }

    /// Appends the canonical form of a record to `out`. `number` is the record's, from 1, and names items without ids.
    pub(crate) fn draw(
        &mut self,
        row: &RowData<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        match (&self.kind, row) {
            (Form::Table(form), RowData::Cells(cells)) => {
                let cells: Vec<Cell<'_>> = form.places.iter().map(|place| cell_of(cells, *place)).collect();
                form.draw(&cells, number, &mut self.scratch, out).map_err(ShapeError::Item)
            }
            (Form::Table(form), RowData::Json(row)) => {
                let cells: Vec<Cell<'_>> = form.columns.iter().map(|name| json_cell(row, name)).collect();
                form.draw(&cells, number, &mut self.scratch, out).map_err(ShapeError::Item)
            }
            (Form::Unified, RowData::Json(row)) => self.unified(row.text(), number, out),
            (Form::OpenAi, RowData::Json(row)) => self.openai(row, number, out),
            _ => Err(ItemError::BadRequest("the record is no JSON object".to_owned()).into()),
        }
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

    fn unified(&mut self, line: &str, number: u64, out: &mut Vec<u8>) -> Result<Drawn, ShapeError> {
        let bad = |why: String| ShapeError::Item(ItemError::BadRequest(why));
        let mut request: Request<'_> = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        if request.is_blank() {
            return Err(ItemError::EmptyPrompt.into());
        }
        if request.route_score.is_some() {
            return Err(bad("`route_score` is what bulkrate writes, not what it reads".to_owned()));
        }
        request.settle_blobs().map_err(|(part, source)| ItemError::Blob { part, source })?;
        if &*request.model == AUTO {
            return Err(auto_in_a_line());
        }
        // Its price is another one than that of the model's chats.
        if (request.kind == Kind::Decision) != (self.spec.kind == Kind::Decision) {
            return Err(bad("decisions are priced by themselves: all lines of a job are of kind `decision`, and so is the job, or none is".to_owned()));
        }
        let deployment = self.named(&request.model)?;
        let found = &self.deployments[deployment];
        let config = &mut request.generation_config;
        let choice_bytes = config.choices.iter().map(|choice| choice.len() as u64).max();
        if request.kind == Kind::Chat && config.max_tokens.is_none() {
            let tokens = match self.spec.max_output_tokens {
                Some(tokens) => tokens,
                None => u32::try_from(
                    default_output_max(choice_bytes, effort(config.reasoning), found.max_output()).0,
                )
                .unwrap_or(u32::MAX),
            };
            config.max_tokens = Some(tokens);
        }
        if config.max_tokens == Some(0) {
            return Err(bad("`generation_config.max_tokens` must be at least 1".to_owned()));
        }
        if request.system_prompt.is_empty() && request.kind.has_turns() {
            request.system_prompt.extend(self.spec.system.as_deref().map(Text::from));
        }
        request.model = Text::from(found.pinned.clone());
        let mut drawn = Drawn {
            item_id: request.custom_id.as_ref().map_or_else(|| number.to_string(), |id| id.to_string()),
            kind: request.kind,
            deployment,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            images: request.images(),
            documents: request.documents(),
            messages: request.messages.len() as u64 + 1,
            tags: Vec::new(),
            wishes: Wishes { priority: request.priority, cache: request.cache },
            scores: None,
            answer: None,
            choice_bytes,
            structure: 0,
        };
        if let Some(tags) = request.tags {
            tag_text(tags).map_err(bad)?;
            bulkrate_core::request::canonical_value(tags, &mut drawn.tags);
        }
        let start = out.len();
        write_canonical(&request, out);
        drawn.structure = ((out.len() - start) as u64).saturating_sub(request.prompt_bytes());
        Ok(drawn)
    }

    fn openai(&mut self, row: &JsonRow<'_>, number: u64, out: &mut Vec<u8>) -> Result<Drawn, ShapeError> {
        let bad = |why: &str| ShapeError::Item(ItemError::BadRequest(why.to_owned()));
        let url = row.get("url").and_then(|value| value.as_str()).ok_or_else(|| bad("`url` is missing"))?;
        let kind = RawLine::kind_of_url(&url)
            .ok_or_else(|| bad("`url` is none of /v1/chat/completions, /v1/embeddings, /v1/moderations"))?;
        let body = row.get("body").ok_or_else(|| bad("`body` is missing"))?.raw();
        let model = {
            let fields = self.scanner.scan(body).map_err(|fault| bad(fault.what))?;
            fields
                .get("model")
                .and_then(|value| value.as_str())
                .map(|model| model.into_owned())
                .ok_or_else(|| bad("`body.model` is missing"))?
        };
        let deployment = self.named(&model)?;
        let default = default_output_max(None, effort(None), self.deployments[deployment].max_output()).0;
        let default = self.spec.max_output_tokens.map_or(default, u64::from);
        let line = RawLine { kind, body, model: Text::from(self.deployments[deployment].pinned.clone()) };
        line.seal(default, &mut self.scanner, out)
            .map_err(|why| ShapeError::Item(ItemError::BadRequest(why)))?;
        let max_tokens =
            if kind == Kind::Chat { line.max_tokens(&mut self.scanner).unwrap_or(default) } else { 0 };
        Ok(Drawn {
            item_id: row
                .get("custom_id")
                .and_then(|value| value.as_str())
                .map_or_else(|| number.to_string(), std::borrow::Cow::into_owned),
            kind,
            deployment,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            images: line.images(),
            documents: line.documents(),
            messages: line.messages(),
            ..Drawn::default()
        })
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

/// Tags are an object of strings.
fn tag_text(tags: &RawValue) -> Result<(), String> {
    serde_json::from_str::<BTreeMap<String, String>>(tags.get())
        .map(drop)
        .map_err(|_| "`tags` is an object of strings".to_owned())
}
