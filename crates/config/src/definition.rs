//! What a definition of a setting consists of, and the macro that ties it to its typed field.
//!
//! The doc comment of a field is at once its rustdoc, its `--help` and its entry in the reference:
//! the first paragraph is the summary, one line long, and the rest is the whole story.

use crate::kind::{Form, Prefixes, Shape};

/// One setting as every reader and every document sees it.
pub(crate) struct Setting {
    /// Name in YAML; flag and environment variable are made from it.
    pub key: &'static str,
    /// Heading that it is shown under.
    pub section: &'static str,
    /// The lines of its doc comment.
    pub doc: &'static [&'static str],
    /// How it is written and what is allowed.
    pub shape: &'static (dyn Checked + Sync),
    /// Its default, written as a user would write it; empty if it is unset.
    pub default: &'static [&'static str],
    /// What `--help` shows for its value.
    pub value: &'static str,
    /// What the flag without a value stands for, if it may be without one.
    pub bare: Option<&'static str>,
    /// One-letter flag.
    pub short: Option<char>,
    /// Long flag where it isn't the key with dashes.
    pub flag: Option<&'static str>,
    /// Further spellings of the long flag.
    pub aliases: &'static [&'static str],
    /// What others call it, Gunicorn's configuration file above all: answered with a did-you-mean.
    pub other_names: &'static [&'static str],
    /// Where it may be given.
    pub reach: Reach,
}

/// Where a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// File, environment and command line.
    Everywhere,
    /// As everywhere, but on the command line it is the argument without a flag.
    Positional,
    /// It says which file to read, so it can't be in the file.
    NotInFile,
    /// It belongs to one invocation.
    CommandLine,
}

impl Setting {
    pub(crate) const fn new(
        key: &'static str,
        section: &'static str,
        doc: &'static [&'static str],
        shape: &'static (dyn Checked + Sync),
    ) -> Setting {
        Setting {
            key,
            section,
            doc,
            shape,
            default: &[],
            value: "",
            bare: None,
            short: None,
            flag: None,
            aliases: &[],
            other_names: &[],
            reach: Reach::Everywhere,
        }
    }

    /// The long flag without its dashes.
    pub(crate) fn long(&self) -> String {
        self.flag.map_or_else(|| self.key.replace('_', "-"), str::to_owned)
    }

    /// How it is named on the command line.
    pub(crate) fn on_command_line(&self) -> String {
        match self.reach {
            Reach::Positional => self.value.to_owned(),
            _ => format!("--{}", self.long()),
        }
    }

    /// `IRONHORN_<SETTING>`, if it can be given there.
    pub(crate) fn variable(&self) -> Option<String> {
        (self.reach != Reach::CommandLine)
            .then(|| format!("IRONHORN_{}", self.key.to_ascii_uppercase()))
    }

    pub(crate) fn in_file(&self) -> bool {
        matches!(self.reach, Reach::Everywhere | Reach::Positional)
    }

    pub(crate) fn default_items(&self) -> Vec<String> {
        self.default.iter().map(|&item| item.to_owned()).collect()
    }

    /// The first paragraph of its documentation on one line, without the full stop.
    pub(crate) fn summary(&self) -> String {
        let lines: Vec<_> = self.lines().take_while(|line| !line.is_empty()).collect();
        lines.join(" ").trim_end_matches('.').to_owned()
    }

    /// What follows the first paragraph.
    pub(crate) fn details(&self) -> impl Iterator<Item = &'static str> {
        self.lines().skip_while(|line| !line.is_empty()).skip(1)
    }

    fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.doc.iter().map(|line| line.strip_prefix(' ').unwrap_or(line))
    }
}

/// A [`Shape`] without its type, so that a table can hold all of them.
pub(crate) trait Checked {
    fn form(&self) -> Form;
    fn allowed(&self) -> String;
    /// What may stand before each item.
    fn prefixes(&self) -> Option<Prefixes>;
    /// The item that is not allowed (`None`: the value as a whole is missing).
    fn check<'i>(&self, items: &'i [String]) -> Result<(), Option<&'i str>>;
}

impl<S: Shape> Checked for S {
    fn form(&self) -> Form {
        Shape::form(self)
    }

    fn allowed(&self) -> String {
        Shape::allowed(self)
    }

    fn prefixes(&self) -> Option<Prefixes> {
        Shape::prefixes(self)
    }

    fn check<'i>(&self, items: &'i [String]) -> Result<(), Option<&'i str>> {
        self.read(items).map(drop)
    }
}

/// The key of a field, which may be a keyword of Rust's (`r#static`).
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Defines a struct of settings and the table of their definitions from one list.
///
/// `name: Type = shape => { attribute: value, ... }` makes the field `name` and an entry of the
/// table whose attributes are the fields of [`Setting`].
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $Struct:ident; static $TABLE:ident;
        $(section $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $name:ident : $type:ty = $shape:expr => { $($attribute:ident : $value:expr),* $(,)? }
            )+
        })+
    ) => {
        $(#[$meta])*
        pub struct $Struct {
            $($( $(#[doc = $doc])+ pub $name: $type, )+)+
        }

        pub(crate) static $TABLE: &[$crate::definition::Setting] = &[
            $($(
                $crate::definition::Setting {
                    $($attribute: $value,)*
                    ..$crate::definition::Setting::new(
                        $crate::definition::key(stringify!($name)), $section, &[$($doc),+], &$shape,
                    )
                },
            )+)+
        ];

        impl $Struct {
            /// Parses values that were checked where they were read.
            pub(crate) fn from_values(values: &$crate::values::Values) -> $Struct {
                $Struct {
                    $($( $name: values.typed($crate::definition::key(stringify!($name)), &$shape), )+)+
                }
            }
        }
    };
}

pub(crate) use settings;
