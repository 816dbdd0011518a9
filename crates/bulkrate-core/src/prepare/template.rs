//! User templates: Jinja2 syntax (minijinja), compiled once, rendered per record without access to anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};

use super::record::Cell;

/// Instructions a single rendering may execute: far above any sensible prompt, far below an endless loop.
const FUEL: u64 = 1_000_000;
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Macros and recursive loops in each other; the stack of a thread holds more.
const RECURSION_MAX: usize = 100;
/// No prompt is longer. What filters make on the way has bounds of its own.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
const NAME: &str = "template";

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the {what} has a syntax error in line {line}: {why}")]
    Syntax { what: String, line: usize, why: String },
    #[error("the {what} uses `{variable}`, which is no column of the source{}", .nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default())]
    UnknownVariable { what: String, variable: String, nearest: Option<String>, known: Vec<String> },
    #[error("the {what} is larger than 1 MiB")]
    TooLarge { what: String },
    #[error("the {what} could not be rendered: {why}")]
    Render { what: String, why: String },
}

impl TemplateError {
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "template-syntax",
            Self::UnknownVariable { .. } => "template-unknown-variable",
            Self::TooLarge { .. } => "template-too-large",
            Self::Render { .. } => "template-render",
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownVariable { known, .. } if !known.is_empty() => {
                Some(columns_hint(known))
            }
            Self::Syntax { .. } => {
                Some("templates are Jinja2: `{{ column }}`, `{% if column %}...{% endif %}`".to_owned())
            }
            Self::Render { why, .. } if why.starts_with("unknown filter") => Some(
                "filters are Jinja2's: `trim`, `lower`, `upper`, `replace`, `default`, `first`, `join`, `tojson` and others"
                    .to_owned(),
            ),
            Self::Render { why, .. } if why.starts_with("undefined value") => Some(
                "a column is text, and only that of a JSON source has fields; `{{ column.field|default('') }}` takes what may be missing"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The columns there are. A header that stayed in one piece has another delimiter.
#[must_use]
pub fn columns_hint(known: &[String]) -> String {
    let list = format!("columns are: {}", known.join(", "));
    let [only] = known else { return list };
    match only.chars().find(|letter| matches!(letter, ';' | '|' | '\t')) {
        Some('\t') => format!("the only column is `{only}`, with tabs in it: pass `--format tsv`"),
        Some(other) => format!(
            "the only column is `{only}`: the file seems to be separated by `{other}`; write it with commas, or with tabs and `--format tsv`"
        ),
        None => list,
    }
}

/// What minijinja says, with the line but without the name that only we know.
fn render_failure(error: &minijinja::Error) -> String {
    let why = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{why} (line {line} of the template)"),
        None => why,
    }
}

/// A compiled template.
#[derive(Clone)]
pub struct Template {
    what: String,
    form: Form,
    variables: Vec<String>,
}

#[derive(Clone)]
enum Form {
    /// Only text and plain `{{ column }}`: joined without an interpreter.
    Plain(Vec<Piece>),
    Full(Arc<Environment<'static>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// An index into the template's variables.
    Variable(usize),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("what", &self.what)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

impl Template {
    /// Compiles `source`; `what` names it in messages: `user template`.
    pub fn compile(what: &str, source: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(TemplateError::TooLarge { what: what.to_owned() });
        }
        let syntax = |error: minijinja::Error| TemplateError::Syntax {
            what: what.to_owned(),
            line: error.line().unwrap_or(1),
            why: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        super::filters::bound(&mut environment);
        keep_trailing_newline(&mut environment);
        environment.add_template_owned(NAME, source.to_owned()).map_err(syntax)?;
        let mut variables: Vec<String> =
            environment.get_template(NAME).map_err(syntax)?.undeclared_variables(false).into_iter().collect();
        variables.retain(|name| !environment.globals().any(|(global, _)| global == name));
        variables.sort();
        let form = plain(source, &variables).map_or_else(|| Form::Full(Arc::new(environment)), Form::Plain);
        Ok(Self { what: what.to_owned(), form, variables })
    }

    /// The columns the template reads; `render` takes their cells in this order.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Refuses variables that are no column.
    pub fn check(&self, columns: &[String]) -> Result<(), TemplateError> {
        match self.variables.iter().find(|variable| !columns.contains(variable)) {
            None => Ok(()),
            Some(variable) => Err(TemplateError::UnknownVariable {
                what: self.what.clone(),
                variable: variable.clone(),
                nearest: crate::route::nearest(variable, columns.iter().map(String::as_str))
                    .map(str::to_owned),
                known: columns.to_vec(),
            }),
        }
    }

    /// Where each cell ends in the rendered text, the last one left out, and the cell. Nothing where the template is more than text and
    /// columns.
    pub fn each_end<'c>(&self, cells: impl Fn(usize) -> &'c Cell<'c>, mut end: impl FnMut(usize, &'c str)) {
        let Form::Plain(pieces) = &self.form else { return };
        let last = pieces.iter().rposition(|piece| matches!(piece, Piece::Variable(_))).unwrap_or(0);
        let mut at = 0;
        for piece in &pieces[..last] {
            match piece {
                Piece::Text(text) => at += text.len(),
                Piece::Variable(place) => {
                    let cell = cells(*place).as_text();
                    at += cell.len();
                    end(at, cell);
                }
            }
        }
    }

