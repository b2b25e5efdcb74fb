/* Preloaded into a program, this makes opening the file $HANGS wait, as on a network mount whose server is gone, for as
 * long as there is a file $HANGS.hangs. It says so on stderr. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for(const char *path)
{
    const char *hangs = getenv("HANGS");
    char switched[4096];
    if (!hangs || strcmp(path, hangs))
        return;
    snprintf(switched, sizeof switched, "%s.hangs", hangs);
    if (access(switched, F_OK) == 0 && write(2, "it hangs\n", 9) != 9)
        abort();
    while (access(switched, F_OK) == 0)
        usleep(10000);
}

#define OPEN(name)                                                 \
    int name(const char *path, int flags, ...)                     \
    {                                                              \
        int (*really)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
        va_list more;                                              \
        va_start(more, flags);                                     \
        mode_t mode = va_arg(more, mode_t);                        \
        va_end(more);                                              \
        wait_for(path);                                            \
        return really(path, flags, mode);                          \
    }

OPEN(open)
OPEN(open64)
