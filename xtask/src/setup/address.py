"""Prints the address of a wheel and its sha256, as pip finds them with the user's own settings.

argv: the requirement, then pip's options that choose Python and platform.
"""

import json
import subprocess
import sys

pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "--retries", "2"]
pip += ["--no-deps", "--ignore-installed", "--no-cache-dir", "--target", "never-written", *sys.argv[2:], sys.argv[1]]
run = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
if run.returncode:
    sys.exit(run.stderr)
info = json.loads(run.stdout)["install"][0]["download_info"]
archive = info.get("archive_info", {})
sha256 = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
print(info["url"], sha256 or "unknown")
