"""Drives a shell on a terminal of its own: Ctrl-C, Ctrl-Z, fg, bg, window size, end of input. Prints `all is well`.

    terminal.py SIGNALS_PY [WRAPPER OPTION...]      the words before each command; none for the bare command
"""
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

signals, before = sys.argv[1], " ".join(sys.argv[2:])
child, terminal = pty.fork()
if child == 0:
    os.environ["PS1"] = "prompt> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
seen = b""


def expect(text, times=1):
    """Waits until the terminal shows this, and forgets what was before it."""
    global seen
    end = time.monotonic() + 20
    while seen.count(text) < times:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError(f"no {text!r}; the terminal shows:\n{seen.decode()}")
        seen += os.read(terminal, 4096)
    shown, seen = seen, seen[seen.rindex(text) + len(text):]
    return shown


def type_in(text):
    os.write(terminal, text)


def run(command):
    type_in(f"{before} {command}\n".encode())


def copy(word):
    """What `cat` reads appears twice: the terminal shows what is typed, and cat what it has read."""
    type_in(word + b"\n")
    expect(word + b"\r\n", 2)


def stop_key():
    """Ctrl-Z. The shell is quicker with its prompt than some are to stop, and a `fg` then comes too early for bash."""
    type_in(b"\x1a")
    expect(b"Stopped")
    expect(b"prompt> ")
    while any(not state.startswith("T") for state in states()):
        pass


def read_in_front():
    """A job in the background whose `cat` wants to read, which stops it, is brought to the front."""
    shown = b""
    while b"Stopped" not in shown:
        type_in(b"jobs\n")
        shown = expect(b"prompt> ")
    type_in(b"fg\n")
    copy(b"three")


def states(what="stat="):
    """The states of all that the shell has started, or something else that `ps` tells of them."""
    listed = subprocess.run(["ps", "-o", f"pid=,{what}", "-s", str(child)], stdout=subprocess.PIPE, text=True).stdout
    return [state for pid, state in map(str.split, listed.splitlines()) if int(pid) != child]


expect(b"prompt> ")

# Signals of the terminal arrive, once.
run(f"python3 {signals}")
expect(b"ready ")
type_in(b"\x03")
expect(b"got 2\r\n")
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
expect(b"got 28\r\n")
type_in(b"\x1c")
shown = expect(b"got 3\r\n")
assert b"got 2\r\n" not in shown.replace(b"got 28\r\n", b""), f"twice: {shown}"
# Ctrl-Z arrives as well, and this child goes on.
type_in(b"\x1a")
expect(b"got 20\r\n")
os.system(f"pkill -KILL -f '^python3 {signals}$' -s {child}")
expect(b"prompt> ")

# A child that stops: so does what the shell sees; fg and bg continue it, and it can read again.
run("cat")
copy(b"one")
stop_key()
type_in(b"fg\n")
copy(b"two")
stop_key()
type_in(b"bg\n")
expect(b"prompt> ")
read_in_front()
type_in(b"\x04")
expect(b"prompt> ")
type_in(b"echo status $?\n")
expect(b"status 0\r\n")

# A job that is stopped can be ended: the shell signals and continues it.
run("sh -c 'echo star\"\"ted; exec sleep 1000'")
expect(b"started\r\n")
stop_key()
type_in(b"kill %1\n")
expect(b"prompt> ")
while any(not state.startswith("Z") for state in states()):
    pass  # until all are dead; the shell waits for them when it likes

# A child that watches for it hears once that it goes on.
run("python3 -uc 'import signal; signal.signal(18, lambda *_: print(\"went on\")); print(\"re\" \"ady\"); print(input(), input())'")
expect(b"ready\r\n")
stop_key()
type_in(b"fg\n")
expect(b"went on\r\n")
type_in(b"one\n")
type_in(b"two\n")
shown = expect(b"one two\r\n")
assert b"went on" not in shown, f"twice: {shown}"
expect(b"prompt> ")

# Ctrl-C ends, and the shell hears of what.
run("sh -c 'echo star\"\"ted; exec sleep 1000'")  # the quotes tell the output from the echo of the command
expect(b"started\r\n")
type_in(b"\x03")
expect(b"prompt> ")
type_in(b"echo status $?\n")
expect(b"status 130\r\n")

# A program that dies leaves no modes behind; one that ends does.
expect(b"prompt> ")
for command, left in (("stty raw -echo; kill -KILL \\$\\$", False), ("stty -echo", True), ("stty echo", False)):
    type_in(f"{before} sh -c \"{command}\"\n".encode())
    expect(b"prompt> ")
    modes = termios.tcgetattr(terminal)[3]
    assert (modes & termios.ECHO == 0) == left and modes & termios.ICANON, f"{command}: {modes:o}"

