//! `--print-config`: settings as YAML that can be fed back in.

use crate::kind::Form;
use crate::origin::Origin;
use crate::{Resolved, SETTINGS};

/// Writes each setting on a line, with where its value came from as a comment.
///
/// Values are written as they were given, `auto` as `auto` and `10m` as `10m`, so that they mean the
/// same on the next machine; read again they give the same settings.
pub fn print_config(resolved: &Resolved) -> String {
    let mut out = String::new();
    let mut section = "";
    for setting in SETTINGS {
        let Some(given) = resolved.values.get(setting.key) else { continue };
        if setting.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = setting.section;
            out += &format!("{gap}# {section}\n");
        }
        let value = match (setting.shape.form(), given.items.as_slice()) {
            (Form::List(_) | Form::Pairs(_), items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
            (_, [item]) => scalar(item),
            (_, _) => "null".to_owned(),
        };
        let from = match &given.origin {
            Origin::Default => "default".to_owned(),
            Origin::CommandLine => "from the command line".to_owned(),
            origin => format!("from {}", printable(&origin.to_string())),
        };
        out += &format!("{}: {value}  # {from}\n", setting.key);
    }
    out
}

/// `text` without quotes where nothing could take it for something else.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/');
    if starts_well && text.bytes().all(plain) && !text.eq_ignore_ascii_case("null") {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// `text` in double quotes (YAML 1.2 §7.3.1), with all but letters, digits and ASCII escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            letter if letter.is_alphanumeric() => out.push(letter),
            other => out += &format!("\\U{:08X}", u32::from(other)),
        }
    }
    out.push('"');
    out
}

/// A comment ends with its line, whatever a file is named.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::{Content, Document};

    #[test]
    fn plain_texts_are_not_quoted() {
        assert_eq!(scalar("10m"), "10m");
        assert_eq!(scalar("/run/app.pid"), "/run/app.pid");
        for text in ["-", "", "~", "null", "Null", "a b", "a:1", "#", "no\n", "---"] {
            assert!(scalar(text).starts_with('"'), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_it_was_written(text in any::<String>()) {
            for written in [scalar(&text), format!("[{}]", quoted(&text))] {
                let document = Document::parse(&written).unwrap();
                let read = match &document.root.content {
                    Content::List(items) => &items[0].content,
                    other => other,
                };
                prop_assert!(matches!(read, Content::Text(read) if *read == text));
            }
        }
    }
}
