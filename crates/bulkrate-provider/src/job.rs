//! What one request is written with, and what every wire refuses of it in the same words.

use bulkrate_core::request::{Blob, Config, Content, Message, Part, Reasoning, Request, Role, SourceType};

use crate::api::{Unsupported, WireOptions};
use crate::json::object::Own;

/// `F` is what a wire knows of the model.
pub(crate) struct Job<'r, F> {
    pub(crate) request: &'r Request<'r>,
    pub(crate) options: WireOptions<'r>,
    pub(crate) family: F,
}

impl<'r, F> Job<'r, F> {
    pub(crate) fn unsupported(&self, field: &'static str, why: impl Into<String>) -> Unsupported {
        Unsupported { field, model: self.options.model.to_owned(), why: why.into() }
    }

    /// System turns at the front belong to the system prompt; the rest is the conversation.
    pub(crate) fn split(&self) -> (&'r [Message<'r>], &'r [Message<'r>]) {
        let messages: &'r [Message<'r>] = &self.request.messages;
        let system = messages.iter().take_while(|message| message.role == Role::System).count();
        messages.split_at(system)
    }

    /// The system prompt: what is given as such, and the texts of the system turns at the front.
    pub(crate) fn prompts(&self) -> Vec<&'r str> {
        let (given, (system, _)) = (&self.request.system_prompt, self.split());
        let all = given.iter().map(|text| &**text).chain(system.iter().flat_map(texts));
        all.filter(|text| !text.trim().is_empty()).collect()
    }

    /// The text of the last turn in two, where what others begin with too is marked. Each says something: a block of nothing is refused.
    pub(crate) fn halves(&self) -> Option<[&'r str; 2]> {
        let Content::Text(text) = &self.split().1.last()?.content else { return None };
        let (shared, own) = text.split_at_checked(self.options.second? as usize)?;
        [shared, own].iter().all(|half| !half.trim().is_empty()).then_some([shared, own])
    }

    /// Whether any part of any message is so.
    pub(crate) fn has_part(&self, is: fn(&Part<'_>) -> bool) -> bool {
        let holds =
            |turn: &Message<'_>| matches!(&turn.content, Content::Parts(parts) if parts.iter().any(is));
        self.request.messages.iter().any(holds)
    }

    /// A system prompt of texts at the front, and nowhere else; no results of tools, which go out as `own`.
    pub(crate) fn refuse_turns(&self, service: &str, own: &str) -> Result<(), Unsupported> {
        let refused = |why: String| Err(self.unsupported("messages", why));
        let is_text = |part: &Part<'_>| matches!(part, Part::Text { .. });
        let (system, turns) = self.split();
        let holds_more =
            |turn: &Message<'_>| matches!(&turn.content, Content::Parts(parts) if !parts.iter().all(is_text));
        if system.iter().any(holds_more) {
            return refused("a system turn holds only text".to_owned());
        }
        if turns.iter().any(|turn| turn.role == Role::System) {
            return refused("a system turn stands only at the front; use `system_prompt`".to_owned());
        }
        // The turn that made the call cannot be said in a unified request, and without it the result is refused.
        if turns.iter().any(|turn| turn.role == Role::Tool) {
            return refused(format!("tool results go to {service} as `provider_kwargs.{own}`"));
        }
        Ok(())
    }

    /// The same, and turns that begin with the user's, and end with it where the model does not go on with one of its own. `check`: of each
    /// part of a turn.
    pub(crate) fn check_turns(
        &self,
        (service, own): (&str, &str),
        prefills: bool,
        check: impl Fn(Role, &Part<'_>) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        self.refuse_turns(service, own)?;
        let (_, turns) = self.split();
        for turn in turns {
            if let Content::Parts(parts) = &turn.content {
                parts.iter().try_for_each(|part| check(turn.role, part))?;
            }
        }
        if turns.first().is_none_or(|first| first.role != Role::User) {
            return Err(self.unsupported("messages", "the first turn must be the `user`'s"));
        }
        if !prefills && turns.last().is_some_and(|last| last.role == Role::Assistant) {
            let why = "this model does not continue a turn of its own; end with the `user`'s";
            return Err(self.unsupported("messages", why));
        }
        Ok(())
    }

    /// Parameters that OpenAI's API has and this one lacks.
    pub(crate) fn refuse_absent(&self, api: &str) -> Result<(), Unsupported> {
        let config = self.config();
        let given = [
            ("presence_penalty", penalizes(config.presence_penalty)),
            ("frequency_penalty", penalizes(config.frequency_penalty)),
            ("seed", config.seed.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(self.unsupported(field, format!("{api} has no such parameter"))),
            None => Ok(()),
        }
    }

    /// A blob in another form than those that are known, or in a turn that is not the user's.
    pub(crate) fn refuse_blob(
        &self,
        (field, role, blob): (&'static str, Role, &Blob<'_>),
        service: &str,
        known: &[&str],
    ) -> Result<(), Unsupported> {
        if role != Role::User {
            let why = "images and documents stand only in messages with role `user`";
            return Err(self.unsupported(field, why));
        }
        if blob.source_type == SourceType::Base64 && !known.contains(&&*blob.media_type) {
            let (given, list) = (&*blob.media_type, known.join(", "));
            return Err(self.unsupported(field, format!("{service} takes {list}, not `{given}`")));
        }
        Ok(())
    }

    /// Every setting but one, where what is asked for takes none. Not to reason is what it does anyway.
    pub(crate) fn refuse_settings(&self, but: &str, why: &'static str) -> Result<(), Unsupported> {
        let config = self.config();
        let given = [
            ("max_tokens", config.max_tokens.is_some()),
            ("choices", !config.choices.is_empty()),
            ("output_schema", config.output_schema.is_some()),
            ("dimensions", config.dimensions.is_some()),
            ("temperature", config.temperature.is_some()),
            ("top_p", config.top_p.is_some()),
            ("top_k", config.top_k.is_some()),
            ("stop_sequences", !config.stop_sequences.is_empty()),
            ("presence_penalty", config.presence_penalty.is_some()),
            ("frequency_penalty", config.frequency_penalty.is_some()),
            ("seed", config.seed.is_some()),
            ("reasoning", config.reasoning.is_some_and(|reasoning| reasoning != Reasoning::None)),
        ];
        match given.into_iter().find(|(field, given)| *given && *field != but) {
            Some((field, _)) => Err(self.unsupported(field, why)),
            None => Ok(()),
        }
    }

    pub(crate) fn config(&self) -> &'r Config<'r> {
        &self.request.generation_config
    }

    pub(crate) fn max_tokens(&self) -> Option<u32> {
        self.options.max_tokens.or(self.config().max_tokens)
    }

    /// The caller's own fields.
    pub(crate) fn own(&self) -> Result<Own<'r>, Unsupported> {
        Own::read(self.request.provider_kwargs).map_err(|why| self.unsupported("provider_kwargs", why))
    }

    /// The one text that a vector is asked for; `given`: the caller says in his own fields what it is of.
    pub(crate) fn one_input(&self, given: bool) -> Result<&'r str, Unsupported> {
        match self.request.input.as_slice() {
            [text] => Ok(text),
            _ if given => Ok(""),
            inputs => {
                let count = inputs.len();
                let why =
                    format!("an item has one vector, and here are {count} inputs; make one item of each");
                Err(self.unsupported("input", why))
            }
        }
    }

    pub(crate) fn refuse_stream(&self, own: &Own<'_>) -> Result<(), Unsupported> {
        match own.get("stream") {
            Some("true") => {
                Err(self.unsupported("provider_kwargs.stream", "answers are read whole; leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// Reasoning that would use up all that may come back.
    pub(crate) fn refuse_budget(&self, budget: u32) -> Result<(), Unsupported> {
        let max_tokens = self.max_tokens().unwrap_or(0);
        if budget < max_tokens {
            return Ok(());
        }
        let why = format!(
            "{budget} tokens of reasoning leave no room for an answer within `max_tokens` ({max_tokens})"
        );
        Err(self.unsupported("reasoning", why))
    }

    pub(crate) fn refuse_two_schemas(&self) -> Result<(), Unsupported> {
        let config = self.config();
        if config.choices.is_empty() || config.output_schema.is_none() {
            return Ok(());
        }
        Err(self.unsupported("output_schema", "`choices` is its own schema; give one of the two"))
    }
}

/// The texts of a turn.
pub(crate) fn texts<'m>(message: &'m Message<'_>) -> Vec<&'m str> {
    match &message.content {
        Content::Text(text) => vec![text],
        Content::Parts(parts) => parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text } => Some(&**text),
                Part::Image(_) | Part::Document(_) => None,
            })
            .collect(),
    }
}

/// Whether a setting differs from its default of 1.
pub(crate) fn differs(value: Option<f64>) -> bool {
    value.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON)
}

/// Whether a penalty is given. One of 0 is none.
pub(crate) fn penalizes(penalty: Option<f64>) -> bool {
    penalty.is_some_and(|penalty| penalty.abs() > 0.0)
}
