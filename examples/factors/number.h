/* What both programs need: numbers below 2^62, so that a sum of two fits 64 bits. */
#ifndef NUMBER_H
#define NUMBER_H

#include <stdint.h>

/* The number that `text` writes in decimal, or 0 if it writes none below 2^62. */
static inline uint64_t read_number(const char *text) {
    const uint64_t most = (UINT64_C(1) << 62) - 1;
    uint64_t number = 0;
    for (const char *next = text; *next != 0; next++) {
        if (*next < '0' || *next > '9') return 0;
        uint64_t digit = (uint64_t)(*next - '0');
        if (number > (most - digit) / 10) return 0;
        number = number * 10 + digit;
    }
    return number;
}

/* a * b modulo `modulus`, by doubling; a and b are below `modulus`, which is below 2^62. */
static inline uint64_t multiply(uint64_t a, uint64_t b, uint64_t modulus) {
    uint64_t product = 0;
    for (; b != 0; b >>= 1) {
        if (b & 1) product = (product + a) % modulus;
        a = (a + a) % modulus;
    }
    return product;
}

#endif
