//! Accounts whose key is missing: said in so many words, before anything is sent.

use super::support::{Place, Said, Sim, reviews};

fn job_file(model: &str, fallback: &str, lane: &str, account: &str) -> String {
    format!(
        "[source]\npath = \"reviews.csv\"\nid = \"id\"\n[request]\nmodel = \"{model}\"\nfallback = [{fallback}]\nuser = \"{{{{ text }}}}\"\n\
         choices = [\"positive\", \"negative\"]\n[run]\nlane = \"{lane}\"\nbudget = \"1\"\npoll_min = \"200ms\"\n[sink]\npath = \"out.csv\"\n{account}"
    )
}

fn team_b(base_url: &str) -> String {
    format!("[accounts.team-b]\nprovider = \"openai\"\nkey_env = \"TEAM_B_KEY\"\nbase_url = \"{base_url}\"\n")
}

fn asked(sim: &Sim) -> u64 {
    sim.bill()["requests"].as_u64().unwrap()
}

#[test]
fn a_fallback_without_its_key_is_refused_before_anything_is_sent() {
    let (ours, theirs) = (Sim::start(&[]), Sim::start(&[]));
    let place = Place::with(&ours);
    place.put("reviews.csv", reviews(10));
    for (fallback, account, variable) in [
        ("\"team-b/gpt-6-luna\"", team_b(&theirs.base_url), "TEAM_B_KEY"),
        // Who names the variable means the key, also at a server of one's own.
        ("", "[provider]\nkey_env = \"OTHER_KEY\"\n".to_owned(), "OTHER_KEY"),
    ] {
        place.put("job.toml", job_file("openai/gpt-6-luna", fallback, "sync", &account));
        place.run("run job.toml", &[]).error(4, "credentials-missing", &[variable]);
    }
    assert_eq!((asked(&ours), asked(&theirs)), (0, 0));
}

/// A batch is bound to the account that sent it, and the account to its key: one that is not set is not another one.
#[test]
fn a_batch_of_an_account_whose_key_is_not_set_says_so() {
    let sim = Sim::start(&["--speed", "100"]);
    let place = Place::new().set("TEAM_B_KEY", "sk-sim");
    place.put("reviews.csv", reviews(10));
    place.put("b.toml", job_file("team-b/gpt-6-luna", "", "batch", &team_b(&sim.base_url)));
    place.kill_when(["run", "b.toml"], |job| job["batches"][0]["batch"].is_string());
    let resumed = |change: &dyn Fn(&mut std::process::Command)| -> Said {
        let mut command = place.command(["resume", "b"]);
        change(&mut command);
        command.output().unwrap().into()
    };
    let before = asked(&sim);
    let unset = resumed(&|command| _ = command.env_remove("TEAM_B_KEY"));
    unset.error(4, "credentials-missing", &["`team-b`", "`TEAM_B_KEY` is not set"]);
    let other = resumed(&|command| _ = command.env("TEAM_B_KEY", "sk-other"));
    assert!(other.stderr.contains("error[account-changed]"), "{other:?}");
    assert!(asked(&sim) >= before, "the batch goes on by itself");
    resumed(&|_| ()).expect(0);
    place.proved("b", &sim);
}

/// Ours by the environment, team-b's with a key of its own at another server, and team-c's whose key is not set.
fn three(ours: &Sim, theirs: &Sim) -> Place {
    let place = Place::with(ours).set("TEAM_B_KEY", "sk-sim");
    place.put("reviews.csv", reviews(10));
    let team_c = team_b(&theirs.base_url).replace("team-b", "team-c").replace("TEAM_B", "TEAM_C");
    let accounts = format!("{}{team_c}", team_b(&theirs.base_url));
    let file = job_file("openai/gpt-6-luna", "\"team-b/gpt-6-luna\"", "batch", &accounts);
    place.put("job.toml", file);
    place
}

