//! Prints `docs/reference/providers.md`: services and fields, from the code that decides.

use bulkrate_provider::vllm::VllmOffline;
use bulkrate_provider::{Provider, ProxyFrom, Settings, Unlisted, conformance};

type Failed = Box<dyn std::error::Error>;

const HEAD: &str = "# Services and fields

Each of these needs no more than its key; Azure also needs the address of your resource, [Bedrock](../guides/bedrock.md) a region and, for batches, a role and a bucket, [Vertex](../guides/vertex.md) a project, a location and a bucket. All but Anthropic, Gemini, Vertex and Bedrock speak OpenAI's language. A model is named `service/model`; what the price catalogue does not \
list follows the last column. Another address is set by `NAME_BASE_URL`, such as `GROQ_BASE_URL`. `--base-url` stands \
for everything: a service without an address of its own is then reached there. `OPENAI_BASE_URL` is where OpenAI's models are, and those of services that are \
not set up; a model of one that is set up [is refused](../errors/provider-ambiguous.md) until one of the two addresses is named.

";

fn lanes(provider: &dyn Provider) -> String {
    let lanes = [("sync", true), ("flex", provider.facts().flex), ("batch", provider.batches().is_some())];
    lanes.into_iter().filter(|(_, has)| *has).map(|(lane, _)| lane).collect::<Vec<_>>().join(", ")
}

fn unlisted(of: Unlisted) -> &'static str {
    match of {
        Unlisted::Refused => "refused",
        Unlisted::Priced => "needs `--price-in`, `--price-out`",
        Unlisted::Reported => "answers say what they cost; no budget without a price",
        Unlisted::Free => "free, or the price given",
    }
}

fn main() -> Result<(), Failed> {
    let mut page = HEAD.to_owned();
    page.push_str(
        "| service | key | address | lanes | models not listed |\n| --- | --- | --- | --- | --- |\n",
    );
    let openai =
        bulkrate_provider::open("openai", &Settings { proxy: ProxyFrom::None, ..Settings::default() })?;
    page.push_str(&format!(
        "| openai | `OPENAI_API_KEY` | `https://api.openai.com/v1` | {} | {} |\n",
        lanes(&*openai),
        unlisted(openai.facts().unlisted)
    ));
    let mut opened = vec![("openai", openai)];
    for preset in bulkrate_provider::presets() {
        // Nothing is sent: any address will do where everybody has his own.
        let base_url = preset.base_url.is_none().then(|| "https://resource.invalid".to_owned());
        let named = |text: &str| (!preset.variables.is_empty()).then(|| text.to_owned());
        let settings = Settings {
            proxy: ProxyFrom::None,
            base_url,
            region: named("us-east-1"),
            role_arn: named("arn:aws:iam::123456789012:role/NAME"),
            storage: named(preset.storage),
            ..Settings::default()
        };
        let provider = bulkrate_provider::open(preset.name, &settings)?;
        let address = match preset.base_url {
            None => format!("`{}`", preset.base_env()),
            Some(address) => format!("`{address}`"),
        };
        let key = match (preset.facts.needs_key, preset.found) {
            (true, "") => String::new(),
            (false, "") => " (if it wants one)".to_owned(),
            (_, found) => format!(", or {found}"),
        };
        page.push_str(&format!(
            "| {} | `{}`{key} | {} | {} | {} |\n",
            preset.name,
            preset.key_env,
            address,
            lanes(&*provider),
            unlisted(preset.facts.unlisted),
        ));
        opened.push((preset.name, provider));
    }
    let offline = VllmOffline::NAME;
    page.push_str(&format!(
        "| {offline} | none | `vllm run-batch` on this machine | batch | {} |\n",
        unlisted(Unlisted::Free)
    ));
    opened.push((offline, bulkrate_provider::open(offline, &Settings::default())?));
    page.push_str("\n## What a request may hold\n\n");
    page.push_str(
        "`yes`: it is sent under the service's own name for it. `-`: it is an error that names item, field and model, before anything is \
         sent; `provider_kwargs` goes out as you write it. Each cell is proved by a test: the service's simulator answers it, or the error names the field. Some models of a service take less: then the service refuses the item. Claude models up to 4.6 take more than is shown: `temperature`, `top_p`, `top_k`, and `reasoning` as tokens. Gemini 2.5 takes `reasoning` as tokens, and all of it but Pro takes `none`; \
         a Gemini model that is told nothing of `reasoning` is told to think as little as it can, as what it thinks counts towards the output maximum. At OpenAI and Azure, models before gpt-5 take all of sampling, stop sequences and penalties, and no `reasoning`. At Bedrock, Claude models take `reasoning` too, and `top_k` is for Claude and Nova alone. `choices` go out as a schema where schemas are taken; elsewhere the answer is matched when it comes.\n\n",
    );
    let columns = conformance::columns();
    page.push_str(&conformance::table(&columns, &conformance::fields(), |column, field| {
        let provider = opened.iter().find(|(name, _)| *name == column.service);
        provider.is_some_and(|(_, provider)| column.write(&**provider, field).is_ok())
    }));
    println!("{}", page.trim_end());
    Ok(())
}
