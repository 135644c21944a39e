//! A bulk request: lines of JSON, an action and then its document. Documents of one index are lines of one stream, whose only label is `index`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_model::label::Labels;
use weir_model::log::LogBatch;
use weir_model::wire::{Kind, Section};

use super::document::{self, DECODED_PER_BYTE, DOCUMENT_BYTES_MAX};
use crate::admission::Admission;
use crate::bounds::{OutOfTime, TimeBounds};
use crate::lines::{Line, Lines};
use crate::metadata::Metadata;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;
use crate::quota::Excess;

pub(super) const SOURCE: &str = "elasticsearch";

/// As long as Elasticsearch lets a name be.
const INDEX_BYTES_MAX: usize = 255;

/// Memory of an item beside its texts: itself and its place in the answer.
const ITEM_BYTES: usize = 256;

/// What a request came to.
pub(crate) struct Taken {
    pub sections: Vec<Section<LogBatch>>,
    /// One for each action, in their order.
    pub items: Vec<Item>,
    /// Documents that are not taken, by why.
    pub refused: BTreeMap<&'static str, u64>,
}

pub(crate) struct Item {
    action: Action,
    index: String,
    error: Option<ItemError>,
}

/// Why a document is not taken.
struct ItemError {
    status: u16,
    /// As Elasticsearch names it.
    kind: &'static str,
    text: String,
    /// The counter's.
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Create,
    Index,
    Update,
    Delete,
}

impl Action {
    const ALL: [Self; 4] = [Self::Create, Self::Index, Self::Update, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Item {
    fn refuse(&mut self, kind: &'static str, text: String) {
        self.error = Some(ItemError { status: 400, kind, text, reason: "malformed" });
    }

    /// Where its tenant sends too much: what passes by itself may come again.
    fn exceed(&mut self, excess: &Excess) {
        let (status, kind) =
            if excess.is_passing { (429, "es_rejected_execution_exception") } else { (400, "illegal_argument_exception") };
        self.error = Some(ItemError { status, kind, text: excess.text.clone(), reason: excess.reason });
    }

    fn is_late(&mut self, error: &OutOfTime) {
        let reason = if matches!(error, OutOfTime::Old { .. }) { "too_old" } else { "too_new" };
        let text = format!("a document of [{}] {error}", self.index);
        self.error = Some(ItemError { status: 400, kind: "illegal_argument_exception", text, reason });
    }

    pub fn is_refused(&self) -> bool {
        self.error.is_some()
    }

    pub fn to_json(&self) -> Value {
        let said = match &self.error {
            None => json!({"_index": self.index, "result": "created", "status": 201}),
            Some(ItemError { status, kind, text, .. }) => {
                json!({"_index": self.index, "status": status, "error": {"type": kind, "reason": text}})
            }
        };
        json!({self.action.name(): said})
    }
}

/// Sections of a request; `index` is that of its path. Errors when lines are no actions, so that nobody knows what is what.
pub(crate) fn sections(
    context: &PushContext,
    admission: &Admission,
    index: Option<&str>,
    bytes: &[u8],
) -> Result<Taken, PushError> {
    let (mut items, documents) = actions(context, admission, index, bytes)?;
    let largest = documents.iter().map(|document| document.len().min(DOCUMENT_BYTES_MAX)).max().unwrap_or(0);
    admission.charge(largest * DECODED_PER_BYTE)?;
    let mut of_index: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (item, document) in items.iter().zip(&documents).filter(|(item, _)| !item.is_refused()) {
        let (lines, line_bytes) = of_index.entry(&item.index).or_default();
        (*lines, *line_bytes) = (*lines + 1, *line_bytes + document.len());
    }
    let mut streams = BTreeMap::new();
    for (index, (lines, line_bytes)) in of_index {
        let labels = Labels::from_pairs([("index", index)]);
        let stream = match context.quota.stream(&labels) {
            Err(excess) => Err(excess),
            Ok(()) => {
                let mut digest = Digest::new(&context.tenant, SOURCE);
                digest.field(index.as_bytes());
                Ok(Stream { context, lines: Lines::begin(context, admission, labels, lines, line_bytes)?, digest })
            }
        };
        streams.insert(index.to_owned(), stream);
    }
    let bounds = context.bounds(Kind::Logs);
    for (item, document) in items.iter_mut().zip(&documents).filter(|(item, _)| !item.is_refused()) {
        match streams.get_mut(&item.index) {
            Some(Ok(stream)) => stream.take(item, document, &bounds)?,
            Some(Err(excess)) => item.exceed(excess),
            None => {}
        }
    }
    let mut refused = BTreeMap::new();
    for error in items.iter().filter_map(|item| item.error.as_ref()) {
        *refused.entry(error.reason).or_default() += 1;
    }
    let sections = streams.into_values().flatten().filter_map(Stream::finish).collect();
    Ok(Taken { sections, items, refused })
}

/// The actions, each with its document; a deletion has an empty one.
fn actions<'b>(
    context: &PushContext,
    admission: &Admission,
    of_path: Option<&str>,
    bytes: &'b [u8],
) -> Result<(Vec<Item>, Vec<&'b [u8]>), PushError> {
    let (mut items, mut documents) = (Vec::new(), Vec::new());
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.trim_ascii()).enumerate();
    let mut lines = lines.filter(|(_, line)| !line.is_empty());
    let limit = context.config.records_max;
    while let Some((number, line)) = lines.next() {
        if items.len() == limit {
            return Err(PushError::Malformed(format!("more than {limit} documents in one request (limit push.records_max)")));
        }
        admission.charge(ITEM_BYTES)?;
        let item = action(line, number + 1, of_path)?;
        let document = match item.action {
            Action::Delete => &line[..0],
            _ => {
                lines.next().ok_or_else(|| PushError::Malformed(format!("line {} has an action and no document", number + 1)))?.1
            }
        };
        admission.charge(item.index.len())?;
        items.push(item);
        documents.push(document);
    }
    if items.is_empty() {
        return Err(PushError::Malformed("request body is required".into()));
    }
    Ok((items, documents))
}

