//! `explain`: the page of an error or an alert, from the program itself.

use bulkrate_core::route::nearest;

use super::AppError;
use crate::cli::Shared;
use crate::config::ConfigError;
use crate::report::out;

/// Codes and pages, in the order of the codes.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

pub(super) fn explain(shared: &Shared, code: Option<&str>) -> Result<u8, AppError> {
    let Some(code) = code else {
        list(shared);
        return Ok(0);
    };
    let Some((code, page)) = PAGES.iter().find(|(known, _)| *known == code) else {
        let near = nearest(code, PAGES.iter().map(|(known, _)| *known));
        let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        let message = format!("nothing is called `{code}`{near}");
        let hint = Some("`bulkrate explain` lists all that there is");
        return Err(ConfigError::option("explain", message, hint).into());
    };
    if shared.json {
        out::json(&serde_json::json!({ "code": code, "page": plain(page) }));
    } else {
        out::data(&plain(page));
    }
    Ok(0)
}

fn list(shared: &Shared) {
    if shared.json {
        let all: Vec<_> = PAGES
            .iter()
            .map(|(code, page)| serde_json::json!({ "code": code, "what": first(page) }))
            .collect();
        out::json(&serde_json::json!(all));
        return;
    }
    let wide = PAGES.iter().map(|(code, _)| code.len()).max().unwrap_or(0);
    let lines = PAGES.iter().map(|(code, page)| format!("{code:wide$}  {}\n", first(page)));
    out::data(&lines.collect::<String>());
}

/// The first sentence below the heading.
fn first(page: &str) -> String {
    let text: Vec<&str> =
        page.lines().skip(1).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
    let text = plain(&text.join(" "));
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text[..end].to_owned()
}

/// The page with links to other pages as their words: in a terminal there is nothing behind them.
fn plain(page: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(page.len()), page);
    while let Some(middle) = rest.find("](") {
        let (before, link) = rest.split_at(middle);
        let (Some(open), Some(end)) = (before.rfind('['), link.find(')')) else { break };
        if link[2..end].contains("://") {
            out.push_str(&rest[..=middle + end]);
        } else {
            out.push_str(&before[..open]);
            out.push_str(&before[open + 1..]);
        }
        rest = &link[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_pages_become_words_and_addresses_stay() {
        for (page, want) in [
            ("see [the guide](../guides/a.md#b), or [b](b.md).", "see the guide, or b."),
            ("[its page](https://example.com/a) says", "[its page](https://example.com/a) says"),
            ("no link: a[1] and f(2)", "no link: a[1] and f(2)"),
        ] {
            assert_eq!(plain(page), want);
        }
    }

    #[test]
    fn every_page_begins_with_its_code_and_a_sentence() {
        assert!(PAGES.len() > 100);
        for (code, page) in PAGES {
            assert!(
                page.starts_with("# ") && page.lines().next().is_some_and(|line| line.contains(code)),
                "{code}"
            );
            assert!(first(page).len() > 20, "{code}: {}", first(page));
        }
    }
}
