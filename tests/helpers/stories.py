"""A Z-machine story of two rooms for tests, compiled by TextWorld's Inform 6 compiler.

No library is used. `north` and `south` walk, `take` wins in the garden, `jump` loses, `wait` prints a random number.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = """
Release 1; Serial "000000";
Object Hall "Hall";
Object Garden "Garden";
Global location = 1;
Global score = 0;
Global turns = 0;
Array buffer -> 123;
Array parse buffer 63;
Global word = 0;
[ Describe;
  if (location == Hall) "You are in the hall. A door leads north.";
  "You are in the garden. The hall is south; a gold bar lies here.";
];
[ Main;
  location = Hall;
  print "Two Rooms^^"; Describe();
  for (::) {
    print "^>";
    buffer->0 = 120; buffer->1 = 0; parse->0 = 15;
    read buffer parse;
    word = 0;
    if (parse->1 > 0) word = parse-->1;
    turns++;
    if (word == 'look') { Describe(); continue; }
    if (word == 'north' && location == Hall) { location = Garden; Describe(); continue; }
    if (word == 'south' && location == Garden) { location = Hall; Describe(); continue; }
    if (word == 'wait') { print "You count to ", random(1000), ".^"; continue; }
    if (word == 'jump') { score = -1; print "Alas.^^*** You have died ***^^RESTART or QUIT?^"; continue; }
    if (word == 'take' && location == Garden) {
      score = 5; print "The bar is yours.^^*** You have won ***^^RESTART or QUIT?^"; continue; }
    print "You cannot do that here.^";
  }
];
"""


def compile_story(folder: Path, version: int, source: str = SOURCE, name: str = "two") -> Path:
    """Compile a source to `NAME.zVERSION` in `folder` and return the path."""
    import textworld

    compilers = Path(textworld.__file__).parent / "thirdparty/inform7-6M62/share/inform7/Compilers"
    file, story = folder / f"{name}.inf", folder / f"{name}.z{version}"
    file.write_text(source, "utf-8")
    command = [str(compilers / "inform6"), f"-Cuwv{version}", str(file), str(story)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return story
