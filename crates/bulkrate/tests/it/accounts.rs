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
