"""Does teaching a language model to spell also teach it where letters stand and how many there are?"""

from spelling_transfer.moved import tell_new_names

__version__ = "0.1.0"

tell_new_names()
