//! What weir must refuse while it answers others.

use std::time::{Duration, Instant, SystemTime};

use crate::weir::{Weir, eventually};

/// Queries that no machine has the memory or the time for are refused in words, and others are answered meanwhile.
pub(super) async fn hostile(weir: &Weir) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (begin, end) = ((now - 30 * 86_400).to_string(), now.to_string());
    let everything = "{__name__=~\".+\"}";
    let range = |query: &str| {
        let parameters = [("query", query), ("start", &begin), ("end", &end), ("step", "1")];
        (String::from("/api/v1/query_range"), parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    };
    let instant = |query: String| (String::from("/api/v1/query"), vec![("query".to_owned(), query)]);
    let join = "count(label_replace(requests_total, \"x\", \"1\", \"\", \"\"))".to_owned();
    let many = format!("count_over_time(({})[30d:1ms])", vec![join.as_str(); 40].join(" + "));
    let asked = [
        (range(everything), "exceeded maximum resolution"),
        // Series by series these two take little memory: they come to an end by their labels, or are cut before.
        (instant(format!("sum_over_time({everything}[30d:1s])")), ""),
        (instant(format!("max_over_time(rate({everything}[30d])[30d:1s])")), ""),
        (instant(format!("sum_over_time(label_replace({everything}, \"n\", \"$1\", \"__name__\", \"(.*)\")[30d:1s])")), "query."),
        (instant(many), ""),
        (instant("{__name__=~\"((a|aa|aaa){1000}){1000}\"}".into()), ""),
    ];
    let normal = async |times: usize| {
        let mut took = Vec::new();
        for _ in 0..times {
            let begun = Instant::now();
            let answer = weir.get("/api/v1/query", &[("query", "sum(temperature)"), ("time", &end)]).await;
            assert_eq!(answer["status"], "success");
            took.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        took.sort();
        took[times / 2]
    };
    let calm = normal(20).await;
    let refuse = async |path: &str, parameters: &[(String, String)], words: &str| {
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, body) = weir.try_get(path, &parameters).await;
        let is_refused = [400, 414, 422, 431, 503].contains(&status) && body.contains(words) && !body.is_empty();
        assert!(is_refused, "{parameters:.300?}: {status} {body:.500}");
    };
    let refusals =
        futures_util::future::join_all(asked.iter().map(|((path, parameters), words)| refuse(path, parameters, words)));
    let (hostile, _) = tokio::join!(normal(60), refusals);
    assert!(
        hostile < 25 * calm.max(Duration::from_millis(20)),
        "a query takes {hostile:?} beside hostile ones, {calm:?} without"
    );
    // Scrapes went on.
    eventually("a sample of now", || async {
        let age = weir.get("/api/v1/query", &[("query", "time() - timestamp(up{job=\"c\"})")]).await;
        let seconds: Option<f64> = age["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
        if seconds.is_some_and(|seconds| seconds < 5.0) { Ok(()) } else { Err(age.to_string()) }
    })
    .await;
}
