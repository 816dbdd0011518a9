//! Every fault there is: its code in the catalogue, its name, where it strikes and what it does. Nothing else knows these words.

/// Where a fault strikes, which is also how its `@N` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Any call; a place narrows it.
    Call,
    /// Paid calls and creates; a place narrows it.
    Paid,
    Sync,
    Create,
    Upload,
    Content,
    List,
    Poll,
    /// A batch, by its order of creation.
    Batch,
    /// A line of a batch's files.
    Line,
    /// What a model says: a call in the sync lane, a line of a batch.
    Answer,
}

impl Sort {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Paid => "sync, create",
            Self::Sync => "sync",
            Self::Create => "create",
            Self::Upload => "upload",
            Self::Content => "content",
            Self::List => "list",
            Self::Poll => "poll",
            Self::Batch => "batch",
            Self::Line => "line",
            Self::Answer => "answer",
        }
    }
}

/// How a seeded mix may use a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mixed {
    /// Nothing would end while it lasts, or it is a setting rather than a mishap.
    No,
    /// It strikes once, at one of the first.
    Once,
    /// It strikes a small share.
    Share,
}

/// One fault of the simulator.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) name: &'static str,
    /// Code in the catalogue; two faults may be forms of one, and a few have none.
    pub(crate) code: &'static str,
    pub(crate) sort: Sort,
    /// What a number after `=` is, when it is not the share that is hit.
    pub(crate) unit: &'static str,
    /// Words that may stand after `=`.
    pub(crate) words: &'static [&'static str],
    pub(crate) mixed: Mixed,
    pub(crate) does: &'static str,
}

