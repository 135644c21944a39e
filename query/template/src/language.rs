//! What a language gives its templates.

use std::fmt;

use crate::value::Value;

/// A language whose templates these are: a type without values.
pub trait Language: Copy + fmt::Debug + 'static {
    /// What one execution looks at: a line and its labels, an alert.
    type Scope<'a>;

    const LIMITS: Limits;
    /// Variables that are there from the start, and the fields of the first dot that they hold.
    const VARIABLES: &'static [(&'static str, &'static str)] = &[];

    /// Besides Go's own.
    fn functions() -> &'static [Function<Self>];

    /// `.name` of the first dot. Errors when there is none.
    fn field<'a>(scope: &Self::Scope<'a>, name: &str) -> Result<Value<'a>, String>;

    /// The first dot as a whole, for those who range over it or index it.
    fn dot<'a>(scope: &Self::Scope<'a>) -> Value<'a>;
}

/// What one execution may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What it makes.
    pub output_bytes: usize,
    /// The arguments of one function, and all variables together with what `with` and `range` hold: strings may double from one assignment to the next.
    pub argument_bytes: usize,
    /// Actions, calls, iterations and, a KiB each, the bytes of arguments and of what functions make: nested `range`s would go on for ever.
    pub actions: usize,
}

/// A function of a language.
pub struct Function<L: Language> {
    pub(crate) name: &'static str,
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) pattern: bool,
    pub(crate) call: Call<L>,
}

/// The scope and the arguments, as many as the function takes; what is piped in comes last.
type Call<L> = for<'a> fn(&<L as Language>::Scope<'a>, &[Value<'a>]) -> Result<Value<'a>, String>;

impl<L: Language> Function<L> {
    /// With exactly so many arguments.
    pub const fn new(name: &'static str, arguments: usize, call: Call<L>) -> Self {
        Self { name, least: arguments, most: arguments, pattern: false, call }
    }

    /// With that many arguments or up to `most`.
    pub const fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The first argument is a regular expression: a literal one comes as [`Value::Pattern`].
    pub const fn pattern(mut self) -> Self {
        self.pattern = true;
        self
    }
}

impl<L: Language> fmt::Debug for Function<L> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}
