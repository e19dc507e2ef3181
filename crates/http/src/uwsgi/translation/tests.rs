use super::*;
use crate::connection::Received;
use crate::limits::Limits;
use crate::request::{FieldStorage, Request};

fn packet(modifier1: u8, variables: &[(&str, &[u8])]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for text in variables.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        encoded.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        encoded.extend_from_slice(text);
    }
    let [low, high] = u16::try_from(encoded.len()).unwrap().to_le_bytes();
    [&[modifier1, low, high, 0], &encoded[..]].concat()
}

fn translate_modified(modifier1: u8, variables: &[(&str, &[u8])]) -> Result<Translation, Refusal> {
    let bytes = packet(modifier1, variables);
    let Received::Complete(packet) = Packet::receive(&bytes)? else { panic!("incomplete") };
    Translation::of(&packet)
}

fn translate(variables: &[(&str, &[u8])]) -> Result<Translation, Refusal> {
    translate_modified(0, variables)
}

/// What nginx sends for a GET, and more.
fn with<'v>(more: &[(&'v str, &'v [u8])]) -> Vec<(&'v str, &'v [u8])> {
    let mut variables: Vec<(&str, &[u8])> = vec![
        ("QUERY_STRING", b"c=d"),
        ("REQUEST_METHOD", b"GET"),
        ("CONTENT_TYPE", b""),
        ("CONTENT_LENGTH", b""),
        ("REQUEST_URI", b"/a%20b?c=d"),
        ("PATH_INFO", b"/a b"),
        ("DOCUMENT_ROOT", b"/usr/share/nginx/html"),
        ("SERVER_PROTOCOL", b"HTTP/2.0"),
        ("REQUEST_SCHEME", b"http"),
        ("REMOTE_ADDR", b"192.0.2.7"),
        ("REMOTE_PORT", b"40000"),
        ("SERVER_PORT", b"80"),
        ("SERVER_NAME", b"example.org"),
        ("HTTP_HOST", b"example.org"),
        ("HTTP_USER_AGENT", b"test/1"),
    ];
    variables.extend_from_slice(more);
    variables
}

fn refusal(more: &[(&str, &[u8])]) -> Refusal {
    translate(&with(more)).unwrap_err()
}

#[test]
fn a_request_of_nginx() {
    let translation = translate(&with(&[("REMOTE_USER", b"ada"), ("HTTP_CONNECTION", b"close")]));
    let Translation { head, path, variables, client, secure } = translation.unwrap();
    assert_eq!(path.unwrap(), b"/a b");
    let head = String::from_utf8(head).unwrap();
    assert_eq!(head, "GET /a%20b?c=d HTTP/1.0\r\nHOST: example.org\r\nUSER-AGENT: test/1\r\n\r\n");
    assert_eq!(client, Some("192.0.2.7:40000".parse().unwrap()));
    assert!(!secure);
    let names: Vec<_> =
        variables.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect();
    assert_eq!(
        names.join(" "),
        "QUERY_STRING REQUEST_URI DOCUMENT_ROOT SERVER_PROTOCOL REQUEST_SCHEME REMOTE_ADDR \
         REMOTE_PORT SERVER_PORT SERVER_NAME REMOTE_USER HTTP_CONNECTION SCRIPT_NAME PATH_INFO"
    );
    assert_eq!(variables.get("PATH_INFO"), Some(&b"/a b"[..]));
    assert_eq!(variables.get("SERVER_PROTOCOL"), Some(&b"HTTP/2.0"[..]));
}

