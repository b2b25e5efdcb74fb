"""Tries to read the secrets of its parent, and says what it found."""

import ctypes
import os

parent = "/proc/%d" % os.getppid()


def look(what, read):
    try:
        print(what, repr(read()))
    except OSError as error:
        print(what, "refused: %s" % error.strerror)


def content(name):
    with open(parent + "/" + name, "rb") as file:
        return file.read()


def memory():
    found = []
    with open(parent + "/maps") as maps, open(parent + "/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(number, 16) for number in span.split("-"))
                mem.seek(start)
                found.append(mem.read(end - start))
    return b"".join(found).count(os.environ["LOOK_FOR"].encode()[::-1])


look("environ", lambda: content("environ"))
look("cmdline", lambda: content("cmdline"))
look("memory", memory)
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print("own", os.stat("/proc/self").st_uid == os.getuid())
print("done", flush=True)
