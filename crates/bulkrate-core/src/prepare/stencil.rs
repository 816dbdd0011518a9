//! The provider's body of requests that differ only in their texts: written once by the encoder, then cut at the texts.
//!
//! A canonical form and a provider's body carry the same texts in the same JSON spelling. So an encoder has to run once for
//! all requests of one form: its output and the canonical form are cut where the texts stand, and a further request is
//! matched against the one and copied into the other. No JSON is parsed and nothing is escaped again.
//!
//! Invariant: `fill` writes what the encoder would have written, or says that it cannot.

use crate::request::{Content, Message, Request, Text, write_canonical};

use super::marks::Marks;

/// Requests with more texts are encoded one by one.
const TEXTS_MAX: usize = 16;

/// One form of request. See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stencil {
    canonical: Cut,
    body: Cut,
    texts: usize,
}

/// Constant bytes, each but the last followed by the text of this number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    holes: Vec<(Box<[u8]>, usize)>,
    last: Box<[u8]>,
}

impl Cut {
    /// `None`: a mark stands where it is not a whole string, so the text is not copied as it is.
    fn at(marks: &Marks, bytes: &[u8]) -> Option<Self> {
        let mut holes: Vec<(Box<[u8]>, usize)> = Vec::new();
        let mut rest = bytes;
        while let Some(found) = marks.find(rest) {
            holes.push((rest[..found.start].into(), found.index));
            rest = &rest[found.end..];
        }
        let whole = holes.iter().all(|(bytes, _)| !marks.occurs(bytes)) && !marks.occurs(rest);
        whole.then(|| Self { holes, last: rest.into() })
    }

    fn has_each_once(&self, texts: usize) -> bool {
        let mut seen: Vec<usize> = self.holes.iter().map(|(_, index)| *index).collect();
        seen.sort_unstable();
        seen.into_iter().eq(0..texts)
    }
}

impl Stencil {
    /// Cuts the form of `request`. `encode` appends the provider's body of a request; false: it cannot.
    /// `None`: the body is not made of constant bytes and the request's texts alone.
    pub fn cut(
        request: &Request<'_>,
        mut encode: impl FnMut(&Request<'_>, &mut Vec<u8>) -> bool,
    ) -> Option<Self> {
        let (mut original, mut own) = (Vec::new(), Vec::new());
        write_canonical(request, &mut original);
        if !encode(request, &mut own) {
            return None;
        }
        let marks = Marks::avoiding(&[&original, &own]);
        let mut texts = 0;
        let mut mark = || {
            texts += 1;
            Text::from(marks.write(texts - 1))
        };
        let mut marked = request.clone();
        marked.system_prompt = request.system_prompt.iter().map(|_| mark()).collect();
        marked.input = request.input.iter().map(|_| mark()).collect();
        let message = |message: &Message<'_>| match message.content {
            Content::Text(_) => {
                Some(Message { role: message.role, content: Content::Text(mark()), tool_call_id: None })
            }
            Content::Parts(_) => None,
        };
        if request.messages.iter().any(|message| message.tool_call_id.is_some()) {
            return None;
        }
        marked.messages = request.messages.iter().map(message).collect::<Option<_>>()?;
        let (mut canonical, mut body) = (Vec::new(), Vec::new());
        write_canonical(&marked, &mut canonical);
        if texts > TEXTS_MAX || !encode(&marked, &mut body) {
            return None;
        }
        let canonical = Cut::at(&marks, canonical.strip_prefix(b"{")?)?;
        let stencil = Self { body: Cut::at(&marks, &body)?, texts, canonical };
        if !stencil.canonical.has_each_once(texts) || !stencil.body.has_each_once(texts) {
            return None;
        }
        let mut again = Vec::with_capacity(own.len());
        (stencil.fill(original.strip_prefix(b"{")?, &mut again) && again == own).then_some(stencil)
    }

    /// Appends the body of the request whose canonical form is `{` and `tail`. False: it has another form, and nothing is
    /// appended.
    #[must_use]
    pub fn fill(&self, tail: &[u8], out: &mut Vec<u8>) -> bool {
        let mut texts: [&[u8]; TEXTS_MAX] = [&[]; TEXTS_MAX];
        let mut rest = tail;
        for (bytes, index) in &self.canonical.holes {
            let Some(after) = rest.strip_prefix(&**bytes) else { return false };
            let Some(length) = string_len(after) else { return false };
            (texts[*index], rest) = after.split_at(length);
        }
        if rest != &*self.canonical.last {
            return false;
        }
        for (bytes, index) in &self.body.holes {
            out.extend_from_slice(bytes);
            out.extend_from_slice(texts[*index]);
        }
        out.extend_from_slice(&self.body.last);
        true
    }
}

