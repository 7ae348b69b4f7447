#pragma once

void test_open_up(void **state);
void test_open_down(void **state);
void test_open_bounds(void **state);
