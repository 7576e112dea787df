/* SPDX-License-Identifier: Apache-2.0
 * values.h - hostile numbers, addresses, calls and memory, from one seeded source of chance. */
#ifndef SERVICE_TEST_VALUES_H
#define SERVICE_TEST_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "fakebox.h"

void chance_seed(uint64_t seed);
uint64_t rnd(void);
uint64_t below(uint64_t n);
bool chance(unsigned one_in);

uint64_t any_address(void);
uint64_t any_word(void); /* of memory: pointers, descriptors, times, sizes */
/* A row of the table (seldom any other number) with arguments by their kinds. */
uint32_t any_call(uint64_t args[6]);

/* What processes start with. */
extern uint8_t program_text[PROGRAM_TEXT_SIZE], program_data[PROGRAM_DATA_SIZE];
void program_make(void);

#endif