macro_rules! faults {
    ($($variant:ident $name:literal $code:literal $sort:ident $unit:literal [$($word:literal)*] $mixed:ident $does:literal;)*) => {
        /// Everything that can go wrong on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($variant),* }

        pub(crate) const TABLE: &[Row] = &[$(Row {
            fault: Fault::$variant,
            name: $name,
            code: $code,
            sort: Sort::$sort,
            unit: $unit,
            words: &[$($word),*],
            mixed: Mixed::$mixed,
            does: $does,
        }),*];
    };
}
faults! {
    TooMany "429" "F01" Paid "" ["seconds" "date" "missing" "negative" "huge"] Share
        "429 rate_limit_exceeded; VALUE: the form of retry-after";
    Storm "429-storm" "F02" Paid "virtual seconds" [] Once
        "429 to everything for VALUE virtual seconds (1800), from the Nth call on (@1)";
    SlowDown "slow-down" "" Paid "" [] Share "429 slow_down";
    Quota "insufficient-quota" "F27" Paid "" [] No "429 insufficient_quota, not retryable";
    Flex "flex-unavailable" "" Sync "" [] Share "flex requests get 429 resource_unavailable, unbilled";
    FiveXx "5xx" "F03" Call "" ["500" "502" "503" "504" "529"] Share
        "VALUE, or one of them: JSON from the API (500, 503) or HTML from a gateway; not carried out";
    Overloaded "overloaded" "" Call "" [] Share "503 server_is_overloaded or 529 HTML; not carried out";
    Revoked "revoked" "" Call "" [] No "401 invalid_api_key, as with a key that was taken back; not carried out";
    ExpiredKey "expired-key" "" Call "" [] No
        "401 expired_api_key, as with a key whose time is over; not carried out";
    Forbidden "forbidden" "" Call "" [] No "403, as with a right that was taken back; not carried out";
    Redirect "redirect" "F15" Call "" [] Once "307 to another host; not carried out";
    Html "html" "F11" Call "" ["200" "502"] Share "carried out, then an HTML page with VALUE (200)";
    Malformed "malformed" "F10" Call "" [] Share "carried out, then 200 with broken JSON";
    ContentType "content-type" "F12" Call "" ["wrong" "missing"] Share
        "the content-type is text/plain or missing; the body is right";
    CutBody "truncated-body" "F07" Call "" [] Share "carried out, then half of the body and a closed connection";
    Length "length-lies" "F13" Call "" ["long" "short"] Share
        "carried out; content-length says twice the body (long, and the connection closes) or half of it";
    Stall "stall" "F09" Call "real seconds" [] No
        "carried out; half of the body, VALUE real seconds (30) of silence, a reset";
    Bomb "gzip-bomb" "F14" Call "MB" [] Once
        "carried out; the body is VALUE MB (1000) of zeros as content-encoding gzip, made while it is sent";
    Reset "reset" "F06" Call "" [] Share "carried out, then a reset before the headers";
    ResetEarly "reset-early" "" Call "" [] Share "closed before anything is carried out";
    Slow "slow" "" Call "" [] Share "answered `--slow-ms` late";
    Trickle "trickle" "F08" Call "" ["loris"] Share
        "the body arrives in 32 pieces, 20 ms apart; loris: a byte a second";
    Vanish "vanish" "F04" Call "real seconds" [] Once
        "VALUE real seconds (2) without a listener, all connections closed (@10)";
    Twice "delivered-twice" "F18" Paid "" [] No "carried out twice, answered once";
    CostBad "cost-malformed" "F66" Sync "" ["nan" "words" "two"] Share
        "the cost header says NaN, or words, or is there twice (with --cost-header)";
    UploadLost "upload-lost" "F20" Upload "" [] Once "stored, answer lost";
    CreateLost "create-lost" "F21" Create "" [] Once "created, answer lost";
    Create5xx "create-5xx" "F22" Create "" [] Once "created, answered 502";
    CreateNoId "create-no-id" "F23" Create "" [] Once "created, answered 200 without an id";
    CreateLate "create-late" "F17" Create "" [] Once
        "answer lost, created `--late-secs` later if the input file still exists";
    MarkerTwice "marker-twice" "F28" Create "" [] No "created twice, answer lost: two batches have the marker";
    ListLag "list-lag" "F24" List "" [] Share "new batches show after `--list-lag` virtual seconds (120 unless set)";
    ListPage "list-page" "F25" List "" ["fails" "repeats" "skips"] Share
        "a page is a 500, is served twice, or leaves out its first batch";
    ListRepeat "list-repeat" "F25" List "" [] Share "a page is served twice";
    ListEmpty "list-empty" "F26" List "" [] Once "empty though batches exist";
    Foreign "foreign-batches" "F29" List "" [] Share "batches of somebody else among ours";
    Regression "status-regression" "F30" Batch "" [] Share
        "every other look shows an earlier status, also after the end";
    UnknownStatus "unknown-status" "F31" Batch "" [] Share "looks say `paused` while it runs";
    StuckFinalizing "stuck-finalizing" "F32" Batch "" [] Share "finalizing for 6 virtual hours";
    StuckValidating "stuck-validating" "F33" Batch "" [] No "validating for ever";
    Expire "expire" "F34" Batch "the share of lines that ran, 0 to 1," [] Once
        "expires when VALUE (0.5) of the lines ran, the rest is batch_expired";
    FailFile "validation-fails" "F35" Batch "" ["input_no_permissions" "input_modified"] Once
        "failed with VALUE (invalid_request) and no file";
    CancelDone "cancel-late" "F36" Batch "" [] Share "a cancelled batch has run every line";
    Gone "batch-gone" "F37" Poll "" [] Once "404 for a batch that exists";
    Locked "results-locked" "" Poll "" [] No "402 for results that are not paid, where a batch has its results with itself";
    Purged "results-purged" "" Poll "" [] No "410 for results that were kept long enough, where a batch has its results with itself";
    Quick "quick" "F38" Batch "" [] Share "completed a virtual second after its create";
    SlowBatch "slow-batch" "F39" Batch "virtual hours" [] Once "runs VALUE virtual hours (30) and completes all the same";
    OutputLate "output-late" "" Batch "" [] Share "completed with output_file_id null for 3 polls";
    NoFiles "no-files" "F51" Batch "" [] Once "completed without any file id";
    ErrorOnly "error-only" "F50" Batch "" [] Once "every line failed, error file only";
    OutputEmptyId "output-id-empty" "F52" Batch "" [] Once "output_file_id is \"\"";
    ErrorEmptyId "error-id-empty" "F52" Batch "" [] Share "error_file_id is \"\" when there are no errors";
    FileGone "file-gone" "F53" Content "" [] Once "404";
    Unreadable "content-503" "F68" Content "virtual hours" [] Once
        "503 to every download for VALUE virtual hours (48), from the Nth on (@1)";
    FileChanges "file-changes" "F67" Content "" [] Share "the lines come in another order than in other reads";
    Shuffled "shuffled" "F54" Batch "" [] No "lines in random order (on by default; shuffled=0 turns it off)";
    LineTwice "duplicate-lines" "F55" Line "" ["same" "other"] Share
        "written twice, with the same or another body (every other time)";
    LineUnknown "unknown-lines" "F56" Line "" [] Share "followed by one with an unknown custom_id";
    LineMissing "missing-lines" "F57" Line "" [] Share "ran and billed, but in no file";
    LineError "line-errors" "" Line "" ["400" "429" "500" "200"] Share
        "fails with VALUE, or one of them; 200 has an error as its body";
    ErrorBody "error-body" "F58" Line "" [] Share "200 whose body is an error; not billed";
    HugeLine "huge-line" "F60" Line "MB" [] No "VALUE MB (200) long, made while it is sent";
    OddBytes "odd-bytes" "F61" Line "" ["nul" "bom" "crlf" "surrogate" "utf8"] Share
        "a NUL in it, a BOM before it, CRLF after it, half a surrogate pair, invalid UTF-8";
    CutTail "cut-tail" "F62" Content "" ["line" "newline"] Share
        "the last line is cut and has no newline; newline: it is whole";
    Deep "deep" "F63" Line "" [] Share "a field nested 100,000 deep";
    UsageNumbers "odd-numbers" "F64" Answer "" ["1e400" "-0" "2^64"] Share "the prompt's tokens are VALUE";
    Refusal "refusal" "F59" Answer "" [] Share "the model refuses";
    Empty "empty" "F59" Answer "" [] Share "empty content";
    Cut "length" "F59" Answer "" [] Share "cut, finish_reason length";
    BadJson "bad-json" "" Answer "" [] Share "violates the json_schema";
    NoLogprobs "no-logprobs" "" Answer "" [] Share "leaves out log-probabilities that were asked for";
    Usage "usage-missing" "F65" Answer "" ["missing" "null" "negative" "string"] Share
        "no usage, or null, or the prompt's tokens are negative or a string";
}