/// `{"create": {"_index": "logs"}}`
fn action(line: &[u8], number: usize, of_path: Option<&str>) -> Result<Item, PushError> {
    let wrong = |what: &str| PushError::Malformed(format!("Malformed action/metadata line [{number}], {what}"));
    if line.len() > DOCUMENT_BYTES_MAX {
        return Err(wrong("which is too long"));
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| wrong(&format!("expected an action: {error}")))?;
    let said = value.as_object().filter(|members| members.len() == 1).and_then(|members| members.iter().next());
    let (name, options) = said.ok_or_else(|| wrong("expected an object of one action"))?;
    let action = Action::ALL.into_iter().find(|action| action.name() == name);
    let action = action.ok_or_else(|| wrong("expected one of [create, delete, index, update]"))?;
    let index = options.get("_index").and_then(Value::as_str).or(of_path).unwrap_or_default();
    let mut item = Item { action, index: index.chars().take(INDEX_BYTES_MAX).collect(), error: None };
    match action {
        _ if index.is_empty() => item.refuse("action_request_validation_exception", "index is missing".into()),
        _ if index.len() > INDEX_BYTES_MAX => {
            let reason = format!("index name is too long ({} > {INDEX_BYTES_MAX})", index.len());
            item.refuse("invalid_index_name_exception", reason);
        }
        Action::Update | Action::Delete => {
            let reason = format!("lines are kept as they came: there is no [{name}], only [create] and [index]");
            item.refuse("illegal_argument_exception", reason);
        }
        Action::Create | Action::Index => {}
    }
    Ok(item)
}

/// Lines of one index.
struct Stream<'a> {
    context: &'a PushContext,
    lines: Lines<'a>,
    digest: Digest,
}

impl Stream<'_> {
    /// Appends a document, or refuses its item.
    fn take(&mut self, item: &mut Item, document: &[u8], bounds: &TimeBounds) -> Result<(), PushError> {
        let document = match document::read(document, self.context.config.labels_max) {
            Ok(document) => document,
            Err(reason) => {
                item.refuse("document_parsing_exception", reason);
                return Ok(());
            }
        };
        let timestamp = document.timestamp.unwrap_or_else(|| (self.context.clock)());
        let mut metadata = Metadata::default();
        for (name, value) in &document.metadata {
            metadata.push(name.as_str().into(), value.as_str().into());
        }
        let body = document.line.as_bytes();
        let room = self.context.quota.line(self.lines.stream(), body.len(), metadata.bytes());
        match (bounds.check(timestamp), room) {
            (Err(error), _) => item.is_late(&error),
            (Ok(()), Err(excess)) => item.exceed(&excess),
            (Ok(()), Ok(())) => {
                self.lines.push(&Line { timestamp, body, severity: None, context: None }, &mut metadata)?;
                // Documents without a time have that of their arrival, and so are never taken for repeats.
                self.digest.number(timestamp);
                self.digest.field(body);
                for (name, value) in metadata.iter() {
                    self.digest.field(name.as_bytes());
                    self.digest.field(value.as_bytes());
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<Section<LogBatch>> {
        let source = format!("{SOURCE}/{:016x}", self.lines.stream().stable_hash());
        let (context, digest) = (self.context, self.digest.finish());
        self.lines.finish().map(|batch| context.section(source, digest, batch))
    }
}
