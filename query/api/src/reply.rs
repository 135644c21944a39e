//! An answer's text: written piece by piece, counted against the budget as it grows, and held until it is sent.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use weir_budget::Grant;
use weir_budget::RequestBudget;
use weir_model::select::{Budget, Coverage, ReadError};

use super::{coverage_header, revalidate};

/// `stats` of a body.
const STATS: HeaderName = HeaderName::from_static("x-weir-stats");

/// An answer is handed to the connection in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Text grows by at least so much.
const GROWTH_BYTES: usize = 16 << 10;

/// The text of an answer that is being written.
pub(crate) struct Text<'a> {
    budget: &'a RequestBudget,
    bytes: Vec<u8>,
    /// What the tag is of: so many bytes; all of them where nothing is said.
    tagged: Option<usize>,
    failure: Option<ReadError>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(budget: &'a RequestBudget) -> Self {
        Self { budget, bytes: Vec::new(), tagged: None, failure: None }
    }

    /// Text as it is.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), ReadError> {
        self.push(text.as_bytes())
    }

    /// A value as JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), ReadError> {
        serde_json::to_writer(&mut *self, value)
            .map_err(|error| self.failure.take().unwrap_or_else(|| ReadError::Store(format!("an answer is no JSON: {error}"))))
    }

    /// An object without its closing brace.
    pub(crate) fn open_object(&mut self, value: &Value) -> Result<(), ReadError> {
        self.json(value)?;
        self.bytes.pop();
        Ok(())
    }

    /// A list whose items are made one by one.
    pub(crate) fn each<T: Serialize>(&mut self, items: impl IntoIterator<Item = T>) -> Result<(), ReadError> {
        self.raw("[")?;
        for (i, item) in items.into_iter().enumerate() {
            self.budget.check()?;
            self.raw(if i == 0 { "" } else { "," })?;
            self.json(&item)?;
        }
        self.raw("]")
    }

    /// What follows is told by headers as well, so an answer that differs in nothing else is the same (304).
    pub(crate) fn end_tagged(&mut self) {
        self.tagged.get_or_insert(self.bytes.len());
    }

    /// The whole answer, as JSON.
    pub(crate) fn reply(self, coverage: Option<Coverage>) -> Reply {
        let kind = "application/json";
        Reply { status: StatusCode::OK, kind, body: self.bytes, tagged: self.tagged, coverage, stats: None }
    }

    /// The whole answer, as text of this type.
    pub(crate) fn reply_as(self, kind: &'static str, coverage: Coverage) -> Reply {
        Reply { kind, ..self.reply(Some(coverage)) }
    }

    fn push(&mut self, more: &[u8]) -> Result<(), ReadError> {
        let needed = self.bytes.len() + more.len();
        self.budget.check_answer(needed)?;
        if needed > self.bytes.capacity() {
            let growth = (needed - self.bytes.capacity()).max(self.bytes.capacity()).max(GROWTH_BYTES);
            self.budget.reserve(growth as u64)?;
            self.bytes.reserve_exact(self.bytes.capacity() + growth - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

impl std::io::Write for Text<'_> {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        match self.push(more) {
            Ok(()) => Ok(more.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(std::io::Error::other("above a limit"))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer, ready to be sent.
pub(crate) struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
    /// What the tag is of, where that is not all of the body.
    tagged: Option<usize>,
    /// Goes into the header.
    coverage: Option<Coverage>,
    /// Goes into [`STATS`].
    stats: Option<HeaderValue>,
}

impl Reply {
    /// A value as JSON.
    pub(crate) fn json(budget: &RequestBudget, value: &impl Serialize, coverage: Option<Coverage>) -> Result<Self, ReadError> {
        let mut text = Text::new(budget);
        text.json(value)?;
        Ok(text.reply(coverage))
    }

    /// Bytes that are there already.
    pub(crate) fn of(status: StatusCode, kind: &'static str, body: Vec<u8>, coverage: Coverage) -> Self {
        Self { status, kind, body, tagged: None, coverage: Some(coverage), stats: None }
    }

    /// What the query took, as a header too.
    pub(crate) fn with_stats(self, stats: &Value) -> Self {
        Self { stats: HeaderValue::from_str(&stats.to_string()).ok(), ..self }
    }

    /// Bytes of it.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// `held` is what the body takes, and is given back when it has been sent or the client has gone.
    pub(super) fn into_response(mut self, held: Grant) -> Response {
        self.body.shrink_to_fit();
        let (length, body) = (self.body.len(), Bytes::from(self.body));
        let pieces = futures_util::stream::unfold((body.clone(), held), |(mut rest, held)| async move {
            if rest.is_empty() {
                return None;
            }
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            Some((Ok::<_, std::convert::Infallible>(piece), (rest, held)))
        });
        let mut response = Response::new(Body::from_stream(pieces));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(stats) = self.stats {
            response.headers_mut().insert(STATS, stats);
        }
        let told = self.coverage.is_none_or(|coverage| coverage_header::insert(&coverage, &mut response));
        // What no header has can change what the body says.
        let tagged = self.tagged.filter(|_| told).unwrap_or(length);
        revalidate::tag(&mut response, &body[..tagged]);
        response
    }
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;

    use super::*;
    use weir_budget::QueryConfig;
    use weir_budget::{Load, LoadMetrics};

    #[tokio::test]
    async fn an_answer_is_held_until_it_is_sent_and_has_an_end() {
        let config = QueryConfig { answer_max: ByteSize::bytes(200_000), ..QueryConfig::default() };
        let load = Load::new(&config, LoadMetrics::default());
        let (budget, _guard) = RequestBudget::new(&config, &load, &[]);
        let mut text = Text::new(&budget);
        text.each((0..10).map(|_| "x".repeat(10_000))).unwrap();
        assert!(budget.held() >= 100_000, "{}", budget.held());
        let reply = text.reply(None);
        let bytes = reply.bytes();
        let response = reply.into_response(budget.keep(bytes).unwrap());
        assert_eq!((load.used(), response.headers()["content-length"].to_str().unwrap()), (bytes as u64, "100031"));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!((body.len(), load.used()), (100_031, 0));

        let (budget, _guard) = RequestBudget::new(&config, &load, &[]);
        let error = Text::new(&budget).each((0..30).map(|_| "x".repeat(10_000))).unwrap_err().to_string();
        assert!(error.contains("200000 bytes of answer") && error.contains("query.answer_max"), "{error}");
        assert_eq!(load.metrics().refusals("answer"), 1);
        drop(budget);
        assert_eq!(load.used(), 0);
    }
}
