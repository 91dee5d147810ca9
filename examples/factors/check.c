/* Judge what factors.c wrote: the test of this task. See docs/guide/buying.md, "Is it right?".
 *
 * Usage: test PART NUMBER, the output on standard input. Exit status 0 only if the output is one number and a newline,
 * and that number divides NUMBER and is neither 1 nor NUMBER.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

int main(int argc, char **argv) {
    char output[32];
    size_t size = fread(output, 1, sizeof output, stdin);
    if (argc != 3 || size < 2 || size == sizeof output || output[size - 1] != '\n' || memchr(output, 0, size)) {
        puts("not one number and a newline");
        return 1;
    }
    output[size - 1] = 0;
    uint64_t number = read_number(argv[2]), found = read_number(output);
    if (found < 2 || found >= number || number % found != 0) {
        puts("not a factor");
        return 1;
    }
    return 0;
}
