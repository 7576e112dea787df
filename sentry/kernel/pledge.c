/* SPDX-License-Identifier: Apache-2.0
 * pledge.c - sets of promises: words, shrinking, inheritance, refusals. See pledge.h.
 *
 * Guests choose the words, which are copied before. process->pledge changes under process->lock and
 * is read without: a call that is being looked at while another thread promises is before or after
 * it. */
#include <kernel/pledge.h>

#include <string.h>

#include <base/count.h>
#include <kernel/task.h>

_Atomic(bool) g_pledge_used;

static const struct {
    const char *word, *text;
} words[] = {
#define PROMISE(name, word, text) {word, text},
#include <kernel/pledge.def>
#undef PROMISE
};
#define KILL_WORD "kill"

static uint32_t word_bit(const char *s, size_t len)
{
    for (unsigned i = 0; i < PLEDGE_WORDS; i++)
        if (strlen(words[i].word) == len && memcmp(words[i].word, s, len) == 0)
            return 1u << i;
    return len == strlen(KILL_WORD) && memcmp(KILL_WORD, s, len) == 0 ? PLEDGE_KILL : 0;
}

int pledge_parse(const char *text, uint32_t *ret, const char **ret_bad, size_t *ret_len)
{
    uint32_t set = 0;

    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        size_t len = strcspn(text, " ");
        uint32_t bit = word_bit(text, len);
        if (!bit) {
            if (ret_bad) {
                *ret_bad = text;
                *ret_len = len;
            }
            return -EINVAL;
        }
        set |= bit;
        text += len;
    }
    *ret = set;
    return 0;
}

const char *pledge_format(uint32_t set, char *buf, size_t size)
{
    size_t at = 0;

    for (unsigned i = 0; i < PLEDGE_WORDS; i++) {
        size_t len = strlen(words[i].word);
        if (!(set & 1u << i) || at + len + 2 > size)
            continue;
        if (at)
            buf[at++] = ' ';
        memcpy(buf + at, words[i].word, len);
        at += len;
    }
    buf[at] = 0;
    return buf;
}

const char *pledge_word(unsigned index, const char **ret_text)
{
    if (index >= PLEDGE_WORDS)
        return NULL;
    *ret_text = words[index].text;
    return words[index].word;
}

void pledge_init(struct process *p)
{
    p->pledge = PLEDGE_NOTHING_PROMISED;
}

void pledge_inherit_locked(struct process *child, const struct process *parent)
{
    child->pledge = parent->pledge;
    child->pledge_exec = parent->pledge_exec;
    child->pledge_exec_set = parent->pledge_exec_set;
}

/* @want among what @have allows: the set from now on. -EPERM as 0, which no set is. */
static uint32_t shrunk(uint32_t have, uint32_t want)
{
    if (want & ~have & PLEDGE_ALL)
        return 0;
    return want | (have & PLEDGE_KILL) | PLEDGE_ALWAYS;
}

int pledge_restrict(struct process *p, const uint32_t *now, const uint32_t *exec)
{
    spin_lock(&p->lock);
    uint32_t have = p->pledge, set = now ? shrunk(have, *now) : have;
    uint32_t exec_set = exec ? shrunk(p->pledge_exec_set ? p->pledge_exec : have, *exec) : 1;
    bool refused = !set || !exec_set;
    if (!refused) {
        atomic_store_explicit(&g_pledge_used, true, memory_order_relaxed);
        p->pledge = set;
        if (exec) {
            p->pledge_exec = exec_set;
            p->pledge_exec_set = true;
        }
    }
    spin_unlock(&p->lock);
    return refused ? -EPERM : 0;
}

void pledge_exec(struct process *p)
{
    spin_lock(&p->lock);
    if (p->pledge_exec_set)
        p->pledge = p->pledge_exec | (p->pledge & PLEDGE_KILL);
    p->pledge_exec_set = false;
    spin_unlock(&p->lock);
}

uint32_t pledge_of(const struct task *t)
{
    return atomic_load_explicit(&t->process->pledge, memory_order_relaxed);
}

int pledge_refuse(struct task *t, uint32_t need)
{
    count_add(COUNT_pledge_refused, 1);
    t->pledge_refused = need;
    if (pledge_of(t) & PLEDGE_KILL) {
        (void)signal_send_task(t, SIGKILL, NULL); /* seen before the call is answered */
        process_kill(t->process, SIGABRT);        /* and this is what it ends by */
    }
    return -EPERM;
}

uint32_t pledge_refused(struct task *t)
{
    uint32_t need = t->pledge_refused;

    t->pledge_refused = 0;
    return need;
}
