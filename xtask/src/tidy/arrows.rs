//! Which crate may depend on which, and that the core's whole tree stays pure.

use super::Findings;
use crate::shell::{cargo, on_ci, output};
use anyhow::{Context as _, Result};
use serde_json::Value;

/// What each crate may name in `[dependencies]`; tests may add what `DEV` says. The order is the arrow of architecture.
const ARROWS: [(&str, &[&str]); 16] = [
    ("bulkrate-alloc", &[]),
    ("bulkrate-core", &[]),
    ("bulkrate-provider", &["bulkrate-core"]),
    ("bulkrate-store", &["bulkrate-core"]),
    ("bulkrate-io", &["bulkrate-core"]),
    ("bulkrate-tokens", &["bulkrate-core"]),
    ("bulkrate-engine", &["bulkrate-core", "bulkrate-provider", "bulkrate-store", "bulkrate-io"]),
    (
        "bulkrate-server",
        &["bulkrate-core", "bulkrate-provider", "bulkrate-store", "bulkrate-io", "bulkrate-engine"],
    ),
    ("bulkrate-sim", &["bulkrate-core"]),
    (
        "bulkrate-world",
        &[
            "bulkrate-core",
            "bulkrate-provider",
            "bulkrate-store",
            "bulkrate-io",
            "bulkrate-engine",
            "bulkrate-sim",
            "bulkrate-tokens",
        ],
    ),
    (
        "bulkrate",
        &[
            "bulkrate-alloc",
            "bulkrate-core",
            "bulkrate-provider",
            "bulkrate-store",
            "bulkrate-io",
            "bulkrate-engine",
            "bulkrate-server",
            "bulkrate-sim",
            "bulkrate-tokens",
        ],
    ),
    ("bulkrate-fuzz", &["bulkrate-core", "bulkrate-provider", "bulkrate-io", "bulkrate"]),
    ("bulkrate-python", &["bulkrate"]),
    ("bulkrate-bench", &[]),
    ("bulkrate-levers", &["bulkrate-core", "bulkrate-tokens"]),
    ("xtask", &[]),
];

/// What tests may use beyond that. The simulator is for tests everywhere but in the core; it never meets the provider crate,
/// not even in its own tests.
const DEV: [(&str, &[&str]); 5] = [
    ("bulkrate-provider", &["bulkrate-sim"]),
    ("bulkrate-engine", &["bulkrate-sim", "bulkrate-tokens"]),
    ("bulkrate-server", &["bulkrate-sim", "bulkrate-world"]),
    ("bulkrate", &["bulkrate-world"]),
    ("xtask", &["bulkrate-core"]),
];

/// Nothing that acts may stand in the core's tree, however deep.
const IMPURE: [&str; 30] = [
    "tokio",
    "mio",
    "async-std",
    "smol",
    "futures-executor",
    "socket2",
    "hyper",
    "hyper-util",
    "h2",
    "reqwest",
    "ureq",
    "curl",
    "rustls",
    "ring",
    "native-tls",
    "openssl",
    "rusqlite",
    "libsqlite3-sys",
    "sqlx-core",
    "tokio-postgres",
    "redis",
    "tempfile",
    "walkdir",
    "memmap2",
    "notify",
    "rand",
    "fastrand",
    "chrono",
    "time",
    "tracing-subscriber",
];

pub(super) fn check(found: &mut Findings) -> Result<()> {
    let mut metadata = cargo("metadata --format-version 1 --no-deps");
    if on_ci() {
        metadata.arg("--locked");
    }
    let metadata: Value =
        serde_json::from_str(&output(metadata)?).context("`cargo metadata` wrote no JSON")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let depends = package["dependencies"].as_array().into_iter().flatten();
        let ours = depends.filter(|dependency| dependency["path"].is_string());
        for dependency in ours {
            let dev = dependency["kind"].as_str() == Some("dev");
            found.errors.extend(judge(name, dependency["name"].as_str().unwrap_or_default(), dev));
        }
        found.errors.extend(judge_licence(name, package["license"].as_str()));
    }
    let tree = output(cargo("tree --package bulkrate-core --edges normal --prefix none --format {p}"))?;
    found.errors.extend(impure(&tree));
    Ok(())
}

/// Why `name` may not depend on `on`, if it may not.
fn judge(name: &str, on: &str, dev: bool) -> Option<String> {
    let row = |table: &[(&str, &'static [&'static str])]| {
        table.iter().find(|(one, _)| *one == name).map(|(_, allowed)| *allowed)
    };
    let Some(normal) = row(&ARROWS) else {
        return Some(format!(
            "crate `{name}` has no row in xtask/src/tidy/arrows.rs: say there what it may depend on"
        ));
    };
    if normal.contains(&on) || (dev && (row(&DEV).is_some_and(|allowed| allowed.contains(&on)) || on == name))
    {
        return None;
    }
    let (section, allowed) =
        if dev { ("dev-dependencies", "its tests may use") } else { ("dependencies", "it may use") };
    let mut list = normal.to_vec();
    list.extend(row(&DEV).filter(|_| dev).into_iter().flatten());
    let list = if list.is_empty() { "no crate of ours".to_owned() } else { list.join(", ") };
    Some(format!(
        "`{name}` names `{on}` in [{section}], against the arrow of ARCHITECTURE.md; {allowed} {list}"
    ))
}

fn judge_licence(name: &str, licence: Option<&str>) -> Option<String> {
    let ours = "MIT OR Apache-2.0";
    (licence != Some(ours)).then(|| {
        format!(
            "crate `{name}` says licence {}; write `license.workspace = true` ({ours})",
            licence.unwrap_or("none")
        )
    })
}

fn impure(tree: &str) -> Vec<String> {
    let named = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut names: Vec<String> =
        tree.lines().filter_map(named).filter(|name| IMPURE.contains(&name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    let finding = |name: String| {
        format!(
            "`bulkrate-core` depends on `{name}` (`cargo tree -p bulkrate-core -e normal -i {name}` shows how): the core decides and never acts"
        )
    };
    names.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_one_way() {
        for (name, on, dev, allowed) in [
            ("bulkrate-engine", "bulkrate-store", false, true),
            ("bulkrate-store", "bulkrate-io", false, false), // blind to each other
            ("bulkrate-core", "bulkrate-store", true, false),
            ("bulkrate-engine", "bulkrate-sim", false, false),
            ("bulkrate-engine", "bulkrate-sim", true, true),
            ("bulkrate-sim", "bulkrate-provider", true, false), // not even in tests
            ("bulkrate-engine", "bulkrate-tokens", false, false), // the tables come in as an argument
            ("bulkrate", "bulkrate-sim", false, true),
            ("bulkrate-new", "bulkrate-core", false, false),
        ] {
            assert_eq!(judge(name, on, dev).is_none(), allowed, "{name} -> {on}, dev {dev}");
        }
    }

    #[test]
    fn an_impure_crate_is_named_once() {
        let found = impure("bulkrate-core v0.1.0 (dir)\nserde v1\ntokio v1.4 (*)\ntokio v1.4\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`tokio`"), "{found:?}");
    }
}
