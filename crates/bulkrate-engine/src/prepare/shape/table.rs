//! Records that are tables: columns that fill the templates of a job.

use std::sync::Arc;

use bulkrate_core::filter::Filter;
use bulkrate_core::money::Tokens;
use bulkrate_core::order::Ends;
use bulkrate_core::prepare::{Blueprint, Cell, Chosen, ItemError, Setup, TemplateError, Turn};
use bulkrate_core::price::bound::default_output_max;
use bulkrate_core::request::{Kind, Reasoning, RouteBy};
use bulkrate_core::route::learned::{self, Router};
use bulkrate_core::route::{Rule, Rules};
use bulkrate_core::tokens::{CountTokens, Vocabulary};
use bulkrate_io::{Cells, JsonRow};

use super::{Draftsman, Drawn, Scratch, UNBOUNDED_IMAGE, effort};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::prepare::tokens::{vocabulary, with_prompt};
use crate::run::prompt_cache::second_mark;
use crate::spec::{RouterSpec, SendBy};

#[derive(Debug)]
pub(super) struct TableForm {
    /// One per deployment that rules or the job name.
    blueprints: Vec<(Blueprint, u32)>,
    rules: Rules,
    /// What `tokens` of rules is counted with: the job's own model.
    vocabulary: Option<Vocabulary>,
    tables: Arc<dyn CountTokens>,
    /// Decides where no rule does.
    router: Option<Routed>,
    /// Answers what needs no model, from the column at a place in `columns`.
    /// With the places of its texts and of its embeddings.
    filter: Option<(Arc<Filter>, usize, Option<usize>)>,
    /// Deployment of each rule, by rule number - 1.
    rule_deployments: Vec<usize>,
    /// Columns that anything reads, and for cell sources where they are.
    pub columns: Vec<String>,
    pub places: Vec<usize>,
    /// For each blueprint and for the rules: which of `columns` they read.
    blueprint_places: Vec<Vec<usize>>,
    rule_places: Vec<usize>,
    id_place: Option<usize>,
    choice_bytes: Option<u64>,
    turns: u64,
    pub image: bool,
    /// Rows say where their prompts may end that others begin with too.
    ends: bool,
}

/// A learned router with the deployments of its models, the job's own last, and the column that it reads, as a place in `columns`.
#[derive(Debug)]
struct Routed {
    router: Arc<Router>,
    deployments: Vec<usize>,
    place: usize,
}

