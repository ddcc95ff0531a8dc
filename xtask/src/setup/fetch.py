"""Writes a wheel's bytes to stdout, after a line with the offset they start at (0 where a server cannot resume).

argv: the project, the wheel's file name, its sha256, the wanted offset. Index, proxy, certificates and passwords are
those that pip is configured with. pip itself is not asked for the address, for `pip install --dry-run` downloads the
wheel where the index gives no metadata (and always before pip 23.3), and cannot resume.

Exit status: 1 to try again; 3 where only pip may know the way; 4 where an index has another file of that name.
"""

import ast
import base64
import html.parser
import netrc
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

AGAIN, ASK_PIP, OTHER_FILE = 1, 3, 4


def pip(*arguments):
    run = subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=subprocess.PIPE, universal_newlines=True)
    return run.stdout


def pip_settings():
    """`pip config list` as a dictionary; what is said for one command or in a variable goes over the rest."""
    sections = {}
    for line in pip("config", "list").splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        try:
            sections.setdefault(section, {})[name.replace("_", "-")] = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
    merged = {}
    for section in ("global", "download", ":env:"):
        merged.update(sections.get(section, {}))
    return merged


def pages(project, settings):
    """Where wheels are listed: pip's find-links, its index (by default the one its help names), further indices."""
    found = settings.get("find-links", "").split()
    if settings.get("no-index", "").lower() not in ("", "0", "false", "no", "off"):
        return found
    index = settings.get("index-url")
    if not index:
        index = re.search(r"--index-url <url>.*?default\s+(https?://[^\s)]+)", pip("download", "--help"), re.DOTALL).group(1)
    indices = [index, *settings.get("extra-index-url", "").split()]
    return found + [base.rstrip("/") + "/" + project + "/" for base in indices]


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]


class Client:
    """Requests with pip's settings."""

    def __init__(self, settings):
        self.settings = settings

    def open(self, address, offset=0, accept="*/*"):
        parts = urllib.parse.urlsplit(address)
        request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
        request.add_header("Accept", accept)
        request.add_header("Accept-Encoding", "identity")
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        login = self.login(parts)
        if login:
            secret = base64.b64encode(login.encode()).decode()
            request.add_unredirected_header("Authorization", "Basic " + secret)
        handlers = [urllib.request.HTTPSHandler(context=self.certificates(parts))]
        proxy = self.settings.get("proxy")
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        return urllib.request.build_opener(*handlers).open(request, timeout=60)

    def login(self, parts):
        """`user:password` of the address, of an index on the same host, or of ~/.netrc."""
        indices = (self.settings.get(name, "") for name in ("index-url", "extra-index-url", "find-links"))
        for known in [parts, *map(urllib.parse.urlsplit, " ".join(indices).split())]:
            if known.hostname == parts.hostname and known.username:
                return urllib.parse.unquote(known.username) + ":" + urllib.parse.unquote(known.password or "")
        try:
            entry = netrc.netrc().authenticators(parts.hostname)
        except (OSError, TypeError, netrc.NetrcParseError):
            entry = None
        return f"{entry[0]}:{entry[2]}" if entry else None

    def certificates(self, parts):
        """The authorities that pip is told of; else the system's and pip's own."""
        told = self.settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        if told and os.path.isdir(told):
            context = ssl.create_default_context(capath=told)
        else:
            context = ssl.create_default_context(cafile=told)
        if not told:
            try:
                from pip._vendor import certifi

                context.load_verify_locations(certifi.where())
            except (ImportError, OSError):
                pass
        if self.settings.get("client-cert"):
            context.load_cert_chain(self.settings["client-cert"])
        host = parts.netloc.rpartition("@")[2]
        if {host, parts.hostname} & set(self.settings.get("trusted-host", "").split()):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def find(client, project, file, sha256):
    """The address of the wheel, on the first page that lists it."""
    other = None
    for page in pages(project, client.settings):
        local = pathlib.Path(page)
        if "://" not in page:
            if (local / file).is_file():
                return (local / file).resolve().as_uri()
            continue
        try:
            with client.open(page, accept="application/vnd.pypi.simple.v1+html, text/html;q=0.5") as answer:
                listing, base = answer.read().decode("utf-8", "replace"), answer.geturl()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                continue
            raise
        parser = Links()
        parser.feed(listing)
        for link in parser.links:
            address, _, fragment = urllib.parse.urljoin(base, link).partition("#")
            if urllib.parse.unquote(address.partition("?")[0]).rpartition("/")[2] != file:
                continue
            if fragment.startswith("sha256=") and fragment != "sha256=" + sha256:
                other = address
                continue
            return address
    if other:
        print(f"{other} is another file", file=sys.stderr)
        sys.exit(OTHER_FILE)
    print(f"no index lists {file}", file=sys.stderr)
    sys.exit(ASK_PIP)


def main(project, file, sha256, offset):
    client = Client(pip_settings())
    with client.open(find(client, project, file, sha256), offset) as answer:
        start = 0
        if answer.url.startswith("file:"):
            answer.fp.seek(offset)
            start = offset
        elif answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            start = offset
        sys.stdout.buffer.write(b"%d\n" % start)
        shutil.copyfileobj(answer, sys.stdout.buffer, 1 << 18)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4], int(sys.argv[4]))
    except urllib.error.HTTPError as error:
        print(f"the server answers {error.code} {error.reason}", file=sys.stderr)
        sys.exit(ASK_PIP if error.code in (401, 403, 407) else AGAIN)
    except urllib.error.URLError as error:
        print(error.reason, file=sys.stderr)
        sys.exit(AGAIN)
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(AGAIN)
    except (AttributeError, ValueError) as error:
        print(f"pip's settings or the index cannot be read: {error}", file=sys.stderr)
        sys.exit(ASK_PIP)
