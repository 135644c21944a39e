//! What is hidden is as if it were not there, samples and names; and what a rewrite leaves is the same.

use weir_blocks::hidden::{Hidden, Horizon, Periods};
use weir_model::deletion::{DeletionQuery, DeletionRequest};
use weir_model::time::TimeRange;

use super::*;

pub(crate) fn deletion(
    tenant: &str,
    selectors: Vec<Vec<Matcher>>,
    start_ms: i64,
    end_ms: i64,
) -> Arc<weir_model::deletion::Deletion> {
    let asked = DeletionQuery { selectors, ..DeletionQuery::default() };
    let range = TimeRange { start: start_ms * 1_000_000, end: end_ms * 1_000_000 };
    Arc::new(DeletionRequest::new((tenant, Kind::Metrics), asked, range, 0, false).unwrap().compile().unwrap())
}

pub(super) struct Kept(pub i64);

impl Periods for Kept {
    fn period(&self, tenant: &str, _: &Labels) -> Option<i64> {
        (tenant == "t").then_some(self.0)
    }

    fn shortest(&self, tenant: &str) -> Option<i64> {
        self.period(tenant, &Labels::EMPTY)
    }
}

pub(super) struct WithHorizon(pub Fixed, pub Horizon);

impl Views<MetricsEngine> for WithHorizon {
    fn views(&self) -> Vec<PartitionView<MetricsEngine>> {
        self.0.views()
    }

    fn horizon(&self) -> Option<Horizon> {
        Some(self.1.clone())
    }
}

fn names(views: Arc<dyn Views<MetricsEngine>>, select: &MetricSelect) -> Vec<Labels> {
    MetricsReader::new(views).series(select, &NoBudget).unwrap().value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_hidden_is_as_if_it_were_not_there(
        batches in batches(),
        pod in prop_oneof![Just("a"), Just("a|ü\n"), Just(".*")],
        start in -60_i64..4000,
        length in 1_i64..5000,
        now in 0_i64..6000,
    ) {
        let engine = MetricsEngine::default();
        let head = Arc::new(engine.head());
        batches.iter().for_each(|batch| insert(&head, "t", batch.clone()));
        insert(&head, "u", batches[0].clone());
        let blocks: Vec<_> = head.build().unwrap().iter().map(|built| open(&engine, built)).collect();
        let plain = |blocks: &[BlockView<MetricsEngine>], tenant| read(Fixed { blocks: blocks.to_vec(), heads: Vec::new() }, &all(tenant, Vec::new()));
        let matcher = Matcher::new("pod", MatchOp::Regex, pod).unwrap();
        let deletions = vec![deletion("t", vec![vec![matcher.clone()]], start, start + length)];
        let shown = |keeps: &dyn Fn(&Labels, i64) -> bool| -> Plain {
            let kept = plain(&blocks, "t").into_iter().map(|(labels, mut samples)| {
                samples.retain(|(at, _)| keeps(&labels, *at));
                (labels, samples)
            });
            kept.filter(|(_, samples)| !samples.is_empty()).collect()
        };
        let expected = shown(&|labels, at| !(matcher.matches_labels(labels) && (start..start + length).contains(&at)));

        let hidden = Hidden::by(deletions);
        let hiding: Vec<_> = blocks.iter().map(|view| BlockView { hidden: hidden.clone(), ..view.clone() }).collect();
        prop_assert_eq!(plain(&hiding, "t"), expected.clone());
        let fixed = || Fixed { blocks: hiding.clone(), heads: Vec::new() };
        prop_assert_eq!(names(Arc::new(fixed()), &all("t", Vec::new())), expected.keys().cloned().collect::<Vec<_>>());

        let rewrite = |view: &BlockView<MetricsEngine>| match engine.rewrite(&view.block, &hidden).unwrap() {
            Some(built) => built.iter().map(|built| open(&engine, built)).collect(),
            None => vec![view.clone()],
        };
        let left: Vec<_> = blocks.iter().flat_map(rewrite).collect();
        prop_assert_eq!(plain(&left, "t"), expected);
        prop_assert_eq!(plain(&left, "u"), plain(&blocks, "u"), "another tenant's stay");

        let young = shown(&|_, at| at >= now - 1000);
        let horizon = Horizon { now: now * 1_000_000, periods: Arc::new(Kept(1_000_000_000)) };
        for (blocks, heads) in [(blocks.clone(), Vec::new()), (Vec::new(), vec![Arc::clone(&head)])] {
            let is_sealed = heads.is_empty();
            let views = Arc::new(WithHorizon(Fixed { blocks, heads }, horizon.clone()));
            let all = all("t", Vec::new());
            if is_sealed {
                prop_assert_eq!(names(views.clone(), &all), young.keys().cloned().collect::<Vec<_>>());
            }
            let samples = MetricsReader::new(views).select(&all, &NoBudget).unwrap().value;
            prop_assert_eq!(samples.iter().map(|series| series.timestamps.len()).sum::<usize>(), young.values().map(Vec::len).sum::<usize>());
        }
    }
}

