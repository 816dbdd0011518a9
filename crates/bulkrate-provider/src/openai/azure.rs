//! Azure OpenAI: OpenAI's language at a resource of the user's own, where models are called by the names of deployments.
//!
//! Two generations of its API are spoken. The newer one has `v1` in its paths and is OpenAI's otherwise. The older ones are named by a
//! date in the query, and a call has its deployment in the path.

use bulkrate_core::request::Kind;
use bulkrate_core::submission::KnownBy;
use serde_json::json;

use super::dialect::{Charges, Dialect, Takes, Tiers};
use super::form::Form;
use crate::api::Unlisted;
use crate::http::batches::in_path;
use crate::settings::Settings;

impl Dialect {
    pub const AZURE: Self = Self {
        name: "azure",
        base_url: None,
        key_env: "AZURE_OPENAI_API_KEY",
        key_header: Some("api-key"),
        deploys: true,
        tiers: Tiers::Flex,
        charges: Charges::Unsaid,
        unlisted: Unlisted::Priced,
        takes: Takes { kinds: &[Kind::Chat, Kind::Embedding], ..Self::OPENAI.takes },
        ..Self::OPENAI
    };
}

/// Batches from and to blobs. Nothing can be written on them, and they show their input, whose name no other has.
pub(super) const BLOBS: Form = Form {
    create: |order| {
        serde_json::to_vec(&json!({
            "input_file_id": null, "endpoint": order.endpoint, "completion_window": "24h",
            "input_blob": order.input_file, "output_folder": {"url": order.folder},
        }))
    },
    known_by: KnownBy::Input,
    ..Form::OPENAI
};

/// Completes the address of a resource, in whichever of its usual forms it is written.
pub(super) fn address(settings: &mut Settings) {
    let dated = settings.api_version.as_deref().map(str::trim).filter(|version| !version.is_empty());
    settings.query = dated.map(|version| format!("api-version={}", in_path(version)));
    let root = if dated.is_some() { "/openai" } else { "/openai/v1" };
    settings.base_url = settings.base_url.take().map(|url| {
        let url = url.trim().trim_end_matches('/');
        let resource = ["/openai/v1", "/openai"].iter().find_map(|end| url.strip_suffix(end)).unwrap_or(url);
        format!("{resource}{root}")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_resource_has_many_forms() {
        for (url, version, want) in [
            ("https://r.openai.azure.com", None, "https://r.openai.azure.com/openai/v1"),
            ("https://r.openai.azure.com/openai/v1/", None, "https://r.openai.azure.com/openai/v1"),
            ("https://r.openai.azure.com/", Some("2024-10-21"), "https://r.openai.azure.com/openai"),
            ("https://r.openai.azure.com/openai/v1", Some("2024-10-21"), "https://r.openai.azure.com/openai"),
            ("https://gateway/team/openai", Some(" "), "https://gateway/team/openai/v1"),
        ] {
            let mut settings = Settings {
                base_url: Some(url.to_owned()),
                api_version: version.map(str::to_owned),
                ..Settings::default()
            };
            address(&mut settings);
            let query =
                version.filter(|version| *version != " ").map(|version| format!("api-version={version}"));
            assert_eq!((settings.base_url.as_deref(), settings.query), (Some(want), query), "{url}");
        }
    }
}
