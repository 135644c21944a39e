//! Measures the sampler: makes 500 cgroups below `/weir-bench` (or as many as the first argument says) in every hierarchy,
//! samples the node, and prints the CPU time a sample takes against the budget of 2% of a core at one sample a second.
//! Needs root; removes what it made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_runtime::cgroup::Mounts;
use weir_runtime::samples::{NodeSampler, SamplerConfig};

const SAMPLES: u32 = 20;
/// The budget: 500 containers, full cgroup set, every second, in 2% of a core.
const BUDGET_MILLIS: f64 = 20.0;

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(500);
    let mut made: Vec<PathBuf> = Vec::new();
    let outcome = measure(count, &mut made);
    made.iter().rev().for_each(|path| drop(std::fs::remove_dir(path)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(count: u32, made: &mut Vec<PathBuf>) -> Result<(), Box<dyn std::error::Error>> {
    for point in Mounts::detect(Path::new("/"))?.points() {
        let parent = point.join("weir-bench");
        std::fs::create_dir(&parent)?;
        made.push(parent.clone());
        for i in 0..count {
            let path = parent.join(format!("{i:064x}"));
            std::fs::create_dir(&path)?;
            made.push(path);
        }
    }
    let mut sampler = NodeSampler::new(SamplerConfig::local("bench"))?;
    let [first, _] = sampler.sample(0);
    let before = cpu_seconds()?;
    for turn in 1..=SAMPLES {
        sampler.sample(i64::from(turn));
    }
    let millis = (cpu_seconds()? - before) * 1000.0 / f64::from(SAMPLES);
    let series = first.schema.series.len();
    println!("sample {count} cgroups, {series} series: {millis:.1} ms of CPU a sample (limit {BUDGET_MILLIS} ms)");
    Ok(())
}

fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = procfs::process::Process::myself()?.stat()?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}
