//! Processes of this machine: starts a run in a group of its own, tells whether it still lives, and ends it.
//!
//! A process is known by its number and the moment of its start, as numbers are given out again. The group outlives its leader:
//! while any of it lives, what it writes is not whole.

use std::path::Path;
use std::process::{Child, Command, Stdio};

const SHELL: &str = "/bin/sh";
const WRAPPER: &str = include_str!("wrapper.sh");

/// The leader of a run's group, as the wrapper wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leader {
    pid: u32,
    born: String,
    boot: String,
}

/// Starts `words` under the wrapper, detached from this process and its terminal.
pub(super) fn start(folder: &Path, words: &[String]) -> std::io::Result<Child> {
    let mut command = Command::new(SHELL);
    command.args(["-c", WRAPPER, "bulkrate-run"]).arg(folder).args(words);
    // It needs no provider's key, and its log and its model's code are other people's.
    for preset in crate::presets() {
        command.env_remove(preset.key_env);
    }
    command.env_remove("OPENAI_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

impl Leader {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let (born, boot) = (lines.next()?, lines.next()?.trim().to_owned());
        let born = match boot.as_str() {
            "-" => born.trim().to_owned(),
            _ => Stat::read(born)?.born.to_owned(),
        };
        Some(Self { pid, born, boot })
    }

    /// Whether anything of the group still runs.
    pub(super) fn lives(&self) -> bool {
        match self.boot.as_str() {
            "-" => self.lives_by_ps(),
            _ => self.lives_by_proc().unwrap_or(false),
        }
    }

    /// `None`: nothing can be told, as after a restart of the machine.
    fn lives_by_proc(&self) -> Option<bool> {
        if std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim() != self.boot {
            return None;
        }
        if let Some(text) = stat_of(&self.pid.to_string()) {
            let leader = Stat::read(&text)?;
            // A number is not given out again while a group bears it: with another leader, ours is gone.
            if leader.born != self.born || leader.runs() {
                return Some(leader.born == self.born);
            }
        }
        let all = std::fs::read_dir("/proc").ok()?.flatten();
        let stats = all.filter_map(|entry| stat_of(entry.file_name().to_str()?));
        Some(
            stats
                .filter_map(|text| Stat::read(&text).map(|stat| stat.group == self.pid && stat.runs()))
                .any(|is| is),
        )
    }

    fn lives_by_ps(&self) -> bool {
        let pid = self.pid.to_string();
        let born = ps(&["-o", "lstart=", "-p", &pid]);
        if born.as_deref().is_some_and(|born| !born.trim().is_empty() && born.trim() != self.born) {
            return false;
        }
        let runs = |line: &str| {
            let mut words = line.split_whitespace();
            words.next() == Some(&pid) && words.next().is_some_and(|state| !state.starts_with(['Z', 'X']))
        };
        ps(&["-axo", "pgid=,state="]).is_some_and(|all| all.lines().any(runs))
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, name: &str) {
        const SCRIPT: &str = "kill -s \"$1\" -- \"-$2\" 2> /dev/null";
        if self.lives() {
            let mut command = Command::new(SHELL);
            command.args(["-c", SCRIPT, "bulkrate-kill", name, &self.pid.to_string()]);
            // One that has just ended needs none.
            drop(command.stdin(Stdio::null()).status());
        }
    }
}

fn ps(args: &[&str]) -> Option<String> {
    let said =
        Command::new("ps").args(args).env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null()).output();
    String::from_utf8(said.ok()?.stdout).ok()
}

fn stat_of(pid: &str) -> Option<String> {
    pid.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())?
}

/// What a line of `/proc/PID/stat` says.
struct Stat<'a> {
    state: &'a str,
    group: u32,
    born: &'a str,
}

impl<'a> Stat<'a> {
    /// A name may hold blanks and brackets: what counts stands after the last one.
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.rsplit_once(')')?.1.split_whitespace();
        let (state, group) = (words.next()?, words.nth(1)?.parse().ok()?);
        Some(Self { state, group, born: words.nth(16)? })
    }

    fn runs(&self) -> bool {
        !matches!(self.state, "Z" | "X")
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::{Duration, Instant};

    use super::*;

    fn waited(mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn started(folder: &Path, script: &str) -> (Child, Leader) {
        let words = ["sh", "-c", script].map(str::to_owned);
        let child = start(folder, &words).unwrap();
        let file = folder.join("started");
        waited(|| file.exists());
        (child, Leader::read(&std::fs::read_to_string(file).unwrap()).unwrap())
    }

    #[test]
    fn a_name_with_brackets_is_read_over() {
        let line = "7 (a) b) S 6 5 4 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 4242 9";
        let stat = Stat::read(line).unwrap();
        assert_eq!((stat.state, stat.group, stat.born), ("S", 5, "4242"));
        assert!(Stat::read("7 (a) S 1 2").is_none() && Leader::read("1\nx\n-\n").is_none());
    }

    #[test]
    fn a_run_writes_down_how_it_ended() {
        for (script, code) in [("exit 0", "0\n"), ("echo words; exit 3", "3\n"), ("kill -KILL $$", "137\n")] {
            let folder = tempfile::tempdir().unwrap();
            let (mut child, leader) = started(folder.path(), script);
            child.wait().unwrap();
            assert_eq!(std::fs::read_to_string(folder.path().join("exit")).unwrap(), code);
            assert!(!leader.lives());
        }
    }

    #[test]
    fn one_that_was_given_up_does_not_begin() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("claim")).unwrap();
        let (mut child, _) = started(folder.path(), "exit 0");
        assert!(!child.wait().unwrap().success());
        assert!(!folder.path().join("exit").exists() && !folder.path().join("log").exists());
    }

    #[test]
    fn the_group_lives_on_without_its_leader_and_ends_by_a_signal() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, leader) = started(folder.path(), "exec sleep 600");
        let born = ps(&["-o", "lstart=", "-p", &leader.pid.to_string()]).unwrap();
        let by_ps = Leader { pid: leader.pid, boot: "-".to_owned(), born: born.trim().to_owned() };
        assert!(leader.lives() && by_ps.lives());
        let other = Leader { born: "1".to_owned(), ..leader.clone() };
        assert!(!other.lives() && !Leader { boot: "another".to_owned(), ..leader.clone() }.lives());
        let orphan = || std::fs::read_to_string(folder.path().join("log")).is_ok();
        waited(orphan);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(leader.lives() && by_ps.lives(), "the command goes on");
        leader.signal("KILL");
        waited(|| !leader.lives() && !by_ps.lives());
        assert!(!folder.path().join("exit").exists());
    }

    #[test]
    fn a_polite_signal_is_obeyed_by_the_command_and_written_down_by_the_wrapper() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, leader) =
            started(folder.path(), "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
        waited(|| std::fs::read_to_string(folder.path().join("log")).is_ok_and(|log| log == "up\n"));
        leader.signal("TERM");
        child.wait().unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("exit")).unwrap(), "9\n");
    }
}
