//! The job that embeds another job's texts.

use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Wish;
use bulkrate_core::request::Kind;

use super::texts::{ITEM_COLUMN, Texts};
use crate::spec::{EmbedSpec, JobSpec, OnBadLine, RequestSpec, RunSpec, SendBy, SinkSpec, SourceSpec};

/// The tag of its items: whose texts they are. It makes the job one of its own where two jobs have the same texts; the second finds
/// the first one's vectors in the response cache.
const TAG: &str = "embeds";

/// An ordinary job over the texts of the job `id`. `model`: by its whole name, which means the same tomorrow; `lane`: `None` where the
/// cheapest is to be found.
pub(crate) fn embedding_job(
    spec: &JobSpec,
    id: &str,
    (model, embed): (&str, &EmbedSpec),
    texts: &Texts,
    lane: Option<Lane>,
) -> JobSpec {
    let request = RequestSpec {
        model: Some(model.to_owned()),
        kind: Kind::Embedding,
        user: Some("{{ text }}".to_owned()),
        dimensions: embed.dimensions,
        ..RequestSpec::default()
    };
    let usual = RunSpec::default();
    let run = RunSpec {
        lane,
        budget: None, // what is left of the job's is set when it runs
        // The vectors are needed before the job begins.
        deadline_ms: spec.run.deadline_ms.map(|ms| ms / 2),
        strict: false, // the sum of both was compared with the budget
        spend_all: true,
        order: SendBy::Source,
        prompt_cache: Wish::default(),
        hedge: false,
        // A text without a vector is a row that is asked.
        fail_above_permille: 1_000,
        max_error_permille: None,
        review_permille: 0,
        webhook: None,
        learned: None,
        // What the job's own model costs is not what this one does.
        price_in: None,
        price_out: None,
        // Nor do limits that are its provider's, or that are there for the cache to learn.
        rpm: None,
        tpm: None,
        enqueued_tokens_max: None,
        concurrency_max: usual.concurrency_max,
        batches_max: usual.batches_max,
        batch_items_max: usual.batch_items_max,
        ..spec.run.clone()
    };
    let mut tags = spec.tags.clone();
    tags.insert(TAG.to_owned(), id.to_owned());
    JobSpec {
        name: format!("{}-embed", spec.name),
        source: SourceSpec {
            path: Some(texts.path.clone()),
            format: Some("jsonl".to_owned()),
            id: Some(ITEM_COLUMN.to_owned()),
            on_bad_line: OnBadLine::Dead,
            limit: None,
        },
        request,
        tags,
        run,
        sink: SinkSpec::default(),
        account: spec.account.clone(),
    }
}
