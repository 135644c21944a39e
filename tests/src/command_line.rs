//! The command line against a weir that runs: what it prints, what it says on stderr, what it refuses.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::weir::{PATIENCE, Weir, binary, eventually, free_port};

/// Exit code, stdout, stderr of a command.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// In a zone that is neither UTC nor, likely, this machine's.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words).env("TZ", "Asia/Kolkata").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn say(words: &[&str]) -> Said {
    let output = command(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Done, with this on stderr.
fn done(words: &[&str]) -> Said {
    let said = say(words);
    assert_eq!(said.code, Some(0), "{words:?}: {}{}", said.out, said.err);
    said
}

impl Said {
    /// Whether it says that a limit cut the answer.
    fn is_cut(&self) -> bool {
        self.err.contains("limit")
    }

    /// Nothing on stdout, and why on stderr: weir's own records may be on their way at any time.
    fn is_empty(&self) -> bool {
        self.out.is_empty() && (self.err.contains("no results") || self.err.contains("not searchable yet"))
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

async fn push(weir: &Weir, container: &str, at: u64, line: &str) {
    let stream = json!({"namespace": "shop", "container": container});
    let body = json!({"streams": [{"stream": stream, "values": [[at.to_string(), line]]}]});
    let answer = weir.http.post(weir.url("/loki/api/v1/push")).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 204, "{}", weir.log());
}

/// Until a query finds so many lines.
async fn arrived(weir: &Weir, lines: usize) {
    eventually("the lines", || async {
        let answer = weir.get("/api/weir/v1/logs", &[("query", "{namespace=\"shop\"}")]).await;
        let found = answer["lines"].as_array().map_or(0, Vec::len);
        if found == lines { Ok(()) } else { Err(format!("{found} lines")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_metric_queries_over_them() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let at = now() - 60_000_000_000;
    push(&weir, "web", at, "first\tof \x1b[31mtwo").await;
    push(&weir, "db", at + 1_000_000_000, "second\nwith a break").await;
    arrived(&weir, 2).await;
    // Without a scheme, and by name.
    let addr = weir.listen.replace("127.0.0.1", "localhost");
    let query = "{namespace=\"shop\"}";

    let said = done(&["logs", query, "--addr", &addr]);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.out);
    assert!(lines[0].contains("+05:30 web first\tof \\x1b[31mtwo"), "{}", said.out);
    assert!(lines[1].contains("+05:30 db second\\nwith a break"), "{}", said.out);
    assert!(!said.is_cut(), "nothing was cut: {}", said.err);

    // A time that was printed is one that can be typed; without its zone it is local.
    let time = lines[1].split(' ').next().unwrap();
    for from in [time, &time[..time.len() - "+05:30".len()], &time[..time.len() - "+05:30".len()].replace('T', " ")] {
        let said = done(&["logs", query, "--addr", &addr, "--from", from]);
        assert!(said.out.lines().count() == 1 && said.out.contains(" db "), "{from}: {}", said.out);
    }
    let said = done(&["logs", query, "--addr", &addr, "--from", &(at / 1_000_000).to_string(), "--to", "now-1s", "-o", "ndjson"]);
    assert_eq!(said.out.lines().count(), 2, "milliseconds: {}", said.out);

    let said = done(&["logs", query, "--addr", &addr, "--limit", "1"]);
    assert!(said.out.contains(" db ") && !said.out.contains(" web "), "{}", said.out);
    assert!(said.err.contains("only the newest 1 line, as --limit"), "{}", said.err);
    let said = done(&["logs", "{namespace=\"none\"}", "--addr", &addr]);
    assert!(said.is_empty(), "{}{}", said.out, said.err);

    let metric = "sum by (container) (count_over_time({namespace=\"shop\"}[1h]))";
    let said = done(&["logs", metric, "--addr", &addr]);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    assert!(said.out.contains("{container=\"web\"}\t1 @") && said.out.contains("+05:30\n"), "{}", said.out);
    let said = done(&["logs", metric, "--addr", &addr, "--since", "1m", "--step", "15s"]);
    assert!(said.out.lines().all(|line| line.matches('@').count() > 1), "{}", said.out);

    let plain = done(&["logs", query, "--addr", &addr, "--color", "never"]).out;
    let colored = done(&["logs", query, "--addr", &addr, "--color", "always"]).out;
    assert!(!plain.contains('\x1b') && colored.contains("\x1b[38;5;") && colored.contains("mweb\x1b[0m"), "{colored}");
    assert_eq!(colored, done(&["logs", query, "--addr", &addr, "--color", "always"]).out, "a container keeps its colour");
}

/// A command that goes on, killed when dropped.
struct Going(Child);

impl Drop for Going {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_over_containers() {
    let folder = tempfile::tempdir().unwrap();
    let mut weir = Weir::start(&folder.path().join("data")).await;
    push(&weir, "web", now(), "before").await;
    arrived(&weir, 1).await;
    let words = ["logs", "-f", "{namespace=\"shop\"}", "--color", "always", "--addr", &weir.listen];
    let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tx, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
    let mut going = Going(child);
    let next = || lines.recv_timeout(PATIENCE).expect("a line");

    let before = next();
    assert!(before.contains("before") && before.contains("mweb\x1b[0m"), "{before:?}");
    push(&weir, "web", now(), "after").await;
    push(&weir, "db", now(), "from elsewhere").await;
    let mut more = [next(), next()];
    more.sort_by_key(|line| line.contains("elsewhere"));
    let color = |line: &str| line.split("\x1b[38;5;").nth(1).and_then(|rest| rest.split('m').next()).map(str::to_owned);
    assert!(more[0].contains("after") && more[1].contains("mdb\x1b[0m"), "{more:?}");
    assert_eq!(color(&before), color(&more[0]), "a container keeps its colour");

    // Over a restart each line comes once: what was there, what arrives before the connection is made again, and after.
    weir.kill();
    weir.spawn();
    weir.wait_ready().await;
    push(&weir, "web", now(), "meanwhile").await;
    assert!(next().contains("meanwhile"));
    push(&weir, "web", now(), "live again").await;
    assert!(next().contains("live again"));
    going.0.kill().unwrap();
    going.0.wait().unwrap();
    let mut said = String::new();
    going.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let told = ["was lost", "connecting again", &format!("connected to {} again", weir.listen)];
    assert!(told.iter().all(|words| said.contains(words)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_that_a_limit_cut_are_said_and_numbers_agree_with_their_nouns() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let attribute = |value: &str| json!([{"key": "shelf", "value": {"stringValue": value}}]);
    let point = |value: &str| json!({"asDouble": 1.0, "timeUnixNano": now().to_string(), "attributes": attribute(value)});
    let metric = json!({"name": "books", "gauge": {"dataPoints": [point("a\nb"), point("c")]}});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = weir.http.post(format!("http://{}/v1/metrics", weir.otlp_http)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", weir.log());
    eventually("the series", || async {
        let answer = weir.get("/api/v1/query", &[("query", "books")]).await;
        let found = answer["data"]["result"].as_array().map_or(0, Vec::len);
        if found == 2 { Ok(()) } else { Err(format!("{found} series")) }
    })
    .await;
    let said = done(&["metrics", "books", "--addr", &weir.listen]);
    assert!(said.out.lines().count() == 2 && !said.is_cut(), "{}{}", said.out, said.err);
    assert!(said.out.contains("shelf=\"a\\nb\""), "{}", said.out);
    let said = done(&["metrics", "books", "--limit", "1", "--addr", &weir.listen]);
    assert!(said.out.lines().count() == 1 && said.is_cut(), "{}{}", said.out, said.err);
    let said = done(&["metrics", "books", "--to", "now-1h", "--addr", &weir.listen]);
    assert!(said.is_empty(), "{}{}", said.out, said.err);
    let said = done(&["admin", "seal", "--addr", &weir.listen]);
    assert!(said.out.contains(" block") && !said.out.contains("1 blocks") && !said.out.contains("1 records"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let (id, start) = ("04c87ec97bae041b1b15b3c7676a43cc", now());
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let stack = "Error: refused\n\tat pay(Shop.java:7)\x1b[2J";
    let attributes = [text("exception.type", "Error"), text("exception.message", "refused"), text("exception.stacktrace", stack)];
    let span = json!({
        "traceId": id, "spanId": "0102030405060708", "name": "pay\n", "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + 1_500_000).to_string(), "status": {"code": 2, "message": "card refused"},
        "events": [{"timeUnixNano": start.to_string(), "name": "exception", "attributes": attributes}],
    });
    let resource = json!({"attributes": [text("service.name", "shop")]});
    let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    let answer = weir.http.post(format!("http://{}/v1/traces", weir.otlp_http)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", weir.log());
    eventually("the trace", || async {
        let (status, body) = weir.try_get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
    let said = done(&["trace", id, "--addr", &weir.listen]);
    let lines: Vec<&str> = said.out.lines().map(str::trim).collect();
    assert!(lines[0].contains("+05:30") && lines[0].ends_with("1.5 ms  1 span, 1 error"), "{}", said.out);
    assert!(lines[1].ends_with("1.5 ms  shop pay\\n ERROR"), "{}", said.out);
    let below = ["card refused", "+0 ns exception: Error: refused", "Error: refused", "at pay(Shop.java:7)\\x1b[2J"];
    assert_eq!(lines[2..], below, "{}", said.out);
    let said = say(&["trace", "1", "--addr", &weir.listen]);
    assert!(said.code == Some(1) && said.err.contains("trace"), "{}", said.err);
}

/// `front` on one node calls `cart` on another, whose clock is 5 s behind: by time, the cart would have answered before it was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_trace_are_in_causal_order_over_clocks_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let (id, start) = ("04c87ec97bae041b1b15b3c7676a43cc", now() - 60_000_000_000);
    let at = |ms: i64| start.saturating_add_signed(ms * 1_000_000).to_string();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let span = |own: &str, parent: &str, kind: u8, (begun, ended): (i64, i64)| {
        json!({"traceId": id, "spanId": own.repeat(8), "parentSpanId": parent.repeat(8), "name": "get", "kind": kind,
            "startTimeUnixNano": at(begun), "endTimeUnixNano": at(ended)})
    };
    let of = |service: &str, node: &str, spans: Vec<serde_json::Value>| {
        let attributes = [text("service.name", service), text("k8s.node.name", node)];
        json!({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]})
    };
    let front = of("front", "a", vec![span("01", "", 2, (0, 300)), span("02", "01", 3, (100, 200))]);
    let cart = of("cart", "b", vec![span("03", "02", 2, (-4_890, -4_810))]);
    let body = json!({"resourceSpans": [front, cart]});
    let answer = weir.http.post(format!("http://{}/v1/traces", weir.otlp_http)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", weir.log());
    let lines =
        [("a", "01", 90, "asks"), ("a", "01", 210, "is answered"), ("b", "03", -4_880, "looks"), ("b", "03", -4_820, "found")];
    for (node, span, ms, line) in lines {
        let metadata = json!({"trace_id": id, "span_id": span.repeat(8)});
        let stream = json!({"namespace": "shop", "node": node});
        let body = json!({"streams": [{"stream": stream, "values": [[at(ms), line, metadata]]}]});
        let answer = weir.http.post(weir.url("/loki/api/v1/push")).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{}", weir.log());
    }
    arrived(&weir, lines.len()).await;
    eventually("both batches of spans", || async {
        let (_, body) = weir.try_get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        if body.matches("\"orphan\"").count() == 3 { Ok(()) } else { Err(body) }
    })
    .await;
    for sealed in [false, true] {
        let said = done(&["trace", id, "--logs", "--addr", &weir.listen]);
        let expected = [" asks", " looks  (+5 s)", " found  (+5 s)", " is answered"];
        let is_so =
            said.out.lines().count() == expected.len() && said.out.lines().zip(expected).all(|(line, end)| line.ends_with(end));
        assert!(is_so, "sealed: {sealed}\n{}", said.out);
        assert!(said.err.contains("the clock of b is taken to be 5 s behind, from 1 call"), "{}", said.err);
        weir.admin("seal").await;
    }
    let said = done(&["trace", id, "--logs", "--limit", "1", "-o", "json", "--addr", &weir.listen]);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&answer["order"], &answer["more"]), (&json!("causal"), &json!(true)), "{answer}");
    assert!(said.err.contains("only the oldest 1 line"), "{}", said.err);
    assert_ne!(say(&["trace", id, "--limit", "1", "--addr", &weir.listen]).code, Some(0), "a limit without lines");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_where_its_page_is() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let expected = format!("weir is up; its page: http://{}", weir.listen);
    eventually("the summary", || async {
        let log = weir.log();
        let whole =
            ["containers", "rules", "targets", "takes OTLP", "next"].iter().all(|word| log.contains(&format!("  {word}")));
        if log.contains(&expected) && whole { Ok(()) } else { Err(log) }
    })
    .await;
}

/// What `weir up` refuses is refused by a check, in the same words, with the name of the file before them.
#[test]
fn a_check_refuses_what_a_start_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("rules.yml"), "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: rate(a[5m\n").unwrap();
    std::fs::write(at("scrape.yml"), "scrape_configs:\n- job_name: a\n  tls_config: {max_version: TLS13}\n").unwrap();
    let ports = format!("listen = \"127.0.0.1:{}\"\n", free_port());
    for (text, word) in [
        ("listne = 1".to_owned(), "listne"),
        ("otlp_grpc = \"0.0.0.0:4317\"".to_owned(), "allow_plaintext"),
        (format!("{ports}otlp_http = {}", ports.split(" = ").nth(1).unwrap()), "otlp_http"),
        (format!("[rules]\nfiles = [{:?}]", at("rules.yml")), "rules: "),
        (format!("[rules]\nfiles = [{:?}]", at("away.yml")), "away.yml"),
        (format!("[collector.scrape]\nconfig_file = {:?}", at("scrape.yml")), "max_version"),
        (format!("[collector.scrape]\nconfig_file = {:?}", at("away.yml")), "away.yml"),
        (format!("data = {:?}", at("rules.yml")), "data"),
        ("[bus.disk]\npartitions = 0".to_owned(), "bus.disk.partitions"),
        ("[store]\nurl = \"ftp://x\"".to_owned(), "store.url"),
        ("[store.options]\nregion = \"x\"".to_owned(), "store.options.region"),
        ("[aggregator]\nhead_max = \"5B\"".to_owned(), "aggregator.head_max"),
        ("[query]\ntimeout_seconds = 60".to_owned(), "at line 2"),
        ("[query]\ntimeout_seconds = 60".to_owned(), "key `timeout_seconds` is now `timeout`, written timeout = \"60s\""),
        ("[query]\ntimeout = 60".to_owned(), "has no unit"),
    ] {
        let file = at("weir.toml");
        std::fs::write(&file, &text).unwrap();
        let (check, start) = (say(&["check", "config", &file]), say(&["up", "--config", &file]));
        assert_eq!((check.code, start.code), (Some(2), Some(2)), "{text}: {} {}", check.err, start.err);
        let said = |of: &Said| of.err.trim_start_matches("weir: ").replace(&format!("{file}: "), "");
        assert!(check.err.contains(word) && check.err.contains(&file) && check.out.is_empty(), "{text}: {}", check.err);
        assert_eq!(said(&check), said(&start), "{text}");
    }
    std::fs::write(at("weir.toml"), "").unwrap();
    assert!(done(&["check", "config", &at("weir.toml")]).out.ends_with("weir.toml: fine\n"));
}

/// `weir … | head` ends without a word.
#[test]
fn a_reader_that_is_gone_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["config"][..], &["completions", "zsh"], &["ps", "--dir", folder.path().to_str().unwrap()], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{words:?}: {} {said}", output.status);
    }
}

/// Manual pages and completions that their readers take.
#[test]
fn pages_and_completions_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("man1");
    done(&["man", directory.to_str().unwrap()]);
    assert!(Path::new(&directory.join("weir-logs.1")).is_file());
    let script = done(&["completions", "bash"]).out;
    let file = folder.path().join("weir.bash");
    std::fs::write(&file, script).unwrap();
    let words = format!(
        "source {}; COMP_WORDS=(weir logs); COMP_CWORD=1; _weir weir logs weir; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &words]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "logs", "{}", String::from_utf8_lossy(&output.stderr));
}
