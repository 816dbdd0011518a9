//! The files that Amazon's own tools share: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Variables;

/// What both files say of one profile; the first wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: String,
    fields: BTreeMap<String, String>,
    /// Whether either file knows it.
    pub(super) is_known: bool,
}

impl Profile {
    /// The profile that is named, by the settings or by `AWS_PROFILE`; else the usual one.
    pub(crate) fn find(variables: &Variables, named: Option<&str>) -> Self {
        let name = named.or_else(|| variables.get("AWS_PROFILE")).unwrap_or("default").to_owned();
        let (mut fields, mut is_known) = (BTreeMap::new(), false);
        for (variable, file, prefix) in
            [("AWS_SHARED_CREDENTIALS_FILE", "credentials", ""), ("AWS_CONFIG_FILE", "config", "profile ")]
        {
            let Some(text) = read(variables, variable, file) else { continue };
            // The usual profile has no prefix in either file.
            for section in [name.clone(), format!("{prefix}{name}")] {
                for (key, value) in section_of(&text, &section).into_iter().flatten() {
                    is_known = true;
                    fields.entry(key).or_insert(value);
                }
            }
        }
        Self { name, fields, is_known }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn read(variables: &Variables, variable: &str, file: &str) -> Option<String> {
    let home = || variables.get("HOME").or_else(|| variables.get("USERPROFILE"));
    let path = match variables.get(variable) {
        Some(path) => match path.strip_prefix("~/") {
            Some(rest) => PathBuf::from(home()?).join(rest),
            None => PathBuf::from(path),
        },
        None => PathBuf::from(home()?).join(".aws").join(file),
    };
    std::fs::read_to_string(path).ok() // one that is not there says nothing
}

/// The fields below `[name]`; lines that are indented belong to a field of its own kind.
fn section_of(text: &str, name: &str) -> Option<Vec<(String, String)>> {
    let header = |line: &str| {
        let inside = line.trim().strip_prefix('[')?.split_once(']')?.0;
        Some(inside.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut lines = text.lines();
    lines.find(|line| header(line).as_deref() == Some(name))?;
    let own = lines.take_while(|line| header(line).is_none());
    let plain = own.filter(|line| !line.starts_with([' ', '\t', '#', ';']));
    let pairs = plain.filter_map(|line| line.split_once('='));
    Some(pairs.map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=s/e=t\n\n[work]\n; not yet\naws_access_key_id=B\n";
    const CONFIG: &str = "[default]\nregion = us-west-2\ns3 =\n  region = nowhere\n[profile work]\nregion=eu-central-1\naws_access_key_id=C\n[work]\noutput=json\n";

    #[test]
    fn both_files_are_read_and_the_credentials_win() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(".aws")).unwrap();
            std::fs::write(folder.path().join(".aws").join(name), text).unwrap();
        };
        at("credentials", CREDENTIALS);
        at("config", CONFIG);
        let home = folder.path().display().to_string();
        let variables = |more: &[(&str, &str)]| {
            let home = [("HOME", home.as_str())];
            let all = more.iter().chain(&home);
            Variables(all.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
        };
        for (named, more, want) in [
            (None, &[][..], [Some("A"), Some("s/e=t"), Some("us-west-2")]),
            (Some("work"), &[], [Some("B"), None, Some("eu-central-1")]),
            (None, &[("AWS_PROFILE", "work")], [Some("B"), None, Some("eu-central-1")]),
            (None, &[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")], [None, None, Some("us-west-2")]),
            (Some("nobody"), &[], [None, None, None]),
        ] {
            let profile = Profile::find(&variables(more), named);
            let got =
                ["aws_access_key_id", "aws_secret_access_key", "region"].map(|field| profile.get(field));
            assert_eq!((got, profile.is_known), (want, named != Some("nobody")), "{named:?} {more:?}");
        }
    }
}
