"""Sites without end: any host named here is one, and what it lists follows from its name and edition."""

from __future__ import annotations

import threading

PER_FILE = 40
SHARED = 10  # URLs that stand in both children: distinct is not the same as listed


class Sites:
    """An index of two sitemaps each. `gated` hosts hold their second child back until `gate` opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gated: set[str] = set()
        self.inside: set[str] = set()  # hosts whose scan has read the first child and waits for the second
        self.editions: dict[str, int] = {}  # each edition drops its first URLs and lists as many new ones
        self.sizes: dict[str, int] = {}
        self.delay = 0.0

    def close_gate(self, hosts) -> None:
        self.gated, self.inside = set(hosts), set()
        self.gate.clear()

    def __call__(self, host, path):
        if not host.endswith(".chaos.example"):
            return None
        if path == "/robots.txt":
            return 200, {}, f"Sitemap: http://{host}/index.xml\n".encode()
        if path == "/index.xml":
            children = "".join(f"<sitemap><loc>http://{host}/{name}.xml</loc></sitemap>" for name in "ab")
            return 200, {}, f"<sitemapindex>{children}</sitemapindex>".encode()
        if path == "/b.xml" and host in self.gated and not self.gate.is_set():
            self.inside.add(host)
            self.gate.wait(120)
        if path in ("/a.xml", "/b.xml"):
            urls = "".join(f"<url><loc>{url}</loc></url>" for url in self.listed(host, path[1]))
            return 200, {}, f"<urlset>{urls}</urlset>".encode()
        if path == "/":
            return 200, {"Content-Type": "text/html"}, f"<title>{host}</title>".encode()
        return None

    def listed(self, host: str, name: str) -> list[str]:
        size = self.sizes.get(host, PER_FILE)
        first = self.editions.get(host, 0) * 5 + (0 if name == "a" else size - SHARED)
        return [f"http://{host}/{n}" for n in range(first, first + size)]

    def expected(self, host: str) -> set[tuple[str, str]]:
        """(sitemap, URL) as the inventory must have it."""
        return {(f"http://{host}/{name}.xml", url) for name in "ab" for url in self.listed(host, name)}
