//! Replies for people: lines, and tables where there are several of a kind.
//!
//! It follows the reply, whose order is the server's, so that nothing here has to know what each
//! command answers with; only a few keys have a unit.

use std::time::Duration;

use ironhorn_config::Request;
use serde_json::{Map, Value};

/// What a value is of, by its key; the others are shown as they are.
const SECONDS: [&str; 4] = ["after", "age", "idle", "uptime"];
const BYTES: [&str; 3] = ["memory", "peak_memory", "pss"];

/// What stands where there is no value.
const NONE: &str = "-";

/// The text for a reply that says that all is well.
pub(super) fn reply(request: &Request, reply: &Value) -> String {
    let Value::Object(reply) = reply else { return String::new() };
    let is_told = |(key, value): &(&String, &Value)| *key != "ok" && !value.is_null();
    let said: Vec<_> = reply.iter().filter(is_told).collect();
    if let Some(done) = done(request) {
        let rest: Vec<_> = said.iter().map(|(key, value)| entry(key, value)).collect();
        let colon = if rest.is_empty() { "" } else { ": " };
        return format!("{done}{colon}{}\n", rest.join(", "));
    }
    let mut out = String::new();
    // A list alone needs no heading.
    let headed = said.len() > 1;
    for (key, value) in &said {
        match value {
            Value::Array(items) if items.iter().all(Value::is_object) && !items.is_empty() => {
                if headed {
                    out += &format!("{key}:\n");
                }
                out += &table(items);
            }
            Value::Array(items) if items.is_empty() && !headed => out += &format!("no {key}\n"),
            Value::String(text) if text.contains('\n') => out += &block(text),
            value => out += &format!("{key}: {}\n", shown(key, value)),
        }
    }
    out
}

/// What is done on this request, if it is one to do something.
fn done(request: &Request) -> Option<&'static str> {
    match request {
        Request::Reload { wait: false } => Some("reloading"),
        Request::Reload { wait: true } => Some("reloaded"),
        Request::Scale(_) => Some("scaled"),
        Request::Recycle(_) => Some("recycling"),
        Request::Reopen => Some("log files opened anew"),
        Request::Stop => Some("stopping"),
        Request::Quit => Some("stopping at once"),
        Request::Status
        | Request::Workers
        | Request::Requests
        | Request::Deaths
        | Request::Stack(_) => None,
    }
}

/// A line for each item, and texts of several lines below theirs.
fn table(items: &[Value]) -> String {
    let items: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let mut columns: Vec<&str> = Vec::new();
    for key in items.iter().flat_map(|item| item.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let is_long = |value: &Value| value.as_str().is_some_and(|text| text.contains('\n'));
    let any =
        |key: &str, is: fn(&Value) -> bool| items.iter().any(|item| item.get(key).is_some_and(is));
    columns.retain(|key| any(key, |value| !value.is_null()) && !any(key, is_long));
    let cell = |item: &Map<String, Value>, key: &str| {
        item.get(key).map_or_else(|| NONE.to_owned(), |value| shown(key, value))
    };
    let width = |key: &&str| {
        let cells = items.iter().map(|item| cell(item, key).chars().count());
        cells.chain([key.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(columns.iter().map(|key| (*key).to_owned()).collect());
    for item in &items {
        out += &line(columns.iter().map(|key| cell(item, key)).collect());
        let long = item.values().filter(|value| is_long(value)).filter_map(Value::as_str);
        out.extend(long.map(block));
    }
    out
}

/// A text of several lines.
fn block(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(seconds) if SECONDS.contains(&key) => time(seconds),
            Some(bytes) if BYTES.contains(&key) => format!("{:.1} MiB", bytes / 1_048_576.0),
            _ => number.to_string(),
        },
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => NONE.to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| shown(key, item)).collect::<Vec<_>>().join(", ")
        }
        Value::Object(entries) => match (entries.get("method"), entries.get("path")) {
            (Some(_), Some(_)) => {
                let told = entries.iter().filter(|(_, value)| !value.is_null());
                let words = told.map(|(key, value)| match key.as_str() {
                    "method" | "path" | "age" => shown(key, value),
                    key => entry(key, value),
                });
                words.collect::<Vec<_>>().join(" ")
            }
            _ => {
                let told = entries.iter().filter(|(_, value)| !value.is_null());
                told.map(|(key, value)| entry(key, value)).collect::<Vec<_>>().join(", ")
            }
        },
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
    }
}

