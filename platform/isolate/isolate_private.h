/* SPDX-License-Identifier: Apache-2.0
 * isolate_private.h - between the files of this folder. */
#ifndef ISOLATE_PRIVATE_H
#define ISOLATE_PRIVATE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BUILD_TSAN 1
#elif __has_feature(address_sanitizer)
#define BUILD_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define BUILD_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define BUILD_ASAN 1
#endif
#ifndef BUILD_TSAN
#define BUILD_TSAN 0
#endif
#ifndef BUILD_ASAN
#define BUILD_ASAN 0
#endif

/* Set *ret_what and return -errno. */
#define step_failed(ret_what, name) (*(ret_what) = (name), -errno)

/* Permitted and effective become the intersection with @keep, nothing inheritable or ambient;
 * the bounding set becomes empty where that is allowed. Calling thread. 0 or -errno. */
int caps_keep(uint64_t keep);

/* After isolate_drop(): root and working directory are the empty one, the last capability goes. */
int isolate_enter_empty_root(const char **ret_what);

/* Deny opening for execution, making devices and, without @writable, every change; and reading
 * outside what isolate_gofer_allow() named, if it named anything. 0 also where Landlock is missing.
 */
int landlock_apply(bool writable);

#endif
