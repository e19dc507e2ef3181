//! The form of APP on the command line: `module`, `module:name`, `module:obj.attr`, either of the
//! last two called as in `module:factory("literal", key=1)`.

use std::fmt;

/// An app's place, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec<'a> {
    pub(super) module: &'a str,
    pub(super) target: Option<Target<'a>>,
}

/// What follows the colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// A name in the module and attributes from there on; not empty.
    pub(super) path: Vec<&'a str>,
    /// The arguments of a call, as Python source without the parentheses.
    pub(super) arguments: Option<&'a str>,
}

impl<'a> Spec<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, SpecError> {
        let (module, target) = match text.split_once(':') {
            Some((module, target)) => (module, Some(target)),
            None => (text, None),
        };
        if let Some(file) = module.strip_suffix(".py") {
            return Err(SpecError::File(as_module(file, target)));
        }
        if module.contains('/') {
            return Err(SpecError::File(as_module(module, target)));
        }
        if !module.split('.').all(is_identifier) {
            return Err(SpecError::Module);
        }
        let target = target.map(Target::parse).transpose()?;
        Ok(Self { module, target })
    }
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Result<Self, SpecError> {
        let (path, arguments) = match text.split_once('(') {
            Some((path, rest)) => {
                let arguments = rest.trim_end().strip_suffix(')').ok_or(SpecError::Call)?;
                (path, Some(arguments))
            }
            None => (text, None),
        };
        let path: Vec<_> = path.split('.').collect();
        if path.iter().all(|name| is_identifier(name)) {
            Ok(Self { path, arguments })
        } else {
            Err(SpecError::Name)
        }
    }
}

/// Why a text is no app's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpecError {
    /// A file was named; this is how it may have been meant.
    File(String),
    /// What stands before the colon is no module name.
    Module,
    /// What stands after the colon is no name.
    Name,
    /// The parenthesis isn't closed, or something follows it.
    Call,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(module) => {
                write!(f, "an app is named by its module, not its file: did you mean {module}?")
            }
            Self::Module => f.write_str("what stands before the colon is no module name"),
            Self::Name => f.write_str("what stands after the colon is no name in a module"),
            Self::Call => f.write_str("a call ends with its closing parenthesis"),
        }
    }
}

/// Python's rule for identifiers, nearly: a few more pass, which Python then doesn't find.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|char| char.is_alphanumeric() || char == '_')
}

fn as_module(file: &str, target: Option<&str>) -> String {
    let file = file.trim_start_matches("./").trim_start_matches('/');
    let module = file.replace('/', ".");
    match target {
        Some(target) => format!("{module}:{target}"),
        None => module,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn target(text: &str) -> (Vec<&str>, Option<&str>) {
        let target = Spec::parse(text).unwrap().target.unwrap();
        (target.path, target.arguments)
    }

    #[test]
    fn every_form() {
        assert_eq!(Spec::parse("mysite.wsgi"), Ok(Spec { module: "mysite.wsgi", target: None }));
        assert_eq!(Spec::parse("mod:app").unwrap().module, "mod");
        assert_eq!(target("mod:app"), (vec!["app"], None));
        assert_eq!(target("mod:obj.attr"), (vec!["obj", "attr"], None));
        assert_eq!(target("mod:make()"), (vec!["make"], Some("")));
        assert_eq!(target("mod:a.make('x:(y)', k=1) "), (vec!["a", "make"], Some("'x:(y)', k=1")));
        assert_eq!(target("m\u{f6}d:\u{e4}pp"), (vec!["\u{e4}pp"], None));
    }

    #[test]
    fn files_are_not_modules() {
        for (text, meant) in [
            ("app.py", "app"),
            ("./app.py", "app"),
            ("app.py:app", "app:app"),
            ("mysite/wsgi.py", "mysite.wsgi"),
            ("mysite/wsgi", "mysite.wsgi"),
        ] {
            assert_eq!(Spec::parse(text), Err(SpecError::File(meant.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for text in ["", ":app", "my-site", "a..b", ".a", "1a", "a b"] {
            assert_eq!(Spec::parse(text), Err(SpecError::Module), "{text:?}");
        }
        for text in ["a:", "a:b.", "a:1", "a:b-c", "a:b:c", "a:()"] {
            assert_eq!(Spec::parse(text), Err(SpecError::Name), "{text:?}");
        }
        for text in ["a:b(", "a:b(1", "a:b().c"] {
            assert_eq!(Spec::parse(text), Err(SpecError::Call), "{text:?}");
        }
    }
}
