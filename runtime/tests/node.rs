//! Samples the machine that the test runs on.

use std::collections::HashSet;
use std::sync::Arc;

use weir_model::label::NAME;
use weir_runtime::samples::{NodeSampler, SamplerConfig};

#[test]
fn this_machine() {
    let mut sampler = NodeSampler::new(SamplerConfig::local("here")).expect("this machine has cgroups");
    let [cgroups, machine] = sampler.sample(1_000_000_000_000);
    for batch in [&cgroups, &machine] {
        assert_eq!(batch.schema.series.len(), batch.rows[0].values.len());
        let unique: HashSet<_> = batch.schema.series.iter().collect();
        assert_eq!(unique.len(), batch.schema.series.len(), "a series is there twice");
        let families: HashSet<_> = batch.schema.families.iter().map(|family| family.name.as_str()).collect();
        assert!(batch.schema.series.iter().all(|labels| families.contains(labels.get(NAME))));
    }
    let value = |batch: &weir_model::metric::MetricBatch, name: &str| {
        let at = batch.schema.series.iter().position(|labels| labels.get(NAME) == name);
        at.map(|at| batch.rows[0].values[at]).unwrap_or_else(|| panic!("{name} is missing"))
    };
    assert!(value(&cgroups, "container_cpu_usage_seconds_total") > 0.0);
    assert!(value(&cgroups, "container_memory_working_set_bytes") > 0.0);
    assert!(value(&cgroups, "machine_cpu_cores") >= 1.0);
    assert!(value(&machine, "node_memory_MemTotal_bytes") > 0.0);
    assert!(value(&machine, "node_boot_time_seconds") > 0.0);
    assert_eq!(cgroups.target.get("job"), "cadvisor");
    assert_eq!(sampler.cgroups()[0].path, "/");

    // Of two further samples in a row without a new or ended cgroup between them, the schema is one.
    let mut shared = false;
    let mut last = cgroups;
    for turn in 1..100 {
        let [next, _] = sampler.sample(1_000_000_000_000 + turn);
        shared |= Arc::ptr_eq(&last.schema, &next.schema);
        last = next;
    }
    assert!(shared);
}
