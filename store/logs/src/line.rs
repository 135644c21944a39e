//! One line by its permanent link, and its neighbours in its stream.

use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, OwnedLine, ReadError};

use super::asked::HeldPack;
use super::engine::LogsEngine;
use super::schema::{Place, StreamKey};
use super::source::Source;
use super::source_lines::SourceLines;
use weir_blocks::hidden::{Hidden, Horizon};
use weir_blocks::view::{BlockView, PartitionView};

/// Neighbours of a line on each side; more is a query.
const CONTEXT_MAX: usize = 10_000;

/// Which line of a partition, and how many neighbours on each side.
pub(crate) struct LineSelect<'a> {
    /// Lines of other streams are not there.
    pub(crate) scope: &'a Scope,
    pub(crate) place: Place,
    pub(crate) context: usize,
    pub(crate) horizon: Option<&'a Horizon>,
}

impl LineSelect<'_> {
    fn stored(&self, view: &BlockView<LogsEngine>, chunk: u32) -> Source {
        Source::stored(&view.block, chunk, &view.hidden.clone().with(self.horizon))
    }

    fn of_head(&self, key: &StreamKey, source: Source) -> Source {
        source.hiding(Hidden::default().with(self.horizon).of(&key.tenant, &key.labels))
    }
}

/// The line and its neighbours in source order; empty when no chunk that can be read has it. Opens the chunk of the line, and
/// those beside it only when it has too few lines.
pub(crate) fn find(
    view: &PartitionView<LogsEngine>,
    select: &LineSelect<'_>,
    budget: &dyn Budget,
    coverage: &mut Coverage,
) -> Result<Vec<OwnedLine>, ReadError> {
    for block in &view.blocks {
        budget.check()?;
        for chunk in block.block.chunks_with(select.place) {
            let (key, source) = (block.block.stream(chunk), select.stored(block, chunk));
            if select.scope.sees(&key.tenant, &key.labels)
                && let Some(found) = find_in(view, (key, &source), select, budget, coverage)?
            {
                return Ok(found);
            }
        }
    }
    for head in &view.heads {
        for (key, sources) in head.sources(|key| select.scope.sees(&key.tenant, &key.labels)) {
            for source in sources {
                if source.meta().covers(select.place)
                    && has(&source, select.place, budget, coverage)?
                    && let Some(found) = find_in(view, (&key, &select.of_head(&key, source)), select, budget, coverage)?
                {
                    return Ok(found);
                }
            }
        }
    }
    Ok(Vec::new())
}

/// Whether a chunk of a head has a line. Of an encoded one only the places are unpacked.
fn has(source: &Source, place: Place, budget: &dyn Budget, coverage: &mut Coverage) -> Result<bool, ReadError> {
    budget.check()?;
    Ok(source.has(place).unwrap_or_else(|error| {
        coverage.miss(error.to_string());
        false
    }))
}

/// The same in one chunk of a stream; `None` when the line is not in it.
fn find_in(
    view: &PartitionView<LogsEngine>,
    (key, source): (&StreamKey, &Source),
    select: &LineSelect<'_>,
    budget: &dyn Budget,
    coverage: &mut Coverage,
) -> Result<Option<Vec<OwnedLine>>, ReadError> {
    let Some(lines) = open(source, budget, coverage)? else { return Ok(None) };
    let Some(line) = lines.find(select.place).unwrap_or_default() else { return Ok(None) };
    let own = |lines: &SourceLines, i: usize| with(lines, i, |id, record| OwnedLine::new(id, &key.labels, record));
    let context = select.context.min(CONTEXT_MAX);
    let mut found: Vec<OwnedLine> = (0..line).rev().take(context).map(|i| own(&lines, i)).collect();
    let (first, last) = (found.len() < context, count(&lines) - line <= context);
    let others = if first || last { stream_sources(view, key, select) } else { Vec::new() };
    // A head may have closed or parted the chunk since: of the others only lines beyond this one's count.
    let (from, to) = (source.meta().first_place, source.meta().last_place);
    let place = |lines: &SourceLines, i: usize| with(lines, i, |id, _| (id.offset, id.ordinal));
    for earlier in others.iter().rev().filter(|other| other.meta().first_place < from) {
        if found.len() >= context {
            break;
        }
        if let Some(lines) = open(earlier, budget, coverage)? {
            let missing = context - found.len();
            let before = (0..count(&lines)).rev().filter(|i| place(&lines, *i) < from);
            found.extend(before.take(missing).map(|i| own(&lines, i)));
        }
    }
    found.reverse();
    let end = found.len() + 1 + context;
    found.extend((line..count(&lines)).take(context + 1).map(|i| own(&lines, i)));
    for later in others.iter().filter(|other| other.meta().last_place > to) {
        if found.len() >= end {
            break;
        }
        if let Some(lines) = open(later, budget, coverage)? {
            let missing = end - found.len();
            let after = (0..count(&lines)).filter(|i| place(&lines, *i) > to);
            found.extend(after.take(missing).map(|i| own(&lines, i)));
        }
    }
    Ok(Some(found))
}

/// Opens a chunk and checks all of it, so that nothing of it cannot be read later.
fn open(source: &Source, budget: &dyn Budget, coverage: &mut Coverage) -> Result<Option<SourceLines>, ReadError> {
    let Some(lines) = source.open(&HeldPack::default(), budget, coverage)? else { return Ok(None) };
    Ok(match lines.load() {
        Ok(()) => Some(lines),
        Err(error) => {
            coverage.miss(error.to_string());
            None
        }
    })
}

fn with<T>(lines: &SourceLines, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> T {
    lines.with(i, take).expect("invariant: loaded")
}

fn count(lines: &SourceLines) -> usize {
    lines.len().expect("invariant: loaded")
}

/// A stream's chunks in source order.
fn stream_sources(view: &PartitionView<LogsEngine>, key: &StreamKey, select: &LineSelect<'_>) -> Vec<Source> {
    let stored = view.blocks.iter().flat_map(|block| {
        let chunks = block.block.chunks_of(key);
        chunks.map(|chunk| select.stored(block, chunk))
    });
    let heads = view.heads.iter().flat_map(|head| head.sources(|own| own == key)).flat_map(|(_, sources)| sources);
    let heads = heads.map(|source| select.of_head(key, source));
    let mut sources: Vec<Source> = stored.chain(heads).collect();
    sources.sort_by_key(|source| source.meta().first_place);
    sources
}
