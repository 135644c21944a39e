//! Compensated sums: Kahan's, with Neumaier's improvement, so that the order of series does not show in an answer.

/// A running sum and its compensation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub value: f64,
    pub compensation: f64,
}

impl Sum {
    /// The sum with `value` added.
    pub(crate) fn plus(self, value: f64) -> Self {
        let sum = self.value + value;
        let lost = match () {
            () if sum.is_infinite() => return Self { value: sum, compensation: 0.0 },
            () if self.value.abs() >= value.abs() => (self.value - sum) + value,
            () => (value - sum) + self.value,
        };
        Self { value: sum, compensation: self.compensation + lost }
    }

    /// Sum and compensation in one.
    pub(crate) fn total(self) -> f64 {
        self.value + self.compensation
    }

    /// Both parts times `factor`.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, compensation: self.compensation * factor }
    }
}

/// A running mean: the plain sum divided as long as that does not overflow, an incremental mean from there on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn push(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum { value, compensation: 0.0 };
            return;
        }
        if !self.incremental {
            let sum = self.sum.plus(value);
            if !sum.value.is_infinite() {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            self.sum =
                Sum { value: self.sum.value / (self.count - 1.0), compensation: self.sum.compensation / (self.count - 1.0) };
        }
        let kept = (self.count - 1.0) / self.count;
        self.sum = self.sum.times(kept).plus(value / self.count);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.incremental { self.sum.total() } else { self.sum.value / self.count + self.sum.compensation / self.count }
    }
}
