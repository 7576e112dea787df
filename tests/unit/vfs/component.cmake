# SPDX-License-Identifier: Apache-2.0
add_unit_test(vfs_model_test ${CMAKE_CURRENT_LIST_DIR}/model_test.c fs vfs kernel)
add_unit_test(vfs_parts_test ${CMAKE_CURRENT_LIST_DIR}/parts_test.c fs vfs kernel)
