//! Settings that are each allowed, and not with one another.

use crate::all_settings;
use crate::error::{ConfigError, Problem};
use crate::settings::Settings;
use crate::values::Values;

/// What is wrong with the settings as a whole.
pub(crate) fn check(settings: &Settings, values: &Values) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if let (Some(soft), Some(hard)) = (settings.max_memory, settings.max_memory_hard)
        && hard < soft
    {
        let expected = format!("no less than max_memory, which is {}", given(values, "max_memory"));
        errors.push(disagreement(values, "max_memory_hard", expected));
    }
    errors
}

/// The value of `key` isn't what others make it to be.
fn disagreement(values: &Values, key: &str, expected: String) -> ConfigError {
    let setting = all_settings()
        .find(|setting| setting.key == key)
        .expect("invariant: a rule is about settings that there are");
    let origin = values.get(key).expect("invariant: every setting has a value").origin.clone();
    ConfigError::at(setting, origin, Problem::Value { found: given(values, key), expected })
}

/// The value of `key` as it was written.
fn given(values: &Values, key: &str) -> String {
    let items = values.get(key).map_or(&[][..], |given| &given.items);
    format!("{:?}", items.join(","))
}
