//! The learned router: labels in, a file out, and what it is worth on rows that it has not seen.

use super::support::Place;

/// A generator of whole numbers: the same rows on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Questions with a rule: the weak model fails at four of five proofs, both seldom fail at anything else.
fn questions(rows: usize, seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut csv = String::from("question,luna_ok,sol_ok,topic\n");
    for _ in 0..rows {
        let hard = dice.below(10) < 4;
        let (ask, topic) =
            if hard { ("prove the theorem about", "proofs") } else { ("name the colour of", "names") };
        let thing = ["stone", "river", "number", "house"][usize::try_from(dice.below(4)).unwrap()];
        let weak = if hard { dice.below(5) == 0 } else { dice.below(20) > 0 };
        let strong = dice.below(20) > 0;
        csv.push_str(&format!(
            "{ask} {thing} {},{},{},{topic}\n",
            dice.below(1_000_000_000),
            u8::from(weak),
            u8::from(strong)
        ));
    }
    csv
}

const COLUMNS: [&str; 6] = ["--text", "question", "--weak", "luna_ok", "--strong", "sol_ok"];

#[test]
fn a_router_is_trained_shown_and_measured() {
    let place = Place::new();
    place.put("pilot.csv", questions(1_000, 1)).put("more.csv", questions(3_000, 2));
    let train = "route train pilot.csv --quality-loss 4% --price-ratio 20 --out shop.router";
    let said = place.run(&format!("{train} --json"), &COLUMNS).expect(0).json();
    assert_eq!((said["labels_taught"].as_u64(), said["labels_proved"].as_u64()), (Some(500), Some(500)));
    assert!(said["cut"]["saving"].as_f64().unwrap() > 0.3, "{said}");
    let shown = place.run("route show shop.router --json", &[]).expect(0).json();
    for key in ["version", "threshold_millionths", "cut", "seed", "words"] {
        assert_eq!(shown[key], said[key], "{key}");
    }
    assert!(shown["threshold_millionths"].is_i64() && shown["pinned"].is_null());

    let eval = "route eval more.csv --router shop.router --category topic";
    let found = place.run(&format!("{eval} --json"), &COLUMNS).expect(0).json();
    let rows = |key: &str| found[key].as_u64().unwrap();
    assert_eq!(rows("rows") + rows("rows_taught") + rows("rows_equal"), 3_000);
    let apgr = |way: &str| found["worth"][way]["apgr"].as_f64().unwrap();
    assert!(apgr("router") > apgr("random") + 0.2 && apgr("category") > 0.7, "{found}");
    assert!(found["loss"].as_f64().unwrap() <= 0.04 && found["saving"].as_f64().unwrap() > 0.3, "{found}");

    let text = place.run(eval, &COLUMNS).expect(0).stdout;
    for words in [
        "this router",
        "prompt length alone",
        "chance",
        "the category's mean",
        "go to the strong model",
        "20 times",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Its own labels prove something only where it did not learn from them.
    let own = place.run("route eval pilot.csv --router shop.router --json", &COLUMNS).expect(0).json();
    assert_eq!((own["rows"].as_u64(), own["rows_taught"].as_u64()), (Some(500), Some(500)));
}

#[test]
fn the_same_labels_and_seed_give_the_same_file() {
    let place = Place::new();
    let csv = questions(300, 3);
    let (header, rows) = csv.split_once('\n').unwrap();
    let mut turned: Vec<&str> = rows.lines().collect();
    turned.reverse();
    place.put("a.csv", &csv).put("b.csv", format!("{header}\n{}\n", turned.join("\n")));
    for (file, out, seed) in [("a.csv", "a.router", 7), ("b.csv", "b.router", 7), ("a.csv", "c.router", 8)] {
        place.run(&format!("route train {file} --seed {seed} --out {out}"), &COLUMNS).expect(0);
    }
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(bytes("a.router"), bytes("b.router"));
    assert_ne!(bytes("a.router"), bytes("c.router"));
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 5, "no state is made");
}

