#!/usr/bin/env python3
"""Asks a resolverd daemon over its Unix socket, with the standard library alone.

A kernel copies the class. Every call returns the daemon's JSON, or raises Problem with the problem document, whose "hint"
says what to do next.

    python3 client.py resolve lcod://tooling/array/pluck@^0.1 --native lcod://contract/
    python3 client.py lookup lcod://tooling/array/pluck lcod://tooling/array/append
    python3 client.py check lcp.lock       exit status 4 where it does not hold
"""

import http.client
import json
import os
import socket
import sys


class Problem(Exception):
    """What the daemon answers instead: code, reason, detail, hint."""

    def __init__(self, document):
        super().__init__("%s [%s %s]" % (document.get("detail"), document.get("code"), document.get("reason")))
        self.document = document


class Resolverd(http.client.HTTPConnection):
    """A connection that is kept for one call after the other, and made anew where the daemon has closed it."""

    def __init__(self, path=None, timeout=150):
        super().__init__("localhost", timeout=timeout)
        self.path = path or default_socket()

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, target, body=None):
        data = None if body is None else json.dumps(body)
        was_open = self.sock is not None
        try:
            status, document = self.once(method, target, data)
        except ConnectionError:
            # A daemon closes what is idle, and starts again: what it has not answered is asked once more.
            if not was_open:
                raise
            status, document = self.once(method, target, data)
        if status >= 400:
            raise Problem(document)
        return document

    def once(self, method, target, data):
        try:
            try:
                self.request(method, target, data, {} if data is None else {"Content-Type": "application/json"})
            except BrokenPipeError:
                pass  # A daemon that turns a caller away says why before it closes.
            answer = self.getresponse()
            return answer.status, json.loads(answer.read())
        except BaseException:
            # What is left of this answer is none of the next one.
            self.close()
            raise

    def resolve(self, references, natives=()):
        """Chooses versions for all references together, with everything that they require."""
        return self.ask("POST", "/v1/resolve", {"requests": list(references), "natives": list(natives)})

    def lookup(self, references):
        """Answers each reference on its own: a release, or a problem with "code"."""
        return self.ask("POST", "/v1/lookup", {"ids": list(references)})

    def lock(self, references, natives=()):
        """Returns the lock of a solution; its "text" is the file."""
        return self.ask("POST", "/v1/lock", {"resolve": {"requests": list(references), "natives": list(natives)}})

    def check(self, text):
        """Says what of a lock no longer holds."""
        return self.ask("POST", "/v1/lock/check", {"lock": text})


def default_socket():
    if os.environ.get("RESOLVERD_SOCKET"):
        return os.environ["RESOLVERD_SOCKET"]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(runtime, "resolverd", "resolverd.sock") if runtime else os.path.join(state, "resolverd", "run", "resolverd.sock")


def main(arguments):
    verb, rest = arguments[0], arguments[1:]
    natives = [rest[at + 1] for at, word in enumerate(rest[:-1]) if word == "--native"]
    references = [word for at, word in enumerate(rest) if word != "--native" and (at == 0 or rest[at - 1] != "--native")]
    daemon = Resolverd()
    if verb == "resolve":
        answer = daemon.resolve(references, natives)
    elif verb == "lookup":
        answer = daemon.lookup(references)
    elif verb == "lock":
        answer = daemon.lock(references, natives)
    elif verb == "check":
        with open(references[0], encoding="utf-8") as file:
            answer = daemon.check(file.read())
    else:
        sys.exit("a verb is missing: resolve, lookup, lock or check")
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
    if verb == "check" and not answer["holds"]:
        sys.exit(4)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1:])
    except Problem as problem:
        sys.exit("%s\nhint: %s" % (problem, problem.document.get("hint", "none")))
    except OSError as error:
        sys.exit("no daemon answers: %s\nhint: resolverd serve" % error)
