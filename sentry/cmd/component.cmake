# SPDX-License-Identifier: Apache-2.0
# the ringbox binary
