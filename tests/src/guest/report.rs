//! What the guest wrote: sections that begin with `@@ NAME`. Kernel files come as `PATH:LINE`, weir's answers as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Where the guest mounts cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// All that it wrote.
pub struct Report {
    sections: BTreeMap<String, String>,
}

impl Report {
    /// Errors when the guest gave up, or did not come to its end.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace('\r', "");
        let mut sections = BTreeMap::new();
        for section in text.split("@@ ").skip(1) {
            let (name, content) = section.split_once('\n').unwrap_or((section, ""));
            if let Some(why) = name.strip_prefix("failed ") {
                return Err(format!("the guest failed: {why}"));
            }
            sections.insert(name.to_owned(), content.to_owned());
        }
        if sections.contains_key("end") { Ok(Self { sections }) } else { Err("the guest did not come to its end".into()) }
    }

    /// A section's text.
    pub fn text(&self, name: &str) -> &str {
        self.sections.get(name).unwrap_or_else(|| panic!("the guest wrote no section {name}")).trim()
    }

    /// A section of JSON.
    pub fn json(&self, name: &str) -> Value {
        let text = self.text(name);
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
    }

    /// What the kernel said.
    pub fn kernel(&self, name: &str) -> Kernel {
        let mut kernel = Kernel::default();
        for line in self.text(name).lines() {
            let Some((path, line)) = line.split_once(':') else { continue };
            let path = path.strip_prefix(CGROUPS).map_or_else(|| path.to_owned(), str::to_owned);
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
            let folder = if folder.is_empty() { "/" } else { folder };
            kernel.files.entry((folder.to_owned(), file.to_owned())).or_default().push(line.to_owned());
        }
        kernel
    }

    /// What weir answered to an instant query.
    pub fn answer(&self, name: &str) -> Answer {
        let answer = self.json(name);
        assert_eq!(answer["status"], "success", "{name}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        Answer { series }
    }
}

/// The kernel's files at one time, by cgroup (or folder) and name. A file without a line is as one that is not there.
#[derive(Default)]
pub struct Kernel {
    files: BTreeMap<(String, String), Vec<String>>,
}

impl Kernel {
    /// All cgroups.
    pub fn cgroups(&self) -> BTreeSet<&str> {
        let files = self.files.keys().filter(|(_, file)| file == "cpu.stat");
        files.map(|(cgroup, _)| cgroup.as_str()).collect()
    }

    /// A file's lines.
    pub fn lines(&self, cgroup: &str, file: &str) -> Option<&[String]> {
        self.files.get(&(cgroup.to_owned(), file.to_owned())).map(Vec::as_slice)
    }

    /// A number of a file: `""` the only one (0 for `max`), `#` how many lines there are, `some` and `full` the totals of a
    /// pressure file, `=KEY` the sum over the devices of `io.stat`, a digit the word of that place, else a key at the
    /// beginning of a line.
    pub fn number(&self, cgroup: &str, file: &str, key: &str) -> Option<u64> {
        let lines = self.lines(cgroup, file)?;
        let number = |text: &str| if text == "max" { Some(0) } else { text.parse::<u64>().ok() };
        let after = |line: &str, prefix: &str| line.split(' ').find_map(|word| word.strip_prefix(prefix)?.parse::<u64>().ok());
        match key {
            "" => number(lines[0].trim()),
            "#" => Some(lines.len() as u64),
            "some" | "full" => lines.iter().find(|line| line.starts_with(key)).and_then(|line| after(line, "total=")),
            "0" | "1" => number(lines[0].split(' ').nth(usize::from(key == "1"))?),
            _ if key.starts_with('=') => {
                let prefix = format!("{}=", &key[1..]);
                Some(lines.iter().filter_map(|line| after(line, &prefix)).sum())
            }
            _ => lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()),
        }
    }
}

/// Series with one value each.
pub struct Answer {
    /// As the API has them.
    pub series: Vec<Value>,
}

impl Answer {
    /// The sum of a metric's series of a cgroup (over devices); `None` when there is none. `only` is a label and its value.
    pub fn value(&self, metric: &str, cgroup: &str, only: Option<(&str, &str)>) -> Option<f64> {
        let matches = |series: &&Value| {
            let labels = &series["metric"];
            labels["__name__"] == metric
                && labels["id"].as_str().unwrap_or_default() == cgroup
                && only.is_none_or(|(label, value)| labels[label] == value)
        };
        let values = self.series.iter().filter(matches).map(|series| {
            let text = series["value"][1].as_str().unwrap_or_default();
            text.parse::<f64>().unwrap_or_else(|error| panic!("{metric} of {cgroup}: {error}: {series}"))
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}