# Unless it is told otherwise.
if before:
    type_in(f"{before} --exit-map=130=7 sh -c 'echo star\"\"ted; exec sleep 1000'\n".encode())
    expect(b"started\r\n")
    type_in(b"\x03")
    expect(b"prompt> ")
    type_in(b"echo status $?\n")
    expect(b"status 7\r\n")

# A job that was started in the background and brought to the front hears the keys.
run("sh -c 'echo star\"\"ted; exec sleep 1000' &")
expect(b"started\r\n")
type_in(b"fg\n")
expect(b"sleep 1000'\r\n")  # the shell says what it brings to the front, and then has done so
while os.tcgetpgrp(terminal) == child:
    pass
type_in(b"\x03")
expect(b"prompt> ")
type_in(b"echo status $?\n")
expect(b"status 130\r\n")

# Ctrl-C ends a script as well.
for shell in ("bash", "sh"):
    started = "sh -c 'echo star\\\"\\\"ted; exec sleep 1000'"
    type_in(f"{shell} -c \"for i in 1 2; do {before} {started}; echo ne\\\"\\\"xt; done\"\n".encode())
    expect(b"started\r\n")
    type_in(b"\x03")
    shown = expect(b"prompt> ")
    assert b"next" not in shown, f"the script went on: {shown}"

# Keys are rewritten, until the child reads them itself. A child in the wrapper's group hears them as they are.
if before and "--signal-scope=child" not in before:
    before += " --rewrite-signal=INT:USR1"
    run(f"python3 {signals}")
    expect(b"ready ")
    type_in(b"\x03")
    shown = expect(b"got 10\r\n")
    assert b"got 2\r\n" not in shown, f"as it was: {shown}"
    os.system(f"pkill -KILL -f '^python3 {signals}$' -s {child}")
    expect(b"prompt> ")
    run("cat")
    copy(b"one")
    type_in(b"\x04")
    expect(b"prompt> ")
    before = " ".join(sys.argv[2:])

# Ctrl-Z stops a script as well.
type_in(f"sh -c '{before} cat; echo af\"\"ter'\n".encode())
copy(b"one")
stop_key()
type_in(b"fg\n")
copy(b"two")
type_in(b"\x04")
expect(b"after\r\n")
expect(b"prompt> ")

# In a pipeline the keys are for whoever reads them, and Ctrl-C is for all.
run("sh -c 'echo words; exec sleep 1000' | sh -c 'read words; echo star\"\"ted; read line </dev/tty; echo \"$words $line\"'")
expect(b"started\r\n")
type_in(b"keys\n")
expect(b"words keys\r\n")
type_in(b"\x03")
expect(b"prompt> ")
type_in(b"echo status ${PIPESTATUS[0]}\n")
expect(b"status 130\r\n")

# Also if that is the first in it; and all of it stops and goes on.
run("cat | cat")
copy(b"one")
stop_key()
type_in(b"fg\n")
copy(b"two")
type_in(b"\x04")
expect(b"prompt> ")
run("cat | cat &")
expect(b"prompt> ")
read_in_front()
type_in(b"\x04")
expect(b"prompt> ")

# What a script has started behind it takes no keys away from it.
type_in(f"sh -c '{before} sleep 1000 & echo star\"\"ted; read line; echo \"read $line\"; kill $!'\n".encode())
expect(b"started\r\n")
type_in(b"words\n")
expect(b"read words\r\n")
expect(b"prompt> ")
trap = "trap \"echo trapped; kill \\$!; exit\" INT"
type_in(f"sh -c '{trap}; {before} sleep 1000 & echo star\"\"ted; wait'\n".encode())
expect(b"started\r\n")
type_in(b"\x03")
expect(b"trapped\r\n")
expect(b"prompt> ")

# A substitution can ask.
type_in(f"echo \"<$({before} sh -c 'read line </dev/tty; echo $line')>\"\n".encode())
type_in(b"words\n")
expect(b"<words>\r\n")
expect(b"prompt> ")

# Keys are heard where nothing but the shell speaks to the terminal.
while states():
    pass  # what the scripts above have killed
run("sleep 1000 </dev/null >/dev/null 2>&1")
while "sleep" not in states("comm="):
    pass
stop_key()
type_in(b"fg\n")
while any(state.startswith("T") for state in states()):
    pass
type_in(b"\x03")
expect(b"prompt> ")

# Whoever reads next from the terminal can.
type_in(f"sh -c '{before} true; echo star\"\"ted; read line; echo \"read $line\"'\n".encode())
expect(b"started\r\n")
type_in(b"words\n")
expect(b"read words\r\n")

# The end of the terminal reaches a program that has it for itself.
leader, terminal = pty.fork()
if leader == 0:
    command = sys.argv[2:] + ["sh", "-c", "echo started; exec sleep 1000"]
    os.execvp(command[0], command)
seen = b""
expect(b"started\r\n")
os.close(terminal)
_, status = os.waitpid(leader, 0)
assert os.waitstatus_to_exitcode(status) in (129, -1), status
print("all is well")