#[test]
fn doctor_checks_every_account_of_a_job_by_its_name() {
    let (ours, theirs) = (Sim::start(&[]), Sim::start(&[]));
    let place = three(&ours, &theirs);
    let said = place.run("doctor job.toml --json", &[]).expect(4).json();
    let checks = said["checks"].as_array().unwrap();
    let of = |account: Option<&str>| -> Vec<String> {
        let mine = checks.iter().filter(|check| check["account"].as_str() == account);
        mine.map(|check| format!("{} {}", check["check"].as_str().unwrap(), check["grade"].as_str().unwrap()))
            .collect()
    };
    let all = ["model ok", "key ok", "reach ok", "batch ok", "clock ok", "quota ok", "dates ok"];
    let like = |found: &[String], want: &[&str]| {
        assert!(found.len() == want.len(), "{found:?}");
        assert!(found.iter().zip(want).all(|(found, want)| found.starts_with(want)), "{found:?}");
    };
    like(&of(None), &["state ok", "prices", "provider ok"]);
    like(&of(Some("openai")), &all);
    like(&of(Some("team-b")), &all);
    like(&of(Some("team-c")), &["key failed"]);
    assert_eq!((asked(&ours), asked(&theirs)), (0, 0), "nothing is paid");

    let text = place.run("doctor job.toml", &[]).expect(4).stdout;
    for line in [
        "ok       model    team-b team-b/gpt-6-luna is openai/gpt-6-luna, which is known and priced\n",
        "ok       reach    team-b the provider answers;",
        "ok       quota    openai not told by free calls",
        "FAILED   key      team-c `TEAM_C_KEY` is not set\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Without the job its accounts are nobody's business.
    let alone = place.run("doctor", &[]).expect(0).stdout;
    assert!(!alone.contains("team-"), "{alone}");
    // A name that is no file's is that of a job of this folder.
    place.run("doctor nothing", &[]).error(1, "state-missing", &[]);
    place.run("doctor gone.toml", &[]).error(2, "file-unreadable", &["gone.toml"]);
}

#[test]
fn doctor_tells_which_models_of_an_account_are_retired_soon() {
    let (ours, theirs) = (Sim::start(&[]), Sim::start(&[]));
    let place = three(&ours, &theirs);
    let date = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(1)).unwrap();
    let head = "provider,model_id,kind,input,output,deprecation_date";
    place.put("mine.csv", format!("{head}\nopenai,gpt-6-luna,chat,0.1,0.4,{date}\n"));
    let text = place.run("doctor job.toml --prices mine.csv", &[]).stdout;
    for line in [
        format!("warning  model    openai openai/gpt-6-luna retires on {date}\n"),
        format!("warning  model    team-b team-b/gpt-6-luna is openai/gpt-6-luna, which retires on {date}\n"),
        format!("gpt-6-luna on {date}"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    let dates: Vec<&str> = text.lines().filter(|line| line.starts_with("ok       dates")).collect();
    assert!(dates.len() == 2 && dates.iter().all(|line| line.contains("retired within 90 days:")), "{text}");
}

#[test]
fn the_batches_of_every_account_are_listed_and_one_is_chosen_by_its_name() {
    let slow = ["--speed", "100"];
    let (ours, theirs) = (Sim::start(&slow), Sim::start(&slow));
    let place = three(&ours, &theirs);
    // Team-c has no key: it is no account of this job's.
    let file = place.read("job.toml");
    let (file, _) = file.split_once("[accounts.team-c]").unwrap();
    place.put("two.toml", file);
    place.run("batch submit two.toml --name first --yes --json", &[]).expect(0);
    place.run("batch submit two.toml --name second --account team-b --yes --json", &[]).expect(0);
    assert_eq!((asked(&ours), asked(&theirs)), (0, 0), "a batch at each, and neither has run");

    let list = |line: &str, code: i32| -> Vec<(String, Option<String>)> {
        let said = place.run(&format!("batch list {line} --json"), &[]).expect(code).json();
        let text = |view: &serde_json::Value, key: &str| view[key].as_str().map(str::to_owned);
        let row = |view: &serde_json::Value| (text(view, "provider").unwrap(), text(view, "job"));
        let mut rows: Vec<_> = said.as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    };
    let row = |account: &str, job: &str| (account.to_owned(), Some(job.to_owned()));
    let (first, second) = (row("openai", "first"), row("team-b", "second"));
    assert_eq!(list("two.toml", 0), [first.clone(), second.clone()]);
    assert_eq!(list("second", 0), [first.clone(), second.clone()], "the accounts of a job of this folder");
    assert_eq!(list("two.toml --account team-b", 0), std::slice::from_ref(&second));
    assert_eq!(list("two.toml --provider openai", 0), std::slice::from_ref(&first));
    assert_eq!(list("", 0), std::slice::from_ref(&first), "what the environment sets up");
    // One that cannot be asked is told, and the others are listed.
    assert_eq!(list("job.toml", 4), [first, second, ("team-c".to_owned(), None)]);
    let text = place.run("batch list job.toml", &[]).expect(4).stdout;
    assert!(
        text.contains("  team-c: not asked: no credentials for `team-c`: `TEAM_C_KEY` is not set\n"),
        "{text}"
    );
    place.run("batch list job.toml --account team-c", &[]).error(4, "credentials-missing", &["TEAM_C_KEY"]);
    place.run("batch list --account team-b", &[]).error(2, "provider-not-set-up", &["team-b"]);
    place.run("batch submit two.toml --account nobody --yes", &[]).error(
        2,
        "provider-not-set-up",
        &["nobody"],
    );
}
