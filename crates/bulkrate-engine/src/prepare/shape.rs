//! What the records of a source are, and how one becomes the canonical form of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::money::Tokens;
use bulkrate_core::prepare::{Blueprint, Cell, ItemError, Setup, TemplateError, Turn, Wishes};
use bulkrate_core::price::Effort;
use bulkrate_core::price::bound::default_output_max;
use bulkrate_core::request::{Kind, Reasoning, Request, Text, write_canonical};
use bulkrate_core::route::{Rule, Rules};
use bulkrate_core::tokens::{CountTokens, Vocabulary};
use bulkrate_io::{Cells, JsonRow, JsonScanner, RowData};
use jiff::civil::Date;
use serde_json::value::RawValue;

use super::raw::RawLine;
use super::tokens::{vocabulary, with_prompt};
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
    scratch: String,
    scanner: JsonScanner,
}

#[derive(Debug)]
enum Form {
    Table(Box<TableForm>),
    Unified,
    OpenAi,
}

#[derive(Debug)]
struct TableForm {
    /// One per deployment that rules or the job name.
    blueprints: Vec<(Blueprint, u32)>,
    rules: Rules,
    /// What `tokens` of rules is counted with: the job's own model.
    vocabulary: Option<Vocabulary>,
    tables: Arc<dyn CountTokens>,
    /// Deployment of each rule, by rule number - 1.
    rule_deployments: Vec<usize>,
    /// Columns that anything reads, and for cell sources where they are.
    columns: Vec<String>,
    places: Vec<usize>,
    /// For each blueprint and for the rules: which of `columns` they read.
    blueprint_places: Vec<Vec<usize>>,
    rule_places: Vec<usize>,
    id_place: Option<usize>,
    choice_bytes: Option<u64>,
    turns: u64,
    image: bool,
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
            .model
            .iter()
            .chain(spec.request.rules.iter().map(|rule| &rule.model))
            .filter_map(|name| {
                let pinned = Deployment::resolve(settings, &spec.run, name, today).ok()?.pinned;
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
            scratch: String::new(),
            scanner: JsonScanner::new(),
        };
        draftsman.kind = match shape {
            Shape::Table => Form::Table(Box::new(draftsman.table(columns)?)),
            Shape::Unified => Form::Unified,
            Shape::OpenAi => Form::OpenAi,
        };
        Ok(draftsman)
    }

    fn table(&self, columns: &[String]) -> Result<TableForm, EngineError> {
        let spec = &self.spec;
        let Some(model) = &spec.model else {
            return Err(EngineError::BadSpec {
                code: "no-model",
                what: "no model".to_owned(),
                why: "pass `--model provider/model`".to_owned(),
            });
        };
        let choice_bytes = (!spec.choices.is_empty())
            .then(|| spec.choices.iter().map(|choice| choice.len() as u64).max().unwrap_or(0));
        let mut blueprints = Vec::new();
        for deployment in &self.deployments {
            let max_tokens = self.max_tokens(deployment, choice_bytes)?;
            let setup = self.setup(deployment, max_tokens)?;
            blueprints.push((Blueprint::compile(&setup).map_err(EngineError::Setup)?, max_tokens));
        }
        let rules: Vec<Rule> = spec
            .rules
            .iter()
            .map(|rule| Rule { when: rule.when.clone(), model: rule.model.clone() })
            .collect();
        let bad_rule = |error: bulkrate_core::route::RuleError| EngineError::BadSpec {
            code: "rule-invalid",
            what: "routing rule".to_owned(),
            why: error.to_string(),
        };
        let rules = Rules::compile(&rules).map_err(bad_rule)?;
        let rule_deployments =
            spec.rules.iter().map(|rule| self.names.get(&rule.model).copied().unwrap_or(0)).collect();
        debug_assert!(self.names.contains_key(model), "the job's own model is resolved first");

        let mut wanted: Vec<String> = Vec::new();
        let mut place_of = |name: &String| {
            wanted.iter().position(|known| known == name).unwrap_or_else(|| {
                wanted.push(name.clone());
                wanted.len() - 1
            })
        };
        let blueprint_places = blueprints
            .iter()
            .map(|(blueprint, _)| blueprint.columns().iter().map(&mut place_of).collect())
            .collect();
        let rule_places = rules.columns().iter().map(&mut place_of).collect();
        let id_place = self.id.as_ref().map(&mut place_of);
        if !columns.is_empty() {
            for (blueprint, _) in &blueprints {
                blueprint.check(columns).map_err(EngineError::Setup)?;
            }
        }
        let places = wanted
            .iter()
            .map(|name| columns.iter().position(|column| column == name).unwrap_or(usize::MAX))
            .collect::<Vec<_>>();
        if !columns.is_empty()
            && let Some(missing) = places.iter().position(|place| *place == usize::MAX)
        {
            let name = &wanted[missing];
            let near = bulkrate_core::route::nearest(name, columns.iter().map(String::as_str));
            return Err(EngineError::BadSpec {
                code: "column-unknown",
                what: format!(
                    "the source has no column `{name}`{}",
                    near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
                ),
                why: format!("columns are: {}", columns.join(", ")),
            });
        }
        Ok(TableForm {
            blueprints,
            rules,
            vocabulary: self.deployments.first().and_then(vocabulary),
            tables: Arc::clone(&self.settings.tables),
            rule_deployments,
            columns: wanted,
            places,
            blueprint_places,
            rule_places,
            id_place,
            choice_bytes,
            turns: spec.turns.len() as u64,
            image: spec.image.is_some(),
        })
    }

