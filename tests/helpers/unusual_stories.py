"""Ten small Z-machine stories, each unusual in its own way. They use the template `FRAME` and no library."""

from __future__ import annotations

from dataclasses import dataclass, field

FRAME = """
Release 1; Serial "000000"; {directives}
Object Hall "Hall"; Object Garden "Garden";
Global location = 1; Global score = 0; Global turns = 0;
Array buffer -> 123; Array parse buffer 63;
[ W i; if (i < parse->1) return parse-->(1 + 2 * i); return 0; ];
[ Listen;
  print "^>"; buffer->0 = 120; buffer->1 = 0; parse->0 = 15;
  {read}
  turns++; ];
{routines}
[ Main;
  location = Hall;
  print "{title}^";
  for (::) {{ Listen(); if (Turn()) print "That makes no sense.^"; }} ];
"""
"""The source of a story. `Turn` plays a command whose words are W(0), W(1), ... and returns 0 if it understood it."""
CLOSE = 'print "^^*** {} ***^^Would you like to RESTART or QUIT?^"; rfalse;'


@dataclass(frozen=True, kw_only=True)
class Story:
    """A story to compile for `version` of the Z-machine.

    Tests play `commands`, and random commands made of `words`. `ends` maps a part of each possible last text to
    (won, lost). Both are False if the outcome is unknown.
    """

    title: str
    version: int
    routines: str
    words: tuple[str, ...]
    commands: tuple[str, ...]
    ends: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    directives: str = ""
    read: str = "read buffer parse;"

    @property
    def source(self) -> str:
        return FRAME.format(title=self.title, routines=self.routines, directives=self.directives, read=self.read)


