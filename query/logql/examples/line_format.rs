//! The CPU that one line takes on its way through `line_format`:
//! `cargo run --config 'profile.dev.opt-level=3' -p weir-logql --example line_format`.

use std::hint::black_box;

use weir_logql::pipeline::labels::LineLabels;
use weir_logql::pipeline::{Lines, Pipeline};
use weir_logql::{Expr, parse};
use weir_model::label::Labels;

const LINES: u32 = 1_000_000;

fn main() {
    let templates = [
        "{{.app}}",
        "{{.app}} {{.pod}}: {{.namespace}}",
        "{{.pod | ToUpper}} {{__line__}}",
        "{{ if eq .app `shop` }}{{ .pod }}{{ else }}-{{ end }}",
        "{{ regexReplaceAll `[0-9]+` __line__ `N` }}",
    ];
    for template in templates {
        let query = format!("{{app=\"shop\"}} | line_format {template:?}");
        let Ok(Expr::Log(log)) = parse(&query) else { panic!("{query}") };
        let pipeline = match Pipeline::compile(&query, &log, Lines::Needed) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                println!("{template}: {error}");
                continue;
            }
        };
        let mut labels = LineLabels::default();
        labels.set_stream(&Labels::from_pairs([("app", "shop"), ("namespace", "prod"), ("pod", "cart-5d8f-x2x")]));
        let began = cpu_nanos();
        for i in 0..LINES {
            black_box(pipeline.run(black_box(b"GET /cart 200 in 15 ms"), i64::from(i), &mut labels));
        }
        println!("{template}: {} ns a line", (cpu_nanos() - began) / u64::from(LINES));
    }
}

/// What this thread has run, as the kernel counts it.
fn cpu_nanos() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel that counts");
    counts.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds first")
}
