//! An in-memory log store for tests: every line in one vector, each in a chunk of its own.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, OwnedLine, PartitionCoverage, ReadError, TailEvent,
};

/// The store.
#[derive(Debug, Default)]
pub struct MemoryLogs {
    pub lines: Vec<OwnedLine>,
    pub coverage: Coverage,
    /// What the next poll of a tail gives.
    pub arriving: Arc<Mutex<Vec<TailEvent>>>,
}

impl MemoryLogs {
    /// Adds a line; ids count up.
    pub fn push(&mut self, stream: &[(&str, &str)], timestamp: i64, body: &[u8]) -> &mut OwnedLine {
        let id = LineId { partition: 0, offset: self.lines.len() as u64, ordinal: 0 };
        self.lines.push(line(id, stream, timestamp, body));
        self.lines.last_mut().expect("a line was just added")
    }

    /// Says that a record is on the bus and not searchable yet.
    pub fn behind(mut self) -> Self {
        let partition =
            PartitionCoverage { topic: "weir.logs".into(), high_watermark: 7, indexed_offset: 5, ..PartitionCoverage::default() };
        self.coverage.partitions.push(partition);
        self
    }
}

/// A line without attributes.
pub fn line(id: LineId, stream: &[(&str, &str)], timestamp: i64, body: &[u8]) -> OwnedLine {
    let stream = Labels::from_pairs(stream.iter().copied());
    let (trace_id, span_id) = Default::default();
    OwnedLine { id, stream, timestamp, body: body.to_vec(), severity: 0, trace_id, span_id, attributes: Labels::EMPTY }
}

fn passes(select: &LogSelect, line: &OwnedLine) -> bool {
    select.range.contains(line.timestamp)
        && select.matchers.iter().all(|matcher| matcher.matches_labels(&line.stream))
        && select.filters.iter().all(|filter| filter.passes(&line.body))
}

impl LogReader for MemoryLogs {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        for line in &self.lines {
            if !visitor.wants(line.timestamp, line.timestamp) {
                continue;
            }
            budget.spend(1)?;
            if passes(select, line) {
                visitor.stream(&line.stream);
                if visitor.line(line.id, line.record()) == ControlFlow::Break(()) {
                    break;
                }
            }
        }
        Ok(self.coverage.clone())
    }

    fn streams(&self, select: &LogSelect, _budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let select = LogSelect { filters: Vec::new(), ..select.clone() };
        let mut value: Vec<Labels> =
            self.lines.iter().filter(|line| passes(&select, line)).map(|line| line.stream.clone()).collect();
        value.sort();
        value.dedup();
        Ok(Covered { value, coverage: self.coverage.clone() })
    }

    fn line(&self, _: &Scope, id: LineId, context: usize, _: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        let Some(wanted) = self.lines.iter().find(|line| line.id == id) else {
            return Ok(Covered { value: Vec::new(), coverage: self.coverage.clone() });
        };
        let stream: Vec<&OwnedLine> = self.lines.iter().filter(|line| line.stream == wanted.stream).collect();
        let at = stream.iter().position(|line| line.id == id).expect("the line is of the stream");
        let near = stream[at.saturating_sub(context)..(at + context + 1).min(stream.len())].iter().map(|line| (*line).clone());
        Ok(Covered { value: near.collect(), coverage: self.coverage.clone() })
    }

    fn tail(&self, _select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        Ok(Box::new(MemoryTail(Arc::clone(&self.arriving))))
    }
}

struct MemoryTail(Arc<Mutex<Vec<TailEvent>>>);

impl LogTail for MemoryTail {
    fn poll(&mut self) -> Vec<TailEvent> {
        std::mem::take(&mut *self.0.lock().expect("no reader panicked"))
    }
}
