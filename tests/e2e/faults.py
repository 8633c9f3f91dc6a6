#!/usr/bin/env python3
"""A registry that is ill. usage: faults.py PORT 401|403|429|500|hang"""

import http.server
import sys
import time

PORT, FAULT = int(sys.argv[1]), sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if FAULT == "hang":
            time.sleep(60)
            return
        self.send_response(int(FAULT))
        if FAULT == "401":
            self.send_header("WWW-Authenticate", 'Basic realm="e2e"')
        if FAULT == "429":
            self.send_header("Retry-After", "60")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