    /// Appends the rendered text to `out`. `cells(i)` is the cell of `variables()[i]`.
    pub fn render<'c>(
        &self,
        cells: impl Fn(usize) -> &'c Cell<'c>,
        out: &mut String,
    ) -> Result<(), TemplateError> {
        match &self.form {
            Form::Plain(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Variable(place) => out.push_str(cells(*place).as_text()),
                    }
                }
                Ok(())
            }
            Form::Full(environment) => {
                let failed = |error: minijinja::Error| TemplateError::Render {
                    what: self.what.clone(),
                    why: render_failure(&error),
                };
                let context: BTreeMap<&str, minijinja::Value> = self
                    .variables
                    .iter()
                    .enumerate()
                    .map(|(place, name)| (name.as_str(), cells(place).to_value()))
                    .collect();
                let mut capped = Capped::default();
                let template = environment.get_template(NAME).map_err(failed)?;
                let rendered = template.render_captured_to(minijinja::Value::from(context), &mut capped);
                if capped.is_full {
                    let why = format!("its text is longer than {} MiB", OUTPUT_BYTES_MAX >> 20);
                    return Err(TemplateError::Render { what: self.what.clone(), why });
                }
                drop(rendered.map_err(failed)?);
                let text = String::from_utf8(capped.bytes).map_err(|error| TemplateError::Render {
                    what: self.what.clone(),
                    why: error.to_string(),
                })?;
                out.push_str(&text);
                Ok(())
            }
        }
    }
}

/// Takes rendered text until it is too long.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    is_full: bool,
}

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A prompt ends as its author ended it.
fn keep_trailing_newline(environment: &mut Environment<'_>) {
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
}

