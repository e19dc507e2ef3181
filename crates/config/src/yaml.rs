//! YAML as a tree of texts, each of which knows its line. The only file that names the YAML library.
//!
//! The library turns `022` or `1.10` into numbers, and tells where something is only when it fails.
//! So a document is walked more than once, always in the same order, counting its nodes: first for
//! what each node is, then for the text of each scalar as it is written, and once more for each line
//! that somebody asks for, with an error raised at that node.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// A YAML document.
pub(crate) struct Document<'t> {
    text: &'t str,
    /// What is in it.
    pub root: Node,
}

/// A node of a document.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number in the order of the walk.
    nr: usize,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing, `~` or `null`, not quoted.
    Null,
    /// Any other scalar as written: how it is quoted makes no difference.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// In the order of the document; keys may be there twice.
    Mapping(Vec<(Node, Node)>),
}

/// What keeps a text from being YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// From 1; 0 if it is about the whole.
    pub line: usize,
    /// The library's words, without the place.
    pub why: String,
}

impl<'t> Document<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Document<'t>, SyntaxError> {
        let first = Walk::default();
        first.over(text)?;
        let second = Walk { known: first.met.into_inner(), ..Walk::default() };
        Ok(Document { text, root: second.over(text)? })
    }

    /// The line that `node` begins on, from 1. For an alias it is the line of its anchor.
    pub(crate) fn line(&self, node: &Node) -> usize {
        let walk = Walk { fail_at: Some(node.nr), ..Walk::default() };
        walk.over(self.text).err().map_or(0, |error| error.line)
    }
}

/// One walk over a document.
#[derive(Default)]
struct Walk {
    /// How many nodes were met.
    count: Cell<usize>,
    /// Those of them that are texts.
    met: RefCell<BTreeSet<usize>>,
    /// Those known to be texts from an earlier walk.
    known: BTreeSet<usize>,
    /// The node to fail at.
    fail_at: Option<usize>,
}

impl Walk {
    fn over(&self, text: &str) -> Result<Node, SyntaxError> {
        self.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            SyntaxError { line, why: error.to_string() }
        })
    }
}

impl<'de> DeserializeSeed<'de> for &Walk {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let nr = self.count.get();
        self.count.set(nr + 1);
        let content = if self.fail_at == Some(nr) {
            deserializer.deserialize_any(Fail)
        } else if self.known.contains(&nr) {
            deserializer.deserialize_str(AsWritten)
        } else {
            deserializer.deserialize_any(Discover { walk: self, nr })
        }?;
        Ok(Node { nr, content })
    }
}

/// Takes a node for what it is.
struct Discover<'w> {
    walk: &'w Walk,
    nr: usize,
}

impl Discover<'_> {
    fn text<E>(self) -> Result<Content, E> {
        self.walk.met.borrow_mut().insert(self.nr);
        Ok(Content::Text(String::new()))
    }
}

impl<'de> Visitor<'de> for Discover<'_> {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    // An empty document.
    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        self.text()
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        self.text()
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        self.text()
    }

    fn visit_i128<E>(self, _: i128) -> Result<Content, E> {
        self.text()
    }

    fn visit_u128<E>(self, _: u128) -> Result<Content, E> {
        self.text()
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        self.text()
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        self.text()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.walk)? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(self.walk)? {
            entries.push((key, access.next_value_seed(self.walk)?));
        }
        Ok(Content::Mapping(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Content, A::Error> {
        Err(A::Error::custom("a tag has no meaning here"))
    }
}

/// Takes a scalar as it is written.
struct AsWritten;

impl Visitor<'_> for AsWritten {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }
}

/// Takes nothing: whatever comes is an error, and has a place.
struct Fail;

impl Visitor<'_> for Fail {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the walk")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A document on one line, with the line of each node.
    fn shown(text: &str) -> String {
        let document = Document::parse(text).unwrap();
        show(&document, &document.root)
    }

    fn show(document: &Document<'_>, node: &Node) -> String {
        let line = document.line(node);
        match &node.content {
            Content::Null => format!("{line}:null"),
            Content::Text(text) => format!("{line}:{text:?}"),
            Content::List(items) => {
                let items: Vec<_> = items.iter().map(|item| show(document, item)).collect();
                format!("{line}:[{}]", items.join(" "))
            }
            Content::Mapping(entries) => {
                let entry = |(key, value): &(Node, Node)| {
                    format!("{} {}", show(document, key), show(document, value))
                };
                format!("{line}:{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn scalars_are_as_written_and_know_their_line() {
        assert_eq!(
            shown("a: 022\nb: 1.10\n\nc: 'null'\nd: 0x10\ne: yes\nf: True\n"),
            r#"1:{1:"a" 1:"022", 2:"b" 2:"1.10", 4:"c" 4:"null", 5:"d" 5:"0x10", 6:"e" 6:"yes", 7:"f" 7:"True"}"#
        );
        assert_eq!(shown("a:\nb: ~\nc: null\n"), r#"1:{1:"a" 1:null, 2:"b" 2:null, 3:"c" 3:null}"#);
    }

    #[test]
    fn lists_and_mappings_nest() {
        assert_eq!(
            shown("# why\na:\n- x\n- b: y\n  c: [1,\n   2]\n"),
            r#"2:{2:"a" 3:[3:"x" 4:{4:"b" 4:"y", 5:"c" 5:[5:"1" 6:"2"]}]}"#
        );
    }

    #[test]
    fn a_document_may_be_empty_or_only_comments() {
        for text in ["", "\n", "# nothing\n", "---\n"] {
            assert!(
                matches!(Document::parse(text).unwrap().root.content, Content::Null),
                "{text:?}"
            );
        }
    }

    #[test]
    fn aliases_are_followed() {
        let document = Document::parse("a: &x [1, 2]\nb: *x\n").unwrap();
        let Content::Mapping(entries) = &document.root.content else { panic!() };
        assert!(matches!(&entries[1].1.content, Content::List(items) if items.len() == 2));
        assert_eq!(document.line(&entries[1].0), 2);
    }

    #[test]
    fn errors_have_a_line() {
        for (text, line) in [("a: 1\nb: [\n", 3), ("a: 1\n\tb: 2\n", 2), ("a: !x 1\n", 1)] {
            assert_eq!(Document::parse(text).err().unwrap().line, line, "{text:?}");
        }
        assert!(Document::parse("a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn nesting_and_repetition_are_bounded() {
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", "));
        }
        assert!(Document::parse(&bomb).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Document::parse(&text);
        }

        #[test]
        fn nearly_yaml_does_not_panic(text in "[a-c0-2:\\-\\[\\]{}&*!|>'\"#?,~ \n\t]{0,60}") {
            if let Ok(document) = Document::parse(&text) {
                document.line(&document.root);
            }
        }
    }
}
