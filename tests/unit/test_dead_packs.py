"""Which packs are carried forward: `activities/dead_packs.py`."""

from activities.dead_packs import MAX_CARRIED_BYTES, MIN_PACK_BYTES, mostly_dead
from activities.manifests import Entry, Header, Manifest

MIB = 1024 * 1024


def tree(*files: tuple[str, int, int]) -> Manifest:
    """A tree of files: the letter of the pack, offset, length."""
    entries = {
        f"f{place}": Entry(path=f"f{place}", kind="file", pack=letter * 64, offset=offset, length=length)
        for place, (letter, offset, length) in enumerate(files)
    }
    return Manifest(header=Header(format=1, number=1, kind="full", entries=len(entries)), entries=entries)


def chosen(whole: Manifest, **sizes: int) -> str:
    found = mostly_dead(whole, {letter * 64: size for letter, size in sizes.items()})
    return "".join(name[0] for name in found)


def test_less_than_a_quarter_is_mostly_dead():
    """Content that two files have counts once; a pack of unknown size is left as it is."""
    whole = tree(("a", 0, MIB - 1), ("a", 0, MIB - 1), ("b", 0, MIB), ("c", 0, 1))

    assert chosen(whole, a=4 * MIB, b=4 * MIB, c=0) == "a"


def test_a_small_pack_is_left_as_it_is():
    """It takes little."""
    assert chosen(tree(("a", 0, 1), ("b", 0, 1)), a=MIN_PACK_BYTES - 1, b=MIN_PACK_BYTES) == "b"


def test_a_snapshot_carries_no_more_than_its_share():
    """The packs with the fewest live bytes come first; the others wait for the next one."""
    half = MAX_CARRIED_BYTES // 2
    whole = tree(("a", 0, half + 1), ("b", 0, half), ("c", 0, half - 1))

    assert chosen(whole, a=999 * MIB, b=999 * MIB, c=999 * MIB) == "cb"