#[test]
fn metadata_of_a_deleted_metric_is_not_told_and_goes_with_it() {
    let engine = MetricsEngine::default();
    let head = Arc::new(engine.head());
    for tenant in ["t", "u"] {
        insert(&head, tenant, batch(&[], &[&[(NAME, "up")]], vec![row(5, &[1.0])]));
    }
    let view = open(&engine, &head.build().unwrap()[0]);
    let hidden = Hidden::by(vec![deletion("t", Vec::new(), 0, 10)]);
    let families = |view: BlockView<MetricsEngine>, tenant| {
        let fixed = Fixed { blocks: vec![view], heads: Vec::new() };
        MetricsReader::new(Arc::new(fixed)).families(&Scope::of(tenant), &NoBudget).unwrap().value.len()
    };
    let hiding = BlockView { hidden: hidden.clone(), ..view.clone() };
    assert_eq!([families(view.clone(), "t"), families(hiding.clone(), "t"), families(hiding, "u")], [1, 0, 1]);
    let built = engine.rewrite(&view.block, &hidden).unwrap().expect("a sample is deleted");
    let left = open(&engine, &built[0]);
    assert_eq!([families(left.clone(), "t"), families(left, "u")], [0, 1]);
    let all_gone = Hidden::by(["t", "u"].map(|tenant| deletion(tenant, Vec::new(), 0, 10)).to_vec());
    assert_eq!(engine.rewrite(&view.block, &all_gone).unwrap().map(|built| built.len()), Some(0));
    let nothing = Hidden::by(vec![deletion("t", Vec::new(), 6, 10)]);
    assert!(engine.rewrite(&view.block, &nothing).unwrap().is_none());
}

/// Metadata of a tenant as one block tells it.
fn told(view: &BlockView<MetricsEngine>, tenant: &str) -> Vec<String> {
    view.block.families().get(tenant).into_iter().flat_map(|own| own.keys().cloned()).collect()
}

#[test]
fn metadata_without_samples_stays_with_others_and_goes_with_its_tenant() {
    let engine = MetricsEngine::default();
    let head = Arc::new(engine.head());
    // Metadata of `up` alone, and samples of `up` for `v`.
    for (tenant, name) in [("t", "other"), ("u", "other"), ("v", "up")] {
        insert(&head, tenant, batch(&[], &[&[(NAME, name)]], vec![row(5, &[1.0])]));
    }
    let view = open(&engine, &head.build().unwrap()[0]);
    let rewrite = |view: &BlockView<MetricsEngine>, deletions| {
        let built = engine.rewrite(&view.block, &Hidden::by(deletions)).unwrap();
        built.map(|built| built.iter().map(|block| open(&engine, block)).collect::<Vec<_>>())
    };
    let all = |tenant: &str| {
        let range = TimeRange::ALL;
        Arc::new(
            DeletionRequest::new((tenant, Kind::Metrics), DeletionQuery::default(), range, 0, false).unwrap().compile().unwrap(),
        )
    };
    assert!(rewrite(&view, vec![deletion("t", Vec::new(), -9, 5)]).is_none(), "no sample is so old");
    // All samples of `other` and of `v` go: what is told of `up` without any stays, where no tenant is deleted.
    let samples = ["t", "u", "v"].map(|tenant| deletion(tenant, Vec::new(), 0, 10)).to_vec();
    let left = rewrite(&view, samples).expect("samples are deleted");
    assert_eq!((left.len(), left[0].summary.records), (1, 0));
    assert_eq!(["t", "u", "v"].map(|tenant| told(&left[0], tenant).len()), [1, 1, 0]);
    // A block of metadata alone loses that of a deleted tenant, and nothing the second time.
    let left = rewrite(&left[0], vec![all("t")]).expect("metadata is deleted");
    assert_eq!(["t", "u"].map(|tenant| told(&left[0], tenant).len()), [0, 1]);
    assert!(rewrite(&left[0], vec![all("t")]).is_none());
    assert_eq!(rewrite(&left[0], vec![all("u")]).map(|left| left.len()), Some(0));
}
