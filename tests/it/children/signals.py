"""Prints `ready <pid>`, then `got <number>` for every signal that arrives, each time it does. Ends after two
SIGTERMs, or after the one that says that its parent has died."""
import os
import signal

# The handler in C writes each number into this pipe, so that nothing is merged or missed between two looks.
arrived, arrive = os.pipe()
os.set_blocking(arrive, False)
signal.set_wakeup_fd(arrive)
for number in range(1, 65):
    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):  # 32 and 33 belong to the C library
        signal.signal(number, lambda *_: None)
parent = os.getppid()
os.write(1, b"ready %d\n" % os.getpid())
terms = 0
while True:
    number = os.read(arrived, 1)[0]
    os.write(1, b"got %d\n" % number)
    terms += number == signal.SIGTERM
    if terms == 2 or os.getppid() != parent:
        break
