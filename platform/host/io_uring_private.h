/* SPDX-License-Identifier: Apache-2.0
 * io_uring_private.h - for io_uring.c and its test. */
#ifndef HOST_IO_URING_PRIVATE_H
#define HOST_IO_URING_PRIVATE_H

#include <liburing.h>
#include <stdbool.h>

#include <base/list.h>

#define URING_OP_FUTEX_WAIT 51 /* newer than liburing 2.3 */

struct uring {
    struct io_uring ring;
    struct list_head cancelled; /* GUARDED_BY(io->lock): struct uring_poll */
    struct list_head polls;     /* all records the host may still answer for */
    bool futex_op;
    _Atomic(uint32_t) *futex_word; /* waited for by the host; NULL: no wait is queued */
    uint32_t futex_expect;
    uint64_t futex_data; /* user_data of that wait */
};

#endif
