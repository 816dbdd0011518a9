//! The machine's clock is set back while a job runs: nothing ends late, nothing is lost, and the books are right.
#![cfg(target_os = "linux")]

use super::support::{ASK, Place, Sim, reviews};

/// Stands between the program and the C library: after so many seconds of a process's life the wall clock is an hour (two
/// days, in the second run) earlier. The monotonic clock is left alone, as a clock that is set leaves it alone.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
static int real(clockid_t clock, struct timespec *at) {
    static int (*get)(clockid_t, struct timespec *);
    if (!get) get = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return get(clock, at);
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    static time_t began;
    struct timespec now;
    int done = real(clock, at);
    real(CLOCK_MONOTONIC, &now);
    if (!began) began = now.tv_sec;
    if (clock == CLOCK_REALTIME && now.tv_sec - began >= 1) at->tv_sec -= atol(getenv("SET_BACK_S"));
    return done;
}
"#;

#[test]
fn a_clock_that_is_set_back_inside_a_run_changes_nothing() {
    for (lane, back_s) in [("sync", "3600"), ("batch", "172800")] {
        // It takes more than two seconds, so that the clock jumps on the way.
        let sim = Sim::start(&["--latency-ms", "400", "--speed", "200"]);
        let place = Place::with(&sim).set("SET_BACK_S", back_s);
        place.put("data.csv", reviews(60)).put("back.c", SHIM);
        let made = place.sh("cc -shared -fPIC -o back.so back.c -ldl");
        assert_eq!(made.code, 0, "a C compiler is needed: {made:?}");
        let shim = place.path("back.so").display().to_string();
        let place = place.set("LD_PRELOAD", &shim);
        let line = format!(
            "run data.csv --yes --lane {lane} --concurrency-max 8 --poll-min 100ms --out out.csv --json"
        );
        let report = place.run(&line, &ASK).expect(0).json();
        assert_eq!(
            (report["ending"].as_str(), report["succeeded"].as_u64()),
            (Some("finished"), Some(60)),
            "{report}"
        );
        assert!(report["seconds"].as_f64().is_some_and(|seconds| (1.0..60.0).contains(&seconds)), "{report}");
        assert_eq!(place.proved("data", &sim), report["spent_usd_nanos"].as_i64().unwrap(), "{lane}");
    }
}
