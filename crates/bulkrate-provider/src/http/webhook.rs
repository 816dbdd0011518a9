//! Tells a URL of the user's choice. No key goes along, nothing is followed or repeated.

use std::time::Duration;

use reqwest::{Url, redirect};

use super::{proxy, tls};
use crate::settings::ProxyFrom;

/// Posts a JSON body; answers the status.
///
/// # Errors
/// Why it could not be told, without the URL: a webhook's address is often its secret.
pub async fn post_json(url: &str, body: Vec<u8>, timeout: Duration) -> Result<u16, String> {
    let url = Url::parse(url).map_err(|error| format!("the webhook's URL cannot be read: {error}"))?;
    let proxy = proxy::choose(&ProxyFrom::Environment, &url).map_err(|error| error.to_string())?;
    let config = tls::client_config(None).map_err(|error| error.to_string())?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config.as_ref().clone())
        .redirect(redirect::Policy::none())
        .timeout(timeout)
        .no_proxy();
    if let Some(proxy) = proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.url).map_err(describe)?);
    }
    let client = builder.build().map_err(describe)?;
    let request = client.post(url).header(http::header::CONTENT_TYPE, "application/json").body(body);
    Ok(request.send().await.map_err(describe)?.status().as_u16())
}

fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
