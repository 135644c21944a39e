//! What a panic does: outside of a request it ends the process, inside of one it ends that request.
//!
//! A ship lane, the bus's writer or a partition's owner that is gone leaves a process that looks alive and stores nothing.
//! Its supervisor starts a process that has ended anew; nothing acknowledged is lost by that (docs/decisions/0095).

use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use weir_model::panic_guard;

/// Everything that the process owes to anybody is done.
static ENDING: AtomicBool = AtomicBool::new(false);

/// From now on a panic is that of work which finds its runtime gone, a compaction for instance: it is given up.
pub(crate) fn end() {
    ENDING.store(true, Ordering::Release);
}

/// Installs the hook: for the commands that serve.
pub(crate) fn install() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if ENDING.load(Ordering::Acquire) {
            let _ = writeln!(std::io::stderr(), "weir: given up at the end: {}", panic.payload_as_str().unwrap_or("a panic"));
            return;
        }
        usual(panic);
        if panic_guard::is_contained() {
            return;
        }
        // Not a log line: what carries those may be what has panicked. A stderr that is full changes nothing.
        let _ = writeln!(std::io::stderr(), "weir: a part that weir cannot do without has panicked (above); this process ends");
        // Not an exit: whatever would run at the end may wait for what is gone.
        std::process::abort();
    }));
}

/// Runs a request's own code so that a panic ends it with 500, and nothing else.
pub(crate) async fn contain(request: Request, next: Next) -> Response {
    let mut answer = pin!(next.run(request));
    let outcome = poll_fn(|context| match panic_guard::catch(|| answer.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    outcome.await.unwrap_or_else(|panic| {
        tracing::error!(panic, "a request stopped by a fault of weir's");
        (StatusCode::INTERNAL_SERVER_ERROR, "the request stopped by a fault of weir's; the log says more\n").into_response()
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// Which scenario this test's own child plays.
    const CHILD: &str = "WEIR_TEST_FAULT";

    fn child(scenario: &str, test: &str) -> Output {
        let own = std::env::current_exe().unwrap();
        Command::new(own).args(["--exact", test, "--nocapture"]).env(CHILD, scenario).output().unwrap()
    }

    async fn wrong() -> String {
        let numbers: Vec<u32> = Vec::new();
        numbers[numbers.len()].to_string()
    }

    async fn play(scenario: &str) {
        install();
        match scenario {
            "task" => {
                let _ = tokio::spawn(async { panic!("the lane is gone") }).await;
            }
            "blocking" => {
                let _ = tokio::task::spawn_blocking(|| panic!("the lane is gone")).await;
            }
            "ending" => {
                end();
                let _ = tokio::task::spawn_blocking(|| panic!("the runtime is gone")).await;
            }
            "thread" => {
                let _ = std::thread::spawn(|| panic!("the lane is gone")).join();
            }
            _ => {
                let router: Router = Router::new().route("/", get(wrong)).layer(axum::middleware::from_fn(contain));
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}/", listener.local_addr().unwrap());
                tokio::spawn(async move { axum::serve(listener, router).await });
                assert_eq!(weir_tls::client().get(url).send().await.unwrap().status().as_u16(), 500);
            }
        }
        println!("still here");
    }

    #[tokio::test]
    async fn a_panic_ends_the_process_unless_a_request_holds_it() {
        if let Ok(scenario) = std::env::var(CHILD) {
            return play(&scenario).await;
        }
        let own = "fault::tests::a_panic_ends_the_process_unless_a_request_holds_it";
        for scenario in ["task", "blocking", "thread"] {
            let output = child(scenario, own);
            let (errors, said) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            assert!(!output.status.success(), "{scenario}: {errors}");
            assert!(errors.contains("the lane is gone") && errors.contains("this process ends"), "{scenario}: {errors}");
            assert!(!said.contains("still here"), "{scenario}: {said}");
        }
        for (scenario, said) in [("request", "index out of bounds"), ("ending", "weir: given up at the end: the runtime is gone")]
        {
            let output = child(scenario, own);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && errors.contains(said), "{scenario}: {errors}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("still here"));
        }
    }
}
