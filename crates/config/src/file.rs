//! Settings from a file: YAML, a mapping of settings to values, or else what is imported.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::definition::{Checked, Setting};
use crate::error::{ConfigError, Problem};
use crate::import::{self, Importer, PythonFile};
use crate::kind::{Form, Pairing, Prefixes};
use crate::names;
use crate::origin::Origin;
use crate::values::Values;
use crate::yaml::{Content, Document, Node};

/// Read from the start directory if no file is named.
pub(crate) const DEFAULT_FILE: &str = "ironhorn.yaml";

/// Reads the file that is `named`, or a default one if it is there.
pub(crate) fn read(
    directory: &Path,
    named: Option<&str>,
    importer: Option<&Importer>,
    errors: &mut Vec<ConfigError>,
) -> Values {
    if let Some(file) = named.and_then(|named| PythonFile::named(directory, named)) {
        if let Some(importer) = importer {
            return importer.read(&file, errors);
        }
        let why = "it is Python, which cannot be run here".to_owned();
        errors.push(ConfigError::source(import::whole(&file), Problem::Unreadable(why)));
        return Values::default();
    }
    let name = named.map_or(DEFAULT_FILE, import::yaml_name);
    let why = match fs::read(directory.join(name)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return settings(&text, name, errors),
            Err(_) => "it is not UTF-8".to_owned(),
        },
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            return match (importer, PythonFile::default_in(directory)) {
                (Some(importer), Some(file)) => importer.read(&file, errors),
                _ => Values::default(),
            };
        }
        Err(error) => error.to_string(),
    };
    errors.push(ConfigError::source(at(name, 0), Problem::Unreadable(why)));
    Values::default()
}

/// Takes the settings from the text of a file.
pub(crate) fn settings(text: &str, name: &str, errors: &mut Vec<ConfigError>) -> Values {
    let mut values = Values::default();
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let problem = Problem::Syntax(format!("not valid YAML: {}", error.why));
            errors.push(ConfigError::source(at(name, error.line), problem));
            return values;
        }
    };
    let file = File { name, document: &document };
    let entries = match &document.root.content {
        Content::Mapping(entries) => entries.as_slice(),
        Content::Null => &[],
        other => {
            let expected = "a mapping of settings to values".to_owned();
            let problem = Problem::Value { found: describe(other), expected };
            errors.push(ConfigError::source(file.origin(&document.root), problem));
            &[]
        }
    };
    let mut seen: Vec<(&str, &Node)> = Vec::new();
    for (key, value) in entries {
        let setting = match file.setting(key) {
            Ok(setting) => setting,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Some((_, earlier)) = seen.iter().find(|(earlier, _)| *earlier == setting.key) {
            let problem = Problem::Duplicate { line: document.line(earlier) };
            errors.push(ConfigError::at(setting, file.origin(key), problem));
            continue;
        }
        seen.push((setting.key, key));
        match file.items(setting, key, value) {
            Ok(items) => values.set_checked(setting, items, file.origin(key), errors),
            Err(error) => errors.push(error),
        }
    }
    values
}

/// A file whose settings are taken.
struct File<'f> {
    name: &'f str,
    document: &'f Document<'f>,
}

impl File<'_> {
    fn origin(&self, node: &Node) -> Origin {
        at(self.name, self.document.line(node))
    }

    fn setting(&self, key: &Node) -> Result<&'static Setting, ConfigError> {
        let origin = self.origin(key);
        match &key.content {
            Content::Text(text) => names::in_file(text).ok_or_else(|| {
                let problem = names::unknown_key(text);
                ConfigError { origin, key: text.clone(), problem }
            }),
            other => {
                let found = format!("{} as a key", describe(other));
                let expected = "the name of a setting".to_owned();
                Err(ConfigError::source(origin, Problem::Value { found, expected }))
            }
        }
    }

    /// The items of a setting's value. Those of a list are checked here, where their lines are known.
    fn items(
        &self,
        setting: &'static Setting,
        key: &Node,
        value: &Node,
    ) -> Result<Vec<String>, ConfigError> {
        let error = |node: &Node, expected| {
            // The value may begin on a later line than its key, and the key is what one looks for.
            let place = if std::ptr::eq(node, value) { key } else { node };
            let problem = Problem::Value { found: describe(&node.content), expected };
            ConfigError::at(setting, self.origin(place), problem)
        };
        if let Some(name) = unknown_prefix(setting.shape, value) {
            let mut error = ConfigError::at(setting, self.origin(name.node), name.problem);
            error.key = format!("{}: {}", error.key, name.text);
            return Err(error);
        }
        let items =
            items(setting.shape, value).map_err(|(node, expected)| error(node, expected))?;
        let Err(Some(item)) = setting.shape.check(&items) else { return Ok(items) };
        // An item for each node or entry, in the same order.
        let nr = items.iter().position(|other| std::ptr::eq(other.as_str(), item));
        match &value.content {
            Content::List(nodes) => match nr.and_then(|nr| nodes.get(nr)) {
                Some(node) => {
                    let node = prefixed(node).map_or(node, |(_, text)| text);
                    Err(error(node, setting.shape.allowed()))
                }
                None => Ok(items),
            },
            Content::Mapping(entries) => {
                let place = nr.and_then(|nr| entries.get(nr)).map_or(key, |(name, _)| name);
                let found = format!("{item:?}");
                Err(ConfigError::value(setting, self.origin(place), found))
            }
            _ => Ok(items),
        }
    }
}