    fn max_tokens(&self, deployment: &Deployment, choice_bytes: Option<u64>) -> Result<u32, EngineError> {
        let effort = effort(self.reasoning()?);
        let model_max = deployment.max_output();
        let tokens = match self.spec.max_output_tokens {
            Some(tokens) => u64::from(tokens),
            None => default_output_max(choice_bytes, effort, model_max).0,
        };
        if let Some(Tokens(most)) = model_max.filter(|most| tokens > most.0 && self.spec.kind == Kind::Chat) {
            return Err(EngineError::BadSpec {
                code: "max-output-too-large",
                what: format!("`--max-output-tokens {tokens}`"),
                why: format!("`{}` answers with at most {most} tokens", deployment.pinned),
            });
        }
        Ok(u32::try_from(tokens).unwrap_or(u32::MAX))
    }

    fn reasoning(&self) -> Result<Option<Reasoning>, EngineError> {
        self.spec
            .reasoning
            .as_deref()
            .map(|text| {
                Reasoning::parse(text).ok_or_else(|| EngineError::BadSpec {
                    code: "reasoning-invalid",
                    what: format!("`--reasoning {text}`"),
                    why: "it is `none`, `low`, `medium`, `high` or a number of tokens".to_owned(),
                })
            })
            .transpose()
    }

    fn setup(&self, deployment: &Deployment, max_tokens: u32) -> Result<Setup, EngineError> {
        let spec = &self.spec;
        let mut config = serde_json::Map::new();
        let mut set = |name: &str, value: serde_json::Value| drop(config.insert(name.to_owned(), value));
        if spec.kind == Kind::Chat {
            set("max_tokens", max_tokens.into());
        }
        if !spec.choices.is_empty() {
            set("choices", spec.choices.clone().into());
        }
        if let Some(schema) = &spec.schema {
            let value = serde_json::from_str(schema).map_err(|error| EngineError::BadSpec {
                code: "schema-invalid",
                what: "the schema is not JSON".to_owned(),
                why: error.to_string(),
            })?;
            set("output_schema", value);
        }
        for (name, value) in [("temperature", spec.temperature), ("top_p", spec.top_p)] {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        if let Some(seed) = spec.seed {
            set("seed", seed.into());
        }
        if !spec.stop.is_empty() {
            set("stop_sequences", spec.stop.clone().into());
        }
        if let Some(dimensions) = spec.dimensions {
            set("dimensions", dimensions.into());
        }
        match self.reasoning()? {
            None => {}
            Some(Reasoning::Tokens(tokens)) => set("reasoning", tokens.into()),
            Some(effort) => set("reasoning", effort.to_string().into()),
        }
        Ok(Setup {
            kind: spec.kind,
            model: deployment.pinned.clone(),
            system: spec.system.clone(),
            turns: spec
                .turns
                .iter()
                .map(|turn| Turn { role: turn.role, content: turn.content.clone() })
                .collect(),
            user: spec.user.clone().unwrap_or_default(),
            image: spec.image.clone(),
            config: Some(serde_json::Value::Object(config).to_string()),
            provider_kwargs: spec.provider_kwargs.clone(),
            sample: spec.sample,
        })
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
        let found =
            Deployment::resolve(&self.settings, &self.run, name, self.today).map_err(ShapeError::Model)?;
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
        if request.system_prompt.is_empty() && request.kind == Kind::Chat {
            request.system_prompt.extend(self.spec.system.as_deref().map(Text::from));
        }
        request.model = Text::from(found.pinned.clone());
        let mut drawn = Drawn {
            item_id: request.custom_id.as_ref().map_or_else(|| number.to_string(), |id| id.to_string()),
            deployment,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            images: request.images(),
            documents: request.documents(),
            messages: request.messages.len() as u64 + 1,
            tags: Vec::new(),
            wishes: Wishes { priority: request.priority, cache: request.cache },
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
            deployment,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            images: line.images(),
            documents: line.documents(),
            messages: line.messages(),
            ..Drawn::default()
        })
    }
}

