"""Does teaching a language model to spell also teach it where letters stand and how many there are?"""

__version__ = "0.1.0"
