# SPDX-License-Identifier: Apache-2.0
add_component(mm sentry/mm USES abi ring base host)
