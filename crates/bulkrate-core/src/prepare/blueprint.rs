//! A table job's request, compiled: constant bytes with holes for what each record brings.
//!
//! The canonical form of the request is written once with marks where templates go, then cut at the marks.
//! Rendering an item is appending constants and escaped texts: no tree, no map, no sorting.

use std::borrow::Cow;

use crate::order::{CellDigest, End, Ends};
use crate::request::{
    AddressError, Blob, BlobError, Config, Content, Kind, Message, Part, Request, Role, SourceType, Text,
    base64, data_url, media_type_of, web_url, write_canonical, write_json_text,
};

use super::marks::Marks;
use super::record::Cell;
use super::template::{Template, TemplateError};

/// One turn of the conversation before the user's: an example for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub role: Role,
    /// A template.
    pub content: String,
}

/// What a table job asks of every record.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub kind: Kind,
    /// The pinned model as it enters the key: `openai/gpt-6-luna`.
    pub model: String,
    pub system: Option<String>,
    pub turns: Vec<Turn>,
    /// The user's turn, or the input of an embedding or moderation: a template.
    pub user: String,
    /// A column with an image each: an `http(s)` URL or a `data:` URL.
    pub image: Option<String>,
    /// `generation_config` as JSON text.
    pub config: Option<String>,
    /// `provider_kwargs` as JSON text.
    pub provider_kwargs: Option<String>,
    pub sample: u32,
}

/// Why a record could not be turned into a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the record has no field `{0}`")]
    MissingField(String),
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the image in column `{column}` {source}")]
    Image { column: String, source: ImageError },
    /// Of a unified request.
    #[error("the {part} in `messages` {source}")]
    Blob { part: &'static str, source: BlobError },
    /// What was to be fetched for the request. `url` without what may be secret in it.
    #[error("the {part} at `{url}` {source}")]
    Address { part: &'static str, url: String, source: AddressError },
    #[error("not a valid request: {0}")]
    BadRequest(String),
    #[error("{}{tokens} input tokens do not fit `{model}`, which takes {tokens_max}", if *.exact { "" } else { "about " })]
    OverContextWindow { model: String, tokens: u64, tokens_max: u64, exact: bool },
    #[error("`{field}` cannot be sent to `{model}`: {why}")]
    Unsupported { field: String, model: String, why: String },
}

/// What is wrong with the text of an image cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("is missing")]
    Missing,
    #[error("is neither an http(s) URL, nor a `data:image/...;base64,` URL, nor an image in base64")]
    NotAUrl,
}

#[derive(Debug, Clone)]
enum Piece {
    Bytes(Box<[u8]>),
    /// The template of this index.
    Text(usize),
    Image,
}

/// A compiled [`Setup`].
#[derive(Debug, Clone)]
pub struct Blueprint {
    pieces: Vec<Piece>,
    templates: Vec<Template>,
    /// For each template, the place of each of its variables in `columns`.
    places: Vec<Vec<usize>>,
    columns: Vec<String>,
    /// Which template is the user's turn.
    user: usize,
    image: Option<usize>,
}

const IMAGE_MARK: usize = usize::MAX;

