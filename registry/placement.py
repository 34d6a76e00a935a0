"""Does each module of a bundle stay in its own place? Asked again where the bundle is loaded.

A file below `placet/p_<digest>/` may only be of that package or one below it; the router is the one file beside
them. A policy with a file that says otherwise loses all its files: its own calls are then undecided, which is a
deny, and no other policy is touched.
"""

import re
from collections.abc import Mapping

from registry import bundlefile, rego, router
from registry.admission import syntax

_FOLDER = re.compile(rf"{bundlefile.ROOT}/(p_[0-9a-f]{{64}})/.+\.rego")


def kept(modules: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Return (modules that may be loaded, names of the policies or files that were left out)."""
    good, bad = {}, set()
    places = {}
    for path, text in modules.items():
        folder = _FOLDER.fullmatch(path)
        if path == f"{bundlefile.ROOT}/{router.PATH}":
            good[path] = text
        elif folder is None:
            bad.add(path)
        else:
            places[path] = folder[1]
            if not _stays(path, text, folder[1]):
                bad.add(folder[1])
    good |= {path: modules[path] for path, place in places.items() if place not in bad}
    return good, bad


def _stays(path: str, text: str, place: str) -> bool:
    try:
        package = syntax.package(rego.parse({path: text})[path])
    except rego.RegoFailed:
        return False
    return package is not None and (package.root, *package.parts[:1]) == (bundlefile.ROOT, place)
