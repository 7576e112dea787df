# SPDX-License-Identifier: Apache-2.0
add_unit_test(vfs_model_test ${CMAKE_CURRENT_LIST_DIR}/model_test.c fs vfs kernel)
