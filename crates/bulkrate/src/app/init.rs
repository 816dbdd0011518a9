//! `init`: a commented job file to start from.

use std::io::Write as _;

use serde_json::json;

use super::AppError;
use crate::cli::{InitArgs, Shared};
use crate::config::ConfigError;
use crate::report::out;

/// What `bulkrate init` writes; the guide explains it key by key.
pub(crate) const TEMPLATE: &str = include_str!("job.toml");

pub(super) fn init(shared: &Shared, args: &InitArgs) -> Result<u8, AppError> {
    let path = args.file.clone();
    let file = std::fs::File::create_new(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => ConfigError::Exists { path: path.clone() },
        _ => ConfigError::Write { path: path.clone(), source },
    });
    let written = file?.write_all(TEMPLATE.as_bytes());
    written.map_err(|source| ConfigError::Write { path: path.clone(), source })?;
    let name = path.display().to_string();
    if shared.json {
        out::json(&json!({ "output": name }));
    }
    if !shared.quiet {
        out::talk(&format!("wrote {name}; edit it, then `bulkrate plan {name}` and `bulkrate run {name}`\n"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::TEMPLATE;
    use crate::config::{Layer, job};

    #[test]
    fn the_template_is_a_job_as_it_stands_and_with_every_comment_taken_away() {
        let spec = job(Layer::parse("job.toml", TEMPLATE).unwrap()).unwrap();
        assert_eq!(spec.name, "my-job");
        // A line that begins with `# ` and a key is an option with its usual value.
        let is_key = |line: &str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        };
        let all: Vec<&str> = TEMPLATE
            .lines()
            .map(|line| {
                line.strip_prefix("# ").filter(|rest| is_key(rest) || rest.starts_with('[')).unwrap_or(line)
            })
            .collect();
        let layer = Layer::parse("job.toml", &all.join("\n")).unwrap();
        assert!(
            layer.run.poll_max.is_some() && layer.provider.base_url.is_some() && layer.sink.stream.is_some()
        );
    }
}