impl Draftsman {
    pub(super) fn table(&self, columns: &[String]) -> Result<TableForm, EngineError> {
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
        let router = self.router(&mut place_of)?;
        let filter = self.filter()?.map(|filter| {
            let place = place_of(&filter.facts.column);
            let embeddings = filter.embeddings().map(str::to_owned).as_ref().map(&mut place_of);
            (filter, place, embeddings)
        });
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
            return Err(EngineError::no_column(&wanted[missing], columns));
        }
        Ok(TableForm {
            blueprints,
            rules,
            router,
            filter,
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
            ends: self.run.order == SendBy::Prefix
                && self.deployments.iter().any(|found| second_mark(spec, &self.run, found).is_some()),
        })
    }

    /// The job's router, where it has one. `place_of`: of a column that is read.
    fn router(&self, place_of: impl FnOnce(&String) -> usize) -> Result<Option<Routed>, EngineError> {
        let Some(spec) = &self.spec.router else { return Ok(None) };
        let lost =
            || EngineError::Internal("the job's router is not there while its source is read".to_owned());
        let router = spec.router.0.clone().ok_or_else(lost)?;
        let mut deployments: Vec<usize> = Vec::new();
        for name in spec.weak.iter() {
            let deployment = self.names.get(name).copied().unwrap_or(0);
            if deployment == 0 || deployments.contains(&deployment) {
                return Err(spec.same_model(name));
            }
            deployments.push(deployment);
        }
        deployments.push(0);
        let pinned: Vec<&str> = deployments.iter().map(|at| self.deployments[*at].pinned.as_str()).collect();
        if RouterSpec::other_order(&router.names, &pinned) {
            return Err(EngineError::BadSpec {
                code: "option-invalid",
                what: format!("`--models` is {}", pinned.join(", ")),
                why: format!("the router was trained for {}, in this order", router.names.join(", ")),
            });
        }
        Ok(Some(Routed { place: place_of(&router.column), router, deployments }))
    }

    /// The job's filter, all of whose answers must be among its choices.
    fn filter(&self) -> Result<Option<Arc<Filter>>, EngineError> {
        let Some(spec) = &self.spec.filter else { return Ok(None) };
        let lost =
            || EngineError::Internal("the job's filter is not there while its source is read".to_owned());
        let filter = spec.filter.0.clone().ok_or_else(lost)?;
        let strange =
            filter.answers().into_iter().find(|answer| !self.spec.choices.iter().any(|one| one == answer));
        match strange.map(str::to_owned) {
            None => Ok(Some(filter)),
            Some(answer) => Err(EngineError::BadSpec {
                code: "filter-needs-choices",
                what: format!("the filter answers `{answer}`"),
                why: "what it answers must be among the job's `--choices`".to_owned(),
            }),
        }
    }

    pub(super) fn max_tokens(
        &self,
        deployment: &Deployment,
        choice_bytes: Option<u64>,
    ) -> Result<u32, EngineError> {
        let effort = effort(self.reasoning()?);
        let model_max = deployment.max_output();
        let tokens = match (self.spec.max_output_tokens, self.spec.kind) {
            (Some(tokens), _) => u64::from(tokens),
            (None, Kind::Image) => model_max.ok_or_else(unbounded_image)?.0,
            (None, _) => default_output_max(choice_bytes, effort, model_max).0,
        };
        if let Some(Tokens(most)) = model_max.filter(|most| tokens > most.0 && self.spec.kind.pays_output()) {
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

    pub(super) fn setup(&self, deployment: &Deployment, max_tokens: u32) -> Result<Setup, EngineError> {
        let spec = &self.spec;
        let mut config = serde_json::Map::new();
        let mut set = |name: &str, value: serde_json::Value| drop(config.insert(name.to_owned(), value));
        if spec.kind.pays_output() {
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
}

/// A picture costs by its size and quality, which differ from model to model, and no field of the request bounds it.
fn unbounded_image() -> EngineError {
    EngineError::BadSpec {
        code: "image-unbounded",
        what: "the most that a picture can cost is not known".to_owned(),
        why: UNBOUNDED_IMAGE.to_owned(),
    }
}

impl TableForm {
    pub(super) fn draw(
        &self,
        cells: &[Cell<'_>],
        number: u64,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ItemError> {
        let Scratch { text: scratch, router: memory, filter: found } = scratch;
        let start = out.len();
        let reads_tokens = self.rules.reads_tokens();
        if reads_tokens {
            self.render(0, cells, scratch, out)?;
        }
        let (deployment, chosen) = match self.choose(cells, &out[start..])? {
            Some((rule, ruled)) => (ruled, Some(Chosen::By(RouteBy::Rule(rule)))),
            None => self.route(cells, memory),
        };
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
            chosen,
            answer: self.filter.as_ref().and_then(|(filter, place, embeddings)| {
                let embedding = embeddings.map_or("", |place| cells[place].as_text());
                let (answer, how) = filter.answer(cells[*place].as_text(), embedding, found)?;
                Some((answer.to_owned(), how))
            }),
            choice_bytes: self.choice_bytes,
            structure: blueprint.structure_len(),
            ends: if self.ends { self.ends(deployment, cells) } else { Ends::default() },
            ..Drawn::default()
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

    fn ends(&self, deployment: usize, cells: &[Cell<'_>]) -> Ends {
        let own = self.blueprint_places[deployment].iter().map(|place| cells[*place].clone());
        self.blueprints[deployment].0.ends(&own.collect::<Vec<_>>())
    }

    /// What the router decides, and the job's own model where there is none.
    fn route(&self, cells: &[Cell<'_>], memory: &mut learned::Scratch) -> (usize, Option<Chosen>) {
        let Some(routed) = &self.router else { return (0, None) };
        let text = cells[routed.place].as_text();
        let (scores, place) = routed.router.decide(text, memory);
        (routed.deployments.get(place).copied().unwrap_or(0), Some(Chosen::Router(scores)))
    }

    /// The first rule that holds, from 1, and its deployment; `canonical` is the request to the job's own model where they read `tokens`.
    fn choose(&self, cells: &[Cell<'_>], canonical: &[u8]) -> Result<Option<(usize, usize)>, ItemError> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let picked: Vec<Cell<'_>> = self.rule_places.iter().map(|place| cells[*place].clone()).collect();
        match self.rules.choose(&picked, self.tokens(canonical)) {
            Ok(Some((number, _))) => Ok(Some((number, self.rule_deployments[number - 1]))),
            Ok(None) => Ok(None),
            Err(error) => Err(ItemError::Template(TemplateError::Render {
                what: "routing rule".to_owned(),
                why: error.to_string(),
            })),
        }
    }

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

pub(super) fn cell_of<'a>(cells: &Cells<'a>, place: usize) -> Cell<'a> {
    cells.get(place).map_or(Cell::Missing, Cell::text)
}

pub(super) fn json_cell<'a>(row: &JsonRow<'a>, name: &str) -> Cell<'a> {
    match row.get(name) {
        None => Cell::Missing,
        Some(value) => value.as_str().map_or_else(|| Cell::Json(value.raw()), Cell::Text),
    }
}
