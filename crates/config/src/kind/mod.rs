//! How values are written: from text to type, and what to say when the text isn't allowed.
//!
//! A [`Kind`] knows one text, a [`Shape`] how many of them make a value: [`One`], [`Optional`] or
//! [`Many`]. Both are plain constants in the table of settings.

mod bind;
mod number;
mod route;
mod text;
mod tls;
mod trust;

pub use bind::{Bind, Protocol};
pub(crate) use bind::{Listen, Prefixes};
pub(crate) use number::{Bytes, Octal, Seconds, SecondsOrOff, Whole, WholeOrOff, WorkerCount};
pub(crate) use route::{CacheRule, FileName, Mount, Routes, StaticMap};
pub(crate) use text::{
    AccessFormat, Choice, ControlSocket, FilePath, Flag, Log, Pair, Text, UrlPath,
};
pub use text::{AccessLogFormat, Control, HeaderMap, LogFile, LogFormat, LogLevel, Symlinks};
pub(crate) use tls::{Certificate, Suite};
pub use tls::{CertificateFiles, CipherSuite, ClientCertificates, TlsVersion};
pub(crate) use trust::{FieldName, Forwarding, Peers};
pub use trust::{ForwardedFor, ProxyProtocol};

/// How one text is read.
pub(crate) trait Kind {
    type Value;

    /// The value, if `text` is allowed.
    fn parse(&self, text: &str) -> Option<Self::Value>;

    /// What is allowed, to follow "expected".
    fn allowed(&self) -> String;

    /// What may stand before it.
    fn prefixes(&self) -> Option<Prefixes> {
        None
    }
}

/// What a value looks like in each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One text.
    One,
    /// One text or none: empty text or YAML's null unsets it.
    Optional,
    /// true or false; its flag stands for true.
    Switch,
    /// A list; in one text, items are separated by one of these.
    List(&'static [char]),
    /// A list of NAME=VALUE, in YAML also a mapping; in one text, items are words as in a shell.
    Pairs(&'static Pairing),
}

/// What pairs are called in messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pairing {
    /// A pair as it is written, such as "NAME=VALUE".
    pub pair: &'static str,
    /// What stands before the equals sign, such as "the name of a variable".
    pub name: &'static str,
    /// Several of that.
    pub names: &'static str,
    /// Several of what stands after it.
    pub values: &'static str,
}

impl Form {
    /// The items in one text. Those of [`Form::Pairs`] are words, unless it is a single one.
    pub(crate) fn split(self, text: &str) -> Vec<String> {
        match self {
            Form::Optional | Form::List(_) if text.is_empty() => Vec::new(),
            Form::List(separators) => {
                text.split(separators).map(|item| item.trim().to_owned()).collect()
            }
            Form::One | Form::Optional | Form::Switch | Form::Pairs(_) => vec![text.to_owned()],
        }
    }
}

/// How texts make a value.
pub(crate) trait Shape {
    type Value;

    fn form(&self) -> Form;

    /// The value, or the item that isn't allowed (`None`: there is no item).
    fn read<'i>(&self, items: &'i [String]) -> Result<Self::Value, Option<&'i str>>;

    /// What is allowed, to follow "expected".
    fn allowed(&self) -> String;

    /// What may stand before each text.
    fn prefixes(&self) -> Option<Prefixes> {
        None
    }
}

/// Exactly one text.
pub(crate) struct One<K>(pub K);

impl<K: Kind> Shape for One<K> {
    type Value = K::Value;

    fn form(&self) -> Form {
        Form::One
    }

    fn read<'i>(&self, items: &'i [String]) -> Result<K::Value, Option<&'i str>> {
        match items {
            [item] => self.0.parse(item).ok_or(Some(item.as_str())),
            _ => Err(None),
        }
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }
}

/// One text or none.
pub(crate) struct Optional<K>(pub K);

impl<K: Kind> Shape for Optional<K> {
    type Value = Option<K::Value>;

    fn form(&self) -> Form {
        Form::Optional
    }

    fn read<'i>(&self, items: &'i [String]) -> Result<Option<K::Value>, Option<&'i str>> {
        match items {
            [] => Ok(None),
            [item] => self.0.parse(item).map(Some).ok_or(Some(item.as_str())),
            _ => Err(None),
        }
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }
}

/// true or false.
pub(crate) struct Switch;

impl Shape for Switch {
    type Value = bool;

    fn form(&self) -> Form {
        Form::Switch
    }

    fn read<'i>(&self, items: &'i [String]) -> Result<bool, Option<&'i str>> {
        One(Flag).read(items)
    }

    fn allowed(&self) -> String {
        Flag.allowed()
    }
}

/// Any number of texts, or at least one.
pub(crate) struct Many<K> {
    pub kind: K,
    pub form: Form,
    pub may_be_empty: bool,
}

impl<K: Kind> Shape for Many<K> {
    type Value = Vec<K::Value>;

    fn form(&self) -> Form {
        self.form
    }

    fn read<'i>(&self, items: &'i [String]) -> Result<Vec<K::Value>, Option<&'i str>> {
        if items.is_empty() && !self.may_be_empty {
            return Err(None);
        }
        items.iter().map(|item| self.kind.parse(item).ok_or(Some(item.as_str()))).collect()
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn prefixes(&self) -> Option<Prefixes> {
        self.kind.prefixes()
    }
}