#[test]
fn a_body_has_its_length_and_type_from_two_variables_alone() {
    let translation = translate(&[
        ("REQUEST_METHOD", b"POST"),
        ("REQUEST_URI", b"/"),
        ("CONTENT_LENGTH", b"5"),
        ("CONTENT_TYPE", b"text/plain"),
        ("HTTP_CONTENT_LENGTH", b"6"),
        ("HTTP_CONTENT_TYPE", b"text/html"),
        ("HTTP_TRANSFER_ENCODING", b"chunked"),
        ("HTTP_CONTENT-LENGTH", b"7"),
        ("HTTP_transfer-Encoding", b"chunked"),
        ("HTTP_PROXY", b"http://evil"),
        ("HTTP_EXPECT", b"100-continue"),
    ]);
    let head = translation.unwrap().head;
    let mut storage = FieldStorage::new();
    let request = Request::parse(&head, &mut storage, &Limits::default()).unwrap();
    assert_eq!(request.body, crate::BodyLength::Length(5));
    let names: Vec<_> = request.fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["CONTENT-TYPE", "CONTENT-LENGTH", "EXPECT"]);
    assert!(!request.persistent && !request.expects_continue);
}

#[test]
fn the_connection_is_never_kept() {
    let head = translate(&with(&[("HTTP_CONNECTION", b"keep-alive")])).unwrap().head;
    let mut storage = FieldStorage::new();
    assert!(!Request::parse(&head, &mut storage, &Limits::default()).unwrap().persistent);
}

#[test]
fn repetitions() {
    assert_eq!(
        translate(&[
            ("REQUEST_METHOD", b"POST"),
            ("REQUEST_URI", b"/"),
            ("CONTENT_LENGTH", b"5"),
            ("CONTENT_LENGTH", b"5"),
        ]),
        Err(Refusal::LengthRepeated)
    );
    let more: &[(&str, &[u8])] = &[
        ("REMOTE_ADDR", b"198.51.100.1"),
        ("REQUEST_URI", b"/other"),
        ("HTTP_HOST", b"example.org:8443"),
        ("HTTP_ACCEPT", b"a"),
        ("HTTP_ACCEPT", b"b"),
    ];
    let translation = translate(&with(more)).unwrap();
    assert_eq!(translation.client, Some("198.51.100.1:40000".parse().unwrap()));
    assert_eq!(translation.variables.get("REMOTE_ADDR"), Some(&b"198.51.100.1"[..]));
    let head = String::from_utf8(translation.head).unwrap();
    assert!(head.starts_with("GET /other HTTP/1.0\r\nHOST: example.org:8443\r\n"), "{head}");
    assert_eq!(head.matches("HOST").count(), 1, "{head}");
    assert!(head.ends_with("ACCEPT: a\r\nACCEPT: b\r\n\r\n"), "{head}");
}

#[test]
fn orders_to_the_server_are_not_passed() {
    let orders = [
        "UWSGI_FILE",
        "UWSGI_SCRIPT",
        "UWSGI_MODULE",
        "UWSGI_CALLABLE",
        "UWSGI_PYHOME",
        "UWSGI_HOME",
        "UWSGI_CHDIR",
        "UWSGI_SETENV",
        "UWSGI_APPID",
        "UWSGI_POSTFILE",
        "UWSGI_TOUCH_RELOAD",
        "UWSGI_CACHE_GET",
        "UWSGI_SCHEME",
        "UWSGI_",
        "wsgi.input",
        "wsgi.url_scheme",
        "ironhorn.extend_timeout",
        "HTTP_PROXY",
    ];
    let more: Vec<(&str, &[u8])> = orders.iter().map(|name| (*name, &b"x"[..])).collect();
    assert_eq!(translate(&with(&more)), translate(&with(&[])));
}

