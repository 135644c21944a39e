//! What is constant of lines' texts, and how many lines of a chunk have it: exact counts of its templates, not a guess from a sample.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use weir_model::log::level_severity;
use weir_model::select::{Buckets, TakeTemplate, TemplateCount, TemplateText};
use weir_model::time::{TimeRange, UnixNanos};

use super::filter::Filters;
use super::needle::May;
use super::stored::StoredLines;
use super::template::{References, parse, text_of};

/// The template of a body, with `<_>` for variables. `None` when it is too large for one, or has bytes that no text has.
pub(crate) fn pattern_of(body: &[u8]) -> Option<String> {
    let mut template = Vec::new();
    parse(body, &References::none(), &mut template, |_, _| ()).then(|| text_of(&template))
}

/// Gives the template of a body that was rendered, or the body where it has none.
pub fn take_line(body: &[u8], severity: u8, bucket: UnixNanos, take: TakeTemplate<'_>) -> ControlFlow<()> {
    let template = pattern_of(body);
    let text = template.as_deref().map_or(TemplateText::Line(body), TemplateText::Constant);
    take(&TemplateCount { text, severity: level_severity(severity), bucket, lines: 1 })
}

impl StoredLines {
    /// Counts those of these lines in the range that pass by template, level and bucket. Bodies are rendered of those templates only that do not
    /// say whether their lines pass. Errors are sentences.
    pub(crate) fn count_templates(
        &self,
        (within, range, buckets): (Range<usize>, TimeRange, Buckets),
        filters: &Filters,
        take: TakeTemplate<'_>,
    ) -> Result<ControlFlow<()>, String> {
        let (times, severities, outline) = (self.times()?, self.severities()?, self.outline()?);
        let (mut counts, mut body) = (BTreeMap::<(usize, u8, UnixNanos), u64>::new(), Vec::new());
        for (i, may) in self.candidates((within, range), filters, None)? {
            let template = outline.template(i);
            if template.is_none() || may != May::Surely {
                body.clear();
                self.render(i, &mut body)?;
                if !filters.passes(&body) {
                    continue;
                }
            }
            let bucket = buckets.start_of(times[i]);
            match template {
                Some(template) => *counts.entry((template, level_severity(severities[i]), bucket)).or_default() += 1,
                None if take_line(&body, severities[i], bucket, take).is_break() => return Ok(ControlFlow::Break(())),
                None => {}
            }
        }
        let texts = || (0..outline.len()).map(|template| text_of(outline.text(template))).collect();
        let texts = filters.last.texts(self.id(), texts)?;
        for ((template, severity, bucket), lines) in counts {
            let text = TemplateText::Constant(&texts[template]);
            if take(&TemplateCount { text, severity, bucket, lines }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_template_unless_it_is_no_text() {
        assert_eq!(pattern_of(b"user 12 of a1").as_deref(), Some("user <_> of <_>"));
        assert_eq!(pattern_of(b"\x01"), None);
    }
}