STORIES = (
    Story(
        title="Characters",
        version=5,
        routines="""
Global crown = 0;
[ Turn; if (W(0) == 'bob' && W(1) == ',//') { print "Bob listens. "; return Order(2); }
  if (W(0) == 'ask' && W(1) == 'bob') { print "~Why, ", turns, "?~ says Bob.^"; rfalse; } return Order(0); ];
[ Order at; switch (W(at)) {
  'north', 'south': location = Hall + Garden - location; print "To the ", (name) location, ".^"; rfalse;
  'take': crown = 1; print "Taken.^"; rfalse;
  'give': if (crown == 0 || at == 0) { print "There is none to give.^"; rfalse; }
    """ + CLOSE.format("You have won") + " } rtrue; ];",
        words=("bob", ",", "take", "crown", "north", "bob,", "me"),
        commands=("bob, north", "bob, take crown", "bob, give me the crown", "ask bob about crown", "bob, bob, north"),
        ends={"*** You have won ***": (True, False)},
    ),
    Story(
        title="Quotations",
        version=5,
        routines="""
Array open -> 1;
[ Turn i; if (W(0) == 'say' or 'answer') { print "You say:";
    for (i = 1 : i < parse->1 : i++) { if (W(i) == 0) print " ?"; else { print " "; print (address) W(i); } }
    new_line; if (W(1) == '~//' && W(2) == 'sesame' && W(3) == '~//') open->0 = 1; rfalse; }
  if (W(0) == '~//') { print "Quoth the raven: ", parse->1, " words.^"; rfalse; }
  if (W(0) == 'north') { if (open->0 == 0) { print "It is shut.^"; rfalse; }
    """ + CLOSE.format("The End") + " } rtrue; ];",
        words=("say", '"', "sesame", "'", "friend", "north", ":", "?", "!"),
        commands=('say "sesame"', '"sesame"', "say 'sesame'", 'answer "friend"', "north", 'say "', '""'),
        ends={"*** The End ***": (True, False)},
    ),
    Story(
        title="Money",
        version=3,
        routines="""
[ Turn; switch (W(0)) {
  'pay': switch (W(1)) { '$5': score = score - 5; '$10': score = score - 10; '5$', '#1': score = score + 1;
      default: print "How much?^"; rfalse; }
    print "Paid.^";
    if (score < -20) { """ + CLOSE.format("You are ruined") + """ } rfalse;
  'earn': score = score + 7; print "Seven more.^"; if (score > 20) { """ + CLOSE.format("You have won, rich") + """ }
    rfalse;
  '50%', 'a+', 'r&d', '<x>', '*', '(a)', '=', '_': print "A sign.^"; rfalse; } rtrue; ];""",
        words=("pay", "$5", "$10", "5$", "#1", "earn", "50%", "r&d", "*", "(a)", "=", "_", "<x>", "[b]", "{c}", "|"),
        commands=("pay $5", "pay $10", "pay 5$", "pay #1", "earn", "a+", "50%"),
        ends={"*** You are ruined ***": (False, True), "*** You have won, rich ***": (True, False)},
    ),
    Story(
        title="Press a key",
        version=5,
        routines="""
[ Turn k; switch (W(0)) {
  'rest': print "You rest. Press a key."; @read_char 1 -> k; print "^Key ", k, " it was.^"; rfalse;
  'sleep': print "Two keys."; @read_char 1 -> k; print "^One.^"; @read_char 1 -> k; print "^Two: ", k, "^"; rfalse;
  'leave': print "The story is over. Press a key to go."; @read_char 1 -> k; print "^Gone.^"; quit;
  0: print "Silence.^"; rfalse; } rtrue; ];""",
        words=("rest", "sleep", "x", "leave"),
        commands=("rest", "sleep", "", "", " ", "y", "rest"),
        ends={"Gone.": (False, False)},
    ),
    Story(
        title="Against time",
        version=4,
        read="@sread buffer parse 10 Tick;",
        routines="""
Global ticks = 0;
[ Tick; ticks++; print "Tick. "; rfalse; ];
[ Turn k; switch (W(0)) {
  'wait': @read_char 1 5 Tick -> k; print "You pressed ", k, " after ", ticks, " ticks.^"; rfalse;
  'count': print turns, " turns, ", random(6), " pips.^"; rfalse;
  'stop': print "Time stops.^"; quit; } rtrue; ];""",
        words=("wait", "count", "count", "a", "stop"),
        commands=("wait", "count", "count twice", "count"),
        ends={"Time stops.": (False, False)},
    ),
    Story(
        title="The clock",
        version=3,
        directives="Statusline time;",
        routines="""
[ Turn; score = (score + random(3)) % 24; turns = (turns + 7) % 60;
  switch (W(0)) { 'north', 'south': location = Hall + Garden - location; print "You walk. Score: 3 Moves: 4^"; rfalse;
  'look': print (name) location, "  Time: soon^"; rfalse;
  'shout': print ">Echo^> Echo^"; rfalse; 'whisper': print ">"; rfalse; } rtrue; ];""",
        words=("north", "south", "look", "shout", "whisper", "loudly"),
        commands=("north", "look", "shout", "whisper", "get lamp. north", "look; look"),
    ),
    Story(
        title="Memory",
        version=5,
        routines="""
[ Turn r; switch (W(0)) {
  'mark': @save_undo -> r; print "Marked: ", r, ".^"; rfalse;
  'score': print "You have ", score, " points.^"; rfalse;
  'save', 'undo', 'restore', 'restart', 'quit': print "Never printed.^"; rfalse;
  'load': score = score + 2; print "You load the cannon.^"; rfalse;
  'record': score--; print "You record a song.^"; rfalse;
  'verify': @verify ?good; print "Bad.^"; rfalse; .good; print "Good.^"; rfalse; } rtrue; ];""",
        words=("mark", "load", "record", "save", "undo", "restore", "verify", "quit", "then"),
        commands=("mark", "load cannon", "record", "save", "undo", "restore", "restart", "quit", "score", "verify"),
    ),
    Story(
        title="Endings",
        version=8,
        routines="""
[ Turn r; switch (W(0)) {
  'north', 'south': location = Hall + Garden - location; print (name) location, "^"; rfalse;
  'crown': """ + CLOSE.format("Victory is yours") + """
  'jump': """ + CLOSE.format("The goblins eat you") + """
  'bow': print "^    *** You have won ***^"; quit;
  'dance': print "*** Applause ***^You may dance again."; quit;
  'fade': print "You fade away"; quit;
  'doze': print "It was a dream.^^Would you like to RESTART, RESTORE a saved game or QUIT?^> "; rfalse;
  'read': print "*** READ ME ***^To RESTART is no way out.^"; rfalse;
  'help': print "You can RESTART or QUIT.^"; rfalse;
  'ask': print "Why RESTART or QUIT now?^^Nobody answers.^"; rfalse;
  'fall': print "You fall.^"; for (r = 0 : r < 999 : r++) print "a"; rfalse; } rtrue; ];""",
        words=("north", "south", "north", "south", "look", "ask", "ask"),
        commands=("north", "south", "crown", "jump", "bow", "dance", "fade", "doze", "ask", "read", "help", "fall"),
        ends={"Victory is": (True, False), "goblins": (False, True), "*** You have won ***": (True, False),
              "Applause": (False, True), "You fade away": (False, False), "a dream": (False, False),
              "You fall": (False, False)},
    ),
    Story(
        title="Ünïcödé «tïtlé»",
        version=5,
        routines="""
[ Turn; switch (W(0)) {
  'read': print "Der Bär @:u@:o@ss @'e@`e@^e @ae@oe@AE @cc @~n @/o @LL ? @!! @<< @>>^"; rfalse;
  'north': @print_unicode $03b1; print " alpha "; @print_unicode $2014; print " dash "; @print_unicode $20ac; new_line;
    rfalse;
  'x': print "na@:ive caf@'e no. ", turns, "^"; rfalse; } rtrue; ];""",
        words=("read", "north", "x", "it"),
        commands=("read", "north", "x cafe", "x", "look"),
    ),
    Story(
        title="A long story",
        version=8,
        routines="""
[ Line n i; for (i = 0 : i < n : i++) { print i, " bottles of beer on the wall, "; if (i % 5 == 0) new_line; } ];
[ Turn i; switch (W(0)) {
  'sing': Line(200); new_line; rfalse;
  'spell': for (i = 0 : i < 190 : i++) print (char) 'a' + i % 26; new_line; rfalse;
  'pause': for (i = 0 : i < 60 : i++) new_line; print "   indented^^^      more^	tab^"; rfalse;
  'draw': style reverse; print "[ * ]"; style roman; style bold; print " > "; style roman; print "^>> _|_^"; rfalse;
  'split': @split_window 2; @set_window 1; @set_cursor 1 1; print "UP ", turns; @set_window 0; print "low^"; rfalse;
  } rtrue; ];""",
        words=("sing", "spell", "pause", "draw", "split", "a" * 60),
        commands=("sing", "spell", "pause", "draw", "split", "sing " * 19),
    ),
)  # fmt: skip
