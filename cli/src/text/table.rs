//! A table for people: every column as wide as its widest cell, up to a bound, and no cell moves the others.

use unicode_width::UnicodeWidthStr;

use super::safe;

/// A cell but the last of its row has at most so many columns: the longest name of a pod fits.
const CELL_COLUMNS_MAX: usize = 63;
/// What stands between columns.
const GAP: &str = "  ";

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    /// Numbers.
    Right,
}

/// A head and rows of as many cells. The last column ends at the screen's edge, or nowhere when there is no screen.
pub(crate) struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[(&'static str, Align)]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// As many cells as the head has; whatever stands in them.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| safe::line(&cell).into_owned()).collect());
    }

    /// Lines, each of which ends with a line break. `screen` is the width of the terminal, if there is one.
    pub fn render(&self, screen: Option<usize>) -> String {
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let last = self.head.len().saturating_sub(1);
        let all = || std::iter::once(&head).chain(&self.rows);
        let widest = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..last).map(|column| widest(column).min(CELL_COLUMNS_MAX)).collect();
        let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
        // On a screen that is too narrow for the columns before it, the last one gets a few letters all the same.
        let room = screen.map_or(usize::MAX, |columns| columns.saturating_sub(before).max(8));
        let mut text = String::new();
        for row in all() {
            for (column, cell) in row.iter().enumerate() {
                let Some(width) = widths.get(column) else {
                    text.push_str(&safe::clipped(cell, room));
                    continue;
                };
                let cell = safe::clipped(cell, *width);
                let space = " ".repeat(width.saturating_sub(cell.width()));
                match self.head[column].1 {
                    Align::Left => text.extend([&*cell, &space, GAP]),
                    Align::Right => text.extend([&*space, &cell, GAP]),
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// Columns of the terminal that stdout is.
pub(crate) fn screen() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_whatever_stands_in_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("EXIT", Align::Right), ("COMMAND", Align::Left)]);
        table.row(["plain".into(), "0".into(), "sh -c true".into()]);
        table.row(["two\nlines\tand \x1b[2Jmore".into(), "137".into(), "sh -c 'echo\n\techo'".into()]);
        table.row(["日本語".into(), String::new(), "x".repeat(200)]);
        table.row(["y".repeat(200), "1".into(), String::new()]);
        let text = table.render(Some(100));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        let place = |line: &str, word: &str| line.find(word).map(|at| line[..at].width());
        let commands = place(lines[0], "COMMAND");
        assert_eq!(place(lines[1], "sh -c"), commands, "{text}");
        assert_eq!(place(lines[2], "sh -c"), commands, "{text}");
        assert_eq!(place(lines[3], "xxx"), commands, "{text}");
        assert!(lines[2].starts_with("two\\nlines\\tand \\x1b[2Jmore "), "{text}");
        assert!(lines.iter().all(|line| line.width() <= 100), "{text}");
        assert!(lines[4].contains("y…") && lines[4].ends_with('1'), "{text}");
        assert!(table.render(None).contains(&"x".repeat(200)), "a pipe gets all of the last column");
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(Table::new(&[("A", Align::Left), ("B", Align::Right)]).render(None), "A  B\n");
    }
}
