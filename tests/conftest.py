"""Tests that send Ctrl-C to child processes need it to mean something, also where the suite runs in the background.

A shell without job control starts background jobs with SIGINT ignored, and children inherit that.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
