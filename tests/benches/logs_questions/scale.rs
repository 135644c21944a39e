//! Lines of a large cluster made of a small one's: each copy of a trace with ids that no other has, of pods that are busy by Zipf's
//! law and start again, some as stack traces, 5% late.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_tests::nezha::Line;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Pods of a workload at a time. The busiest has a fifth of its lines.
const PODS: usize = 100;
/// A pod starts again after so many lines of its workload, on average.
const RESTART_LINES: u32 = 50_000;
/// One in so many lines is a stack trace.
const STACK_EACH: u32 = 200;
/// Of a stack trace.
const FRAMES: u32 = 30;
/// One in so many lines is late.
const LATE_EACH: u32 = 20;
/// At most by so much, nanoseconds.
const LATE_MAX: i64 = 3_600_000_000_000;

/// Makes lines; the same ones each time.
pub struct Scale {
    random: StdRng,
    /// Sums of 1/n, for pods by Zipf's law.
    sums: Vec<f64>,
    /// How often each pod has started.
    starts: Vec<u32>,
}

impl Default for Scale {
    fn default() -> Self {
        let mut sum = 0.0;
        let add = |pod: usize| {
            sum += 1.0 / (pod + 1) as f64;
            sum
        };
        Self { random: StdRng::seed_from_u64(1), sums: (0..PODS).map(add).collect(), starts: vec![0; PODS] }
    }
}

impl Scale {
    /// A line like this one in the copy of that number, and when it was written.
    pub fn line(&mut self, line: &Line, copy: u64, at: i64) -> (Line, i64) {
        let mut own = line.clone();
        let pod = self.pod();
        let workload = line.pod.rsplit_once('-').map_or(&*line.pod, |(workload, _)| workload);
        own.pod = format!("{workload}-{pod:02}{:03x}", self.starts[pod]);
        if !line.trace_id.is_empty() {
            own.trace_id = format!("{:032x}", xxh3_128_with_seed(line.trace_id.as_bytes(), copy));
            own.span_id = format!("{:016x}", xxh3_64_with_seed(line.span_id.as_bytes(), copy));
            own.body = line.body.replace(&line.trace_id, &own.trace_id).replace(&line.span_id, &own.span_id);
        }
        if self.random.random_ratio(1, STACK_EACH) {
            own.body.push_str(&self.stack());
        }
        let late = if self.random.random_ratio(1, LATE_EACH) { self.random.random_range(0..LATE_MAX) } else { 0 };
        (own, at - late)
    }

    fn pod(&mut self) -> usize {
        let at = self.random.random_range(0.0..self.sums[PODS - 1]);
        let pod = self.sums.partition_point(|sum| *sum <= at).min(PODS - 1);
        self.starts[pod] += u32::from(self.random.random_ratio(1, RESTART_LINES));
        pod
    }

    fn stack(&mut self) -> String {
        let frames = (0..FRAMES).map(|frame| {
            let line = self.random.random_range(10..900);
            format!("\n\tat org.example.shop.module{}.Service{frame}.call(Service{frame}.java:{line})", frame % 7)
        });
        std::iter::once("\njava.lang.IllegalStateException: order is closed".to_owned()).chain(frames).collect()
    }
}
