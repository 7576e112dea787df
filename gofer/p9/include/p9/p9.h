/* SPDX-License-Identifier: Apache-2.0
 * p9.h - 9P2000.L wire codec, shared by the gofer's server and the Sentry's client. No I/O, no
 * allocation. Decoders check every length and count against the message and the limits below. */
#ifndef P9_P9_H
#define P9_P9_H

#include <stddef.h>
#include <stdint.h>

#define P9_MSIZE_MAX (1u << 20)
#define P9_MSIZE_DEFAULT (256u << 10)
#define P9_NAME_MAX 255
#define P9_WALK_MAX 16
#define P9_LIST_MAX 128 /* names of a Tscan */
#define P9_NOFID UINT32_MAX
#define P9_NOTAG UINT16_MAX
#define P9_VERSION_PLAIN "9P2000.L"
#define P9_VERSION_RINGBOX "9P2000.L.ringbox"

/* messages: p9/messages.def and p9/wire.h; see README.md of this folder */

#endif
