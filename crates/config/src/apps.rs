//! Which apps are served, and where.

use crate::Settings;
use crate::definition::Setting;
use crate::error::{ConfigError, Problem};
use crate::kind::{Kind, Mount};
use crate::names;
use crate::values::Values;

impl Settings {
    /// The prefix of each app's paths and what names the app; the one of all paths is empty, and
    /// comes first if it is there.
    pub fn apps(&self) -> Vec<(&str, &str)> {
        let root = self.app.as_deref().map(|app| ("", app));
        let mounted = self.mount.iter().map(|(prefix, app)| (prefix.as_str(), app.as_str()));
        let mut apps: Vec<_> = root.into_iter().chain(mounted).collect();
        apps.sort_by_key(|(prefix, _)| !prefix.is_empty());
        apps
    }

    /// What names the app that the server is called after: the one of all paths, else the first.
    pub fn main_app(&self) -> &str {
        self.apps().first().map_or("", |&(_, app)| app)
    }
}

/// Whether no source names an app.
pub(crate) fn are_missing(values: &Values) -> bool {
    ["app", "mount"].iter().all(|key| values.get(key).is_none_or(|given| given.items.is_empty()))
}

/// Two apps can't both answer all paths.
pub(crate) fn check(values: &Values, errors: &mut Vec<ConfigError>) {
    let (Some(app), Some(mount)) = (values.get("app"), values.get("mount")) else { return };
    let is_root = |item: &String| Mount.parse(item).is_some_and(|(prefix, _)| prefix.is_empty());
    if !app.items.is_empty() && mount.items.iter().any(is_root) {
        let setting: &'static Setting = names::in_file("mount").expect("invariant: it is defined");
        let problem = Problem::Syntax(format!(
            "an application is mounted at /, and app names one for the same place ({})",
            app.origin
        ));
        errors.push(ConfigError::at(setting, mount.origin.clone(), problem));
    }
}
