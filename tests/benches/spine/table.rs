//! Figures of several runs side by side, each beside its goal, as a table in Markdown.

/// One figure of one run.
pub struct Figure {
    pub what: String,
    pub goal: &'static str,
    pub value: f64,
    /// As people read it.
    pub shown: String,
}

impl Figure {
    /// Shown with so many decimals.
    pub fn new(what: impl Into<String>, goal: &'static str, value: f64, decimals: usize) -> Self {
        Self { what: what.into(), goal, value, shown: format!("{value:.decimals$}") }
    }
}

/// A column.
pub struct Column {
    pub name: &'static str,
    /// The same ones in the same order in each column.
    pub figures: Vec<Figure>,
}

/// Adds what a run came to. Of several runs of one column each figure is the best: others can only disturb.
pub fn add(columns: &mut Vec<Column>, name: &'static str, figures: Vec<Figure>) {
    let Some(column) = columns.iter_mut().find(|column| column.name == name) else {
        columns.push(Column { name, figures });
        return;
    };
    for (best, figure) in column.figures.iter_mut().zip(figures) {
        let is_better = if figure.goal.starts_with('≥') { figure.value > best.value } else { figure.value < best.value };
        if is_better {
            *best = figure;
        }
    }
}

/// Prints the table; with a column `before` also the ratio of `now` to it.
pub fn print(columns: &[Column]) {
    let column = |name| columns.iter().find(|column| column.name == name);
    let (before, now) = (column("before"), column("now").expect("the binary of this build is always measured"));
    let ratio = |row: usize| before.map(|before| format!("{:.2}", now.figures[row].value / before.figures[row].value));
    let names = columns.iter().map(|column| column.name.to_owned());
    let head: Vec<String> = names.chain(before.map(|_| "now / before".to_owned())).collect();
    println!("| figure | goal | {} |", head.join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(head.len()));
    for (row, figure) in now.figures.iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| column.figures[row].shown.clone()).chain(ratio(row)).collect();
        println!("| {} | {} | {} |", figure.what, figure.goal, cells.join(" | "));
    }
}