fn entry(key: &str, value: &Value) -> String {
    format!("{key} {}", shown(key, value))
}

/// `1.24s` while fractions matter, `2h03m` when they don't.
fn time(seconds: f64) -> String {
    if seconds < 100.0 {
        return format!("{seconds:.2}s");
    }
    // A duration of a process: far from the limits of the type.
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, minutes) => format!("{minutes}m{:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

/// What a client sent, such as a path, doesn't get to move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_a_table_in_the_order_of_the_reply() {
        let workers = json!({ "ok": true, "workers": [
            { "worker": 1, "age": 3.456, "memory": 31_457_280, "pss": null, "request": null },
            { "worker": 10, "age": 7_500, "memory": null, "pss": null,
              "request": { "method": "GET", "path": "/\u{1b}x", "age": 0.5 } },
        ]});
        let expected = "worker  age    memory    request\n\
                        1       3.46s  30.0 MiB  -\n\
                        10      2h05m  -         GET /\u{fffd}x 0.50s\n";
        assert_eq!(reply(&Request::Workers, &workers), expected);
    }

    #[test]
    fn single_values_are_lines() {
        let status = json!({ "ok": true, "pid": 7, "listeners": ["a:1", "b:2"], "uptime": 200_000,
            "upgrade": null, "last_reload": { "state": "done", "generation": 2, "reason": null },
            "workers": [{ "worker": 1 }] });
        let expected = "pid: 7\nlisteners: a:1, b:2\nuptime: 2d07h\n\
                        last_reload: state done, generation 2\nworkers:\nworker\n1\n";
        assert_eq!(reply(&Request::Status, &status), expected);
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(reply(&Request::Stop, &json!({ "ok": true })), "stopping\n");
        let reloaded = json!({ "ok": true, "generation": 2, "after": 0.41 });
        let expected = "reloaded: generation 2, after 0.41s\n";
        assert_eq!(reply(&Request::Reload { wait: true }, &reloaded), expected);
        let none = json!({ "ok": true, "requests": [] });
        assert_eq!(reply(&Request::Requests, &none), "no requests\n");
    }

    #[test]
    fn texts_of_several_lines_stand_alone() {
        let stack = json!({ "ok": true, "pid": 7, "stack": "Thread 1:\n  File a\n\n" });
        assert_eq!(reply(&Request::Stack(7), &stack), "pid: 7\nThread 1:\n  File a\n");
        let deaths = json!({ "ok": true, "deaths": [{ "pid": 7, "stacks": "a\nb", "age": 1 },
            { "pid": 8, "stacks": "", "age": 100 }]});
        let expected = "pid  age\n7    1.00s\na\nb\n8    1m40s\n";
        assert_eq!(reply(&Request::Deaths, &deaths), expected);
    }

    #[test]
    fn requests_are_told_in_words() {
        let deaths = json!({ "ok": true, "deaths": [{ "pid": 7, "requests": [
            { "method": "GET", "path": "/a", "age": 31, "thread": 2, "status": 504 },
            { "method": "PUT", "path": "/b", "age": 1.5, "thread": null, "status": null },
        ]}]});
        let expected = "pid  requests\n7    GET /a 31.00s thread 2 status 504, PUT /b 1.50s\n";
        assert_eq!(reply(&Request::Deaths, &deaths), expected);
    }
}
