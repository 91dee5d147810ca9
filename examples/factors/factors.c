/* Find a factor of a composite number by Pollard's rho (Pollard, 1975), from a start that is drawn at random.
 *
 * Usage: factors NUMBER (decimal, below 2^62, composite). Writes one factor, other than 1 and the number, and a newline.
 * Which one, and how long it takes, is a matter of luck: two runs need not give the same. So check.c judges it.
 * Exit status: 0 a factor was found; 1 none in a million steps; 2 wrong arguments.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "number.h"

static const int MOST_STEPS = 1000000;

static uint64_t difference(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int main(int argc, char **argv) {
    uint64_t number = argc == 2 ? read_number(argv[1]) : 0;
    if (number < 4) {
        fputs("usage: factors NUMBER, a composite below 2^62\n", stderr);
        return 2;
    }
    uint64_t drawn[2];
    if (getentropy(drawn, sizeof drawn) != 0) {
        fputs("no randomness\n", stderr);
        return 2;
    }
    uint64_t slow = drawn[0] % number, fast = slow, step = 1 + drawn[1] % (number - 3);
    for (int i = 0; i < MOST_STEPS; i++) {
        slow = (multiply(slow, slow, number) + step) % number;
        fast = (multiply(fast, fast, number) + step) % number;
        fast = (multiply(fast, fast, number) + step) % number;
        uint64_t found = greatest_common_divisor(difference(slow, fast), number);
        if (found == number) {
            slow = fast = (fast + 1) % number;
            step = 1 + (step + 1) % (number - 3);
        } else if (found != 1) {
            printf("%llu\n", (unsigned long long)found);
            return 0;
        }
    }
    fputs("no factor found\n", stderr);
    return 1;
}
