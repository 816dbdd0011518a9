//! XML, as far as errors of object stores need it.

/// What a text between two tags of an XML document says. Neither Amazon's nor Azure's answers nest a tag of these names in itself.
pub(crate) fn text(body: &str, tag: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    let mut plain = text.trim().to_owned();
    for (name, letter) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")]
    {
        plain = plain.replace(name, letter);
    }
    Some(plain)
}