/// The pieces of a template that is nothing but text and `{{ name }}`; `None` if it is more than that.
fn plain(source: &str, variables: &[String]) -> Option<Vec<Piece>> {
    if source.contains("{%") || source.contains("{#") {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(open) = rest.find("{{") {
        let close = open + rest[open..].find("}}")?;
        let name = rest[open + 2..close].trim();
        let place = variables.iter().position(|variable| variable == name)?; // also drops `-` trimming and expressions
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].to_owned()));
        }
        pieces.push(Piece::Variable(place));
        rest = &rest[close + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn render(source: &str, cells: &[(&str, Cell<'static>)]) -> Result<String, TemplateError> {
        let template = Template::compile("user template", source)?;
        let columns: Vec<String> = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
        template.check(&columns)?;
        let mut out = String::new();
        let ordered: Vec<&Cell<'_>> = template
            .variables()
            .iter()
            .map(|name| &cells.iter().find(|(known, _)| known == name).unwrap().1)
            .collect();
        template.render(|place| ordered[place], &mut out)?;
        Ok(out)
    }

    #[test]
    fn templates_render() {
        let cells = [
            ("text", Cell::text("it's <b>")),
            ("n", Cell::Json("3")),
            ("tags", Cell::Json(r#"["a","b"]"#)),
            ("gone", Cell::Json("null")),
        ];
        for (source, want) in [
            ("Say {{ text }}!\n", "Say it's <b>!\n"),
            ("{{text}}{{n}}", "it's <b>3"),
            ("{{ text | upper }}", "IT'S <B>"),
            ("{% if n > 2 %}many{% else %}few{% endif %}", "many"),
            ("{% for tag in tags %}{{ tag }},{% endfor %}", "a,b,"),
            ("[{{ gone }}]", "[]"),
            ("{# a comment #}plain", "plain"),
            ("no variables, one { brace", "no variables, one { brace"),
            ("{{ '{{' }} {{ text }}", "{{ it's <b>"),
            ("{{- text -}} ", "it's <b>"),
        ] {
            assert_eq!(render(source, &cells).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn the_ends_of_cells_are_those_of_the_rendered_text() {
        let cells = [("doc", Cell::text("é b")), ("n", Cell::Json("12")), ("q", Cell::text("why?"))];
        for (source, want) in [
            ("{{ doc }} Question: {{ q }}", &[(4, "é b")][..]),
            ("In {{ n }}: {{ doc }}\n{{ n }} {{ q }}!", &[(5, "12"), (11, "é b"), (14, "12")]),
            ("{{ q }} and no more", &[]),
            ("no column", &[]),
            ("{{ doc | upper }} {{ q }}", &[]),
        ] {
            let template = Template::compile("user template", source).unwrap();
            let place = |variable: usize| {
                let name = &template.variables()[variable];
                &cells.iter().find(|(known, _)| known == name).unwrap().1
            };
            let mut found = Vec::new();
            template.each_end(place, |at, cell| found.push((at, cell)));
            assert_eq!(found, want, "{source}");
            let text = render(source, &cells).unwrap();
            assert!(found.iter().all(|(at, cell)| text[..*at].ends_with(cell)), "{source}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let cells = [("text", Cell::text("x"))];
        let unknown = render("a {{ txet }}", &cells).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "the user template uses `txet`, which is no column of the source (did you mean `text`?)"
        );
        assert_eq!(unknown.hint().unwrap(), "columns are: text");
        let TemplateError::Syntax { line, .. } = render("one\n{{ text ", &cells).unwrap_err() else {
            unreachable!("a syntax error")
        };
        assert_eq!(line, 2);
        let endless = render(
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ text }}{% endfor %}{% endfor %}",
            &cells,
        )
        .unwrap_err();
        assert!(matches!(endless, TemplateError::Render { .. }));
        let long = "{% for a in range(600) %}{{ 'x' * 100000 }}{% endfor %}{{ text }}";
        let long = render(long, &cells).unwrap_err();
        assert!(long.to_string().contains("longer than 32 MiB"), "{long}");
    }

    /// None of them may take the process with it: each ends with an error, soon and in little memory.
    #[test]
    fn a_template_fills_no_memory_and_ends() {
        let cells = [("text", Cell::text("x"))];
        let deep = format!("{}{{{{ text }}}}{}", "{% if text %}".repeat(400), "{% endif %}".repeat(400));
        let nested = format!("{{{{ {}text{} }}}}", "(".repeat(20_000), ")".repeat(20_000));
        for (source, why) in [
            ("{% for i in range(10**9) %}{{ text }}{% endfor %}", "too many elements"),
            (
                "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ text }}",
                "fuel",
            ),
            ("{{ 'x' * 10**9 }}{{ text }}", "too large"),
            ("{{ [text] * 10**9 }}", "too large"),
            ("{{ (text * 90000000)|replace('x', 'xxxxxxxxxx') }}", "too large"),
            ("{{ (text * 100000)|replace('', text * 100000) }}", "too large"),
            ("{{ range(100000)|join(text * 100000) }}", "too large"),
            ("{{ text|indent(10**12, true) }}", "too large"),
            ("{{ text|indent(width=10**12, first=true) }}", "too large"),
            ("{{ '%99999999999d'|format(1) }}{{ text }}", "too large"),
            ("{{ '%*d'|format(10**12, 1) }}{{ text }}", "too large"),
            ("{{ '1%%%-99999999d'|format(1) }}{{ text }}", "too large"),
            ("{{ '%(n)99999999d'|format(n=1) }}{{ text }}", "too large"),
            ("{{ '%(a%b)99999999d'|format(n=1) }}{{ text }}", "too large"),
            ("{{ [text]|batch(10**12, text)|list }}", "too large"),
            ("{{ [text]|slice(10**12)|list }}", "too large"),
            ("{{ [text]|tojson(10**12) }}", "too large"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ text }}", "recursion"),
            ("{% for a in [[text]] recursive %}{{ loop([[a]]) }}{% endfor %}", "recursion"),
            (deep.as_str(), "recursion"),
            (nested.as_str(), "recursion"),
        ] {
            let shown = &source[..source.len().min(80)];
            let error = render(source, &cells).unwrap_err();
            assert!(error.to_string().contains(why), "{shown}: {error}");
        }
        let long = format!("{}{{{{ text }}}}", "x".repeat(SOURCE_BYTES_MAX));
        assert_eq!(render(&long, &cells).unwrap_err().code(), "template-too-large");
    }

    #[test]
    fn the_bounded_filters_do_what_the_usual_ones_do() {
        let cells = [("text", Cell::text("a b\nc")), ("n", Cell::Json("3.14159"))];
        for (source, want) in [
            ("{{ text|replace(' ', '--') }}", "a--b\nc"),
            ("{{ text|indent(2, true) }}", "  a b\n  c"),
            ("{{ text|indent(width=2) }}", "a b\n  c"),
            ("{{ ['a', 'b']|join(', ') }}{{ text|length }}", "a, b5"),
            ("{{ '%05.1f|%s'|format(n, text) }}", "003.1|a b\nc"),
            (
                "{{ '* 1000000 %% %s 1000000 *'|format(n) }}{{ text|length }}",
                "* 1000000 % 3.14159 1000000 *5",
            ),
            ("{{ n|round(2) }}", "3.14"),
            (
                "{% for row in [1, 2, 3]|batch(2, 0) %}{{ row|join('.') }};{% endfor %}{{ n }}",
                "1.2;3.0;3.14159",
            ),
            ("{{ [text]|tojson }}", r#"["a b\nc"]"#),
        ] {
            assert_eq!(render(source, &cells).unwrap(), want, "{source}");
        }
    }

    proptest! {
        #[test]
        fn the_plain_form_agrees_with_the_interpreter(before in "[^{}%#\u{0}]{0,12}", cell in "\\PC{0,20}", after in "[^{}%#\u{0}]{0,12}") {
            let source = format!("{before}{{{{ text }}}}{after}");
            let template = Template::compile("t", &source).unwrap();
            prop_assert!(matches!(template.form, Form::Plain(_)));
            let cell = Cell::text(&cell);
            let mut ours = String::new();
            template.render(|_| &cell, &mut ours).unwrap();
            let mut environment = Environment::new();
            keep_trailing_newline(&mut environment);
            let theirs = environment.render_str(&source, minijinja::context! { text => cell.as_text() }).unwrap();
            prop_assert_eq!(ours, theirs);
        }
    }
}
