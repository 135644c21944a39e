//! Tenants are counted apart, by the limits of the moment, and within bounded memory.

use std::sync::atomic::{AtomicI64, Ordering};

use weir_model::limits::{Overrides, OverridesFile};
use weir_model::time::SECOND;

use super::*;

/// Limits in JSON, and a clock that tests move.
fn quotas(json: &str) -> (Quotas, Limits, Arc<AtomicI64>) {
    let file: OverridesFile = serde_json::from_str(json).unwrap();
    let (limits, now) = (Limits::new(file.try_into().unwrap()), Arc::new(AtomicI64::new(1_000_000 * SECOND)));
    let told = Arc::clone(&now);
    (Quotas::new(limits.clone(), Arc::new(move || told.load(Ordering::Relaxed))), limits, now)
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("app", name)])
}

#[test]
fn a_rate_is_a_tenant_s_and_a_signal_s() {
    let rates = r#"{"rate": "100B", "burst": "200B", "records_rate": 10}"#;
    let (quotas, limits, now) = quotas(&format!(r#"{{"tenants": {{"shop": {{"logs": {{"ingestion": {rates}}}}}}}}}"#));
    let take =
        |tenant: &str, kind, records, bytes| quotas.of(tenant).take(kind, records, bytes).map_err(|error| error.to_string());
    take("shop", Kind::Logs, 5, 200).unwrap();
    let refused = take("shop", Kind::Logs, 5, 100).unwrap_err();
    assert_eq!(
        refused,
        "ingestion rate limit exceeded for user shop (limit: 100 bytes/sec) while attempting to ingest '5' lines totaling '100' \
         bytes, send less or ask your administrator to raise logs.ingestion.rate"
    );
    assert_eq!(quotas.of("shop").take(Kind::Logs, 5, 100).unwrap_err().wait, Duration::from_secs(1));
    take("shop", Kind::Metrics, 1_000, 1 << 30).unwrap();
    take("bank", Kind::Logs, 1_000, 1 << 30).unwrap();
    take("shop", Kind::Logs, 0, 0).unwrap();
    now.fetch_add(2 * SECOND, Ordering::Relaxed);
    let refused = take("shop", Kind::Logs, 10, 10).and_then(|()| take("shop", Kind::Logs, 1, 10)).unwrap_err();
    assert!(refused.contains("(limit: 10 lines/sec)") && refused.contains("logs.ingestion.records_rate"), "{refused}");
    // Refused for its records, it has taken no bytes either.
    now.fetch_add(SECOND, Ordering::Relaxed);
    take("shop", Kind::Logs, 10, 200).unwrap();
    limits.replace(Overrides::default());
    take("shop", Kind::Logs, 1_000, 1 << 30).unwrap();
}

#[test]
fn requests_that_overlap_are_not_credited_the_same_time_twice() {
    let (quotas, _, now) = quotas(r#"{"defaults": {"logs": {"ingestion": {"records_rate": 1, "records_burst": 10}}}}"#);
    let old = quotas.of("shop");
    now.fetch_add(60 * SECOND, Ordering::Relaxed);
    let new = quotas.of("shop");
    new.take(Kind::Logs, 10, 1).unwrap();
    old.take(Kind::Logs, 1, 1).unwrap_err();
    new.take(Kind::Logs, 1, 1).unwrap_err();
    now.fetch_add(SECOND, Ordering::Relaxed);
    old.take(Kind::Logs, 1, 1).expect("the older one waits no longer");
}

#[test]
fn a_block_is_taken_where_single_lines_leave_no_room_for_it_and_they_wait_then() {
    let rates = r#"{"records_rate": 10, "records_burst": 20, "rate": "1KiB"}"#;
    let (quotas, _, now) = quotas(&format!(r#"{{"defaults": {{"logs": {{"ingestion": {rates}}}}}}}"#));
    let quota = quotas.of("shop");
    (0..20).for_each(|_| quota.take(Kind::Logs, 1, 1).unwrap());
    quota.take(Kind::Logs, 1, 1).unwrap_err();
    assert!(quota.take(Kind::Logs, 20, 20).is_err());
    quota.borrow(Kind::Logs, 20, 20).unwrap();
    assert_eq!(quota.borrow(Kind::Logs, 20, 20).unwrap_err().wait, Duration::from_secs(2), "in debt");
    now.fetch_add(2 * SECOND, Ordering::Relaxed);
    quota.take(Kind::Logs, 1, 1).expect_err("the debt is paid, and nothing is left");
    quota.borrow(Kind::Logs, 10, 10).unwrap();
    now.fetch_add(2 * SECOND, Ordering::Relaxed);
    quota.take(Kind::Logs, 10, 10).unwrap();
}

#[test]
fn records_are_kept_as_long_as_their_tenant_says() {
    let streams = r#"[{"selector": "{a=\"b\"}", "period": "9d"}, {"selector": "{a=\"c\"}", "period": "1d"}]"#;
    let shop = format!(r#"{{"logs": {{"retention_stream": {streams}}}, "metrics": {{"retention": "2d"}}}}"#);
    let bank = r#"{"logs": {"retention": "0s", "retention_stream": [{"selector": "{a=\"b\"}", "period": "9d"}]}}"#;
    let (quotas, ..) = quotas(&format!(r#"{{"tenants": {{"shop": {shop}, "bank": {bank}}}}}"#));
    let check = |tenant: &str, kind, default: u64, expected: u64| {
        let day = Duration::from_secs(86_400);
        let kept = quotas.of(tenant).retention(kind, day * default as u32);
        assert_eq!(kept, day * expected as u32, "{tenant} {kind:?} {default}");
    };
    check("shop", Kind::Logs, 5, 9);
    check("shop", Kind::Logs, 14, 14);
    check("shop", Kind::Logs, 0, 0);
    check("shop", Kind::Metrics, 14, 2);
    check("shop", Kind::Spans, 14, 14);
    check("bank", Kind::Logs, 5, 0);
}

#[test]
fn streams_and_series_beyond_their_number_are_named() {
    let (quotas, ..) = quotas(r#"{"defaults": {"logs": {"streams_max": 1}, "metrics": {"series_max": 2}}}"#);
    let shop = quotas.of("shop");
    shop.stream(&labels("a")).unwrap();
    shop.stream(&labels("a")).unwrap();
    let excess = quotas.of("shop").stream(&labels("b")).unwrap_err();
    assert!(
        excess.text.contains(r#"when trying to create stream {app="b"}"#) && excess.text.contains("user: 'shop'"),
        "{excess:?}"
    );
    quotas.of("bank").stream(&labels("b")).unwrap();
    let (one, two) = (labels("one"), labels("two"));
    shop.series(&one, [labels("a")].iter()).unwrap();
    shop.series(&two, [labels("a")].iter()).unwrap();
    assert_eq!(shop.series(&two, [labels("b")].iter()).unwrap_err().reason, "series_limit");
    shop.series(&one, [labels("a")].iter()).unwrap();
    shop.scrape(&one, [labels("a")].iter(), 10).unwrap();
    let error = shop.scrape(&one, [labels("a"), labels("c")].iter(), 10).unwrap_err();
    assert!(error.contains("per-user series limit of 2 exceeded for user shop"), "{error}");
    assert!(error.ends_with(r#"raise metrics.series_max: 2 are active, and 2 came with {app="one"}"#), "{error}");
}

#[test]
fn tenants_that_are_made_up_share_one_account() {
    let (quotas, _, now) = quotas(r#"{"defaults": {"logs": {"ingestion": {"records_rate": 1}}}}"#);
    for i in 0..TENANTS_MAX {
        quotas.of(&format!("made up {i}")).take(Kind::Logs, 1, 1).unwrap();
    }
    quotas.of("one more").take(Kind::Logs, 1, 1).unwrap();
    assert!(quotas.of("and another").take(Kind::Logs, 1, 1).is_err());
    assert_eq!(quotas.accounts.lock().by_tenant.len(), TENANTS_MAX);
    now.fetch_add(ACTIVE_FOR, Ordering::Relaxed);
    quotas.of("and another").take(Kind::Logs, 1, 1).unwrap();
    assert_eq!(quotas.accounts.lock().by_tenant.len(), 1, "the idle ones are forgotten");
}

#[test]
fn idle_accounts_are_dropped_while_others_go_on() {
    let (quotas, _, now) = quotas(r#"{"defaults": {"logs": {"ingestion": {"records_rate": 1}}}}"#);
    quotas.of("idle");
    for expected in [2, 2, 1] {
        quotas.of("busy");
        assert_eq!(quotas.accounts.lock().by_tenant.len(), expected);
        now.fetch_add(ACTIVE_FOR / 2, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_counted_for_a_tenant_without_limits() {
    let (quotas, ..) =
        quotas(r#"{"defaults": {"logs": {"line_max": "5B", "metadata_max": "3B"}, "traces": {"span_max": "9B"}}}"#);
    let quota = quotas.of("shop");
    quota.take(Kind::Spans, 1 << 40, 1 << 50).unwrap();
    assert!(quotas.accounts.lock().by_tenant.is_empty());
    let reason = |checked: Result<(), Excess>| checked.err().map_or("", |excess| excess.reason);
    let stream = labels("a");
    assert_eq!(reason(quota.line(&stream, 5, 3)), "");
    assert_eq!(reason(quota.line(&stream, 6, 0)), "line_too_long");
    assert_eq!(reason(quota.line(&stream, 0, 4)), "structured_metadata_too_large");
    assert_eq!((reason(quota.span(9)), reason(quota.span(10))), ("", "span_too_large"));
}
