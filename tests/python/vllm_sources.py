"""vLLM's sources, from the package index that pip is set up with. With torch the package is too large to install, and without torch pip can't
even make the metadata of its sources.

The archive has 47 MB; of it the modules are kept that `vllm_models.py` reads.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile

from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import SpecifierSet
from vllm_models import READ

VERSION = "0.33.0"
SHA256 = "f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112"


def fetched(tools: pathlib.Path) -> pathlib.Path:
    """The folder that `vllm/` is in, below a folder of tools; it is filled once."""
    folder = tools / f"vllm-{VERSION}"
    if folder.is_dir():
        return folder
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        archive, fresh = pathlib.Path(scratch, "archive"), pathlib.Path(scratch, "fresh")
        digest = download(archive)
        assert digest == SHA256, f"vllm {VERSION} is not what was pinned: its digest is {digest}"
        unpack(archive, fresh)
        fresh.rename(folder)
    return folder


def download(to: pathlib.Path) -> str:
    """Takes the archive by pip's own settings of index, certificates and proxy. Its digest."""
    pip = create_command("download")
    options, _ = pip.parse_args(["--no-binary=:all:", "vllm"])
    with pip.main_context():
        session = pip.get_default_session(options)
        best = pip._build_package_finder(options, session).find_best_candidate("vllm", SpecifierSet(f"=={VERSION}"))
        assert best.best_candidate, f"the package index has no sources of vllm {VERSION}"
        address = best.best_candidate.link.url_without_fragment
        digest = hashlib.sha256()
        with to.open("wb") as file, session.get(address, headers={"Accept-Encoding": "identity"}, stream=True) as answer:
            answer.raise_for_status()
            for block in answer.iter_content(1 << 16):
                digest.update(block)
                file.write(block)
    return digest.hexdigest()


def unpack(archive: pathlib.Path, to: pathlib.Path) -> None:
    ends = {end: name for name in READ for end in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py")}
    missing = set(READ)
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            end = member.name.removeprefix(f"vllm-{VERSION}/")
            if end in ends and member.isfile():
                path = to / end
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(members.extractfile(member), file)
                missing.discard(ends[end])
    assert not missing, f"vllm {VERSION} has no {missing}"


def tools_folder(root: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.environ.get("BULKRATE_TOOLS", root / "target" / "tools"))
