//! The few arguments that tasks take, read in any order.

use anyhow::{Context as _, Result, bail};

/// What is left of the command line. Every read takes what it returns; `finish` refuses the rest.
#[derive(Debug)]
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(args: impl IntoIterator<Item = String>) -> Self {
        Self(args.into_iter().collect())
    }

    /// The next argument, whatever it is.
    pub(crate) fn word(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// Whether `--name` was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|arg| arg == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    /// Every value of `--name VALUE` or `--name=VALUE`; commas separate values too.
    pub(crate) fn values(&mut self, name: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        while let Some(at) = self.0.iter().position(|arg| arg == name || split(arg, name).is_some()) {
            let arg = self.0.remove(at);
            let value = match split(&arg, name) {
                Some(value) => value.to_owned(),
                None if at < self.0.len() => self.0.remove(at),
                None => bail!("`{name}` needs a value"),
            };
            values.extend(value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        }
        Ok(values)
    }

    /// What is left, as it was given.
    pub(crate) fn rest(self) -> Vec<String> {
        self.0
    }

    /// Refuses whatever was not read.
    pub(crate) fn finish(self) -> Result<()> {
        self.0.first().map_or(Ok(()), |arg| bail!("`{arg}` is not understood here"))
    }
}

fn split<'a>(arg: &'a str, name: &str) -> Option<&'a str> {
    arg.strip_prefix(name)?.strip_prefix('=')
}

/// The one of `known` that each of `given` names.
pub(crate) fn known<'a>(given: &[String], known: &[&'a str], what: &str) -> Result<Vec<&'a str>> {
    given
        .iter()
        .map(|name| {
            known
                .iter()
                .copied()
                .find(|one| one == name)
                .with_context(|| format!("`{name}` is not a {what}; there are {}", known.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_values_and_leftovers() {
        let line = "--only clippy,fmt --check --only=tidy rest";
        let mut args = Args::new(line.split(' ').map(str::to_owned));
        assert!(args.flag("--check"));
        assert!(!args.flag("--check"));
        assert_eq!(args.values("--only").unwrap(), ["clippy", "fmt", "tidy"]);
        assert!(args.finish().unwrap_err().to_string().contains("`rest`"));
        assert!(Args::new(["--only".to_owned()]).values("--only").is_err());
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = known(&["clipy".to_owned()], &["fmt", "clippy"], "step").unwrap_err();
        assert_eq!(error.to_string(), "`clipy` is not a step; there are fmt, clippy");
    }
}
