//! Splits a text into words as a POSIX shell does, without expanding anything.
//!
//! White space separates; '…' is taken as it is; in "…" a backslash escapes `"`, `\`, `$` and a
//! backquote (POSIX.1 XCU 2.2.3); elsewhere it escapes any character.

/// The words of `text`, or the quote or backslash that nothing ends.
pub(crate) fn split(text: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => quoted(&mut rest, word.get_or_insert_default()).ok_or('\'')?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default()).ok_or('"')?,
            '\\' => word.get_or_insert_default().push(rest.next().ok_or('\\')?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(rest: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '\'' => return Some(()),
            other => word.push(other),
        }
    }
}

fn double_quoted(rest: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split;

    #[test]
    fn quotes_group_and_vanish() {
        let words = split(r#" -w 4  --name='a b'  "c \"d\" \e" f\ g '' "#).unwrap();
        assert_eq!(words, ["-w", "4", "--name=a b", r#"c "d" \e"#, "f g", ""]);
    }

    #[test]
    fn what_is_not_ended_is_named() {
        assert_eq!(split("a 'b"), Err('\''));
        assert_eq!(split("a \"b"), Err('"'));
        assert_eq!(split("a \\"), Err('\\'));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec(any::<String>(), 0..5)) {
            let quoted: Vec<_> =
                words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            prop_assert_eq!(split(&quoted.join(" ")).unwrap(), words);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = split(&text);
        }
    }
}