/// Bytes of the JSON string at the start of `bytes`, its quotes included.
fn string_len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2; // what is escaped is one byte, or begins with one
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::request::write_json_text;
    use proptest::prelude::*;

    /// A body with the texts in another order and other constant bytes; `joined` puts the system texts into one string.
    fn encode(request: &Request<'_>, joined: bool, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b"{\"model\":");
        write_json_text(&request.model, out);
        if joined {
            let texts: Vec<&str> = request.system_prompt.iter().map(|text| &**text).collect();
            out.extend_from_slice(b",\"instructions\":");
            write_json_text(&texts.join("\n"), out);
        } else {
            for text in &request.system_prompt {
                out.extend_from_slice(b",\"system\":");
                write_json_text(text, out);
            }
        }
        for message in &request.messages {
            let Content::Text(text) = &message.content else { return false };
            out.extend_from_slice(b",\"turn\":");
            write_json_text(text, out);
        }
        out.push(b'}');
        true
    }

    fn request(system: &[&str], user: &str) -> String {
        serde_json::json!({
            "model": "openai/m",
            "system_prompt": system,
            "messages": [{"role": "user", "content": user}],
            "generation_config": {"max_tokens": 5},
        })
        .to_string()
    }

    fn parse(line: &str) -> Request<'_> {
        serde_json::from_str(line).unwrap()
    }

    fn tail(line: &str) -> Vec<u8> {
        let mut canonical = Vec::new();
        write_canonical(&parse(line), &mut canonical);
        canonical.remove(0);
        canonical
    }

    proptest! {
        #[test]
        fn what_is_filled_is_what_the_encoder_writes(
            first in "[\\PC\n\"\\\\\u{E000}]{1,30}", system in "\\PC{0,9}", text in "[\\PC\n\t\"\\\\\u{E000}]{0,60}"
        ) {
            let stencil = Stencil::cut(&parse(&request(&["Be kind."], &first)), |request, out| encode(request, false, out)).unwrap();
            let line = request(&[&system], &text);
            let (mut filled, mut encoded) = (Vec::new(), Vec::new());
            prop_assert!(stencil.fill(&tail(&line), &mut filled));
            encode(&parse(&line), false, &mut encoded);
            prop_assert_eq!(filled, encoded);
        }
    }

    #[test]
    fn another_form_is_not_filled() {
        let stencil = Stencil::cut(&parse(&request(&["a"], "b")), |request, out| encode(request, false, out));
        let stencil = stencil.unwrap();
        let two_turns = r#"{"model":"openai/m","system_prompt":["a"],"messages":[{"role":"user","content":"b"},{"role":"user","content":"c"}],"generation_config":{"max_tokens":5}}"#;
        for other in [
            request(&["a"], "b").replace("openai/m", "openai/n"),
            request(&["a"], "b").replace(":5}", ":6}"),
            request(&["a", "b"], "b"),
            request(&[], "b"),
            two_turns.to_owned(),
        ] {
            let mut out = Vec::new();
            assert!(!stencil.fill(&tail(&other), &mut out) && out.is_empty(), "{other}");
        }
        for cut_short in
            [&b""[..], b"\"generation_config\":{\"max_tokens\":5},\"messages\":[{\"content\":\"b\\"]
        {
            assert!(!stencil.fill(cut_short, &mut Vec::new()));
        }
    }

    #[test]
    fn texts_that_are_not_copied_whole_give_no_stencil() {
        let joined = |request: &Request<'_>, out: &mut Vec<u8>| encode(request, true, out);
        assert!(Stencil::cut(&parse(&request(&["a", "b"], "c")), joined).is_none());
        // One text joined is that text.
        assert!(Stencil::cut(&parse(&request(&["a"], "c")), joined).is_some());
        let upper = |request: &Request<'_>, out: &mut Vec<u8>| {
            encode(request, false, out);
            out.make_ascii_uppercase();
            true
        };
        assert!(Stencil::cut(&parse(&request(&["a"], "c")), upper).is_none());
        let parts = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#;
        assert!(Stencil::cut(&parse(parts), |request, out| encode(request, false, out)).is_none());
        let constant = |_: &Request<'_>, out: &mut Vec<u8>| {
            out.extend_from_slice(b"{}");
            true
        };
        assert!(Stencil::cut(&parse(&request(&["a"], "c")), constant).is_none(), "the texts are lost");
    }
}
