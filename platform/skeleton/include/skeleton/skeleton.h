/* SPDX-License-Identifier: Apache-2.0
 * skeleton.h - a platform backend to copy. */
#ifndef SKELETON_SKELETON_H
#define SKELETON_SKELETON_H

#include <base/platform.h>

const struct platform_ops *skeleton_platform(void);

#endif