#[test]
fn nothing_becomes_a_second_line() {
    let line = b"a\r\nX-Evil: b";
    for name in ["HTTP_A", "HTTP_HOST", "CONTENT_TYPE"] {
        assert_eq!(refusal(&[(name, line)]), Refusal::FieldValueInvalid, "{name}");
        assert_eq!(refusal(&[(name, b"a\nb")]), Refusal::FieldValueInvalid, "{name}");
        assert_eq!(refusal(&[(name, b"a\rb")]), Refusal::FieldValueInvalid, "{name}");
    }
    for name in ["HTTP_", "HTTP_A: B", "HTTP_A\r\nB", "HTTP_A B", "HTTP_\u{e9}"] {
        assert_eq!(refusal(&[(name, b"x")]), Refusal::FieldNameInvalid, "{name:?}");
    }
    assert_eq!(refusal(&[("REQUEST_METHOD", line)]), Refusal::MethodInvalid);
    assert_eq!(refusal(&[("REQUEST_METHOD", b"GET / HTTP/1.1")]), Refusal::MethodInvalid);
    assert_eq!(refusal(&[("REQUEST_METHOD", b"")]), Refusal::MethodInvalid);
    assert_eq!(refusal(&[("REQUEST_URI", b"/ HTTP/1.1\r\na: b")]), Refusal::TargetByte);
    // What no line is made of may have any.
    let translation = translate(&with(&[("SSL_CLIENT_CERT", line)])).unwrap();
    assert_eq!(translation.variables.get("SSL_CLIENT_CERT"), Some(&line[..]));
}

#[test]
fn a_server_has_a_name_and_a_port() {
    let empty: &[(&str, &[u8])] = &[("SERVER_NAME", b""), ("SERVER_PORT", b"")];
    let variables = translate(&with(empty)).unwrap().variables;
    assert_eq!(variables.get("SERVER_NAME"), Some(&b"example.org"[..]));
    assert_eq!(variables.get("SERVER_PORT"), Some(&b"80"[..]));
}

#[test]
fn a_request_needs_a_method_and_a_uri() {
    for variables in [
        &[][..],
        &[("REQUEST_METHOD", &b"GET"[..])],
        &[("REQUEST_URI", &b"/"[..])],
        &[("PATH_INFO", &b"/"[..])],
    ] {
        assert_eq!(translate(variables), Err(Refusal::VariableMissing));
    }
}

/// SCRIPT_NAME and PATH_INFO of the application.
#[track_caller]
fn paths(modifier1: u8, uri: &str, script_name: &str, path_info: Option<&str>) -> [String; 2] {
    let mut variables: Vec<(&str, &[u8])> =
        vec![("REQUEST_METHOD", b"GET"), ("REQUEST_URI", uri.as_bytes())];
    variables.push(("SCRIPT_NAME", script_name.as_bytes()));
    variables.extend(path_info.map(|path| ("PATH_INFO", path.as_bytes())));
    let translation = translate_modified(modifier1, &variables).unwrap();
    ["SCRIPT_NAME", "PATH_INFO"]
        .map(|name| String::from_utf8(translation.variables.get(name).unwrap().to_vec()).unwrap())
}

#[test]
fn script_name_is_taken_off_path_info_once() {
    // include uwsgi_params; uwsgi_param SCRIPT_NAME /app;
    assert_eq!(paths(0, "/app/x", "/app", Some("/app/x")), ["/app", "/x"]);
    assert_eq!(paths(0, "/app", "/app", Some("/app")), ["/app", ""]);
    assert_eq!(paths(0, "/app/", "/app/", Some("/app/")), ["/app", "/"]);
    assert_eq!(paths(0, "/x", "/", Some("/x")), ["", "/x"]);
    // It isn't there.
    assert_eq!(paths(0, "/application", "/app", Some("/application")), ["/app", "/application"]);
    assert_eq!(paths(0, "/x", "/app", Some("/x")), ["/app", "/x"]);
    // location ~ ^/app(/.*) { uwsgi_param SCRIPT_NAME /app; uwsgi_param PATH_INFO $1; }
    assert_eq!(paths(0, "/app/x", "/app", Some("/x")), ["/app", "/x"]);
    assert_eq!(paths(0, "/app/app/x", "/app", Some("/app/x")), ["/app", "/app/x"]);
    assert_eq!(paths(0, "/%61pp/app/%78?/", "/app", Some("/app/x")), ["/app", "/app/x"]);
    // uwsgi_modifier1 30;
    assert_eq!(paths(30, "/app/app/x", "/app", Some("/app/app/x")), ["/app", "/app/x"]);
    assert_eq!(paths(30, "/app/x", "/app", Some("/app/x")), ["/app", "/x"]);
}

