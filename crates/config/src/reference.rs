//! Renders docs/settings.md.

use crate::all_settings;
use crate::definition::{Reach, Setting};
use crate::kind::Form;

const INTRODUCTION: &str = r#"# Settings

<!-- Made from crates/config/src/settings.rs by
     cargo run -p ironhorn-config --example settings > docs/settings.md -->

Every setting has a flag on the command line, a key in the YAML file and a variable in the
environment, unless its table says otherwise. They take the same values, written in the same way.

## Where settings come from

The later ones win:

1. the default;
2. the YAML file: `--config FILE`, else `ironhorn.yaml` in the directory Ironhorn is started in, if it
   is there; in its place may stand a `gunicorn.conf.py`, which [moving from
   Gunicorn](moving-from-gunicorn.md) has more about;
3. the variables `PORT`, which makes `bind` 0.0.0.0:$PORT, `WEB_CONCURRENCY`, which sets `workers`, and
   `FORWARDED_ALLOW_IPS`;
4. `IRONHORN_<SETTING>`, such as `IRONHORN_LOG_LEVEL`;
5. `IRONHORN_CMD_ARGS`, which holds options as on the command line, split and quoted as in a shell:
   `IRONHORN_CMD_ARGS="--workers 4 --name 'my shop'"`;
6. the command line, where the last of several flags wins.

A list replaces a list: `--bind` on the command line means that no address of the file is listened on.
On SIGHUP all of it is read again, the environment and the command line as they were at start.

`ironhorn --print-config` shows the values that result and where each comes from, as YAML that can be
used as a file. `ironhorn --check-config` says what is wrong without serving.

## What is refused

- A name that is no setting, with a suggestion if it looks like a typing error. That goes for variables
  that begin with `IRONHORN_` too; only `IRONHORN_LOG`, `IRONHORN_CMD_ARGS` and `IRONHORN_SIM_SEED` are
  something else, and those that Kubernetes sets for a service named ironhorn
  (`IRONHORN_SERVICE_HOST`, `IRONHORN_SERVICE_PORT`, `IRONHORN_PORT=tcp://…` and so on) are left alone.
- A value that isn't allowed, even if it is given somewhere else again.
- A key that is twice in the file.
- Settings of Gunicorn that this version doesn't have.

All errors are shown at once, and the exit code is 2:

```text
ironhorn.yaml:3: wrokers: unknown setting, did you mean "workers"?
ironhorn.yaml:4: timeout: found "1h", expected a number of seconds from 0.001 to 86400, or 0 for off
IRONHORN_LOG_LEVEL: found "loud", expected trace, debug, info, warning, warn, error or critical
--bind: found "fd://x", expected HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N
```

## How values are written

- Numbers in plain decimal digits. Seconds may have a fraction. `umask` is octal and begins with 0.
- In YAML it makes no difference whether a value is quoted: `umask: 027` is octal, `env` values such as
  `1.10` stay as they are.
- Several values in one text are separated by commas; in YAML use a list.
- Where a setting has no default, an empty text, or `null` in YAML, unsets what a lower source has set.
"#;

/// The reference of all settings, in Markdown.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    let mut section = "";
    for setting in all_settings() {
        if setting.section != section {
            section = setting.section;
            out += &format!("\n## {section}\n");
        }
        out += &entry(setting);
    }
    out
}

fn entry(setting: &Setting) -> String {
    let mut out = format!("\n### {}\n\n{}.\n", setting.key, setting.summary());
    let details: Vec<_> = setting.details().collect();
    if !details.is_empty() {
        out += &format!("\n{}\n", details.join("\n"));
    }
    let rows = [
        ("Command line", flags(setting)),
        ("YAML", if setting.in_file() { code(&format!("{}:", setting.key)) } else { none() }),
        ("Environment", setting.variable().map_or_else(none, |variable| code(&variable))),
        ("Default", default(setting)),
        ("Allowed", cell(&allowed(setting))),
    ];
    out += "\n| | |\n|---|---|\n";
    for (name, value) in rows {
        out += &format!("| {name} | {value} |\n");
    }
    out
}

fn flags(setting: &Setting) -> String {
    if setting.reach == Reach::Positional {
        return code(setting.value);
    }
    let value = match setting.shape.form() {
        Form::Switch => format!("[={}]", setting.value),
        _ => format!(" {}", setting.value),
    };
    let short = setting.short.map(|short| format!("-{short}{value}"));
    let long = format!("--{}{value}", setting.long());
    let aliases = setting.aliases.iter().map(|alias| format!("--{alias}{value}"));
    let all: Vec<_> = short.into_iter().chain([long]).chain(aliases).map(|f| code(&f)).collect();
    all.join(", ")
}

fn default(setting: &Setting) -> String {
    match setting.default {
        [] => none(),
        items => code(&items.join(",")),
    }
}

fn allowed(setting: &Setting) -> String {
    let allowed = setting.shape.allowed();
    match setting.shape.form() {
        Form::List(separators) => {
            let marks: Vec<_> = separators.iter().map(|mark| format!("\"{mark}\"")).collect();
            format!("{allowed}; several, in one text separated by {}", marks.join(" or "))
        }
        Form::Pairs(_) => format!("{allowed}; several"),
        Form::Optional => format!("{allowed}; or empty"),
        Form::One | Form::Switch => allowed,
    }
}

fn none() -> String {
    "none".to_owned()
}

fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

/// A bar would end the cell of a table, in code too.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