impl TableForm {
    fn draw(
        &self,
        cells: &[Cell<'_>],
        number: u64,
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ItemError> {
        let start = out.len();
        let reads_tokens = self.rules.reads_tokens();
        if reads_tokens {
            self.render(0, cells, scratch, out)?;
        }
        let deployment = self.choose(cells, &out[start..])?;
        if !reads_tokens || deployment != 0 {
            out.truncate(start);
            self.render(deployment, cells, scratch, out)?;
        }
        let (blueprint, max_tokens) = &self.blueprints[deployment];
        let item_id = match self.id_place.map(|place| &cells[place]) {
            None => number.to_string(),
            Some(Cell::Missing) => {
                return Err(ItemError::MissingField(self.columns[self.id_place.unwrap_or(0)].clone()));
            }
            Some(cell) => cell.as_text().to_owned(),
        };
        Ok(Drawn {
            item_id,
            deployment,
            max_tokens: *max_tokens,
            images: u64::from(self.image),
            documents: 0,
            messages: self.turns + 2,
            tags: Vec::new(),
            wishes: Wishes::default(),
            choice_bytes: self.choice_bytes,
            structure: blueprint.structure_len(),
        })
    }

    fn render(
        &self,
        deployment: usize,
        cells: &[Cell<'_>],
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Result<(), ItemError> {
        let (blueprint, _) = &self.blueprints[deployment];
        let own = &self.blueprint_places[deployment];
        if own.iter().enumerate().all(|(place, column)| place == *column) {
            return blueprint.render(&cells[..own.len()], scratch, out);
        }
        let picked: Vec<Cell<'_>> = own.iter().map(|place| cells[*place].clone()).collect();
        blueprint.render(&picked, scratch, out)
    }

    /// The deployment that the rules choose; `canonical` is the request to the job's own model where they read `tokens`.
    fn choose(&self, cells: &[Cell<'_>], canonical: &[u8]) -> Result<usize, ItemError> {
        if self.rules.is_empty() {
            return Ok(0);
        }
        let picked: Vec<Cell<'_>> = self.rule_places.iter().map(|place| cells[*place].clone()).collect();
        match self.rules.choose(&picked, self.tokens(canonical)) {
            Ok(Some((number, _))) => Ok(self.rule_deployments[number - 1]),
            Ok(None) => Ok(0),
            Err(error) => Err(ItemError::Template(TemplateError::Render {
                what: "routing rule".to_owned(),
                why: error.to_string(),
            })),
        }
    }
}

impl TableForm {
    /// A number of tokens that leads the rules to the same answer as the exact one, which is counted only if it must be.
    fn tokens(&self, canonical: &[u8]) -> u64 {
        if !self.rules.reads_tokens() {
            return 0;
        }
        let found = with_prompt(canonical, false, |prompt| match self.vocabulary {
            None => prompt.estimate(),
            Some(_) if self.rules.decides(prompt.bounds()) => prompt.bounds().high,
            Some(vocabulary) => prompt.count(&*self.tables, vocabulary.encoding),
        });
        found.unwrap_or(0)
    }
}

fn cell_of<'a>(cells: &Cells<'a>, place: usize) -> Cell<'a> {
    cells.get(place).map_or(Cell::Missing, Cell::text)
}

fn json_cell<'a>(row: &JsonRow<'a>, name: &str) -> Cell<'a> {
    match row.get(name) {
        None => Cell::Missing,
        Some(value) => value.as_str().map_or_else(|| Cell::Json(value.raw()), Cell::Text),
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
