//! The series of a cluster, made from numbers so that nobody has to keep them: of each node twenty pods with 23 series as cAdvisor has
//! them and eleven of the node itself, most of them counters with noise. The same node, series and round have always the same value.

use std::fmt::Write as _;

use weir_model::prompb::{Request2, Sample, TimeSeries, TimeSeries2, WriteRequest, labels};

pub const SERIES_A_TARGET: usize = PODS * SERIES_A_POD + SERIES_A_NODE;
const PODS: usize = 20;
const SERIES_A_POD: usize = 23;
const SERIES_A_NODE: usize = 11;
/// All series of the cluster, and nothing that a scraper adds.
pub const SELECTOR: &str = r#"{job="cadvisor",__name__=~".+_total"}"#;
const NAMESPACES: [&str; 4] = ["default", "monitoring", "shop", "kube-system"];
const CONTAINERS: [&str; 3] = ["app", "istio-proxy", "POD"];

/// A node.
pub struct Target {
    index: usize,
    pods: Vec<Pod>,
}

struct Pod {
    id: String,
    name: String,
    namespace: &'static str,
    container: &'static str,
}

impl Target {
    pub fn new(index: usize) -> Self {
        let pod = |pod: usize| {
            let number = mixed((index * PODS + pod) as u64);
            Pod {
                id: format!("/kubepods/burstable/pod{number:016x}/{:016x}{:016x}", mixed(number), mixed(!number)),
                name: format!("checkout-7d9f8b6c5-{:05x}", number >> 44),
                namespace: NAMESPACES[number as usize % NAMESPACES.len()],
                container: CONTAINERS[number as usize % CONTAINERS.len()],
            }
        };
        Self { index, pods: (0..PODS).map(pod).collect() }
    }

    pub fn instance(&self) -> String {
        format!("10.{}.{}.7:10250", self.index / 250, self.index % 250)
    }

    pub fn node(&self) -> String {
        format!("node-{:04}", self.index)
    }

    /// Labels of its own that a series has, by name; `name` is a buffer.
    fn pairs<'a>(&'a self, series: usize, name: &'a mut String) -> Vec<(&'static str, &'a str)> {
        name.clear();
        let (pod, own) = (series / SERIES_A_POD, series % SERIES_A_POD);
        let Some(pod) = self.pods.get(pod) else {
            let _ = write!(name, "node_metric_{own:02}_total");
            return vec![("__name__", name)];
        };
        let _ = write!(name, "container_metric_{own:02}_total");
        let Pod { id, name: pod, namespace, container } = pod;
        vec![("__name__", name), ("container", container), ("id", id), ("namespace", namespace), ("pod", pod)]
    }

    /// In the text format, without the target's labels.
    pub fn exposition(&self, round: u64) -> String {
        let (mut text, mut name) = (String::with_capacity(SERIES_A_TARGET * 220), String::new());
        for series in 0..SERIES_A_TARGET {
            let pairs = self.pairs(series, &mut name);
            text.push_str(pairs[0].1);
            for (i, (name, value)) in pairs[1..].iter().enumerate() {
                let _ = write!(text, "{}{name}=\"{value}\"", if i == 0 { '{' } else { ',' });
            }
            text.push_str(if pairs.len() > 1 { "} " } else { " " });
            let _ = writeln!(text, "{}", value(self.index, series, round));
        }
        text
    }
}

/// A round of these targets as remote write 1.0 says it.
pub fn request_1(targets: &[&Target], round: u64, timestamp: i64) -> WriteRequest {
    let mut timeseries = Vec::with_capacity(targets.len() * SERIES_A_TARGET);
    let mut name = String::new();
    for target in targets {
        let (instance, node) = (target.instance(), target.node());
        for series in 0..SERIES_A_TARGET {
            let mut pairs = target.pairs(series, &mut name);
            pairs.extend([("instance", &*instance), ("job", "cadvisor"), ("node", &node)]);
            pairs.sort_unstable();
            let samples = vec![Sample { value: value(target.index, series, round), timestamp, start_timestamp: 0 }];
            timeseries.push(TimeSeries { labels: labels(pairs), samples, ..TimeSeries::default() });
        }
    }
    WriteRequest { timeseries, metadata: Vec::new() }
}

