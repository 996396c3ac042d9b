"""Daphne's tests that fail under Peneus, and why Daphne is wrong there. See daphne_plugin.py for what is evened out."""

RESPONSE = "test_http_response.py::TestHTTPResponse::"
REQUEST = "test_http_request.py::TestHTTPRequest::"
WEBSOCKET = "test_websocket.py::TestWebsocket::"

ROOT_PATH = "any client could choose the root_path of its request by a Daphne-Root-Path header"

DIFFERENCES: dict[str, str] = {
    RESPONSE + "test_headers": "wants a response without Date, which RFC 9110, 6.6.1 demands, and without Content-Length",
    RESPONSE + "test_headers_type_raw": "wants HTTP/1.0 in the status line: that version is the server's own (RFC 9110, 6.2)",
    REQUEST + "test_root_path_header": ROOT_PATH,
    WEBSOCKET + "test_root_path": ROOT_PATH,
}

RACES: dict[str, str] = {
    REQUEST + "test_request_body_chunking": "its application answers at the first piece of a body, and the test wants the others "
    "to have come by then: Daphne keeps the whole body in memory before it calls the application",
}