#[test]
fn routing_that_does_not_pay_says_so() {
    let place = Place::new();
    place.put("pilot.csv", questions(400, 4));
    let turned = ["--text", "question", "--weak", "sol_ok", "--strong", "luna_ok"];
    let said = place.run("route train pilot.csv --out weak.router", &turned).expect(0);
    let words = "every row goes to the weak model: on the labels the weak model is as good as the strong one";
    assert!(said.stdout.contains(words), "{said:?}");
    let said = place.run("route train pilot.csv --price-ratio 1.05 --out dear.router", &COLUMNS).expect(0);
    assert!(said.stdout.contains("every row goes to the strong model: within the loss"), "{said:?}");
    let eval = place.run("route eval pilot.csv --router dear.router --json", &COLUMNS).expect(0).json();
    assert_eq!((eval["share_strong"].as_f64(), eval["loss"].as_f64()), (Some(1.0), Some(0.0)));
}

#[test]
fn labels_that_cannot_be_used_say_why() {
    let place = Place::new();
    let row = |text: &str, weak: &str, strong: &str| format!("{text},{weak},{strong}\n");
    let rows =
        |n: usize, weak: &str| (0..n).map(|at| row(&format!("text {at}"), weak, "1")).collect::<String>();
    let head = "text,weak,strong\n";
    place.put("few.csv", format!("{head}{}{}", rows(99, "0"), row("text 0", "1", "1")));
    place.put("equal.csv", format!("{head}{}", rows(120, "1")));
    place.put("bad.csv", format!("{head}{}{}", rows(3, "0"), row("x", "good", "1")));
    place.put("blank.csv", format!("{head}{}{}", rows(120, "1"), row("x", "", "1")));
    place.put("other.csv", "text,weak\nx,1\n");
    let train = |file: &str| place.run(&format!("route train {file} --out x.router"), &[]);
    train("few.csv").error(2, "labels-too-few", &["few.csv", "99 labelled rows", "at least 100"]);
    train("equal.csv").error(2, "labels-equal", &["weak model are 1, all of the strong one 1"]);
    train("bad.csv").error(2, "labels-invalid", &["line 5", "`weak` is `good`"]);
    train("blank.csv").error(2, "labels-equal", &[]);
    train("other.csv").error(2, "column-unknown", &["no column `strong`", "text, weak"]);
    train("none.csv").error(2, "source-missing", &["none.csv"]);
    assert!(!place.path("x.router").exists());

    place.put("good.csv", format!("{head}{}{}", rows(90, "0"), rows(130, "1").replace("text", "line")));
    train("good.csv").expect(0);
    train("good.csv").error(2, "file-exists", &["x.router"]);
    place.run("route train good.csv --out x.router --force", &[]).expect(0);
    for (line, words) in [
        ("route train good.csv", "--out"),
        ("route train good.csv --out y --price-ratio 0.5", "not a ratio"),
        ("route train good.csv --out y --quality-loss lots", "not a percentage"),
    ] {
        let said = place.run(line, &[]).expect(2);
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
    }
}

#[test]
fn files_that_are_no_router_say_why() {
    let place = Place::new();
    place.put("pilot.csv", questions(200, 5));
    place.run("route train pilot.csv --out real.router", &COLUMNS).expect(0);
    let bytes = std::fs::read(place.path("real.router")).unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    place
        .put("damaged.router", changed(bytes.len() / 2, bytes[bytes.len() / 2] ^ 1))
        .put("later.router", changed(16, 2));
    for (file, code, words) in [
        ("pilot.csv", "router-invalid", "not a router file"),
        ("damaged.router", "router-invalid", "checksum"),
        ("later.router", "router-too-new", "version 2"),
        ("none.router", "file-unreadable", "none.router"),
    ] {
        place.run(&format!("route show {file}"), &[]).error(2, code, &[file, words]);
        place.run(&format!("route eval pilot.csv --router {file}"), &COLUMNS).error(2, code, &[words]);
    }
    // Only rows that it learnt from are left.
    let eval = place.run("route eval pilot.csv --router real.router --json", &COLUMNS).expect(0).json();
    assert_eq!(eval["rows"], 100);
}
