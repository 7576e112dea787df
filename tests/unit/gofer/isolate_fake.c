/* SPDX-License-Identifier: Apache-2.0
 * isolate_fake.c - these tests leave confinement out (config.unconfined). */
#include <isolate/isolate.h>

int isolate_gofer(bool writable, const char **ret_what)
{
    (void)writable;
    *ret_what = "";
    return 0;
}
