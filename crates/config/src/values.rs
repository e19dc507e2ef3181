//! Values as they were given, with their origin: what sources yield and what is merged.
//!
//! A value is a list of texts whatever its type: none if it is unset, one for most, several for a
//! list. A text means the same in every source, because there is one parser for it.

use std::collections::BTreeMap;

use crate::definition::Setting;
use crate::error::{ConfigError, Problem};
use crate::kind::Shape;
use crate::origin::Origin;

/// A value of one setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub items: Vec<String>,
    pub origin: Origin,
}

/// At most one value for each setting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, Given>);

impl Values {
    pub(crate) fn get(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    pub(crate) fn set(&mut self, setting: &'static Setting, items: Vec<String>, origin: Origin) {
        self.0.insert(setting.key, Given { items, origin });
    }

    /// Sets what is allowed, and says what is not.
    pub(crate) fn set_checked(
        &mut self,
        setting: &'static Setting,
        items: Vec<String>,
        origin: Origin,
        errors: &mut Vec<ConfigError>,
    ) {
        match setting.shape.check(&items) {
            Ok(()) => self.set(setting, items, origin),
            Err(item) => {
                let found = item.map_or_else(|| "nothing".to_owned(), |item| format!("{item:?}"));
                errors.push(ConfigError::value(setting, origin, found));
            }
        }
    }

    /// `higher` wins for each setting that it has.
    pub(crate) fn replace_with(&mut self, higher: Values) {
        self.0.extend(higher.0);
    }

    /// The value of `key` in its type.
    pub(crate) fn typed<S: Shape>(&self, key: &str, shape: &S) -> S::Value {
        let items = self.get(key).map_or(&[][..], |given| &given.items);
        shape.read(items).expect("invariant: values are checked where they are read")
    }
}

impl ConfigError {
    /// `found` is not what `setting` allows.
    pub(crate) fn value(setting: &Setting, origin: Origin, found: String) -> ConfigError {
        let expected = setting.shape.allowed();
        ConfigError::at(setting, origin, Problem::Value { found, expected })
    }
}