#[test]
fn path_info_is_the_proxys_and_decoded_once() {
    assert_eq!(paths(0, "/%2525", "", Some("/%25")), ["", "/%25"]);
    // rewrite ^/old/(.*) /new/$1 break;
    assert_eq!(paths(0, "/old/x", "", Some("/new/x")), ["", "/new/x"]);
    // It doesn't say.
    assert_eq!(paths(0, "/%2525%zz%?%41", "", None), ["", "/%25%zz%"]);
    assert_eq!(paths(0, "/app/%41", "/app", None), ["/app", "/A"]);
}

#[test]
fn the_path_is_all_that_the_proxy_asks_for() {
    let path = |modifier1: u8, more: &[(&str, &[u8])]| {
        let uri: (&str, &[u8]) = ("REQUEST_URI", b"/app/%2541?b");
        let variables = [&[("REQUEST_METHOD", &b"GET"[..]), uri], more].concat();
        translate_modified(modifier1, &variables).unwrap().path
    };
    let script_name: (&str, &[u8]) = ("SCRIPT_NAME", b"/app");
    assert_eq!(path(0, &[script_name, ("PATH_INFO", b"/app/%41")]).unwrap(), b"/app/%41");
    assert_eq!(path(30, &[script_name, ("PATH_INFO", b"/app/%41")]).unwrap(), b"/app/%41");
    assert_eq!(path(0, &[script_name, ("PATH_INFO", b"/%41")]).unwrap(), b"/%41");
    assert_eq!(path(0, &[("PATH_INFO", b"")]).unwrap(), b"");
    assert_eq!(path(0, &[script_name]), None);
}

#[test]
fn security() {
    let secure = |more: &[(&str, &[u8])]| translate(&with(more)).unwrap().secure;
    assert!(!secure(&[]));
    for (name, value) in [
        ("REQUEST_SCHEME", "https"),
        ("HTTPS", "on"),
        ("HTTPS", "ON"),
        ("HTTPS", "1"),
        ("UWSGI_SCHEME", "https"),
    ] {
        assert!(secure(&[(name, value.as_bytes())]), "{name} {value}");
    }
    for (name, value) in [
        ("HTTPS", ""),
        ("HTTPS", "off"),
        ("HTTPS", "0"),
        ("REQUEST_SCHEME", "ftp"),
        ("UWSGI_SCHEME", "ftp"),
        // What a client may say is nothing to go by here.
        ("HTTP_X_FORWARDED_PROTO", "https"),
    ] {
        assert!(!secure(&[(name, value.as_bytes())]), "{name} {value}");
    }
    assert!(!secure(&[("HTTPS", b"on"), ("UWSGI_SCHEME", b"http")]));
}

#[test]
fn clients() {
    let client = |address: &str, port: &str| {
        let more = [("REMOTE_ADDR", address.as_bytes()), ("REMOTE_PORT", port.as_bytes())];
        translate(&with(&more)).unwrap().client.map(|client| client.to_string())
    };
    assert_eq!(client("2001:db8::1", "1").as_deref(), Some("[2001:db8::1]:1"));
    assert_eq!(client("192.0.2.1", "").as_deref(), Some("192.0.2.1:0"));
    assert_eq!(client("192.0.2.1", "65536").as_deref(), Some("192.0.2.1:0"));
    for nobody in ["unix:", "", "192.0.2.1:80", "example.org", "\u{e9}"] {
        assert_eq!(client(nobody, "1"), None, "{nobody}");
    }
}
