"""What is sent: the files of tests/requests, and cases in which parsers are known to differ."""

from __future__ import annotations

from pathlib import Path

REQUESTS = Path(__file__).parent.parent / "requests"

POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"
CODED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

OWN: dict[str, bytes] = {
    # Where the body ends
    "own-length-then-chunks": POST
    + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "own-chunks-then-length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET /poison HTTP/1.1\r\n",
    "own-length-0-with-body": POST + b"Content-Length: 0\r\n\r\nGET /poison HTTP/1.1\r\nX: ",
    "own-length-equal-twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "own-length-equal-list": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "own-length-space-inside": POST + b"Content-Length: 1 0\r\n\r\nabcdefghij",
    "own-length-trailing-tab": POST + b"Content-Length: 3\t\r\n\r\nabc",
    "own-length-vertical-tab": POST + b"Content-Length: \x0b3\r\n\r\nabc",
    "own-length-fullwidth-digit": POST + b"Content-Length: \xef\xbc\x93\r\n\r\nabc",
    "own-length-superscript": POST + b"Content-Length: \xb3\r\n\r\nabc",
    "own-length-underscored-name": POST + b"Content_Length: 3\r\n\r\nabc",
    "own-coding-underscored-name": POST + b"Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
    "own-coding-vertical-tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "own-coding-form-feed-behind": POST + b"Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n",
    "own-coding-nul-behind": POST + b"Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
    "own-coding-non-breaking-space": POST + b"Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
    "own-coding-in-single-quotes": POST + b"Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n",
    "own-coding-named-by-connection": POST
    + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "own-coding-and-length-http10": b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "own-chunked-get": GET + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "own-chunked-head": b"HEAD /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
    "own-chunk-size-trailing-space": CODED + b"3 \r\nabc\r\n0\r\n\r\n",
    "own-chunk-size-0x": CODED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "own-chunk-size-nul-digits": CODED + b"3\0\r\nabc\r\n0\r\n\r\n",
    "own-chunk-size-wraps-32-bits": CODED + b"100000003\r\nabc\r\n0\r\n\r\n",
    "own-chunk-size-wraps-64-bits": CODED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "own-chunk-extension-lf": CODED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "own-chunk-extension-quoted-crlf": CODED + b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n',
    "own-chunk-last-with-zeros": CODED + b"3\r\nabc\r\n000\r\n\r\n",
    "own-chunk-last-with-extension": CODED + b"3\r\nabc\r\n0;a=b\r\n\r\n",
    "own-chunk-last-lf-only": CODED + b"3\r\nabc\r\n0\n\n",
    "own-chunk-no-end": CODED + b"3\r\nabc\r\n",
    "own-trailer-length": CODED + b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n",
    "own-trailer-host": CODED + b"3\r\nabc\r\n0\r\nHost: b\r\n\r\n",
    # Where lines end, and what is in them
    "own-lines-of-lf": b"GET /a HTTP/1.1\nHost: a\n\n",
    "own-lines-of-cr": b"GET /a HTTP/1.1\rHost: a\r\r",
    "own-line-cr-cr-lf": b"GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "own-hidden-line-after-cr": GET + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "own-hidden-line-after-nul": GET + b"X: a\0b\r\n\r\n",
    "own-fold-hides-coding": POST
    + b"Content-Length: 5\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "own-fold-before-first-field": b"GET /a HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n",
    "own-name-space-before-colon": GET + b"X : a\r\n\r\n",
    "own-name-tab-before-colon": POST + b"Content-Length\t: 3\r\n\r\nabc",
    "own-name-nul": GET + b"X\0Y: a\r\n\r\n",
    "own-name-colon-first": GET + b":authority: b\r\n\r\n",
    "own-name-non-ascii": GET + b"X-\xe9: a\r\n\r\n",
    "own-name-underscore-twin": GET + b"X-User: one\r\nX_User: two\r\n\r\n",
    "own-value-utf-8": GET + "X: żółw\r\n\r\n".encode(),
    "own-value-del": GET + b"X: a\x7fb\r\n\r\n",
    "own-value-escape": GET + b"X: a\x1b[31mb\r\n\r\n",
    "own-repeated-field": GET + b"X: one\r\nX: two\r\n\r\n",
    "own-repeated-cookie": GET + b"Cookie: a=1\r\nCookie: b=2\r\n\r\n",
    "own-repeated-type": POST
    + b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 3\r\n\r\nabc",
    "own-proxy-field": GET + b"Proxy: http://evil/\r\n\r\n",
    "own-script-name-field": GET + b"SCRIPT_NAME: /evil\r\nScript-Name: /evil\r\n\r\n",
    # Whom it is for
    "own-host-twice": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "own-host-twice-equal": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "own-host-list": b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "own-host-with-path": b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "own-host-with-user": b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "own-host-with-space": b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
    "own-host-port-letters": b"GET /a HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "own-host-missing": b"GET /a HTTP/1.1\r\n\r\n",
    "own-host-missing-http10": b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "own-absolute-other-host": b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-absolute-no-host": b"GET http://b/a HTTP/1.1\r\n\r\n",
    "own-absolute-user": b"GET http://u:p@b/a HTTP/1.1\r\nHost: b\r\n\r\n",
    "own-absolute-other-scheme": b"GET ftp://b/a HTTP/1.1\r\nHost: b\r\n\r\n",
    "own-authority-get": b"GET b:80 HTTP/1.1\r\nHost: b\r\n\r\n",
    "own-asterisk-get": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    # What is asked for
    "own-target-nul": b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-percent-nul": b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-percent-slash": b"GET /a%2Fb%5Cc HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-bad-percent": b"GET /a%zz%2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-utf-8": "GET /żółw HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "own-target-percent-utf-8": b"GET /%C5%BC%FF HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-fragment": b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-backslash": b"GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-dots": b"GET /a/../../b/./c HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-slashes": b"GET //b/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-parameters": b"GET /a;x=y?z HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-no-slash": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-question-only": b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-target-missing": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-line-tabs": b"GET\t/a\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "own-line-spaces": b"GET  /a   HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-line-space-behind": b"GET /a HTTP/1.1 \r\nHost: a\r\n\r\n",
    "own-line-http09": b"GET /a\r\n\r\n",
    "own-line-version-1.9": b"GET /a HTTP/1.9\r\nHost: a\r\n\r\n",
    "own-line-version-1.01": b"GET /a HTTP/1.01\r\nHost: a\r\n\r\n",
    "own-method-lower": b"get /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-method-punctuation": b"G!E /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-method-nul": b"G\0T /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-method-quote": b'G"T /a HTTP/1.1\r\nHost: a\r\n\r\n',
    # What becomes of the connection
    "own-close": GET + b"Connection: close\r\n\r\n",
    "own-close-in-a-list": GET + b"Connection: x, CLOSE\r\n\r\n",
    "own-keep-alive-http10": b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
    "own-upgrade": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "own-http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "own-expect-then-length": POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "own-expect-unknown": POST + b"Expect: miracle\r\nContent-Length: 3\r\n\r\nabc",
    "own-tls-hello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n",
    "own-pipeline-poison-behind-get": GET + b"\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
    "own-pipeline-bad-second": GET + b"\r\nGET /second HTTP/1.1\r\nHost : a\r\n\r\n",
}


def cases() -> dict[str, bytes]:
    """All of them by name."""
    files = sorted([*REQUESTS.glob("valid/*.http"), *REQUESTS.glob("invalid/*.http")])
    found = {
        path.stem: path.read_bytes()
        for path in files
        # Those with limits of their own say nothing about servers with other ones.
        if not path.with_suffix(".expect").read_text().startswith("limit-")
    }
    assert not found.keys() & OWN.keys()
    return found | OWN
