//! Finds the program to run, so that one that is missing is told before a job begins.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The program that a command names, found as a shell would; `Err` says why it cannot be run.
pub(super) fn find(command: &[String]) -> Result<PathBuf, String> {
    find_in(command, &std::env::var_os("PATH").unwrap_or_default())
}

fn find_in(command: &[String], path: &OsStr) -> Result<PathBuf, String> {
    const WHERE: &str = "`vllm_command` in the job file names another";
    let Some(name) = command.first().filter(|name| !name.is_empty()) else {
        return Err(format!("no program is named; {WHERE}"));
    };
    if name.contains('/') {
        return is_program(Path::new(name))
            .map(|()| PathBuf::from(name))
            .map_err(|why| format!("`{name}` {why}; {WHERE}"));
    }
    let mut there = None;
    for folder in std::env::split_paths(path) {
        let file = folder.join(name);
        match is_program(&file) {
            Ok(()) => return Ok(file),
            Err(why) if file.exists() => there = Some(format!("`{}` {why}; {WHERE}", file.display())),
            Err(_) => {}
        }
    }
    Err(there.unwrap_or_else(|| {
        format!("no program `{name}` is found in `PATH`; install vLLM (`pip install vllm`), or {WHERE}")
    }))
}

fn is_program(file: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(file).map_err(|error| format!("cannot be found: {error}"))?;
    if !meta.is_file() {
        return Err("is no file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if meta.permissions().mode() & 0o111 == 0 {
            return Err("is not executable".to_owned());
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, mode) in [("plain", 0o600), ("runs", 0o700)] {
            std::fs::write(at(name), "").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let find = |command: &[&str]| {
            let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            find_in(&command, folder.path().as_os_str())
        };
        let whole = at("runs").display().to_string();
        assert_eq!(find(&["runs", "x"]), Ok(at("runs")));
        assert_eq!(find(&[&whole]), Ok(at("runs")));
        for (command, words) in [
            (&[][..], "no program is named"),
            (&[""], "no program is named"),
            (&["plain"], "plain` is not executable"),
            (&["vllm"], "no program `vllm` is found in `PATH`"),
            (&["./no/such"], "`./no/such` cannot be found"),
            (&["/"], "`/` is no file"),
        ] {
            let why = find(command).unwrap_err();
            assert!(why.contains(words) && why.contains("`vllm_command`"), "{why}");
        }
    }
}
