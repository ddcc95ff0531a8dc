"""Writes a file's bytes to stdout, after a line with the offset they start at (0 where a server cannot resume).

argv: the address, the wanted offset. Proxy, certificates and passwords are pip's. Exits with 3 where a server wants
a login that it was not given.
"""

import ast
import base64
import netrc
import os
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request


def pip_settings():
    """`pip config list` as a dictionary; what is said for one command or in a variable goes over the rest."""
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        try:
            found.setdefault(section, {})[name.replace("_", "-")] = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
    merged = {}
    for section in ("global", "install", ":env:"):
        merged.update(found.get(section, {}))
    return merged


def login(address, settings):
    """What an index of pip's on the same host, or ~/.netrc, gives as `user:password`."""
    host = urllib.parse.urlsplit(address).hostname
    indices = settings.get("index-url", "") + "\n" + settings.get("extra-index-url", "")
    for index in map(urllib.parse.urlsplit, indices.split()):
        if index.hostname == host and index.username:
            return urllib.parse.unquote(index.username) + ":" + urllib.parse.unquote(index.password or "")
    try:
        entry = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        entry = None
    return f"{entry[0]}:{entry[2]}" if entry else None


def certificates(settings, host):
    """The authorities pip trusts: those it is told of, else the system's and its own."""
    told = settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
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
    if settings.get("client-cert"):
        context.load_cert_chain(settings["client-cert"])
    if host in settings.get("trusted-host", "").split():
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def main(address, offset):
    settings = pip_settings()
    host = urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
    handlers = [urllib.request.HTTPSHandler(context=certificates(settings, host))]
    if settings.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": settings["proxy"], "https": settings["proxy"]}))
    request = urllib.request.Request(address)
    request.add_header("Accept-Encoding", "identity")
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    name = login(address, settings)
    if name:
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(name.encode()).decode())
    with urllib.request.build_opener(*handlers).open(request, timeout=60) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        start = offset if resumed else 0
        if address.startswith("file:"):
            answer.fp.seek(offset)
            start = offset
        sys.stdout.buffer.write(b"%d\n" % start)
        shutil.copyfileobj(answer, sys.stdout.buffer, 1 << 18)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except urllib.error.HTTPError as error:
        print(f"the server answers {error.code} {error.reason}", file=sys.stderr)
        sys.exit(3 if error.code in (401, 403, 407) else 1)
    except urllib.error.URLError as error:
        sys.exit(f"{error.reason}")
    except OSError as error:
        sys.exit(f"{error}")