/// The same as 2.0 says it: each text once.
pub fn request_2(targets: &[&Target], round: u64, timestamp: i64) -> Request2 {
    let mut symbols = vec![Vec::new()];
    let mut add = |text: &str| {
        symbols.push(text.as_bytes().to_vec());
        symbols.len() as u32 - 1
    };
    let [name, container, id, instance, job, namespace, node, pod, cadvisor] =
        ["__name__", "container", "id", "instance", "job", "namespace", "node", "pod", "cadvisor"].map(&mut add);
    let containers = CONTAINERS.map(&mut add);
    let namespaces = NAMESPACES.map(&mut add);
    let of_pod: Vec<u32> = (0..SERIES_A_POD).map(|i| add(&format!("container_metric_{i:02}_total"))).collect();
    let of_node: Vec<u32> = (0..SERIES_A_NODE).map(|i| add(&format!("node_metric_{i:02}_total"))).collect();
    let mut timeseries = Vec::with_capacity(targets.len() * SERIES_A_TARGET);
    for target in targets {
        let own = [(instance, add(&target.instance())), (job, cadvisor), (node, add(&target.node()))];
        let texts: Vec<[u32; 2]> = target.pods.iter().map(|pod| [add(&pod.id), add(&pod.name)]).collect();
        for series in 0..SERIES_A_TARGET {
            let (at, metric) = (series / SERIES_A_POD, series % SERIES_A_POD);
            let mut labels_refs = Vec::with_capacity(16);
            match target.pods.get(at) {
                Some(known) => {
                    let place = |list: &[&str], own: &str| list.iter().position(|other| *other == own).expect("one of them");
                    let container_of = containers[place(&CONTAINERS, known.container)];
                    let namespace_of = namespaces[place(&NAMESPACES, known.namespace)];
                    labels_refs.extend([name, of_pod[metric], container, container_of, id, texts[at][0]]);
                    labels_refs.extend([own[0].0, own[0].1, own[1].0, own[1].1, namespace, namespace_of, own[2].0, own[2].1]);
                    labels_refs.extend([pod, texts[at][1]]);
                }
                None => {
                    labels_refs.extend([name, of_node[metric]]);
                    labels_refs.extend(own.iter().flat_map(|(name, value)| [*name, *value]));
                }
            }
            let samples = vec![Sample { value: value(target.index, series, round), timestamp, start_timestamp: 0 }];
            timeseries.push(TimeSeries2 { labels_refs, samples, ..TimeSeries2::default() });
        }
    }
    Request2 { symbols, timeseries }
}

/// Of a hundred series 22 stand still, 14 mostly, 54 are counters with noise; the rest go up and down.
pub fn value(target: usize, series: usize, round: u64) -> f64 {
    let seed = mixed((target * SERIES_A_TARGET + series) as u64);
    let noise = mixed(seed ^ round);
    // Grows by `step` and up to as much again, never falls.
    let noisy = |step: u64, scale: f64| (seed % (1 << 36) + 2 * step * round + noise % step) as f64 / scale;
    match seed % 50 {
        0..=10 => (seed % (1 << 20) * 4096) as f64,
        11..=17 => (seed % 1000 + round / 200) as f64,
        18..=32 => noisy(1 << (10 + seed % 13), 1e6),
        33..=38 => noisy(1 << (7 + seed % 13), 1.0),
        39..=42 => noisy(2 + seed % 30, 1.0),
        43..=44 => noisy(10 + seed % 1000, 100.0),
        45..=48 => ((10_000 + seed % 90_000 + noise % 60) * 4096) as f64,
        _ => (noise % 800) as f64 / 100.0,
    }
}

/// Splitmix64's mixing.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
