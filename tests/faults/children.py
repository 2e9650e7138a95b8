"""Forked children of programs under test: each ends in time, or says where it hangs, and answers in JSON."""

import faulthandler
import json
import os
import signal
import sys
import traceback


def limit_time(seconds):
    """Say where every thread is, and die, when this process lasts longer. Children that it forks have no limit."""
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(seconds)


def fork(work, seconds):
    """Start a child that calls work and has so long for it; `answer_of` takes what this returns."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            limit_time(seconds)
            os.write(write, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    return child, read


def answer_of(child, pipe):
    """What work returned in a child, which must have ended by itself with status 0."""
    with open(pipe) as file:
        content = file.read()
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}"
    return json.loads(content)
