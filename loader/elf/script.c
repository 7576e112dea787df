/* SPDX-License-Identifier: Apache-2.0
 * script.c - the "#!" line.
 *
 * As Linux since 5.1 (execve(2), "Interpreter scripts"; corners tried natively): the first 256
 * bytes of the file count, zeros behind a shorter one. A newline ends the line and blanks (space,
 * tab) before it are cut; a NUL ends the line too, but blanks before it stay, so that a file that
 * ends in "/bin/sh " passes an empty argument. Everything behind the interpreter's name is one
 * argument. A line without end is refused when the interpreter's name may be cut off, else its
 * argument is cut.
 */
#include <elf/image.h>

#include <errno.h>
#include <string.h>

#include <base/compiler.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* First byte in [i, last] that is not blank; behind last when there is none. */
static size_t skip_blanks(const char *s, size_t i, size_t last)
{
    while (i <= last && is_blank(s[i]))
        i++;
    return i;
}

/* First blank or NUL in [i, last]; behind last when there is none. */
static size_t skip_word(const char *s, size_t i, size_t last)
{
    while (i <= last && !is_blank(s[i]) && s[i])
        i++;
    return i;
}

int script_parse(const void *head, size_t head_len, struct script_plan *ret)
{
    char line[SCRIPT_LINE_MAX] = {0};
    const size_t last = sizeof line - 1;
    memcpy(line, head, head_len < sizeof line ? head_len : sizeof line);
    if (line[0] != '#' || line[1] != '!')
        return -ENOEXEC;

    size_t end = 2;
    while (end <= last && line[end] && line[end] != '\n')
        end++;
    bool newline = end <= last && line[end] == '\n';
    if (!newline) {
        size_t start = skip_blanks(line, 2, last);
        if (start > last || skip_word(line, start, last) > last)
            return -ENOEXEC; /* the name may go on beyond what was read */
        end = last;
    }
    while (end > 2 && is_blank(line[end - 1]))
        end--;

    size_t name = skip_blanks(line, 2, end);
    size_t sep = skip_word(line, name, end);
    size_t name_end = MIN(sep, end);
    if (name >= name_end)
        return -ENOEXEC;
    size_t arg = sep <= end && line[sep] ? skip_blanks(line, sep, end) : end + 1;

    memset(ret, 0, sizeof *ret);
    memcpy(ret->interp, line + name, name_end - name);
    if (arg <= end) {
        ret->has_arg = true;
        memcpy(ret->arg, line + arg, strnlen(line + arg, end - arg));
    }
    return 0;
}
