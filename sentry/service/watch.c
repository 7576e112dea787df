/* SPDX-License-Identifier: Apache-2.0
 * watch.c - hearing of the end of a guest's host process; one watch for all its tasks of a poller. */
#include <stdlib.h>

#include <mm/mm.h>

#include "private.h"

static void watch_fired(struct io_poll *poll, uint32_t revents)
{
    struct as_watch *w = container_of(poll, struct as_watch, poll);
    struct poller *p = w->poller;
    struct served *s;

    (void)revents;
    w->dead = true;
    struct list_head *lists[] = {&p->busy, &p->quiet, &p->rest};
    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
        list_for_each_entry (s, lists[i], link) {
            if (s->watch == w)
                served_kick(s->task);
        }
}

/* Owner: hear of the end of this task's host process, from before its first event: it may die without
 * having posted one. */
void served_watch(struct served *s)
{
    struct poller *p = s->poller;
    struct pf_as *as = mm_as(s->task->mm);
    struct as_watch *w;
    int fd = g_service.cfg.platform->as_pidfd(as);

    if (fd < 0)
        return;
    list_for_each_entry (w, &p->watches, link) {
        if (w->as == as) {
            w->refs++;
            s->watch = w;
            if (w->dead) /* it fired before we came */
                served_kick(s->task);
            return;
        }
    }
    w = calloc(1, sizeof *w);
    if (!w)
        return; /* tried again at the next look */
    w->as = as;
    w->poller = p;
    w->refs = 1;
    if (io_poll_arm(&w->poll, fd, 1 /* POLLIN */, watch_fired)) {
        free(w);
        return;
    }
    list_add(&w->link, &p->watches);
    s->watch = w;
}

void served_unwatch(struct served *s)
{
    struct as_watch *w = s->watch;

    s->watch = NULL;
    if (!w || --w->refs)
        return;
    io_poll_cancel(&w->poll);
    list_del(&w->link);
    free(w);
}
