"""Decides what each path is now: unchanged by its stat, or read and packed again."""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

from .packs import Packer, TooMuch
from .rows import Row, is_cache
from .scan import Found

RESTED_NS = 200_000_000
"""A file written within that time, as a log is, would only be packed twice."""


class Rules(NamedTuple):
    """What one capture believes and takes."""

    settled_ns: int
    """A file changed since then is not trusted, as its timestamp may not tell a later change."""
    file_bytes: int
    tick_ns: int
    full: bool
    """Read everything: a store through a shared mapping may not show in the stat."""
    emptied: frozenset[str]
    """Packs to move all content out of, as they are lost."""
    carried: frozenset[str]
    """Packs to move content out of; what cannot be read stays where it is."""


class Look:
    """One look at the workspace; `after` is what it found."""

    def __init__(self, root: bytes, *, before: dict[bytes, Row], rules: Rules, packer: Packer) -> None:
        self._root = root
        self._before = before
        self._rules = rules
        self._packer = packer
        self.after: dict[bytes, Row] = {}
        self.omitted: list[bytes] = []
        self.torn: list[bytes] = []

    def look(self, found: Found) -> None:
        """Give every path of a scan its row; source is read before caches, as limits meet these first."""
        self.omitted += found.omitted
        self._keep_closed(found)
        for paths in self._unread(found):
            self._note(paths, self._read_file(paths[0], found.stats[paths[0]]))
        self._join_symlinks(found)
        self._name_packs()

    def read_ahead(self, found: Found, *, mapped: frozenset[int] = frozenset()) -> dict[bytes, Row]:
        """Pack what is to be read while its writers still run; `look` then reads only what they changed.

        Gives the rows that tell this by a stat: of what has settled, and whose inode nobody has mapped.
        """
        rested = time.time_ns() - RESTED_NS
        ahead: dict[bytes, Row] = {}
        for paths in self._unread(found):
            seen = found.stats[paths[0]]
            row = self._read_file(paths[0], seen) if seen.st_mtime_ns < rested else None
            if row is not None and row.ctime_ns and row.inode not in mapped:
                ahead[paths[0]] = row
        return ahead

    def _unread(self, found: Found) -> list[list[bytes]]:
        """Note what the stat tells; gives the names of each file that must be read.

        Source comes before caches, and what is only to be moved last.
        """
        linked: dict[tuple[int, int], list[bytes]] = {}
        alone: list[list[bytes]] = []
        partial = frozenset(found.omitted)
        for path, seen in found.stats.items():
            if not stat.S_ISREG(seen.st_mode):
                self._note_other(path, seen, partial=path in partial)
            elif seen.st_nlink > 1:
                linked.setdefault((seen.st_ino, seen.st_dev), []).append(path)
            else:
                alone.append([path])
        unread: list[list[bytes]] = []
        for paths in (*alone, *linked.values()):
            row = self._unchanged(paths, found)
            if row is None:
                unread.append(sorted(paths, key=_source_first))
            else:
                self._note(paths, row)
        return sorted(unread, key=lambda names: (self._is_carried(names[0]), *_source_first(names[0])))

    def _is_carried(self, path: bytes) -> bool:
        old = self._before.get(path)
        return old is not None and old.pack in self._rules.carried

    def _keep_closed(self, found: Found) -> None:
        """Keep what was known of a directory that can be read no more and has the same names since."""
        for folder in found.closed:
            known = self._before.get(folder)
            if known is None or known.mtime_ns != found.stats[folder].st_mtime_ns:
                continue
            within = b"" if folder == b"." else folder + b"/"
            for path, old in self._before.items():
                if path.startswith(within) and path not in found.stats and self._may_keep(old):
                    target = b"" if old.kind == "hardlink" else old.target
                    kind = "file" if old.kind == "hardlink" else old.kind
                    self.after[path] = old._replace(kind=kind, target=target, same_as=b"")

    def _may_keep(self, old: Row, seen: os.stat_result | None = None) -> bool:
        """Tell whether the old row of what cannot be read holds: at most its mode and owner were changed."""
        if seen is None:
            return old.pack not in self._rules.emptied
        same = (old.inode, old.size, old.mtime_ns) == (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        return same and old.kind == "file" and old.pack not in self._rules.emptied

    def _note_other(self, path: bytes, seen: os.stat_result, *, partial: bool) -> None:
        row = Row("dir", stat.S_IMODE(seen.st_mode), seen.st_mtime_ns, uid=seen.st_uid, gid=seen.st_gid)
        if stat.S_ISDIR(seen.st_mode):
            self.after[path] = row._replace(flag="partial") if partial else row
        elif stat.S_ISLNK(seen.st_mode):
            try:
                target = os.readlink(os.path.join(self._root, path))
            except OSError:
                return
            self.after[path] = row._replace(kind="symlink", mode=0o777, target=target)

    def _join_symlinks(self, found: Found) -> None:
        """Note which symlinks are hard links of one; the first, source before caches, stands for itself."""
        first: dict[tuple[int, int], bytes] = {}
        symlinks = [p for p, row in self.after.items() if row.kind == "symlink" and p in found.stats]
        linked = [path for path in symlinks if found.stats[path].st_nlink > 1]
        for path in sorted(linked, key=_source_first):
            seen = found.stats[path]
            same_as = first.setdefault((seen.st_ino, seen.st_dev), path)
            if same_as != path:
                self.after[path] = self.after[path]._replace(same_as=same_as)

    def _unchanged(self, paths: list[bytes], found: Found) -> Row | None:
        """Give the row of a file whose content is known by the stat of one of its names."""
        for path in paths:
            old, seen = self._before.get(path), found.stats[path]
            if old is not None and self._trusts(old, seen):
                mode = stat.S_IMODE(seen.st_mode)
                if old.kind == "file" and (old.mode, old.uid, old.gid) == (mode, seen.st_uid, seen.st_gid):
                    return old
                return old._replace(kind="file", mode=mode, uid=seen.st_uid, gid=seen.st_gid, target=b"")
        return None

    def _trusts(self, old: Row, seen: os.stat_result) -> bool:
        rules = self._rules
        if rules.full or not old.ctime_ns or old.pack in rules.emptied or old.pack in rules.carried:
            return False
        same_change = old.ctime_ns // rules.tick_ns == seen.st_ctime_ns // rules.tick_ns
        return same_change and (old.inode, old.size, old.mtime_ns) == (
            seen.st_ino,
            seen.st_size,
            seen.st_mtime_ns,
        )

    def _read_file(self, path: bytes, seen: os.stat_result) -> Row | None:
        try:
            kept = self._packer.keep(os.path.join(self._root, path), most=self._rules.file_bytes)
        except (TooMuch, PermissionError) as error:
            mode, old = stat.S_IMODE(seen.st_mode), self._before.get(path)
            if isinstance(error, PermissionError) and old is not None and self._may_keep(old, seen):
                return old._replace(mode=mode, ctime_ns=0)
            self.omitted.append(path)
            return Row("omitted", mode, seen.st_mtime_ns, seen.st_size, uid=seen.st_uid, gid=seen.st_gid)
        if kept is None:
            return None
        if kept.torn:
            self.torn.append(path)
        now = kept.stat
        trusted = not kept.torn and max(now.st_ctime_ns, now.st_mtime_ns) < self._rules.settled_ns
        return Row(
            "file",
            stat.S_IMODE(now.st_mode),
            now.st_mtime_ns,
            kept.size,
            kept.sha256,
            *kept.place,
            uid=now.st_uid,
            gid=now.st_gid,
            flag="torn" if kept.torn else "",
            ctime_ns=now.st_ctime_ns if trusted else 0,
            inode=now.st_ino,
        )

    def _note(self, paths: list[bytes], row: Row | None) -> None:
        """Note a file under its first name, and the others as the same as that; source before caches."""
        if row is None:
            return
        first, *others = paths if len(paths) == 1 else sorted(paths, key=_source_first)
        self.after[first] = row
        for path in others:
            self.after[path] = row._replace(kind="hardlink", target=first) if row.sha256 else row

    def _name_packs(self) -> None:
        """Replace placeholders of packs that were open by their digests."""
        self._packer.close()
        names = self._packer.names
        for path, row in self.after.items():
            if row.pack in names:
                self.after[path] = row._replace(pack=names[row.pack])


def _source_first(path: bytes) -> tuple[bool, bytes]:
    return is_cache(path), path