impl Blueprint {
    /// Compiles the templates and cuts the canonical form. `config` and `provider_kwargs` must be valid JSON.
    pub fn compile(setup: &Setup) -> Result<Self, ItemError> {
        let marks = marks_avoiding(setup);
        let mut templates = Vec::new();
        let mut mark = |what: &str, source: &str| -> Result<Text<'static>, ItemError> {
            templates.push(Template::compile(what, source)?);
            Ok(Text::from(marks.write(templates.len() - 1)))
        };
        let system = setup.system.as_deref().map(|source| mark("system template", source)).transpose()?;
        let mut messages = Vec::new();
        for (place, turn) in setup.turns.iter().enumerate() {
            let text = mark(&format!("template of example turn {}", place + 1), &turn.content)?;
            messages.push(Message { role: turn.role, content: Content::Text(text), tool_call_id: None });
        }
        let user_text = mark("user template", &setup.user)?;
        let user = templates.len() - 1;
        let (messages, input) = if setup.kind.has_turns() {
            messages.push(Message {
                role: Role::User,
                content: user_content(user_text, setup.image.is_some(), &marks),
                tool_call_id: None,
            });
            (messages, Vec::new())
        } else {
            (Vec::new(), vec![user_text])
        };
        let bad = |what: &str, error: serde_json::Error| ItemError::BadRequest(format!("{what}: {error}"));
        let config: Config<'_> = serde_json::from_str(setup.config.as_deref().unwrap_or("{}"))
            .map_err(|error| bad("generation_config", error))?;
        let kwargs = setup
            .provider_kwargs
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| bad("provider_kwargs", error))?;
        let request = Request {
            kind: setup.kind,
            model: setup.model.as_str().into(),
            system_prompt: system.into_iter().collect(),
            messages,
            input,
            generation_config: config,
            provider_kwargs: kwargs,
            sample: setup.sample,
            ..Request::default()
        };
        let mut canonical = Vec::new();
        write_canonical(&request, &mut canonical);
        let pieces = cut(&marks, &canonical);
        Ok(Self::assemble(pieces, templates, user, setup.image.as_ref()))
    }

    fn assemble(pieces: Vec<Piece>, templates: Vec<Template>, user: usize, image: Option<&String>) -> Self {
        let mut columns: Vec<String> = Vec::new();
        let mut place_of = |name: &String| {
            columns.iter().position(|known| known == name).unwrap_or_else(|| {
                columns.push(name.clone());
                columns.len() - 1
            })
        };
        let places = templates
            .iter()
            .map(|template| template.variables().iter().map(&mut place_of).collect())
            .collect();
        let image = image.map(&mut place_of);
        Self { pieces, templates, places, columns, user, image }
    }

    /// The columns that rendering reads; `render` takes their cells in this order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Bytes of the canonical form that are the same for every record and hold no text of the prompt.
    #[must_use]
    pub fn structure_len(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| if let Piece::Bytes(bytes) = piece { bytes.len() as u64 } else { 2 })
            .sum()
    }

    /// Refuses templates and image columns that the source cannot fill.
    pub fn check(&self, columns: &[String]) -> Result<(), ItemError> {
        for template in &self.templates {
            template.check(columns)?;
        }
        match self.columns.iter().find(|column| !columns.contains(column)) {
            None => Ok(()),
            Some(missing) => Err(ItemError::MissingField(missing.clone())),
        }
    }

    /// Appends the canonical form of one record's request to `out`; `scratch` is reused between calls.
    pub fn render(
        &self,
        cells: &[Cell<'_>],
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Result<(), ItemError> {
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell per column");
        if let Some(missing) = cells.iter().position(|cell| matches!(cell, Cell::Missing)) {
            return Err(ItemError::MissingField(self.columns[missing].clone()));
        }
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Text(index) => {
                    scratch.clear();
                    let places = &self.places[*index];
                    self.templates[*index].render(|variable| &cells[places[variable]], scratch)?;
                    if *index == self.user && self.image.is_none() && scratch.trim().is_empty() {
                        return Err(ItemError::EmptyPrompt);
                    }
                    write_json_text(scratch, out);
                }
                Piece::Image => self.write_image(cells, out)?,
            }
        }
        Ok(())
    }

    /// Where the user prompt of a record may end that others begin with too: nowhere if it is more than text and columns.
    #[must_use]
    pub fn ends(&self, cells: &[Cell<'_>]) -> Ends {
        let (mut ends, mut digest) = (Ends::default(), CellDigest::default());
        if self.image.is_some() {
            return ends;
        }
        let before = self.places.iter().enumerate().filter(|(index, _)| *index != self.user);
        before.flat_map(|(_, places)| places).for_each(|place| digest.add(cells[*place].as_text()));
        let places = &self.places[self.user];
        let mut slots = ends.0.iter_mut();
        self.templates[self.user].each_end(
            |variable| &cells[places[variable]],
            |at, cell| {
                digest.add(cell);
                if let (Some(slot), Ok(at)) = (slots.next(), u32::try_from(at)) {
                    *slot = End { at, digest: digest.value() };
                }
            },
        );
        ends
    }

    fn write_image(&self, cells: &[Cell<'_>], out: &mut Vec<u8>) -> Result<(), ItemError> {
        let Some(place) = self.image else { return Ok(()) };
        let failed = |source| ItemError::Image { column: self.columns[place].clone(), source };
        let (media_type, source_type, data) = image_parts(cells[place].as_text().trim()).map_err(failed)?;
        out.extend_from_slice(b"{\"data\":");
        write_json_text(&data, out);
        out.extend_from_slice(b",\"media_type\":");
        write_json_text(&media_type, out);
        out.extend_from_slice(b",\"source_type\":");
        write_json_text(source_type, out);
        out.extend_from_slice(b",\"type\":\"image\"}");
        Ok(())
    }
}

fn user_content(text: Text<'static>, image: bool, marks: &Marks) -> Content<'static> {
    if !image {
        return Content::Text(text);
    }
    let mark = Part::Image(Blob {
        source_type: SourceType::Url,
        media_type: "".into(),
        data: marks.write(IMAGE_MARK).into(),
    });
    Content::Parts(vec![Part::Text { text }, mark])
}

/// Media type, source type and data of an image cell.
fn image_parts(cell: &str) -> Result<(Cow<'_, str>, &'static str, Cow<'_, str>), ImageError> {
    if cell.is_empty() {
        return Err(ImageError::Missing);
    }
    if let Some(read) = data_url(cell) {
        let found = read.ok().filter(|found| found.media_type.starts_with("image/"));
        return found.map(|found| (found.media_type, "base64", found.data)).ok_or(ImageError::NotAUrl);
    }
    if let Some((_, media_type)) = BASE64_STARTS.iter().find(|(start, _)| cell.starts_with(start))
        && let Some(data) = base64(cell)
    {
        return Ok((Cow::Borrowed(media_type), "base64", data));
    }
    let url = web_url(cell).ok_or(ImageError::NotAUrl)?;
    Ok((Cow::Borrowed(media_type_of(&url)), "url", url))
}

/// The first bytes of the image formats that models take, in base64.
const BASE64_STARTS: [(&str, &str); 4] =
    [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];

/// Marks that occur in nothing the user wrote.
fn marks_avoiding(setup: &Setup) -> Marks {
    let mut texts: Vec<&str> = setup.turns.iter().map(|turn| turn.content.as_str()).collect();
    texts.extend([setup.model.as_str(), setup.user.as_str()]);
    texts.extend(
        [&setup.system, &setup.config, &setup.provider_kwargs].into_iter().filter_map(|text| text.as_deref()),
    );
    Marks::avoiding(&texts)
}

/// Cuts a canonical form at every mark; an image mark takes its whole object with it.
fn cut(marks: &Marks, canonical: &[u8]) -> Vec<Piece> {
    let image_object = format!(
        "{{\"data\":\"{}\",\"media_type\":\"\",\"source_type\":\"url\",\"type\":\"image\"}}",
        marks.write(IMAGE_MARK)
    );
    let mut pieces = Vec::new();
    let mut rest = canonical;
    while let Some(found) = marks.find(rest) {
        let (from, to, piece) = if found.index == IMAGE_MARK {
            let from = found.start - "{\"data\":".len();
            (from, from + image_object.len(), Piece::Image)
        } else {
            (found.start, found.end, Piece::Text(found.index))
        };
        pieces.push(Piece::Bytes(rest[..from].into()));
        pieces.push(piece);
        rest = &rest[to..];
    }
    pieces.push(Piece::Bytes(rest.into()));
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn setup() -> Setup {
        Setup {
            model: "openai/m".into(),
            system: Some("Be {{ tone }}.".into()),
            turns: vec![
                Turn { role: Role::User, content: "hi".into() },
                Turn { role: Role::Assistant, content: "ho".into() },
            ],
            user: "Say: {{ text }}".into(),
            config: Some(r#"{"max_tokens":5,"choices":["a","b"]}"#.into()),
            provider_kwargs: Some(r#"{"z":1,"a":2}"#.into()),
            ..Setup::default()
        }
    }

    fn render(blueprint: &Blueprint, cells: &[Cell<'_>]) -> Result<String, ItemError> {
        let mut out = Vec::new();
        blueprint.render(cells, &mut String::new(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    proptest! {
        /// The cut form and the request written as a whole are the same bytes, whatever the cells hold.
        #[test]
        fn rendering_equals_the_canonical_form(tone in "\\PC{0,12}", text in "[\\PC\n\"\\\\]{1,40}") {
            let blueprint = Blueprint::compile(&setup()).unwrap();
            prop_assert_eq!(blueprint.columns(), &["tone".to_owned(), "text".to_owned()]);
            let ours = render(&blueprint, &[Cell::text(&tone), Cell::text(&text)]).unwrap();
            let whole = serde_json::json!({
                "model": "openai/m",
                "system_prompt": format!("Be {tone}."),
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": "ho"},
                    {"role": "user", "content": format!("Say: {text}")},
                ],
                "generation_config": {"max_tokens": 5, "choices": ["a", "b"]},
                "provider_kwargs": {"a": 2, "z": 1},
            })
            .to_string();
            let request: Request<'_> = serde_json::from_str(&whole).unwrap();
            let mut canonical = Vec::new();
            write_canonical(&request, &mut canonical);
            prop_assert_eq!(ours.as_bytes(), &canonical[..]);
        }
    }

    #[test]
    fn prompts_share_an_end_up_to_the_first_cell_that_differs() {
        let setup = Setup { user: "{{ a }}{{ b }} {{ c }}".into(), ..setup() };
        let blueprint = Blueprint::compile(&setup).unwrap();
        let of = |tone: &str, cells: [&str; 3]| {
            let all = [("tone", tone), ("a", cells[0]), ("b", cells[1]), ("c", cells[2])];
            let cell = |name: &String| Cell::text(all.iter().find(|(known, _)| known == name).unwrap().1);
            blueprint.ends(&blueprint.columns().iter().map(cell).collect::<Vec<_>>())
        };
        let one = of("kind", ["x", "yy", "1"]);
        assert_eq!(one.0.map(|end| end.at), [1, 3, 0, 0], "the last cell ends none");
        for (tone, cells, want) in [
            ("kind", ["x", "yy", "2"], [true, true]),
            ("kind", ["x", "zz", "1"], [true, false]),
            ("kind", ["xy", "y", "1"], [false, false]),
            ("curt", ["x", "yy", "1"], [false, false]),
        ] {
            let other = of(tone, cells);
            assert_eq!([0, 1].map(|end| one.is_shared(&other, end)), want, "{tone} {cells:?}");
        }
        let pictured = Blueprint::compile(&Setup { image: Some("c".into()), ..setup }).unwrap();
        let cells: Vec<Cell<'_>> = pictured.columns().iter().map(|_| Cell::text("x")).collect();
        assert!(pictured.ends(&cells).is_none());
    }

    #[test]
    fn images_stand_where_the_user_turn_is() {
        let blueprint = Blueprint::compile(&Setup {
            image: Some("photo".into()),
            user: "What is it?".into(),
            model: "m".into(),
            ..Setup::default()
        })
        .unwrap();
        let line = render(&blueprint, &[Cell::text("https://x.org/a.PNG?s=1")]).unwrap();
        assert_eq!(
            line,
            r#"{"messages":[{"content":[{"text":"What is it?","type":"text"},{"data":"https://x.org/a.PNG?s=1","media_type":"image/png","source_type":"url","type":"image"}],"role":"user"}],"model":"m"}"#
        );
        let line = render(&blueprint, &[Cell::text("data:image/gif;base64,AAAA")]).unwrap();
        assert!(
            line.contains(
                r#"{"data":"AAAA","media_type":"image/gif","source_type":"base64","type":"image"}"#
            )
        );
        // Capitals and line breaks are no difference.
        for (cell, want) in [
            (
                "HTTPS://x.org/a.PNG?s=1",
                r#"{"data":"https://x.org/a.PNG?s=1","media_type":"image/png","source_type":"url""#,
            ),
            (
                "DATA:image/GIF;base64,AA\nAA\r\n",
                r#"{"data":"AAAA","media_type":"image/gif","source_type":"base64""#,
            ),
            ("/9j/\nAAAA\n", r#"{"data":"/9j/AAAA","media_type":"image/jpeg","source_type":"base64""#),
        ] {
            let line = render(&blueprint, &[Cell::text(cell)]).unwrap();
            assert!(line.contains(want), "{cell:?}: {line}");
        }
        for (start, media_type) in BASE64_STARTS {
            let data = format!("{start}{}", "A".repeat(12 - start.len() % 4));
            let line = render(&blueprint, &[Cell::text(&data)]).unwrap();
            let part = format!(r#"{{"data":"{data}","media_type":"{media_type}","source_type":"base64""#);
            assert!(line.contains(&part), "{line}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "data:text/html;base64,AA",
            "ftp://x",
            "data:image/png;base64,",
            "data:image/png;base64,AAA",
            "data:image/png;base64,A===",
            "/9j/photo.jpg",
            "iVBORw0KGgo",
        ] {
            assert!(render(&blueprint, &[Cell::text(bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_that_make_no_request() {
        let blueprint =
            Blueprint::compile(&Setup { user: "{{ text }}".into(), model: "m".into(), ..Setup::default() })
                .unwrap();
        assert_eq!(render(&blueprint, &[Cell::text(" \n")]), Err(ItemError::EmptyPrompt));
        assert_eq!(render(&blueprint, &[Cell::Missing]), Err(ItemError::MissingField("text".into())));
        assert!(blueprint.check(&["other".into()]).is_err());
    }

    #[test]
    fn a_template_that_looks_like_a_mark_is_only_text() {
        let blueprint = Blueprint::compile(&Setup {
            user: "\u{E000}mark0-0. {{ text }}".into(),
            model: "m".into(),
            ..Setup::default()
        })
        .unwrap();
        let line = render(&blueprint, &[Cell::text("\u{E000}mark1-0.")]).unwrap();
        assert!(line.contains("\"\u{E000}mark0-0. \u{E000}mark1-0.\""));
    }
}
