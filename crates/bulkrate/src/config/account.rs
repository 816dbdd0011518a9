//! How a provider is reached: as a job file says it, and as the stored job keeps it for a `resume` without the file.
//!
//! Both ways name every field, so that a key that is added is kept or left out on purpose.

use std::collections::BTreeMap;

use bulkrate_engine::spec::AccountSpec;

use super::job_file::Provider;

/// What is kept: all but headers and the proxy, which may hold secrets.
pub(super) fn kept(said: Provider) -> AccountSpec {
    let Provider {
        provider,
        base_url,
        base_url_by: _,
        key_env,
        organization,
        project,
        headers: _,
        ca_file,
        proxy: _,
        cost_header,
        trust_body_cost,
        responses_api,
        structured_outputs,
        exclusive_workspace,
        betas,
        api_version,
        deployments,
        vllm_command,
        vllm_args,
        region,
        profile,
        role_arn,
        storage,
        model_invocation_type,
    } = said;
    AccountSpec {
        provider,
        base_url,
        key_env,
        exclusive_workspace: exclusive_workspace.unwrap_or(false),
        betas: betas.unwrap_or_default(),
        organization,
        project,
        ca_file,
        cost_header,
        trust_body_cost,
        responses_api,
        structured_outputs,
        api_version,
        deployments: deployments.unwrap_or_default(),
        vllm_command,
        vllm_args,
        region,
        profile,
        role_arn,
        storage,
        model_invocation_type,
        named: BTreeMap::new(),
    }
}

/// What was kept, as if a job file said it.
pub(crate) fn said(kept: AccountSpec) -> Provider {
    let AccountSpec {
        provider,
        base_url,
        key_env,
        exclusive_workspace,
        betas,
        organization,
        project,
        ca_file,
        cost_header,
        trust_body_cost,
        responses_api,
        structured_outputs,
        api_version,
        deployments,
        vllm_command,
        vllm_args,
        region,
        profile,
        role_arn,
        storage,
        model_invocation_type,
        named: _,
    } = kept;
    Provider {
        provider,
        base_url,
        base_url_by: None,
        key_env,
        organization,
        project,
        headers: None,
        ca_file,
        proxy: None,
        cost_header,
        trust_body_cost,
        responses_api,
        structured_outputs,
        exclusive_workspace: exclusive_workspace.then_some(true),
        betas: Some(betas).filter(|betas| !betas.is_empty()),
        api_version,
        deployments: Some(deployments).filter(|deployments| !deployments.is_empty()),
        vllm_command,
        vllm_args,
        region,
        profile,
        role_arn,
        storage,
        model_invocation_type,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_kept_comes_back_without_what_may_be_secret() {
        let file = r#"
            provider = "openai"
            base_url = "https://example.org/v1"
            key_env = "TEAM_KEY"
            organization = "org"
            project = "project"
            headers = { authorization = "secret" }
            ca_file = "ca.pem"
            proxy = "http://user:secret@proxy"
            cost_header = "x-cost"
            trust_body_cost = true
            responses_api = false
            structured_outputs = false
            exclusive_workspace = true
            betas = ["a", "b"]
            api_version = "2024-10-21"
            deployments = { mini = "gpt-4.1-mini", large = { model = "gpt-4.1", batch = "large-batch" } }
            vllm_command = ["uv", "run", "vllm"]
            vllm_args = ["--seed", "1"]
            region = "eu-west-1"
            profile = "work"
            role_arn = "arn:aws:iam::123456789012:role/batches"
            storage = "s3://bucket/prefix"
            model_invocation_type = "InvokeModel"
        "#;
        let full: Provider = toml::from_str(file).unwrap();
        let stored = kept(full.clone());
        assert!(!serde_json::to_string(&stored).unwrap().contains("secret"), "{stored:?}");
        assert_eq!(said(stored), Provider { headers: None, proxy: None, ..full });
        assert_eq!(said(kept(Provider::default())), Provider::default());
    }
}
