"""Record access.log again: run Apache on /usr/share/doc and let visitors read it.

Needs Debian's `apache2` (`apt-get install apache2`; the service itself need not run). Every line of the log is
written by the server about a request that it answered; nothing is made up. The requests follow a seed, but times and
durations are measured, so a new recording is a different log. It takes about four minutes.

    python3 make_log.py [requests]
"""

from __future__ import annotations

import http.client
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

HERE = Path(__file__).parent
PORT = 8099
HOST = "docs.example.org"
READY_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
VISITORS = 24
DURATION_S = 240.0
DEFAULT_REQUESTS = 8000
AGENTS = (
    "reader/1.2",
    "reader/1.3 (text mode)",
    "mirror/0.9",
    "monitor/3.1",
    "indexer/2.0 (+http://docs.example.org/)",
)
MISSING = ("/favicon.ico", "/robots.txt", "/index.php", "/wp-login.php", "/.env", "/doc/manual.html")

CONFIG = """\
ServerRoot "{root}"
ServerName {host}
Listen 127.0.0.1:{port}
PidFile "{root}/pid"
ErrorLog "{root}/error.log"
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule autoindex_module /usr/lib/apache2/modules/mod_autoindex.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /etc/mime.types
KeepAliveTimeout 60
User www-data
Group www-data
DocumentRoot /usr/share/doc
<Directory /usr/share/doc>
    Options Indexes SymLinksIfOwnerMatch
    Require all granted
</Directory>
<Location /apache2>
    Require all denied
</Location>
LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\" %D" timed
CustomLog "{log}" timed
"""


def visit(visitor: int, count: int) -> None:
    """Send `count` requests from one loopback address, most of them to links of the page read before."""
    chance = random.Random(visitor)
    agent = AGENTS[visitor % len(AGENTS)]
    source = f"127.0.{chance.randrange(4)}.{10 + visitor}"
    connection = http.client.HTTPConnection("127.0.0.1", PORT, REQUEST_TIMEOUT_S, (source, 0))
    path, referer, links, modified = "/", "", ["/"], ""
    for _ in range(count):
        headers = {"Host": HOST, "User-Agent": agent}
        method = "HEAD" if agent.startswith("monitor") else chance.choices(("GET", "POST"), (400, 1))[0]
        if referer:
            headers["Referer"] = referer
        if modified and chance.random() < 0.15:
            headers["If-Modified-Since"] = modified  # asks again for the page that it just read
        elif chance.random() < 0.04:
            path = chance.choice(MISSING)
        else:
            path = chance.choice(links)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        modified = answer.headers.get("Last-Modified", "")
        referer = f"http://{HOST}{path}"
        found = re.findall(rb'href="([^"?#:]+)"', body) if answer.headers.get_content_type() == "text/html" else []
        targets = [urlsplit(urljoin(path, link.decode("ascii", "ignore"))).path for link in found]
        if method == "HEAD" or not targets or chance.random() < 0.1:
            targets = ["/", "/libc6/", "/perl/", "/gcc-12/", "/apache2/"]
        links = targets
        time.sleep(chance.expovariate(count / DURATION_S))
    connection.close()


def main() -> None:
    """Serve, visit, stop, keep the log."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_REQUESTS
    log = HERE / "access.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as root:
        config = Path(root, "apache.conf")
        config.write_text(CONFIG.format(root=root, host=HOST, port=PORT, log=log))
        server = subprocess.Popen(["/usr/sbin/apache2", "-f", str(config), "-DFOREGROUND"])
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not Path(root, "pid").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            weights = [1 / (i + 3) for i in range(VISITORS)]
            counts = [int(requests * weight / sum(weights)) for weight in weights]
            visitors = [threading.Thread(target=visit, args=item) for item in enumerate(counts)]
            for visitor in visitors:
                visitor.start()
            for visitor in visitors:
                visitor.join()
        finally:
            server.terminate()
            server.wait()
    print(f"{log}: {len(log.read_bytes().splitlines())} requests")


if __name__ == "__main__":
    main()
