"""The tree that snapshots are measured on: source-like text, and the change of one file in a hundred."""

from typing import Final

MAKE: Final = """
import os, random, sys
files, size, seed = map(int, sys.argv[2:5])
names = [f"file-{number:05}" for number in range(files)]
words = [f"{a}_{b}" for a in "read write user order total count item page next last".split()
         for b in "name value list row key state time size error path".split()]
def text(chosen):
    lines, length = [], 0
    while length < size:
        one, two, three = chosen.choices(words, k=3)
        number, mark = chosen.randrange(1000), chosen.getrandbits(20)
        lines.append(f"    {one} = self.{two}({three}, {number})  # {mark:x}\\n")
        length += len(lines[-1])
    return "".join(lines)
def path(name):
    folder = os.path.join(sys.argv[1], f"package_{name[5:8]}")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name + ".py")
chosen = random.Random(seed)
for name in names if seed == 0 else chosen.sample(names, files // 100):
    with open(path(name), "w") as file:
        file.write(text(chosen))
"""
"""Run as `python3 - FOLDER FILES BYTES_A_FILE SEED`: seed 0 makes the tree, any other changes 1 % of it."""
LISTING: Final = (
    "find . -mindepth 1 -printf '%P %y %m %s %TY%Tm%Td%TH%TM\\n' | LC_ALL=C sort | sha256sum; "
    "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
)
"""A line of shell that tells two trees apart; times by the minute, as tar keeps no parts of seconds."""
