//! A node's logs above their tenant's rate: they are read more slowly, and nothing of them is lost.

use weir_model::limits::{Overrides, OverridesFile};

use super::Fixture;

#[tokio::test]
async fn files_wait_where_their_tenant_s_rate_is_used_up() {
    let mut fixture = Fixture::new();
    let limits = r#"{"defaults": {"logs": {"ingestion": {"records_rate": 40, "records_burst": 20}}}}"#;
    let file: OverridesFile = serde_json::from_str(limits).unwrap();
    fixture.limits.replace(Overrides::try_from(file).unwrap());
    let running = fixture.start().await;
    for round in 0..3 {
        fixture.write(20);
        fixture.rotate(&format!("0.log.2023010{round}-120000"));
        fixture.write(1);
    }
    fixture.settle().await;
    running.stop().await;
    assert!(fixture.metrics.events_of("files", "rate_limited") > 0);
}