/// Where a fault of the catalogue is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Played {
    /// By this simulator.
    Sim,
    /// By a server of the tests' own, down to the TCP segment: the simulator speaks plain HTTP/1.1.
    Wire,
    /// On this machine: processes, files, clocks.
    Local,
    /// Nowhere yet: what it needs is not part of bulkrate.
    NotYet(&'static str),
}

/// The catalogue: code, what happens, who plays it.
pub(crate) const CATALOGUE: &[(&str, &str, Played)] = &[
    ("F01", "429 with a retry-after in seconds, as a date, missing, negative, or of 10^9 s", Played::Sim),
    ("F02", "a storm of 429 for half an hour", Played::Sim),
    ("F03", "bursts of 500, 502, 503, 504, 529", Played::Sim),
    ("F04", "connection refused, name not found", Played::Sim),
    ("F05", "TLS: unknown, expired or foreign certificate", Played::Wire),
    ("F06", "reset before the headers", Played::Sim),
    ("F07", "reset in the middle of a body", Played::Sim),
    ("F08", "a body that trickles", Played::Sim),
    ("F09", "a body that stalls, then a reset", Played::Sim),
    ("F10", "broken JSON with 200", Played::Sim),
    ("F11", "an HTML page with 200 or 502", Played::Sim),
    ("F12", "content-type wrong or missing", Played::Sim),
    ("F13", "content-length too short or too long", Played::Sim),
    ("F14", "a gzip bomb", Played::Sim),
    ("F15", "a redirect to another host", Played::Sim),
    ("F16", "HTTP/2 GOAWAY", Played::NotYet("HTTP/2: paid calls speak HTTP/1.1")),
    ("F17", "a create that arrives up to an hour late", Played::Sim),
    ("F18", "a request that a proxy delivers twice", Played::Sim),
    ("F20", "upload done, answer lost", Played::Sim),
    ("F21", "create done, answer lost", Played::Sim),
    ("F22", "create done, answered with 5xx", Played::Sim),
    ("F23", "create done, answered 200 without an id", Played::Sim),
    ("F24", "a list that lags", Played::Sim),
    ("F25", "a list page that fails, repeats or skips", Played::Sim),
    ("F26", "an empty list although batches exist", Played::Sim),
    ("F27", "no quota left after a part was enqueued", Played::Sim),
    ("F28", "two batches with the same marker", Played::Sim),
    ("F29", "batches of somebody else in the list", Played::Sim),
    ("F30", "a status that goes back", Played::Sim),
    ("F31", "a status that nobody knows", Played::Sim),
    ("F32", "finalizing for hours", Played::Sim),
    ("F33", "validating for ever", Played::Sim),
    ("F34", "expired with a part of the output", Played::Sim),
    ("F35", "failed with no file", Played::Sim),
    ("F36", "cancelled, but items are complete", Played::Sim),
    ("F37", "the batch's id is a 404 later", Played::Sim),
    ("F38", "complete within a second", Played::Sim),
    ("F39", "a run of 25 to 48 hours", Played::Sim),
    ("F40", "clocks an hour apart", Played::Local),
    ("F50", "no output file, an error file only", Played::Sim),
    ("F51", "no file at all", Played::Sim),
    ("F52", "a file id that is empty", Played::Sim),
    ("F53", "a file that is a 404", Played::Sim),
    ("F54", "results out of order", Played::Sim),
    ("F55", "a line twice, with the same or another body", Played::Sim),
    ("F56", "a line that nobody asked for", Played::Sim),
    ("F57", "lines missing from every file", Played::Sim),
    ("F58", "status 200 whose body is an error", Played::Sim),
    ("F59", "a refusal, an empty answer, an answer cut short", Played::Sim),
    ("F60", "a line of 200 MB", Played::Sim),
    ("F61", "NUL, BOM, CRLF, a lone surrogate, invalid UTF-8", Played::Sim),
    ("F62", "a last line that is cut or has no newline", Played::Sim),
    ("F63", "JSON nested 10^5 deep", Played::Sim),
    ("F64", "numbers 1e400, -0, 2^64", Played::Sim),
    ("F65", "usage missing, null, negative, a string", Played::Sim),
    ("F66", "a cost header that is no number, or there twice", Played::Sim),
    ("F67", "a file that changes between two reads", Played::Sim),
    ("F68", "results that cannot be read for days", Played::Sim),
    ("F70", "SIGKILL at any moment", Played::Local),
    ("F71", "SIGSTOP, a new process, then SIGCONT", Played::Local),
    ("F72", "no space left", Played::Local),
    ("F73", "EIO on write, fsync or read", Played::Local),
    ("F74", "a write that is cut short", Played::Local),
    ("F75", "torn pages, a tail that was not synced", Played::Local),
    ("F76", "no file descriptor left", Played::Local),
    ("F77", "killed for want of memory", Played::Local),
    ("F78", "a folder that cannot be written", Played::Local),
    ("F79", "a spool file deleted or edited", Played::Local),
    (
        "F80",
        "Postgres restarts; a connection lost at COMMIT",
        Played::NotYet("Postgres: the state is SQLite"),
    ),
    ("F81", "deadlock, serialization failure", Played::NotYet("Postgres: one thread writes SQLite")),
    ("F82", "Redis flushed, restarted, of another type", Played::NotYet("Redis: the cache is files")),
    ("F83", "time zone or daylight saving changes", Played::Local),
    ("F84", "two processes on one state folder", Played::Local),
    ("F85", "an old backup is restored", Played::Local),
];