/// The items of a value, or the node that can't be one and what is expected in its place.
fn items<'n>(shape: &dyn Checked, value: &'n Node) -> Result<Vec<String>, (&'n Node, String)> {
    let form = shape.form();
    match (&value.content, form) {
        (Content::Null, Form::One | Form::Switch) => Err((value, shape.allowed())),
        (Content::Null, Form::Optional | Form::List(_) | Form::Pairs(_)) => Ok(Vec::new()),
        (Content::Text(text), Form::Pairs(_)) => match text.as_str() {
            "" => Ok(Vec::new()),
            _ => Err((value, form_allowed(shape))),
        },
        (Content::Text(text), form) => Ok(form.split(text)),
        (Content::List(nodes), Form::List(_) | Form::Pairs(_)) => {
            nodes.iter().map(|node| item(shape, node)).collect()
        }
        (Content::Mapping(entries), Form::Pairs(pairing)) => {
            let name = |nr: usize| &entries[nr].0;
            let again =
                (0..entries.len()).find(|&nr| (0..nr).any(|before| same(name(before), name(nr))));
            match again {
                Some(nr) => Err((name(nr), "each name once".to_owned())),
                None => entries.iter().map(|entry| pair(pairing, entry)).collect(),
            }
        }
        (Content::List(_) | Content::Mapping(_), _) => Err((value, form_allowed(shape))),
    }
}

/// The text of an item of a list.
fn item<'n>(shape: &dyn Checked, node: &'n Node) -> Result<String, (&'n Node, String)> {
    match (&node.content, prefixed(node), shape.prefixes()) {
        (Content::Text(text), _, _) => Ok(text.clone()),
        (_, Some((name, Node { content: Content::Text(text), .. })), Some(_)) => {
            Ok(format!("{name}://{text}"))
        }
        (_, Some((_, other)), Some(_)) => Err((other, shape.allowed())),
        _ => Err((node, shape.allowed())),
    }
}

/// The only entry of a mapping, `NAME: TEXT` for `NAME://TEXT`.
fn prefixed(node: &Node) -> Option<(&str, &Node)> {
    match &node.content {
        Content::Mapping(entries) => match entries.as_slice() {
            [(Node { content: Content::Text(name), .. }, text)] => Some((name, text)),
            _ => None,
        },
        _ => None,
    }
}

/// A name that can't stand before a text.
struct UnknownPrefix<'n> {
    node: &'n Node,
    text: &'n str,
    problem: Problem,
}

/// The first item of a list that has one.
fn unknown_prefix<'n>(shape: &dyn Checked, value: &'n Node) -> Option<UnknownPrefix<'n>> {
    let (Some(Prefixes { what, names }), Content::List(nodes)) = (shape.prefixes(), &value.content)
    else {
        return None;
    };
    nodes.iter().find_map(|node| {
        let (text, _) = prefixed(node).filter(|(name, _)| !names.contains(name))?;
        let problem = Problem::Unknown { what, similar: names::similar_to(text, names) };
        Some(UnknownPrefix { node, text, problem })
    })
}

/// NAME=VALUE from an entry of a mapping.
fn pair<'n>(
    pairing: &Pairing,
    (name, value): &'n (Node, Node),
) -> Result<String, (&'n Node, String)> {
    let name = match &name.content {
        Content::Text(text) if !text.is_empty() && !text.contains('=') => text,
        _ => return Err((name, pairing.name.to_owned())),
    };
    match &value.content {
        Content::Text(text) => Ok(format!("{name}={text}")),
        _ => Err((value, format!("a text as the value of {name}"))),
    }
}

fn form_allowed(shape: &dyn Checked) -> String {
    match shape.form() {
        Form::Pairs(Pairing { names, values, pair, .. }) => {
            format!("a mapping of {names} to {values} or a list of {pair}")
        }
        Form::List(_) => format!("one or a list of {}", shape.allowed()),
        _ => shape.allowed(),
    }
}

fn describe(content: &Content) -> String {
    match content {
        Content::Null => "nothing".to_owned(),
        Content::Text(text) => format!("{text:?}"),
        Content::List(_) => "a list".to_owned(),
        Content::Mapping(_) => "a mapping".to_owned(),
    }
}

fn same(one: &Node, other: &Node) -> bool {
    matches!(&one.content, Content::Text(text) if is_text(other, text))
}

fn is_text(node: &Node, item: &str) -> bool {
    matches!(&node.content, Content::Text(text) if text == item)
}

fn at(name: &str, line: usize) -> Origin {
    Origin::File { name: name.to_owned(), line }
}
